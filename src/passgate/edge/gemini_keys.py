"""The keys of a Gemini upstream while the gateway runs: read from their source, and chosen."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from passgate.core.credential import Credential
from passgate.core.gemini.keys import Counts, Key, Rest, Ring, keys_in
from passgate.core.gemini.signatures import scope_of
from passgate.core.gemini.status import GoogleError, Outcome
from passgate.core.settings import CredentialKind
from passgate.gateway.interfaces import Clock, CredentialSource

# Where Google's day begins. The machine need not have time zones: ``tzdata`` brings them.
_ZONE = "America/Los_Angeles"
_SALT_BYTES = 16


class Keyring:
    """The keys of one upstream; a ``CredentialSource`` whose credential is one of them.

    Args:
        name: The upstream's.
        kind: How a key is sent.
        source: What gives the list of keys, or the one key.
        listed: Whether it gives a list.
        salt: Of this installation.
        clock: The time.
    """

    def __init__(
        self,
        name: str,
        kind: CredentialKind,
        source: CredentialSource,
        clock: Clock,
        salt: bytes,
        *,
        listed: bool,
    ) -> None:
        self._name = name
        self._kind = kind
        self._source = source
        self._clock = clock
        self._salt = salt
        self._listed = listed
        from zoneinfo import ZoneInfo  # 0.4 MB, for who has such an upstream

        self._ring = Ring(ZoneInfo(_ZONE))
        self._shown: tuple[Key, Credential] | None = None  # the last one
        self._read_s: float | None = None  # when the source last gave what the ring holds

    # CredentialSource.

    @property
    def usable(self) -> bool:
        """Whether some key can be shown."""
        return self.counts.usable > 0

    @property
    def problem(self) -> str | None:
        """Why the source gives nothing, or that Google refuses some of the keys."""
        counts = self.counts
        if self._source.problem is not None or counts.usable == counts.total:
            return self._source.problem
        return (
            f"Google refuses {counts.total - counts.usable} of {counts.total} keys; "
            "they are tried again when the file changes"
        )

    @property
    def fetched_s(self) -> float | None:
        """When the source last gave something."""
        return self._source.fetched_s

    @property
    def cached(self) -> Credential | None:
        """A key, where the keys are read."""
        self._look()
        key = self._ring.first("", self._clock.monotonic())
        return None if key is None or self._source.cached is None else self.shown(key)

    async def current(self) -> Credential:
        """Return a key.

        Raises:
            CredentialMissing: There is none.
        """
        await self.ready()
        return self.shown(self.first(""))

    def rejected(self, credential: Credential) -> None:
        """Have a source of one key asked anew; of several, ``learn`` takes one out."""
        held = self._source.cached
        if held is not None and len(self._ring.keys) == 1:
            self._source.rejected(held)

    async def refresh(self) -> None:
        """Look whether the source has changed."""
        await self._source.refresh()

    # Keys.

    @property
    def counts(self) -> Counts:
        """How many keys there are, and how many can be used."""
        self._look()
        return self._ring.counts(self._clock.monotonic())

    async def ready(self) -> None:
        """Return when the keys are read: at once, but before the first time.

        Raises:
            CredentialMissing: There is none.
        """
        if self._source.cached is None:
            await self._source.current()
        self._look()

    @property
    def only(self) -> Key | None:
        """The key, where there is one and it is read, which is always tried."""
        if self._source.cached is None:
            return None
        self._look()
        keys = self._ring.keys
        return keys[0] if len(keys) == 1 else None

    def choose(
        self, model: str, conversation: bytes, scope: str | None, tried: Collection[Key]
    ) -> Key | None:
        """Return the key for a translated call; see ``Ring.choose``."""
        self._look()
        return self._ring.choose(model, conversation, scope, tried, self._clock.monotonic())

    def first(self, model: str) -> Key:
        """Return the first key in order that is ready, once ``ready`` has returned."""
        self._look()
        key = self._ring.first(model, self._clock.monotonic())
        assert key is not None  # noqa: S101  ``ready`` has raised where there is none
        return key

    def named(self, secret_scope: str) -> Key | None:
        """Return the key with that scope, if there still is one."""
        self._look()
        return next((key for key in self._ring.keys if key.scope == secret_scope), None)

    def shown(self, key: Key) -> Credential:
        """Return *key* as what the upstream is shown: the same for the same."""
        if self._shown is None or self._shown[0] is not key:
            self._shown = (key, Credential(self._name, self._kind, key.secret))
        return self._shown[1]

    def learn(self, key: Key, model: str, said: GoogleError | None) -> None:
        """Take note of an answer; see ``Ring.learn``."""
        now = self._clock
        self._ring.learn(key, model, said, now.monotonic(), now.wall())
        if said is not None and said.outcome is Outcome.INVALID:
            self.rejected(self.shown(key))

    def soonest(self, model: str) -> tuple[float, bool] | None:
        """Return in how many seconds a key is ready for *model*, and whether on a new day."""
        now_s = self._clock.monotonic()
        rest: Rest | None = self._ring.soonest(model, now_s)
        return None if rest is None else (max(0.0, rest.until_s - now_s), rest.daily)

    def _look(self) -> None:
        """Take what the source gives, if it gave something since the last look."""
        if self._source.fetched_s == self._read_s:
            return
        held = self._source.cached
        if held is None:  # after a refusal; what is held is still what it was
            return
        self._read_s = self._source.fetched_s
        secret = held.secret
        keys = keys_in(secret, self._salt) if self._listed else (self._only(secret),)
        self._ring.holds(keys)

    def _only(self, secret: bytes) -> Key:
        return Key("key 1", scope_of(secret, self._salt), secret)


def salt_of(path: Path, fresh: bytes) -> bytes:
    """Return what the file at *path* holds; where there is none, it gets *fresh*.

    Where nothing can be written, *fresh* it is: signatures then last as long as the process.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(fresh)
        return path.read_bytes()[:_SALT_BYTES] or fresh
    return fresh
