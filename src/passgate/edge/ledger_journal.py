"""What comes faster than rows should be made: kept as it came, and made rows when it is quiet.

A row of the ledger, with its indexes, costs half of what the exchange did. Packed together
the records of one commit cost a tenth of that, and are on the disk as surely. They are
packed as soon as they are made: a moment later they have left the caches of the processor.

Source: msgpack, "Formats: array".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from passgate.core.exchange import Ending, Record
from passgate.edge import ledger_sql

_PIECE_RECORDS, _ENTRY_PIECES = 64, 4
# To make rows of so many takes a few milliseconds.
_AT_ONCE = _PIECE_RECORDS * _ENTRY_PIECES
# So many, and more, are counted in two bytes behind the first of an array.
_LONG_ARRAY = 16
_FIELDS = Record.__struct_fields__
_ENDING = _FIELDS.index("ending")
_RECORDS, _PRICES = 0, 1

_encode = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[list[object]]).decode
_decode_prices = msgspec.msgpack.Decoder(dict[str, tuple[int | None, str]]).decode


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A piece of an entry.

    Attributes:
        records: How many there are.
        body: The record of each, one behind the other.
    """

    records: int
    body: bytes

    def __len__(self) -> int:
        return self.records


Work = Sequence[Record] | Packed | Mapping[str, tuple[int | None, str]]
"""Records, or the prices of records that went before, by id."""

_PUT = "INSERT INTO journal (kind, body) VALUES (?, ?)"
_OLDEST = "SELECT seq, kind, body FROM journal ORDER BY seq LIMIT 8"
_ENTRIES = "SELECT ifnull((SELECT max(seq) FROM journal) - (SELECT min(seq) FROM journal) + 1, 0)"


def pack(records: Sequence[Record]) -> list[Packed]:
    """Return *records* in their order, packed; one that cannot be packed is not among them."""
    pieces = []
    for at in range(0, len(records), _PIECE_RECORDS):
        piece = records[at : at + _PIECE_RECORDS]
        whole = _packed(piece)
        if whole is None:
            pieces += [one for record in piece if (one := _packed([record])) is not None]
        else:
            pieces.append(whole)
    return pieces


def _packed(records: Sequence[Record]) -> Packed | None:
    try:
        body = _encode(list(map(msgspec.structs.astuple, records)))
    except (OverflowError, UnicodeError):
        return None
    return Packed(len(records), body[1 if len(records) < _LONG_ARRAY else 3 :])


def put(connection: sqlite3.Connection, held: Sequence[Work]) -> int:
    """Commit *held*, in its order, where no transaction is open.

    One statement, hence one transaction: each call of SQLite's gives the interpreter away and
    waits to have it back.

    Returns:
        How many records cannot be packed.
    """
    unfit, pieces, values = 0, list[Packed](), list[object]()
    for work in held:
        if isinstance(work, Mapping):
            values += _entries_of(pieces)
            pieces.clear()
            values += (_PRICES, _encode(work))
        else:
            packed = [work] if isinstance(work, Packed) else pack(work)
            unfit += len(work) - sum(map(len, packed))
            pieces += packed
    values += _entries_of(pieces)
    if values:
        connection.execute(_PUT + ", (?, ?)" * (len(values) // 2 - 1), values)
    return unfit


def _entries_of(pieces: Sequence[Packed]) -> Iterator[object]:
    """Yield kind and body of every entry that *pieces* make: each an array of records."""
    for at in range(0, len(pieces), _ENTRY_PIECES):
        joined = pieces[at : at + _ENTRY_PIECES]
        count = sum(map(len, joined)).to_bytes(4, "big")
        yield _RECORDS
        yield b"".join((b"\xdd", count, *(piece.body for piece in joined)))


def entries(connection: sqlite3.Connection) -> int:
    """Return how many entries there are, each of at most 256 records."""
    [count] = connection.execute(_ENTRIES).fetchone()
    return int(count)


def settle(connection: sqlite3.Connection) -> int | None:
    """Make rows of the oldest entries, about 256, where no transaction is open.

    Returns:
        How many of their records SQLite cannot take, or None if there was no entry.

    Raises:
        sqlite3.Error: Nothing has changed.
    """
    unfit, done, last = 0, 0, None
    connection.execute("BEGIN IMMEDIATE")  # another process may settle, too
    try:
        for seq, kind, body in connection.execute(_OLDEST).fetchall():
            packed = _decode_records(body) if kind == _RECORDS else _decode_prices(body)
            done += len(packed)
            if last is not None and done > _AT_ONCE:
                break
            last = seq
            if isinstance(packed, list):
                unfit += ledger_sql.insert(connection, list(map(_record, packed)))
            else:
                ledger_sql.reprice(connection, packed.items())
        connection.execute("DELETE FROM journal WHERE seq <= ?", (last,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return None if last is None else unfit


def _record(values: list[object]) -> Record:
    values[_ENDING] = Ending(values[_ENDING])
    return Record(*values)  # type: ignore[arg-type]  # as it was packed, by a version that
    # knew these fields or fewer: new ones come last and have a default
