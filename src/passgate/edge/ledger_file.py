"""The ledger's file for those who look into it beside the gateway: the commands.

Nothing here keeps a transaction open while its caller works: a reader that stalls would keep
the gateway from ever shortening the file beside the ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from passgate.core.exchange import Record
from passgate.edge import ledger_journal, ledger_sql
from passgate.edge.ledger_sql import SchemaUnknown

_PAGE_ROWS = 1_000
_PRUNE_ROWS = 2_000
_VACUUM_PAGES = 500
# As long as a step takes: the gateway must find a gap to write in.
_GAP_S = 0.03

# Rows of one microsecond are told apart by the order in which they were written.
_PAGE = f"""
    SELECT ts, seq, {ledger_sql.COLUMNS} FROM exchanges
    WHERE (ts, seq) > (?, ?) AND ts < ? ORDER BY ts, seq LIMIT ?
"""  # noqa: S608  names of our own
_PENDING = f"{ledger_sql.SELECT} WHERE price_status = 'pending' ORDER BY ts DESC LIMIT ?"
# Each by an index; asked together as `min(ts), max(ts)` they would read every row.
_SIZE = """
    SELECT
        (SELECT count(*) FROM exchanges),
        (SELECT min(ts) FROM exchanges),
        (SELECT max(ts) FROM exchanges),
        (SELECT freelist_count FROM pragma_freelist_count)
        * (SELECT page_size FROM pragma_page_size)
"""
_END_OF_TIME = 1 << 62


class LedgerProblem(Exception):
    """The ledger cannot be read or changed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Size:
    """How big the ledger is.

    Attributes:
        rows: How many exchanges it holds.
        oldest: When the first of them began, or None without any.
        newest: When the last of them began.
        file_bytes: The file and those beside it, together.
        free_bytes: What of it will be used again before it grows.
    """

    rows: int
    oldest: datetime | None
    newest: datetime | None
    file_bytes: int
    free_bytes: int


class LedgerFile:
    """The ledger at *path*, which another process may be writing to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that can change nothing.

        Raises:
            LedgerProblem: There is no ledger, or it cannot be read.
        """
        with self._worded(), closing(ledger_sql.open_to_read(self.path)) as connection:
            yield connection

    def settle(self) -> None:
        """Make rows of what the gateway keeps packed, so that what reads rows sees it all.

        Raises:
            LedgerProblem: There is no ledger, or it cannot be read, or not be written.
        """
        with self.opened() as connection:
            if not ledger_journal.entries(connection):
                return
        with self._worded(), closing(ledger_sql.open_to_write(self.path)) as connection:
            while ledger_journal.settle(connection) is not None:
                pass

    def size(self) -> Size:
        """Return how big it is."""
        self.settle()
        with self.opened() as connection:
            rows, oldest, newest, free_bytes = connection.execute(_SIZE).fetchone()
            beside = self.path.parent.glob(f"{self.path.name}*")
            file_bytes = sum(file.stat().st_size for file in beside)
        if rows == 0:
            return Size(0, None, None, file_bytes, free_bytes)
        times = ledger_sql.moment(oldest), ledger_sql.moment(newest)
        return Size(rows, *times, file_bytes, free_bytes)

    def pages(self, since: datetime | None, until: datetime | None) -> Iterator[list[Record]]:
        """Yield the records that began from *since* to before *until*, in order of time."""
        self.settle()
        last = -1 if since is None else ledger_sql.micros(since) - 1, _END_OF_TIME
        before = _END_OF_TIME if until is None else ledger_sql.micros(until)
        with self.opened() as connection:
            while rows := connection.execute(_PAGE, (*last, before, _PAGE_ROWS)).fetchall():
                last = rows[-1][0], rows[-1][1]
                yield [ledger_sql.record_of(row[2:]) for row in rows]

    def pending(self, most: int) -> list[Record]:
        """Return at most *most* records whose price was not known yet, the latest first."""
        self.settle()
        with self.opened() as connection:
            return [ledger_sql.record_of(row) for row in connection.execute(_PENDING, (most,))]

    def prune(self, before: datetime) -> Iterator[int]:
        """Delete what began before *before* and give the space back; yield rows deleted so far."""
        if not self.path.exists():
            raise LedgerProblem(f"{self.path}: there is no ledger yet")
        with self._worded(), closing(ledger_sql.open_to_write(self.path)) as connection:
            while ledger_journal.settle(connection) is not None:
                pass
            done, ts = 0, ledger_sql.micros(before)
            while step := ledger_sql.delete_before(connection, ts, _PRUNE_ROWS):
                done += step
                yield done
                time.sleep(_GAP_S)
            [free_pages] = connection.execute("PRAGMA freelist_count").fetchone()
            for _ in range(0, free_pages, _VACUUM_PAGES):
                # As a script: as a statement Python would end it after the first page.
                connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                yield done
                time.sleep(_GAP_S)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """Turn what can go wrong into a sentence."""
        try:
            yield
        except FileNotFoundError:
            raise LedgerProblem(f"{self.path}: there is no ledger yet") from None
        except SchemaUnknown as error:
            raise LedgerProblem(f"{self.path}: {error}") from None
        except sqlite3.Error as error:
            raise LedgerProblem(f"{self.path}: {ledger_sql.worded(error)}") from None
