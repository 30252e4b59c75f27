"""What a report reads of the ledger: sums and times, counted by SQLite, never row by row.

What has been summed up is read from there. What has not is grouped by several threads, each
with a connection and a part of the rows: SQLite works without the interpreter.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from passgate.core.report import PER_MS, STEPS, Row
from passgate.edge import ledger_sums
from passgate.edge.ledger_sums import Kept

Opened = Callable[[], AbstractContextManager[sqlite3.Connection]]
Progress = Callable[[int, int], None]
"""Told how many of how many parts are done."""
Times = dict[str | int | None, tuple[Counter[int], Counter[int]]]
"""Group -> step -> how many took so long: to the first byte, and in all."""

_MOST_THREADS = 4
_PART_ROWS = 50_000
SAMPLE_ROWS = 100_000  # the 99th percentile of so many is that of rank 98.9 to 99.1
_BLOCKS = 250
_MOST_STEPS = 36  # doublings of 1/64 ms: twelve days
_MAPPED_BYTES = 1 << 40  # SQLite takes as much of it as it was built for; saves a copy

_LABELS = {"client": "client", "model": ledger_sums.MODEL, "day": ledger_sums.DAY}


def _step(column: str) -> str:
    """Return the step that a time in milliseconds falls into; see ``core.report``.

    A search in halves: one comparison after the other would cost twice as much.
    """

    def chosen(low: int, high: int) -> str:
        if low == high:
            return f"(CAST({column} * {PER_MS} AS INTEGER) >> {low}) + {low * STEPS}"
        middle = (low + high) // 2
        border = (2 * STEPS << middle) / PER_MS
        return f"iif({column} < {border}, {chosen(low, middle)}, {chosen(middle + 1, high)})"

    return chosen(0, _MOST_STEPS)


# S608: names of our own.
_BORDERS = """
    SELECT ifnull((SELECT seq FROM exchanges WHERE ts >= :ts ORDER BY seq LIMIT 1), 1),
        ifnull((SELECT max(seq) FROM exchanges), 0)
"""
# Of what was answered well and whole: an error is quick, and says nothing of a model.
_TIMES = """
    SELECT {label}, {first}, {whole} FROM exchanges
    WHERE seq BETWEEN ? AND ? AND +ts >= ? AND status < 400 AND ending = 'complete'
"""


class LedgerReport:
    """Reads what a report needs from one ledger.

    Args:
        opened: Lends a connection that can change nothing.
        since_day: First day that counts, from 1970.
        progress: Told how far a long scan has come.

    Attributes:
        sampled: Whether the times that were asked for last are of a sample.
    """

    def __init__(self, opened: Opened, since_day: int, progress: Progress) -> None:
        self._opened = opened
        self._since_day = since_day
        self._since_ts = since_day * ledger_sums.DAY_MICROS
        self._progress = progress
        self.sampled = False

    def days(self) -> list[Row]:
        """Return the sums by day, upstream, client and model."""
        rows = self._sums(ledger_sums.DAILY)
        return [Row(row[2:3], row[0], row[1], row[3], row[4:]) for row in rows]

    def sessions(self) -> Iterator[Row]:
        """Yield the sums by day, session, agent, its parent and model."""
        for row in self._sums(ledger_sums.SESSIONS):
            labels = row[1] or None, row[2] or None, row[3] or None
            yield Row(labels, row[0], row[4], row[5], row[6:])

    def _sums(self, kept: Kept) -> Iterator[tuple[Any, ...]]:
        """Yield what is summed up, and what is not yet."""
        with self._opened() as connection:
            connection.execute("BEGIN")  # both are of one moment
            [upto] = connection.execute(ledger_sums.UPTO).fetchone()
            parts = self._parts(connection, upto + 1)
            yield from connection.execute(kept.summed, {"day": self._since_day})
        for rows in self._scan(kept.not_summed, parts):
            yield from rows

    def times(self, by: str | None) -> Times:
        """Return how long exchanges took, by client, model or day, or all together.

        Of more than :data:`SAMPLE_ROWS` exchanges about so many are read, in blocks spread
        evenly over all of them.
        """
        label = "NULL" if by is None else _LABELS[by].format(row="exchanges")
        sql = _TIMES.format(label=label, first=_step("ttfb_ms"), whole=_step("duration_ms"))
        times: Times = {}
        with self._opened() as connection:
            for low, high in self._blocks(connection):
                for group, first, whole in connection.execute(sql, (low, high, self._since_ts)):
                    if group not in times:
                        times[group] = Counter(), Counter()
                    firsts, wholes = times[group]
                    if first is not None:
                        firsts[first] += 1
                    wholes[whole] += 1
        return times

    def _blocks(self, connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
        """Yield what is read of the rows that may count: first and last number of each block."""
        low, high = connection.execute(_BORDERS, {"ts": self._since_ts}).fetchone()
        rows = high - low + 1
        self.sampled = rows > SAMPLE_ROWS
        if not self.sampled:
            yield low, high
            return
        for block in range(_BLOCKS):
            first = low + block * rows // _BLOCKS
            yield first, first + SAMPLE_ROWS // _BLOCKS - 1

    def _parts(self, connection: sqlite3.Connection, least: int) -> list[tuple[int, int]]:
        """Return the rows that may count, in parts: first and last number of each."""
        low, high = connection.execute(_BORDERS, {"ts": self._since_ts}).fetchone()
        low = max(low, least)
        # Parts of equal size, a few for each thread: who is done early takes another.
        size = max(_PART_ROWS, -(-(high - low + 1) // (4 * _MOST_THREADS)))
        return [(at, min(at + size - 1, high)) for at in range(low, high + 1, size)]

    def _scan(self, sql: str, parts: list[tuple[int, int]]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield what *sql* gives for each part."""

        def scanned(part: tuple[int, int]) -> list[tuple[Any, ...]]:
            bounds = {"low": part[0], "high": part[1], "ts": self._since_ts}
            with self._opened() as connection:
                connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
                return connection.execute(sql, bounds).fetchall()

        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads, "scan") as pool:
            for done, rows in enumerate(pool.map(scanned, parts), 1):
                self._progress(done, len(parts))
                yield rows
