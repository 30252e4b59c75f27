"""The keys of a Gemini upstream: what a keys file holds, which key a call shows, which rest.

Several keys serve availability. Quotas belong to projects, so that a key rests for one
model at a time; what the service keeps of a conversation belongs to its project, too, so
that a conversation stays with its key.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from hashlib import sha256

import msgspec

from passgate.core.credential import LABELLED, key_lines
from passgate.core.gemini.signatures import scope_of
from passgate.core.gemini.status import GoogleError, Outcome

# A quota that tells no time is looked at again after a minute, then half as often each time.
_FIRST_REST_S, _LONGEST_REST_S = 60.0, 3600.0
# Rights are given by people: once an hour is soon enough to look.
_DENIED_S = 3600.0
_MOST_RESTS = 4096


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a Gemini upstream.

    Attributes:
        name: Its label, or its place in the file; safe to show.
        scope: Eight hex digits that say whose signatures are good with it: the same for
            every key with the same label.
        secret: The value itself. Never shown.
    """

    name: str
    scope: str
    secret: bytes = field(repr=False)


def keys_in(raw: bytes, salt: bytes) -> tuple[Key, ...]:
    """Return the keys of a keys file, each once, in order.

    Args:
        raw: The file's content.
        salt: Of this installation: the scope of a key without label must not tell the key.
    """
    found: dict[bytes, Key] = {}
    for line in key_lines(raw):
        labelled = LABELLED.fullmatch(line)
        secret = labelled[2].strip() if labelled else line
        if secret not in found:
            # A label that holds its own key would show it.
            told = labelled is not None and secret not in labelled[1]
            name = labelled[1].decode() if labelled and told else f"key {len(found) + 1}"
            scope = scope_of(labelled[1]) if labelled else scope_of(secret, salt)
            found[secret] = Key(name, scope, secret)
    return tuple(found.values())


def until_reset_s(wall_s: float, zone: tzinfo) -> float:
    """Return the seconds until quotas of the day come back: the next midnight in *zone*."""
    now = datetime.fromtimestamp(wall_s, zone)
    day = (now + timedelta(days=1)).date()
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() - wall_s


class Rest(msgspec.Struct, frozen=True):
    """Until when a key is not used for a model.

    Attributes:
        until_s: Monotonic time.
        times: How often in turn it was told to rest without being told for how long.
        daily: Whether it waits for the quota of a new day.
    """

    until_s: float
    times: int = 0
    daily: bool = False


class Counts(msgspec.Struct, frozen=True):
    """How many keys there are.

    Attributes:
        total: In the file.
        usable: Not disabled.
        resting: Usable, and at rest for some model.
    """

    total: int
    usable: int
    resting: int


class Ring:
    """Decide which key a call shows, from what answers said of the keys.

    A file with one key has nothing to choose: that key is always tried, and Google's
    answer decides.

    Args:
        zone: Where quotas of the day come back at midnight.

    Attributes:
        keys: Every key, in the order of the file.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.keys: tuple[Key, ...] = ()
        self._disabled: set[bytes] = set()
        self._rests: dict[tuple[bytes, str], Rest] = {}

    def holds(self, keys: tuple[Key, ...]) -> None:
        """Take the keys of a file that has changed; those disabled are tried again."""
        self.keys = keys
        self._disabled.clear()
        kept = {key.secret for key in keys} if len(keys) >= _SEVERAL else set()
        self._rests = {at: rest for at, rest in self._rests.items() if at[0] in kept}

    def choose(
        self,
        model: str,
        conversation: bytes,
        scope: str | None,
        tried: Collection[Key],
        now_s: float,
    ) -> Key | None:
        """Return the key for a call, or None where none is left.

        Args:
            model: What the call asks for.
            conversation: What it belongs to; the same one gets the same key.
            scope: Of the signatures in it: a key of that scope comes first.
            tried: Keys that were shown for it already.
            now_s: The time.
        """
        left = [key for key in self.keys if key not in tried and self._ready(key, model, now_s)]
        if len(left) > 1 and scope is not None:
            left = [key for key in left if key.scope == scope] or left
        # Rendezvous hashing: a key that comes or goes moves no other key's conversations.
        return max(
            left, key=lambda key: sha256(conversation + b"\n" + key.secret).digest(), default=None
        )

    def first(self, model: str, now_s: float) -> Key | None:
        """Return the first key of the file that is ready for *model*, else the first of all."""
        ready = (key for key in self.keys if self._ready(key, model, now_s))
        return next(ready, self.keys[0] if self.keys else None)

    def learn(
        self, key: Key, model: str, said: GoogleError | None, now_s: float, wall_s: float
    ) -> None:
        """Take note of an answer.

        Args:
            key: What was shown.
            model: What was asked for.
            said: The error, or None where it was no error.
            now_s: The time.
            wall_s: The time of day.
        """
        if len(self.keys) < _SEVERAL or key not in self.keys:
            return
        at = (key.secret, model)
        match Outcome.FINE if said is None else said.outcome:
            case Outcome.FINE:
                self._rests.pop(at, None)
            case Outcome.INVALID:
                self._disabled.add(key.secret)
            case Outcome.DENIED:
                self._rest(at, Rest(now_s + _DENIED_S), now_s)
            case Outcome.BUSY if said is not None:
                self._rest(at, self._until(said, self._rests.get(at), now_s, wall_s), now_s)

    def soonest(self, model: str, now_s: float) -> Rest | None:
        """Return the rest for *model* that is over first, or None where no key will be ready."""
        rests = [
            self._rests.get((key.secret, model), Rest(now_s))
            for key in self.keys
            if key.secret not in self._disabled
        ]
        return min(rests, key=lambda rest: rest.until_s, default=None)

    def counts(self, now_s: float) -> Counts:
        """Return how many keys there are, and how many of them can be used."""
        usable = [key.secret for key in self.keys if key.secret not in self._disabled]
        resting = {secret for (secret, _), rest in self._rests.items() if rest.until_s > now_s}
        return Counts(len(self.keys), len(usable), len(resting.intersection(usable)))

    def _ready(self, key: Key, model: str, now_s: float) -> bool:
        if key.secret in self._disabled:
            return False
        rest = self._rests.get((key.secret, model))
        return rest is None or rest.until_s <= now_s

    def _until(self, said: GoogleError, before: Rest | None, now_s: float, wall_s: float) -> Rest:
        if said.daily:
            return Rest(now_s + until_reset_s(wall_s, self._zone), daily=True)
        if said.retry_s is not None:
            return Rest(now_s + min(said.retry_s, _LONGEST_REST_S))
        times = 0 if before is None else before.times
        return Rest(now_s + min(_FIRST_REST_S * 2**times, _LONGEST_REST_S), min(times + 1, 16))

    def _rest(self, at: tuple[bytes, str], rest: Rest, now_s: float) -> None:
        if len(self._rests) >= _MOST_RESTS and at not in self._rests:
            # Clients choose the names of models: what is over goes, then what is over first.
            self._rests = {k: r for k, r in self._rests.items() if r.until_s > now_s}
            if len(self._rests) >= _MOST_RESTS:
                del self._rests[min(self._rests, key=lambda k: self._rests[k].until_s)]
        self._rests[at] = rest


_SEVERAL = 2
