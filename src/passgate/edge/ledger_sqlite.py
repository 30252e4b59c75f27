"""The ledger on SQLite: one file, one connection, one thread that writes.

What is appended waits in memory until it is committed, so that a fault of the disk costs
nothing as long as there is room. A commit is on the disk when it returns
(``synchronous=FULL``): a kill or a power cut loses what had not been committed.

The thread runs beside the loop and shares the interpreter with it: it works in slices, and
takes the interpreter for a fraction of a millisecond at a time.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from passgate.core.exchange import Record
from passgate.edge import ledger_journal, ledger_sql, ledger_sums
from passgate.edge.ledger_journal import Packed, Work
from passgate.edge.ledger_sql import SchemaUnknown
from passgate.gateway.interfaces import Clock

Prices = Mapping[str, tuple[int | None, str]]
Notice = Callable[[str], None]

# A record with its strings takes about a kilobyte.
MAX_BACKLOG_ROWS = 20_000
_MAX_COMMIT_ROWS = 2_000
_PRUNE_ROWS = 500  # some milliseconds each, between two commits
_PRUNE_EVERY_S = 600.0
_DAY = 86_400_000_000  # as ``ts`` counts
# A thousand rows take some milliseconds to be summed up: under load they may wait.
_SUM_EVERY_S, _SUM_IDLE_EVERY_S = 1.0, 0.05
# More at once, a thousand a second, are kept packed. They become rows when it is quiet, two
# thousand a second, hardly any before that, or faster than they come if there are very many.
_PACKED_ROWS = 50
_SETTLE_EVERY_S, _SETTLE_QUIET_S, _SETTLE_SOON_S = 1.0, 0.1, 0.02
_MANY_PACKED = 2_000  # entries of up to 256
_RETRY_S = 0.5  # it is to recover within 2 s
_REMIND_S = 60.0
_OPEN_S = 10.0
# At the end a fault of the disk is waited for so long, and the thread a little longer; tens of
# thousands of records become rows in this time, and who reads the file by itself sees them.
_LAST_S, _CLOSE_S, _SETTLE_LAST_S = 2.0, 15.0, 0.5


class LedgerUnusable(Exception):
    """The gateway should not start with this ledger; the text says why and what to do."""


class SqliteLedger:
    """See ``interfaces.Ledger``.

    Args:
        path: The file. Its directory is made if need be.
        keep_days: How long rows are kept; may be changed while it runs.
        clock: The time.
        notice: Told what the operator should read, by the thread that writes.
        max_rows: Most rows that wait; what comes on top is lost, and counted. The last half
            of them is for what used something: a client that is refused comes again and again.

    Attributes:
        path: The file.
        keep_days: As given, or as changed since.
    """

    def __init__(
        self,
        path: Path,
        keep_days: int,
        clock: Clock,
        notice: Notice,
        max_rows: int = MAX_BACKLOG_ROWS,
    ) -> None:
        self.path = path
        self.keep_days = keep_days
        self._clock = clock
        self._notice = notice
        self._max_rows = max_rows
        self._queue: queue.SimpleQueue[Sequence[Work]] = queue.SimpleQueue()
        self._together: list[Work] = []  # what is appended, while more follows
        self._held: list[Work] = []
        self._connection: sqlite3.Connection | None = None
        # Each is changed by one thread alone, so that none needs a lock.
        self._taken = self._taken_prices = self._overflowed = 0  # the loop
        self._done = self._done_prices = self._unfit = 0  # the writer
        self._problem: str | None = None
        self._passing = self._unknown = False
        self._told_s: float | None = None
        self._told_lost = 0
        self._in_trouble = False
        self._prune_at_s = self._sum_at_s = clock.monotonic()
        self._prune_before: int | None = None  # while that much is being pruned
        self._unsummed = True  # there may be rows to sum up
        self._packed = True  # until we have looked
        self._busy = False  # whether the last commit was packed
        self._settle_at_s = 0.0
        self._opened, self._decided = threading.Event(), threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # The loop's side.

    @property
    def backlog(self) -> int:
        """How many records are taken and not yet written; late prices are none."""
        return self._taken - self._done

    @property
    def _waiting(self) -> int:
        """What waits in all, and takes up room: records, and late prices."""
        return self.backlog + self._taken_prices - self._done_prices

    @property
    def lost(self) -> int:
        """How many rows were given up since the start."""
        return self._overflowed + self._unfit

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, naming no file; None while all is well."""
        if self._problem is None and self._waiting >= self._max_rows:
            return "records come faster than they can be written"
        return self._problem

    def open(self, *, required: bool = False) -> None:
        """Begin to write; return when the file is open or it is known why not.

        What passes by itself, such as a full disk, is no reason to raise: nobody may be
        there to start the gateway once more.

        Args:
            required: Whether there is no going on with a file that is damaged.

        Raises:
            LedgerUnusable: The file is not a ledger that we know, or damaged and required.
        """
        self._thread.start()
        self._opened.wait(_OPEN_S)
        unusable = self._unknown or (required and self._problem and not self._passing)
        if unusable:
            self._closing.set()
        self._decided.set()
        if unusable:
            self._thread.join(_CLOSE_S)
            raise LedgerUnusable(f"the ledger {self.path}: {self._problem}")

    def append(self, records: Sequence[Record], *, more: bool = False) -> None:
        """Have *records* written, each once, soon; see ``interfaces.Ledger``."""
        room = 0 if self._closing.is_set() else self._max_rows - self._waiting
        if len(records) > room - self._max_rows // 2:
            chosen = _worth_most(records, room, room - self._max_rows // 2)
            self._overflowed += len(records) - len(chosen)
            records = chosen
        if len(records) > _PACKED_ROWS:
            packed = ledger_journal.pack(records)
            fit = sum(map(len, packed))
            self._overflowed += len(records) - fit
            self._taken += fit
            self._together += packed
        elif records:
            self._taken += len(records)
            self._together.append(records)
        if not more:
            self._hand_on()

    def reprice(self, prices: Prices) -> None:
        """Have cost and price status replaced in the rows with these ids."""
        room = 0 if self._closing.is_set() else self._max_rows - self._waiting
        if len(prices) <= room:
            self._taken_prices += len(prices)
            self._together.append(prices)
            self._hand_on()

    def _hand_on(self) -> None:
        """Have the thread write what was appended."""
        if self._together:
            together, self._together = self._together, []
            self._queue.put(together)

    def close(self) -> None:
        """Write what is left, and no more from then on; waits, but not for ever."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(self._together)  # perhaps nothing, but it wakes the thread
            self._thread.join(_CLOSE_S)

    # The writer's side.

    def _run(self) -> None:
        self._attempt(_only_open)
        self._opened.set()
        self._decided.wait()
        while not self._closing.is_set():
            self._gather(self._wait_s())
            idle = not self._held
            self._attempt(self._write)
            self._settle()
            self._sum_up(idle=idle)
            self._prune()
            self._tell()
        until_s = self._clock.monotonic() + _LAST_S
        while self._waiting:
            self._gather(0.0)
            if not self._attempt(self._write):
                if self._clock.monotonic() > until_s:
                    break
                time.sleep(_RETRY_S / 5)
        self._settle_last()
        self._end()

    def _wait_s(self) -> float:
        """Return how long there is nothing to do unless something is appended."""
        if self._problem is not None:
            self._closing.wait(_RETRY_S)
            return 0.0
        at_s = min(self._prune_at_s, self._sum_at_s) if self._unsummed else self._prune_at_s
        if self._packed:
            at_s = min(at_s, self._settle_at_s)
        return max(0.0, min(_REMIND_S, at_s - self._clock.monotonic()))

    def _gather(self, wait_s: float) -> None:
        """Take what was appended, about as much as is good for one commit."""
        rows = sum(map(len, self._held))
        with suppress(queue.Empty):
            while rows < _MAX_COMMIT_ROWS:
                works = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
                wait_s = 0.0
                self._held += works
                rows += sum(map(len, works))

    def _attempt(self, do: Callable[[sqlite3.Connection], None]) -> bool:
        """Do one thing with the file; return whether that went well."""
        try:
            if self._connection is None:
                self._connection = ledger_sql.open_to_write(self.path)
            do(self._connection)
        except SchemaUnknown as error:
            self._unknown = True
            self._fails(str(error))
        except sqlite3.Error as error:
            self._fails(ledger_sql.worded(error), passing=ledger_sql.is_passing(error))
        except OSError as error:
            self._fails(f"the file cannot be opened: {error.strerror}")
        except Exception as error:  # noqa: BLE001  the thread must not end; what waits is kept
            self._fails(f"a fault of passgate's own: {type(error).__name__}")
        else:
            self._problem = None
        return self._problem is None

    def _fails(self, problem: str, *, passing: bool = False) -> None:
        """Take note of *problem*; if it does not pass by itself, begin anew with the file."""
        self._passing, self._problem = passing, problem
        connection = self._connection
        if connection is None:
            return
        try:
            connection.rollback()
        except sqlite3.Error:
            passing = False
        if not passing:
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()

    def _write(self, connection: sqlite3.Connection) -> None:
        """Commit what is held."""
        if not self._held:
            return
        plain = self._plain()
        self._busy = plain is None
        if plain is None:
            unfit = ledger_journal.put(connection, self._held)
            self._packed = True
        else:
            connection.execute("BEGIN IMMEDIATE")
            unfit = _rows(connection, plain)
            connection.execute("COMMIT")
        self._unfit += unfit
        prices = sum(len(work) for work in self._held if isinstance(work, Mapping))
        self._done += sum(map(len, self._held)) - prices
        self._done_prices += prices
        self._held.clear()

    def _plain(self) -> list[Sequence[Record] | Prices] | None:
        """Return what is held, or None to have it packed: it is much, or a price for what is."""
        plain = [work for work in self._held if not isinstance(work, Packed)]
        if len(plain) < len(self._held) or sum(map(len, plain)) > _PACKED_ROWS:
            return None
        if self._packed and any(isinstance(work, Mapping) for work in plain):
            return None
        return plain

    def _settle(self) -> None:
        """Make rows of some of what is kept packed, if that is due."""
        now_s, connection = self._clock.monotonic(), self._connection
        if not self._packed or now_s < self._settle_at_s or connection is None:
            return
        try:
            many = ledger_journal.entries(connection) > _MANY_PACKED
            self._settle_some(connection)
        except sqlite3.Error:
            many = False  # it is as safe where it is; a problem of writing shows at the next row
        every_s = _SETTLE_EVERY_S if self._busy else _SETTLE_QUIET_S
        self._settle_at_s = now_s + (_SETTLE_SOON_S if many else every_s)

    def _settle_last(self) -> None:
        """Make rows of what is kept packed, as far as there is time."""
        until_s, connection = self._clock.monotonic() + _SETTLE_LAST_S, self._connection
        with suppress(sqlite3.Error):  # it is as safe where it is
            while connection and self._packed and self._clock.monotonic() < until_s:
                self._settle_some(connection)

    def _settle_some(self, connection: sqlite3.Connection) -> None:
        unfit = ledger_journal.settle(connection)
        self._packed = unfit is not None
        self._unfit += unfit or 0

    def _sum_up(self, *, idle: bool) -> None:
        """Add a thousand rows to what their days came to, if that is due."""
        now_s, connection = self._clock.monotonic(), self._connection
        self._unsummed |= not idle
        if not self._unsummed or now_s < self._sum_at_s or connection is None:
            return
        try:
            self._unsummed = ledger_sums.sum_up(connection)
        except sqlite3.Error:
            # A report reads what is not summed up; a problem of writing shows at the next row.
            with suppress(sqlite3.Error):
                connection.rollback()
        self._sum_at_s = now_s + (_SUM_IDLE_EVERY_S if idle else _SUM_EVERY_S)

    def _prune(self) -> None:
        """Delete some of what is too old; the rest after the next commit.

        At a time as much as one day had, and no more: a clock that is years ahead, as it may
        be after a boot, is set right before it has cost much.
        """
        now_s, connection = self._clock.monotonic(), self._connection
        if now_s < self._prune_at_s or connection is None:
            return
        try:
            if self._prune_before is None:
                wall = datetime.fromtimestamp(self._clock.wall(), UTC)
                too_old = ledger_sql.micros(wall - timedelta(days=self.keep_days))
                self._prune_before = min(too_old, ledger_sql.oldest(connection) + _DAY)
            if ledger_sql.delete_before(connection, self._prune_before, _PRUNE_ROWS):
                return
        except sqlite3.Error as error:
            # No problem of writing: that shows at the next row.
            self._notice(f"old rows of the ledger stay for now: {ledger_sql.worded(error)}")
        self._prune_before, self._prune_at_s = None, now_s + _PRUNE_EVERY_S

    def _tell(self) -> None:
        """Tell of trouble when it begins, once a minute, and when it is over."""
        now_s, lost = self._clock.monotonic(), self.lost
        due = self._told_s is None or now_s - self._told_s >= _REMIND_S
        if self._problem is None and self._in_trouble:
            said = f"the ledger is written again; {lost} records are lost so far"
            self._in_trouble = False
        elif due and (self._problem is not None or lost != self._told_lost):
            why = self._problem or "not every record could be kept"
            said = f"the ledger {self.path}: {why}; {self.backlog} wait, {lost} are lost so far"
            self._in_trouble, self._told_s = self._problem is not None, now_s
        else:
            return
        self._told_lost = lost
        self._notice(said)

    def _end(self) -> None:
        """Close the file; what could not be written is lost."""
        if self.backlog:
            self._notice(
                f"the ledger {self.path}: {self._problem}; {self.backlog} records are lost"
            )
            self._unfit += self.backlog
            self._done = self._taken
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()


def _only_open(_: sqlite3.Connection) -> None:
    """Do nothing: to be attempted, the file was opened."""


def _rows(connection: sqlite3.Connection, held: Sequence[Sequence[Record] | Prices]) -> int:
    """Make rows of *held*, in its order; return how many SQLite cannot take."""
    unfit, records = 0, list[Record]()
    for work in held:
        if isinstance(work, Mapping):
            # In order: the records before it may be those whose prices these are.
            unfit += ledger_sql.insert(connection, records)
            records.clear()
            ledger_sql.reprice(connection, work.items())
        else:
            records += work
    return unfit + ledger_sql.insert(connection, records)


def _worth_most(records: Sequence[Record], room: int, room_for_idle: int) -> list[Record]:
    """Return what there is room for; at most *room_for_idle* that went to no upstream."""
    chosen: list[Record] = []
    for record in records:
        idle = record.attempts == 0
        if len(chosen) < room and (not idle or room_for_idle > 0):
            room_for_idle -= idle
            chosen.append(record)
    return chosen
