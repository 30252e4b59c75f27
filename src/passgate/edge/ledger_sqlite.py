"""The ledger on SQLite: one file, one connection, one thread that writes.

What is appended waits in memory until it is committed, so that a fault of the disk costs
nothing as long as there is room. A commit is on the disk when it returns
(``synchronous=FULL``): what is lost by a kill or a power cut is what had not been committed.

The thread runs beside the loop and shares the interpreter with it: it works in slices, and
takes the interpreter for a fraction of a millisecond at a time.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from passgate.core.exchange import Record
from passgate.edge import ledger_sql
from passgate.edge.ledger_sql import SchemaUnknown
from passgate.gateway.interfaces import Clock

Prices = Mapping[str, tuple[int | None, str]]
Notice = Callable[[str], None]

# A record and its strings take about a kilobyte.
MAX_BACKLOG_ROWS = 20_000
_MAX_COMMIT_ROWS = 2_000
# Bound by one statement: each binding keeps the interpreter, each statement gives it up.
_SLICE_ROWS = 40
_PRUNE_ROWS = 500  # some milliseconds each, between two commits
_PRUNE_EVERY_S = 600.0
_BUSY_S = 5.0
_RETRY_S = 0.5  # it is to recover within 2 s
_REMIND_S = 60.0
_OPEN_S = 10.0
_LAST_TRIES = 4
_CLOSE_S = 15.0

# What one record holds that SQLite cannot take: nothing a repetition would mend.
_UNFIT = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    UnicodeError,
)
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: move it aside, a new one is begun",
    sqlite3.SQLITE_NOTADB: "the file is not a database: move it aside, a new one is begun",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: whose are it and its directory?",
    sqlite3.SQLITE_READONLY: "the file may only be read: whose are it and its directory?",
    sqlite3.SQLITE_IOERR: "it cannot be written: an I/O error",
}
# Over when whoever caused it is done: what is open may stay open.
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)


class SqliteLedger:
    """See ``interfaces.Ledger``.

    Args:
        path: The file. Its directory is made if need be.
        keep_days: How long rows are kept; may be changed while it runs.
        clock: The time.
        notice: Told what the operator should read, by the thread that writes.
        max_rows: Most rows that wait; what comes on top is lost, and counted.

    Attributes:
        path: The file.
        keep_days: As given, or as changed since.
        passing: Whether the problem, if there is one, may be over by itself.
    """

    def __init__(
        self,
        path: Path,
        keep_days: int,
        clock: Clock,
        notice: Notice,
        max_rows: int = MAX_BACKLOG_ROWS,
    ) -> None:
        self.keep_days = keep_days
        self.path = path
        self._clock = clock
        self._notice = notice
        self._max_rows = max_rows
        self._queue: queue.SimpleQueue[Sequence[Record] | Prices | None] = queue.SimpleQueue()
        self.passing = True
        self._held: list[Sequence[Record] | Prices] = []
        self._connection: sqlite3.Connection | None = None
        # Each is changed by one thread alone, so that none needs a lock.
        self._taken = self._overflowed = 0  # the loop
        self._done = self._unfit = 0  # the writer
        self._problem: str | None = None
        self._unknown: SchemaUnknown | None = None
        self._told_s: float | None = None
        self._told_lost = 0
        self._prune_at_s = clock.monotonic()
        self._opened = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    # The loop's side.

    @property
    def backlog(self) -> int:
        """How many rows are taken and not yet written."""
        return self._taken - self._done

    @property
    def lost(self) -> int:
        """How many rows were given up since the start."""
        return self._overflowed + self._unfit

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, naming no file; None while all is well."""
        if self._problem is None and self.backlog >= self._max_rows:
            return "records come faster than they can be written"
        return self._problem

    def open(self) -> None:
        """Begin to write; return when the file is open or it is known why not.

        Raises:
            SchemaUnknown: The file is not a ledger that this version knows.
        """
        self._thread.start()
        self._opened.wait(_OPEN_S)
        if self._unknown is not None:
            self.close()
            raise self._unknown

    def append(self, records: Sequence[Record]) -> None:
        """Have *records* written, each once, soon; what there is no room for is counted."""
        room = max(0, self._max_rows - self.backlog)
        if len(records) > room:
            self._overflowed += len(records) - room
            records = records[:room]
        if records:
            self._taken += len(records)
            self._queue.put(records)

    def reprice(self, prices: Prices) -> None:
        """Have cost and price status replaced in the rows with these ids."""
        if self.backlog + len(prices) <= self._max_rows:
            self._taken += len(prices)
            self._queue.put(prices)

    def close(self) -> None:
        """Write what is left, and no more from then on; waits, but not for ever."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)
            self._thread.join(_CLOSE_S)

    # The writer's side.

    def _run(self) -> None:
        self._attempt(self._open)
        self._opened.set()
        while not self._closing.is_set():
            self._gather(self._wait_s())
            self._attempt(self._write)
            self._attempt(self._prune)
            self._tell()
        for _ in range(_LAST_TRIES):
            self._gather(0.0)
            if self._attempt(self._write) and not self.backlog:
                break
        self._give_up()

    def _wait_s(self) -> float:
        """Return how long there is nothing to do unless something is appended."""
        if self._problem is not None:
            self._closing.wait(_RETRY_S)
            return 0.0
        return max(0.0, min(_REMIND_S, self._prune_at_s - self._clock.monotonic()))

    def _gather(self, wait_s: float) -> None:
        """Take what was appended, as much as fits into one commit."""
        rows = sum(map(len, self._held))
        try:
            while rows < _MAX_COMMIT_ROWS:
                work = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
                wait_s = 0.0
                if work is not None:
                    self._held.append(work)
                    rows += len(work)
        except queue.Empty:
            pass

    def _attempt(self, do: Callable[[sqlite3.Connection], None]) -> bool:
        """Do one thing with the file; return whether that went well."""
        try:
            if self._connection is None:
                self._connection = connect(self.path)
            do(self._connection)
        except SchemaUnknown as error:
            self._unknown = error
            self._fails(str(error))
        except sqlite3.Error as error:
            self._fails(_worded(error), passing=_code(error) in _PASSING)
        except OSError as error:
            self._fails(error.strerror or "it cannot be opened")
        else:
            if do != self._prune:
                self._problem = None
            return True
        return False

    def _open(self, _: sqlite3.Connection) -> None:
        """Do nothing: to be attempted, it was opened."""

    def _fails(self, problem: str, *, passing: bool = False) -> None:
        """Take note of *problem*; if it does not pass by itself, begin anew with the file."""
        self.passing, self._problem = passing, problem
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
        unfit = 0
        connection.execute("BEGIN IMMEDIATE")
        for work in self._held:
            if isinstance(work, Mapping):
                ledger_sql.reprice(connection, work.items())
            else:
                unfit += _insert(connection, work)
        connection.execute("COMMIT")
        self._unfit += unfit
        self._done += sum(map(len, self._held))
        self._held.clear()

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Delete some of what is too old; the rest after the next commit."""
        now_s = self._clock.monotonic()
        if now_s < self._prune_at_s or self._problem is not None:
            return
        today = datetime.fromtimestamp(self._clock.wall(), UTC)
        before = ledger_sql.micros(today - timedelta(days=self.keep_days))
        if ledger_sql.delete_before(connection, before, _PRUNE_ROWS) < _PRUNE_ROWS:
            self._prune_at_s = now_s + _PRUNE_EVERY_S

    def _tell(self) -> None:
        """Tell of trouble when it begins, once a minute, and when it is over."""
        now_s, lost = self._clock.monotonic(), self.lost
        if self._problem is None and lost == self._told_lost:
            if self._told_s is not None:
                self._notice(f"the ledger is written again; lost so far: {lost} records")
                self._told_s = None
        elif self._told_s is None or now_s - self._told_s >= _REMIND_S:
            why = self._problem or "records come faster than they can be written"
            self._notice(
                f"the ledger {self.path}: {why}; "
                f"{self.backlog} records wait, {lost} are lost so far"
            )
            self._told_s, self._told_lost = now_s, lost

    def _give_up(self) -> None:
        """Close the file; what could not be written is lost."""
        if self.backlog:
            self._notice(f"the ledger {self.path}: {self._problem}; {self.backlog} records lost")
            self._unfit += self.backlog
            self._done = self._taken
        if self._connection is not None:
            self._connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that writes to the ledger at *path*, made if need be.

    Raises:
        SchemaUnknown: The file is not a ledger that this version knows.
        sqlite3.Error: It cannot be opened.
        OSError: It cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        # Before the file has a page: it lets `passgate ledger prune` give space back.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        ledger_sql.migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _insert(connection: sqlite3.Connection, records: Sequence[Record]) -> int:
    """Insert *records* in slices; return how many could not be."""
    unfit, left = 0, iter(records)
    while piece := list(islice(left, _SLICE_ROWS)):
        try:
            ledger_sql.insert(connection, piece)
        except _UNFIT:
            unfit += sum(not _fits(connection, record) for record in piece)
    return unfit


def _fits(connection: sqlite3.Connection, record: Record) -> bool:
    try:
        ledger_sql.insert(connection, [record])
    except _UNFIT:
        return False
    return True


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code: the low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _worded(error: sqlite3.Error) -> str:
    """Return what is wrong, and what to do."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return _WORDS.get(_code(error)) or f"it cannot be written: {name}"
