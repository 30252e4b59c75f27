"""What comes faster than rows should be made: kept as it came, and made rows when it is quiet.

A row of the ledger, with its indexes, costs half of what the exchange did. Packed together
the records of one commit cost a tenth of that, and are on the disk as surely.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from passgate.core.exchange import Ending, Record
from passgate.edge import ledger_sql

Work = Sequence[Record] | Mapping[str, tuple[int | None, str]]
"""Records, or the prices of records that went before, by id."""

# To make rows of them takes a few milliseconds.
_ENTRY_RECORDS = 256
_FIELDS = Record.__struct_fields__
_ENDING = _FIELDS.index("ending")
_RECORDS, _PRICES = 0, 1

_encode = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[list[object]]).decode
_decode_prices = msgspec.msgpack.Decoder(dict[str, tuple[int | None, str]]).decode

_PUT = "INSERT INTO journal (kind, body) VALUES (?, ?)"
_OLDEST = "SELECT seq, kind, body FROM journal ORDER BY seq LIMIT 1"
_ENTRIES = "SELECT ifnull((SELECT max(seq) FROM journal) - (SELECT min(seq) FROM journal) + 1, 0)"


def put(connection: sqlite3.Connection, held: Sequence[Work]) -> int:
    """Commit *held*, in its order, where no transaction is open.

    One statement, hence one transaction: each call of SQLite's gives the interpreter away and
    waits to have it back.

    Returns:
        How many records cannot be packed.
    """
    unfit, packed = 0, list[object]()
    for work in held:
        if isinstance(work, Mapping):
            packed += (_PRICES, _encode(work))
            continue
        for at in range(0, len(work), _ENTRY_RECORDS):
            piece = work[at : at + _ENTRY_RECORDS]
            body = _packed(piece)
            if body is not None:
                packed += (_RECORDS, body)
                continue
            for record in piece:
                body = _packed([record])
                unfit += body is None
                packed += () if body is None else (_RECORDS, body)
    if packed:
        connection.execute(_PUT + ", (?, ?)" * (len(packed) // 2 - 1), packed)
    return unfit


def _packed(records: Sequence[Record]) -> bytes | None:
    try:
        return _encode([msgspec.structs.astuple(record) for record in records])
    except (OverflowError, UnicodeError):
        return None


def entries(connection: sqlite3.Connection) -> int:
    """Return how many entries there are, each of at most 256 records."""
    [count] = connection.execute(_ENTRIES).fetchone()
    return int(count)


def settle(connection: sqlite3.Connection) -> int | None:
    """Make rows of the oldest entry, where no transaction is open.

    Returns:
        How many of its records SQLite cannot take, or None if there was no entry.

    Raises:
        sqlite3.Error: Nothing has changed.
    """
    unfit = 0
    connection.execute("BEGIN IMMEDIATE")  # another process may settle, too
    try:
        oldest = connection.execute(_OLDEST).fetchone()
        if oldest is not None:
            seq, kind, body = oldest
            if kind == _RECORDS:
                unfit = ledger_sql.insert(connection, list(map(_record, _decode_records(body))))
            else:
                ledger_sql.reprice(connection, _decode_prices(body).items())
            connection.execute("DELETE FROM journal WHERE seq = ?", (seq,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return None if oldest is None else unfit


def _record(values: list[object]) -> Record:
    values[_ENDING] = Ending(values[_ENDING])
    return Record(*values)  # type: ignore[arg-type]  # as it was packed, by a version that
    # knew these fields or fewer: new ones come last and have a default
