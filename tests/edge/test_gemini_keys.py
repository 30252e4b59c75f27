"""The keys of a running gateway: read from their source, and told apart."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from passgate.core.credential import Credential, CredentialMissing
from passgate.core.gemini.keys import Counts, Key
from passgate.core.gemini.status import GoogleError
from passgate.core.settings import CredentialKind
from passgate.edge.gemini_keys import Keyring, salt_of
from tests.edge.test_credentials import FakeClock

INVALID = GoogleError(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")


class Source:
    """A source that gives what a test puts there; see ``interfaces.CredentialSource``."""

    usable = True

    def __init__(self, secret: bytes | None) -> None:
        self.problem: str | None = None
        self.cached: Credential | None = None
        self.fetched_s: float | None = None
        self.refused = 0
        self.looks = 0
        self.puts(secret)

    def puts(self, secret: bytes | None) -> None:
        """Give *secret* from now on."""
        if secret is not None:
            self.cached = Credential("gemini", CredentialKind.API_KEY, secret)
            self.fetched_s = (self.fetched_s or 0.0) + 1

    async def current(self) -> Credential:
        """Return what is there."""
        if self.cached is None:
            raise CredentialMissing
        return self.cached

    def rejected(self, credential: Credential) -> None:
        """Note that it was refused."""
        assert credential == self.cached
        self.refused += 1

    async def refresh(self) -> None:
        """Note the look."""
        self.looks += 1


def keyring(source: Source, *, listed: bool = True) -> Keyring:
    """Return the keys that *source* gives."""
    return Keyring("gemini", CredentialKind.API_KEY, source, FakeClock(), b"salt", listed=listed)


async def test_a_credential_is_one_of_the_keys() -> None:
    """What asks for a credential and nothing more gets the first key that can be used."""
    source = Source(b"a=one\nb=two")
    keys = keyring(source)
    first, second = Credential("gemini", CredentialKind.API_KEY, b"one"), b"two"

    assert first == keys.cached == await keys.current()
    keys.learn(keys.first("m"), "m", INVALID)
    assert second == (await keys.current()).secret
    assert (Counts(2, 1, 0), 0) == (keys.counts, source.refused)
    assert keys.problem == (
        "Google refuses 1 of 2 keys; they are tried again when the file changes"
    )


async def test_a_changed_file() -> None:
    """What the source gives anew counts at once, and gives disabled keys a chance."""
    source = Source(b"a=one\nb=two")
    keys = keyring(source)
    keys.learn(keys.first("m"), "m", INVALID)
    keys.learn(keys.first("m"), "m", INVALID)

    assert not keys.usable
    source.puts(b"a=one\nb=two")
    assert (True, Counts(2, 2, 0), None) == (keys.usable, keys.counts, keys.problem)
    source.puts(b"c=three")
    assert Counts(1, 1, 0) == keys.counts
    await keys.refresh()
    assert (1, source.fetched_s) == (source.looks, keys.fetched_s)


async def test_no_key() -> None:
    """Without a key there is none to choose, and the source says why."""
    source = Source(None)
    source.problem = "the credential's file cannot be read"
    keys = keyring(source)

    assert (None, False, source.problem) == (keys.cached, keys.usable, keys.problem)
    with pytest.raises(CredentialMissing):
        await keys.ready()
    assert None is keys.choose("m", b"", None, ())


async def test_the_last_good_list_stays() -> None:
    """While a source of one key is asked anew, what it gave before is still known."""
    source = Source(b"one")
    keys = keyring(source)
    [key] = [keys.first("m")] if keys.usable else []
    source.cached = None
    source.puts(None)

    assert Counts(1, 1, 0) == keys.counts
    assert b"one" == key.secret
    source.fetched_s = 9.0
    assert Counts(1, 1, 0) == keys.counts
    keys.rejected(keys.shown(key))
    assert 0 == source.refused


async def test_one_key_that_is_no_list() -> None:
    """A variable or a command gives one key, in which an equals sign means nothing."""
    source = Source(b"a=b")
    keys = keyring(source, listed=False)
    await keys.ready()

    assert b"a=b" == keys.first("m").secret
    keys.learn(keys.first("m"), "m", INVALID)
    assert (1, True) == (source.refused, keys.usable)


async def test_choice_and_rest() -> None:
    """A refused key makes place for another, and is back after its rest."""
    keys = keyring(Source(b"a=one\nb=two"))
    await keys.ready()
    chosen = keys.choose("m", b"c", None, ())
    assert chosen is not None
    keys.learn(chosen, "m", GoogleError(429, retry_s=30))
    other = keys.choose("m", b"c", None, ())
    assert other is not None
    keys.learn(other, "m", GoogleError(429, daily=True))

    assert chosen != other
    assert (30.0, False) == keys.soonest("m")
    assert None is keys.choose("m", b"c", None, ())
    assert chosen == keys.named(chosen.scope)
    assert None is keys.named("00000000")
    keys.learn(chosen, "m", INVALID)
    keys.learn(other, "m", INVALID)
    assert None is keys.soonest("m")


def test_nothing_shows_a_key() -> None:
    """No repr holds a key."""
    keys = keyring(Source(b"a=one"))

    assert "one" not in f"{keys.first('m') if keys.usable else ''}{keys.cached}{keys!r}"
    assert "one" not in repr(Key("a", "00000000", b"one"))


def test_salt(tmp_path: Path) -> None:
    """The salt is made once, for nobody else to read; without a place, it lives shortly."""
    path = tmp_path / "state" / "salt"

    assert b"first" == salt_of(path, b"first") == salt_of(path, b"second")
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    path.write_bytes(b"")
    assert b"third" == salt_of(path, b"third")
    assert b"fourth" == salt_of(path / "below a file", b"fourth")
