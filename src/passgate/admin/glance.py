"""What the operator's page tells of the ledger: today and thirty days, by client and by model.

One look, in a thread, for everybody who asks within half a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from passgate.core.report import Row, fold
from passgate.core.vitals import Spent, Totals
from passgate.gateway.interfaces import Clock, Tasks

_KEPT_S = 30.0
_DAY_S = 86_400
_DAYS = 30
_MOST = 100  # a model's name comes from outside

Days = Callable[[int], list[Row]]
"""Returns the sums by day, upstream, client and model from a day on (of UTC, from 1970)."""


class Glance:
    """Looks into the ledger for the page.

    Args:
        days: Reads the ledger, for as long as it takes.
        unreadable: What it raises where there is no ledger, or none that can be read.
        clock: The time.
        tasks: Owns the one look that is under way.
    """

    def __init__(self, days: Days, unreadable: type[Exception], clock: Clock, tasks: Tasks) -> None:
        self._days = days
        self._unreadable = unreadable
        self._clock = clock
        self._tasks = tasks
        self._spent: tuple[Spent, ...] | None = None
        self._read_s: float | None = None
        self._look: asyncio.Task[None] | None = None

    async def spent(self) -> tuple[Spent, ...] | None:
        """Return what was spent, at most half a minute old; None where it cannot be read."""
        if self._read_s is None or self._clock.monotonic() - self._read_s > _KEPT_S:
            if self._look is None or self._look.done():
                self._look = self._tasks.start(self._read(), "look into the ledger")
            await asyncio.wait([self._look])
        return self._spent

    async def _read(self) -> None:
        today = int(self._clock.wall()) // _DAY_S
        try:
            rows = await asyncio.to_thread(self._days, today - _DAYS + 1)
        except self._unreadable:
            self._spent = None
        else:
            self._spent = (
                _spent("Today, by UTC", [row for row in rows if row.day == today]),
                _spent(f"The last {_DAYS} days", rows),
            )
        self._read_s = self._clock.monotonic()


def _spent(title: str, rows: Sequence[Row]) -> Spent:
    return Spent(title, _by(lambda row: row.labels[0], rows), _by(lambda row: row.model, rows))


def _by(key: Callable[[Row], str | None], rows: Sequence[Row]) -> tuple[Totals, ...]:
    totals = [
        Totals(
            name or "-",
            sums.requests,
            sums.errors,
            sums.whole_input_tokens,
            sums.output_tokens,
            sums.cost_nusd,
            sums.unpriced,
        )
        for name, sums in fold(rows, key, lambda _: None).items()
    ]
    totals.sort(key=lambda each: (-each.cost_nusd, -each.requests, each.name))
    return tuple(totals[:_MOST])
