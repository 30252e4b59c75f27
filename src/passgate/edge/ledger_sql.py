"""The ledger as SQL: its schema, the numbered steps to it, and a record as a row.

A column has the name and the value of the record's field; ``ts`` is in microseconds since
1970. Raw counters are stored, so that history can be priced anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from passgate.core.exchange import Ending, Record
from passgate.edge import ledger_sums

_BUSY_S = 5.0
_SHRINK_FILE_BYTES = 16 << 20
FILE_NAME = "ledger.sqlite3"
# "pgld": tells our files from those of other programs.
_APPLICATION_ID = 0x70676C64

# Index n leads from version n to n + 1. A step that was released is never changed, and a new
# one only adds: an older process may still be writing while a newer one takes over its port.
#
# What reports read comes first: SQLite walks a row from its start. A text that an exchange
# does not have costs one byte. A number is never given twice: sums are kept up to one.
_STEPS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE exchanges (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            ts INTEGER NOT NULL,
            client TEXT NOT NULL,
            model TEXT,
            model_served TEXT,
            status INTEGER,
            ending TEXT NOT NULL,
            error TEXT,
            usage TEXT NOT NULL,
            price_status TEXT,
            cost_nusd INTEGER,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_tokens INTEGER,
            cache_write_5m_tokens INTEGER,
            cache_write_1h_tokens INTEGER,
            thinking_tokens INTEGER,
            ttfb_ms REAL,
            first_token_ms REAL,
            duration_ms REAL NOT NULL,
            session TEXT,
            agent TEXT,
            parent_agent TEXT,
            stream INTEGER NOT NULL,
            web_searches INTEGER,
            speed TEXT,
            service_tier TEXT,
            inference_geo TEXT,
            iterations TEXT,
            id TEXT NOT NULL,
            method TEXT NOT NULL,
            path TEXT NOT NULL,
            route TEXT,
            upstream TEXT,
            queued_ms REAL,
            bytes_up INTEGER NOT NULL,
            bytes_down INTEGER NOT NULL,
            stop_reason TEXT,
            upstream_request_id TEXT,
            peer TEXT NOT NULL,
            attempts INTEGER NOT NULL
        )
        """,
        # Nothing is counted twice, however often it is written.
        "CREATE UNIQUE INDEX exchanges_id ON exchanges (id)",
        "CREATE INDEX exchanges_ts ON exchanges (ts)",
        "CREATE INDEX exchanges_pending ON exchanges (ts) WHERE price_status = 'pending'",
    ),
    ledger_sums.STEP,
    (
        """
        CREATE TABLE journal (
            seq INTEGER PRIMARY KEY,
            kind INTEGER NOT NULL,
            body BLOB NOT NULL
        )
        """,
    ),
)
VERSION = len(_STEPS)

FIELDS = Record.__struct_fields__
COLUMNS = ", ".join(FIELDS)
_TS, _ENDING, _STREAM = map(FIELDS.index, ("ts", "ending", "stream"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_VALUES = f"({', '.join('?' * len(FIELDS))})"

SELECT = f"SELECT {COLUMNS} FROM exchanges"  # noqa: S608  names of our own
REPRICE = "UPDATE exchanges SET cost_nusd = ?, price_status = ? WHERE id = ?"
DELETE_BEFORE = """
    DELETE FROM exchanges
    WHERE seq IN (SELECT seq FROM exchanges WHERE ts < ? ORDER BY ts LIMIT ?)
"""


# What one record may hold that SQLite cannot take: nothing a repetition would mend.
_UNFIT = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    UnicodeError,
)
# How many rows one statement takes. A thread that gives the interpreter up, as it does three
# times for a statement, may wait 5 ms each time to have it back from a busy loop; and to bind
# 256 rows keeps it from the loop for one. Few sizes, because each is a prepared statement.
_SLICES = (256, 64, 16, 4, 1)

# By primary result code: what is wrong, and what to do.
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it aside, and a new one is begun",
    sqlite3.SQLITE_NOTADB: "the file is not a database; move it aside, and a new one is begun",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; whose are it and its directory?",
    sqlite3.SQLITE_READONLY: "the file may only be read; whose are it and its directory?",
    sqlite3.SQLITE_IOERR: "the disk has an I/O error, or takes no larger file",
}
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)


class SchemaUnknown(Exception):
    """The file is not a ledger that this version knows; the text says why and what to do."""


