"""The schema, the steps to it, and a record as a row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from passgate.core.exchange import Record
from passgate.edge import ledger_sql
from passgate.edge.ledger_sql import SchemaUnknown
from tests.contracts.records import record, records


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty ledger in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    ledger_sql.migrate(connection)
    yield connection
    connection.close()


def kept(connection: sqlite3.Connection) -> list[Record]:
    """Return every record, in the order in which they were written."""
    rows = connection.execute(f"{ledger_sql.SELECT} ORDER BY seq")
    return [ledger_sql.record_of(row) for row in rows]


@given(each=records())
def test_row_is_the_record(each: Record) -> None:
    """Whatever a record holds, its row gives it back, to the microsecond and the token."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    ledger_sql.migrate(connection)
    ledger_sql.insert(connection, [each])
    got = kept(connection)
    connection.close()

    assert [each] == got


def test_a_column_for_each_field(connection: sqlite3.Connection) -> None:
    """Names are those of the record; the order of rows is all that is added."""
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(exchanges)")}

    assert set(Record.__struct_fields__) | {"seq"} == columns


def test_twice_is_once(connection: sqlite3.Connection) -> None:
    """A record that is written again, perhaps among others, changes nothing."""
    ledger_sql.insert(connection, [record(1), record(2)])
    ledger_sql.insert(connection, [record(2, output_tokens=5), record(3)])

    assert [record(1), record(2), record(3)] == kept(connection)


def test_newer_schema(connection: sqlite3.Connection) -> None:
    """What a newer version wrote is left alone, and the operator told what to do."""
    connection.execute(f"PRAGMA user_version = {ledger_sql.VERSION + 1}")
    with pytest.raises(SchemaUnknown, match=r"a newer passgate wrote it .* run that version"):
        ledger_sql.migrate(connection)


def test_read_only(tmp_path: Path) -> None:
    """What is opened to be read cannot be changed, and is not made where there is none."""
    path = tmp_path / "ledger#1.sqlite3"
    with pytest.raises(FileNotFoundError):
        ledger_sql.open_to_read(path)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(SchemaUnknown, match=r"an older passgate wrote it"):
        ledger_sql.open_to_read(path)
    ledger_sql.migrate(connection)
    connection.close()
    connection = ledger_sql.open_to_read(path)
    with pytest.raises(sqlite3.OperationalError, match=r"readonly"):
        ledger_sql.insert(connection, [record()])
    connection.close()


def test_other_program(tmp_path: Path) -> None:
    """Another program's database gets no table of ours."""
    connection = sqlite3.connect(tmp_path / "other", isolation_level=None)
    connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(SchemaUnknown, match=r"another program's database"):
        ledger_sql.migrate(connection)
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()

    assert [("theirs",)] == tables
