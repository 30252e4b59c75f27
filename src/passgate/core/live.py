"""What runs at this moment, as the live feed tells it, and how that is worked out.

Nothing is measured while an exchange runs: two looks, a second apart, say how fast it is
and since when it is silent.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

# A rate is smoothed over some three looks, so that a pause between events is no stop.
_SHARE_OF_NEW = 0.4


class Running(msgspec.Struct, frozen=True):
    """An exchange that runs, as it is now.

    Attributes:
        opened_s: Monotonic time at which its head came.
        tokens: Output tokens so far, or None where nothing is known.
        estimated: Whether *tokens* is our estimate, not the upstream's word.
        cost_nusd: Cost so far, or None.
    """

    id: str
    opened_s: float
    client: str | None = None
    session: str | None = None
    agent: str | None = None
    parent_agent: str | None = None
    model: str | None = None
    upstream: str | None = None
    stream: bool = False
    bytes_up: int = 0
    bytes_down: int = 0
    tokens: int | None = None
    estimated: bool = False
    cost_nusd: int | None = None


class Line(msgspec.Struct, frozen=True):
    """One running exchange, as it is told.

    Attributes:
        running_s: Since its head came.
        tokens_per_s: Lately, or None before there are two looks.
        silent_s: Since a byte last went to the client, seen once a second; None before the
            first.
    """

    id: str
    client: str | None
    session: str | None
    agent: str | None
    parent_agent: str | None
    model: str | None
    upstream: str | None
    stream: bool
    running_s: float
    bytes_up: int
    bytes_down: int
    tokens: int | None
    estimated: bool
    tokens_per_s: float | None
    silent_s: float | None
    cost_nusd: int | None


class _Seen(msgspec.Struct):
    """What the last look saw of one exchange."""

    at_s: float
    bytes_down: int
    changed_s: float | None
    tokens: int | None
    per_s: float | None


class Looks:
    """Compare each look at what runs with the one before it."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def look(self, running: Iterable[Running], now_s: float) -> list[Line]:
        """Return what runs, in the order given; *now_s* is monotonic and grows."""
        before, self._seen = self._seen, {}
        lines = []
        for each in running:
            seen = _compared(each, before.get(each.id), now_s)
            self._seen[each.id] = seen
            lines.append(_line(each, seen, now_s))
        return lines

    def forget(self) -> None:
        """Begin anew: the next look is a first one."""
        self._seen = {}


def _compared(each: Running, last: _Seen | None, now_s: float) -> _Seen:
    if last is None:
        changed_s = now_s if each.bytes_down else None
        return _Seen(now_s, each.bytes_down, changed_s, each.tokens, None)
    changed_s = now_s if each.bytes_down != last.bytes_down else last.changed_s
    return _Seen(now_s, each.bytes_down, changed_s, each.tokens, _rate(each.tokens, last, now_s))


def _rate(tokens: int | None, last: _Seen, now_s: float) -> float | None:
    if tokens is None or last.tokens is None or now_s <= last.at_s:
        return last.per_s
    # An estimate may shrink when the upstream's own word comes; nobody un-writes tokens.
    new = max(0.0, (tokens - last.tokens) / (now_s - last.at_s))
    return new if last.per_s is None else last.per_s + _SHARE_OF_NEW * (new - last.per_s)


def _line(each: Running, seen: _Seen, now_s: float) -> Line:
    return Line(
        id=each.id,
        client=each.client,
        session=each.session,
        agent=each.agent,
        parent_agent=each.parent_agent,
        model=each.model,
        upstream=each.upstream,
        stream=each.stream,
        running_s=round(now_s - each.opened_s, 3),
        bytes_up=each.bytes_up,
        bytes_down=each.bytes_down,
        tokens=each.tokens,
        estimated=each.estimated,
        tokens_per_s=None if seen.per_s is None else round(seen.per_s, 2),
        silent_s=None if seen.changed_s is None else round(now_s - seen.changed_s, 3),
        cost_nusd=each.cost_nusd,
    )