def open_to_write(path: Path) -> sqlite3.Connection:
    """Return a connection that writes to the ledger at *path*, made if need be.

    Raises:
        SchemaUnknown: The file is not a ledger that this version knows.
        sqlite3.Error: It cannot be opened.
        OSError: It cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        version_of(connection)  # first: another program's file is not touched
        # Before the file has a page: it lets `passgate ledger prune` give space back.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_SHRINK_FILE_BYTES}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that can change nothing; who opened it closes it.

    Raises:
        FileNotFoundError: There is no ledger.
        SchemaUnknown: It is not one that this version can read.
        sqlite3.Error: It cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    # To be asked from a thread that is not this one: a scan is not for the loop.
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)
    try:
        version = version_of(connection)
    except BaseException:
        connection.close()
        raise
    if version < VERSION:
        connection.close()
        raise SchemaUnknown(
            "an older passgate wrote it; this one brings it up to date when it serves"
        )
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to this version, all of the way or none.

    Raises:
        SchemaUnknown: A newer version, or another program, wrote the file.
        sqlite3.Error: It cannot be read or written.
    """
    if version_of(connection) == VERSION:
        return
    # Two processes that start together take turns; the second one finds nothing to do.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in chain(*_STEPS[version_of(connection) :]):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the schema; 0 for an empty file.

    Raises:
        SchemaUnknown: A newer version, or another program, wrote the file.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [program] = connection.execute("PRAGMA application_id").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and program != _APPLICATION_ID:
        raise SchemaUnknown("it is another program's database; move it aside")
    if version > VERSION:
        raise SchemaUnknown(
            f"a newer passgate wrote it (schema {version}, this one knows {VERSION}); "
            "run that version, or move the file aside to begin a new one"
        )
    return int(version)


def micros(moment: datetime) -> int:
    """Return *moment* as ``ts`` holds it."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(ts: int) -> datetime:
    """Return what ``ts`` says, in UTC."""
    return _EPOCH + ts * _MICROSECOND


def row_of(record: Record) -> list[Any]:
    """Return what is bound for *record*, in the order of its fields."""
    row = list(msgspec.structs.astuple(record))
    row[_TS] = micros(record.ts)
    row[_ENDING] = record.ending.value
    return row


def record_of(row: Sequence[Any]) -> Record:
    """Return the record that *row* was; *row* has the columns :data:`COLUMNS`."""
    values = list(row)
    values[_TS] = moment(row[_TS])
    values[_ENDING] = Ending(row[_ENDING])
    values[_STREAM] = bool(row[_STREAM])
    return Record(*values)


def insert(connection: sqlite3.Connection, records: Sequence[Record]) -> int:
    """Insert *records*, but for those that are there; return how many SQLite cannot take."""
    unfit = at = 0
    for size in _SLICES:
        while len(records) - at >= size:
            piece = records[at : at + size]
            at += size
            if not _fit(connection, piece):
                unfit += sum(not _fit(connection, [record]) for record in piece)
    return unfit


def _fit(connection: sqlite3.Connection, records: Sequence[Record]) -> bool:
    """Insert all of *records* by one statement, or none."""
    rows = ", ".join([_VALUES] * len(records))
    try:
        connection.execute(
            f"INSERT INTO exchanges ({COLUMNS}) VALUES {rows} "  # noqa: S608  names of our own
            "ON CONFLICT (id) DO NOTHING",
            list(chain.from_iterable(map(row_of, records))),
        )
    except _UNFIT:
        return False
    return True


def reprice(
    connection: sqlite3.Connection, prices: Iterable[tuple[str, tuple[int | None, str]]]
) -> None:
    """Replace cost and price status of the rows with these ids."""
    connection.executemany(REPRICE, ((cost, status, id_) for id_, (cost, status) in prices))


def oldest(connection: sqlite3.Connection) -> int:
    """Return the ``ts`` of the first exchange; 0 without any."""
    [ts] = connection.execute("SELECT min(ts) FROM exchanges").fetchone()
    return ts or 0


def delete_before(connection: sqlite3.Connection, ts: int, most: int) -> int:
    """Delete at most *most* rows that began before *ts*; return how many."""
    return connection.execute(DELETE_BEFORE, (ts, most)).rowcount


def is_passing(error: sqlite3.Error) -> bool:
    """Return whether what is wrong ends by itself, so that what is open may stay open."""
    return _code(error) in _PASSING


def worded(error: sqlite3.Error) -> str:
    """Return what is wrong and what to do, without the file's name."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return _WORDS.get(_code(error)) or f"SQLite says {name}: {error}"


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code: the low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
