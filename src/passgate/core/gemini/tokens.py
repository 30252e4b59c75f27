"""What an answer consumed, over the hops in which it came.

A long answer may come in several: each is billed with all of its input. The client sees the
input that it sent, once; the meter sees all of it.
"""

from __future__ import annotations

from passgate.core.gemini.chunks import Counts
from passgate.core.gemini.events import Details, EndUsage, StartUsage
from passgate.core.usage import NO_USAGE, Usage

_NOTHING = Counts()
_SUMMED = ("input_tokens", "output_tokens", "cache_read_tokens", "thinking_tokens")


class Tokens:
    """Counts of one answer.

    Attributes:
        output: All that was generated so far, thoughts included.
    """

    __slots__ = ("_counts", "_past")

    def __init__(self) -> None:
        self._past: list[Usage] = []
        self._counts: Counts | None = None

    def said(self, counts: Counts) -> None:
        """Take what a chunk states."""
        self._counts = (self._counts or _NOTHING).updated(counts)

    def next_hop(self) -> None:
        """Begin the counts of another hop."""
        self._past.append(NO_USAGE if self._counts is None else self._counts.usage())
        self._counts = None

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

    def _hops(self) -> list[Usage]:
        return [*self._past, NO_USAGE if self._counts is None else self._counts.usage()]


def _sum(hops: list[Usage], name: str) -> int | None:
    told = [count for each in hops if (count := getattr(each, name)) is not None]
    return sum(told) if told else None
