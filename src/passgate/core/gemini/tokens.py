"""What an answer consumed, over the hops in which it came.

A long answer may come in several: each is billed with all of its input. The client sees the
input that it sent, once; the meter sees all of it.
"""

from __future__ import annotations

import msgspec

from passgate.core.gemini.events import Details, EndUsage, StartUsage
from passgate.core.gemini.meter import UsageMetadata, usage_of
from passgate.core.usage import NO_USAGE, NOT_JSON, Usage, put_over

_told_in = msgspec.json.Decoder(UsageMetadata | None).decode
_SUMMED = ("input_tokens", "output_tokens", "cache_read_tokens", "thinking_tokens")


class Tokens:
    """Counts of one answer.

    Attributes:
        service_tier: Google's word for the tier that served it, or None.
    """

    __slots__ = ("_past", "_told", "service_tier")

    def __init__(self) -> None:
        self._past: list[Usage] = []
        self._told: UsageMetadata | None = None
        self.service_tier: str | None = None

    def said(self, usage_metadata: msgspec.Raw) -> None:
        """Take what a chunk states; what is no count states nothing."""
        try:
            told = _told_in(usage_metadata)
        except NOT_JSON:
            return
        if told is not None:
            self._told = told if self._told is None else put_over(self._told, told)
            self.service_tier = self._told.service_tier or self._told.traffic_type

    def next_hop(self) -> None:
        """Begin the counts of another hop."""
        self._past.append(self._hop())
        self._told = None

    @property
    def all(self) -> Usage:
        """What Google bills."""
        hops = self._hops()
        if len(hops) == 1:
            return hops[0]
        return Usage(**{name: _sum(hops, name) for name in _SUMMED})

    @property
    def output(self) -> int:
        """All that was generated so far, thoughts included."""
        return sum(each.output_tokens or 0 for each in self._hops())

    def at_start(self) -> StartUsage:
        """Return what a client is told when the message starts."""
        first = self._hops()[0]
        return StartUsage(first.input_tokens or 0, first.cache_read_tokens or 0, 0, self.output)

    def at_end(self) -> EndUsage:
        """Return what a client is told when the message ends."""
        start = self.at_start()
        return EndUsage(
            start.input_tokens,
            start.cache_read_input_tokens,
            0,
            start.output_tokens,
            Details(sum(each.thinking_tokens or 0 for each in self._hops())),
        )

    def _hop(self) -> Usage:
        return NO_USAGE if self._told is None else usage_of(self._told)

    def _hops(self) -> list[Usage]:
        return [*self._past, self._hop()]


def _sum(hops: list[Usage], name: str) -> int | None:
    told = [count for each in hops if (count := getattr(each, name)) is not None]
    return sum(told) if told else None
