"""What comes too fast for rows: kept packed, and a row in the end like any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from passgate.core.exchange import Record
from passgate.edge import ledger_journal, ledger_sql
from passgate.edge.clock import SystemClock
from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sqlite import SqliteLedger
from tests.contracts.records import record, records
from tests.loopback.gateway import eventually


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger of its own."""
    with closing(ledger_sql.open_to_write(tmp_path / "ledger.sqlite3")) as opened:
        yield opened


def kept(connection: sqlite3.Connection) -> list[Record]:
    """Return what is a row."""
    rows = connection.execute(f"{ledger_sql.SELECT} ORDER BY seq").fetchall()
    return [ledger_sql.record_of(row) for row in rows]


def put(connection: sqlite3.Connection, *held: ledger_journal.Work) -> int:
    """Put *held* and commit."""
    connection.execute("BEGIN")
    unfit = ledger_journal.put(connection, held)
    connection.execute("COMMIT")
    return unfit


def settle(connection: sqlite3.Connection) -> int:
    """Make rows of everything; return how many could not be."""
    unfit = 0
    while (more := ledger_journal.settle(connection)) is not None:
        unfit += more
    return unfit


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(records(), max_size=5))
def test_same_rows(tmp_path: Path, anything: list[Record]) -> None:
    """Packed or not, a record becomes the same row."""
    given = [structs.replace(each, id=f"{n} {each.id}") for n, each in enumerate(anything)]
    rows = []
    for way in (ledger_journal.put, lambda c, held: ledger_sql.insert(c, held[0])):
        (tmp_path / "l").unlink(missing_ok=True)
        with closing(ledger_sql.open_to_write(tmp_path / "l")) as opened:
            opened.execute("BEGIN")
            way(opened, [given])
            opened.execute("COMMIT")
            settle(opened)
            rows.append(kept(opened))

    assert rows[0] == rows[1] == given


def test_in_order(connection: sqlite3.Connection) -> None:
    """A price finds the row that was packed before it; entries are small."""
    many = [record(n, price_status="pending") for n in range(600)]
    put(connection, many, {many[0].id: (7, "exact"), many[599].id: (None, "unknown")})
    entries = ledger_journal.entries(connection)
    first = ledger_journal.settle(connection), len(kept(connection))
    settle(connection)
    got = kept(connection)

    assert (4, (0, 256)) == (entries, first)
    assert [each.id for each in many] == [each.id for each in got]
    assert [(7, "exact"), (None, "pending"), (None, "unknown")] == [
        (got[n].cost_nusd, got[n].price_status) for n in (0, 1, 599)
    ]
    assert 0 == ledger_journal.entries(connection)


def test_small_entries_together(connection: sqlite3.Connection) -> None:
    """What comes just too fast makes many small entries: several become rows at once."""
    for at in range(0, 600, 60):
        put(connection, [record(n) for n in range(at, at + 60)])
    settled = []
    while ledger_journal.settle(connection) is not None:
        settled.append(len(kept(connection)))

    assert [240, 480, 600] == settled


def test_unfit(connection: sqlite3.Connection) -> None:
    """What cannot be packed or be a row is counted, and keeps no other one back."""
    bad = [record(1, input_tokens=1 << 64), record(2, model="\ud800"), record(3, bytes_up=1 << 63)]
    unfit = put(connection, [record(0), *bad, record(4)])

    assert (2, 1) == (unfit, settle(connection))
    assert [record(0), record(4)] == kept(connection)


def test_never_twice(connection: sqlite3.Connection) -> None:
    """What is packed twice, or is a row already, is one row."""
    ledger_sql.insert(connection, [record(0)])
    put(connection, [record(0), record(1)])
    put(connection, [record(1)])
    settle(connection)

    assert [record(0), record(1)] == kept(connection)


def test_failing_changes_nothing(connection: sqlite3.Connection) -> None:
    """An entry whose rows cannot be written stays as it is."""
    put(connection, [record(0)])
    connection.execute(
        "CREATE TRIGGER no BEFORE DELETE ON journal BEGIN SELECT raise(FAIL, 'no'); END"
    )
    with pytest.raises(sqlite3.Error):
        ledger_journal.settle(connection)
    connection.execute("DROP TRIGGER no")

    assert ([], 1) == (kept(connection), ledger_journal.entries(connection))


def test_much_at_once(tmp_path: Path) -> None:
    """Many records of one moment are packed, and rows soon after without anybody asking."""
    path = tmp_path / "state" / "ledger.sqlite3"
    notices: list[str] = []
    ledger = SqliteLedger(path, 90, SystemClock(), notices.append)
    ledger.open()
    ledger.append([record(n, price_status="pending") for n in range(300)])
    eventually(lambda: ledger.backlog == 0)
    ledger.reprice({record(5).id: (1, "exact")})
    with closing(ledger_sql.open_to_read(path)) as connection:
        eventually(
            lambda: connection.execute("SELECT count(*) FROM exchanges").fetchone() == (300,)
        )
        eventually(lambda: ledger_journal.entries(connection) == 0)
        [price] = connection.execute(
            "SELECT cost_nusd FROM exchanges WHERE id = ?", (record(5).id,)
        ).fetchone()
    ledger.close()

    assert (1, 0, []) == (price, ledger.lost, notices)


def test_much_by_and_by(tmp_path: Path) -> None:
    """What is packed while more follows is written with it, in order, and before its price."""
    path = tmp_path / "state" / "ledger.sqlite3"
    ledger = SqliteLedger(path, 90, SystemClock(), lambda _: None)
    ledger.open()
    given = [record(n, price_status="pending") for n in range(130)]
    bad = record(130, input_tokens=1 << 64)
    ledger.append(given[:64], more=True)
    ledger.append([*given[64:128], bad], more=True)
    ledger.append(given[128:], more=True)
    waiting = ledger.backlog
    ledger.reprice({given[0].id: (1, "exact"), given[129].id: (2, "exact")})
    eventually(lambda: ledger.backlog == 0)
    ledger.append([record(131)], more=True)
    ledger.close()
    got = [each for page in LedgerFile(path).pages(None, None) for each in page]

    assert (130, 1, 0) == (waiting, ledger.lost, ledger.backlog)
    assert [each.id for each in [*given, record(131)]] == [each.id for each in got]
    assert {0: 1, 129: 2} == {n: r.cost_nusd for n, r in enumerate(got) if r.cost_nusd is not None}


def test_rows_at_the_end(tmp_path: Path) -> None:
    """Who reads the file of a ledger that was closed sees rows, however fast they came."""
    path = tmp_path / "state" / "ledger.sqlite3"
    ledger = SqliteLedger(path, 90, SystemClock(), lambda _: None)
    ledger.open()
    for at in range(0, 1200, 60):
        ledger.append([record(n) for n in range(at, at + 60)])
    ledger.close()
    with closing(ledger_sql.open_to_read(path)) as connection:
        got = kept(connection)

    assert [record(n) for n in range(1200)] == got


def test_left_behind(tmp_path: Path) -> None:
    """What a process left packed is seen by whoever looks, and by the next process."""
    path = tmp_path / "ledger.sqlite3"
    with closing(ledger_sql.open_to_write(path)) as connection:
        put(connection, [record(n) for n in range(300)])
    rows = LedgerFile(path).size().rows

    assert 300 == rows
    assert [record(n) for n in range(300)] == [
        each for page in LedgerFile(path).pages(None, None) for each in page
    ]
