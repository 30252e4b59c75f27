"""The ledger's file, looked into while another process writes to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from passgate.core.exchange import Record
from passgate.edge import ledger_file, ledger_sql
from passgate.edge.ledger_file import LedgerFile, LedgerProblem
from tests.contracts.records import BEGAN, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger is, or is not."""
    return tmp_path / "ledger.sqlite3"


def write(path: Path, records: list[Record]) -> None:
    """Add *records*."""
    with closing(ledger_sql.open_to_write(path)) as connection:
        for first in range(0, len(records), 256):
            ledger_sql.insert(connection, records[first : first + 256])


def after(seconds: int) -> timedelta:
    """Return a span."""
    return timedelta(seconds=seconds)


def test_pages_in_order_of_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record comes once, by when it began, also where many began at once."""
    monkeypatch.setattr(ledger_file, "_PAGE_ROWS", 3)
    given = [record(n, ts=BEGAN + after(n // 4)) for n in range(20)]
    write(path, given[10:] + given[:10])
    pages = list(LedgerFile(path).pages(None, None))
    got = [each for page in pages for each in page]

    assert [3, 3, 3, 3, 3, 3, 2] == [len(page) for page in pages]
    assert [each.ts for each in given] == [each.ts for each in got]
    assert {each.id for each in given} == {each.id for each in got}


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [(None, None, range(10)), (3, None, range(3, 10)), (None, 3, range(3)), (3, 5, range(3, 5))],
)
def test_span(path: Path, since: int | None, until: int | None, expected: range) -> None:
    """A span holds its beginning and not its end."""
    write(path, [record(n) for n in range(10)])
    moments = [None if at is None else BEGAN + after(at) for at in (since, until)]
    got = [each for page in LedgerFile(path).pages(*moments) for each in page]

    assert [record(n) for n in expected] == got


def test_reader_that_stalls_is_in_nobodys_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pages the file beside the ledger can be emptied: no transaction is open."""
    monkeypatch.setattr(ledger_file, "_PAGE_ROWS", 3)
    write(path, [record(n) for n in range(10)])
    pages = LedgerFile(path).pages(None, None)
    next(pages)
    with closing(ledger_sql.open_to_write(path)) as connection:
        ledger_sql.insert(connection, [record(10)])
        [busy, *_] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert 0 == busy
    assert [record(n) for n in range(3, 11)] == [each for page in pages for each in page]


def test_prune(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older goes, in steps between which others can write; the space is given back."""
    monkeypatch.setattr(ledger_file, "_PRUNE_ROWS", 100)
    write(path, [record(n, path="/" * 500) for n in range(1_000)])
    ledger = LedgerFile(path)
    before = ledger.size()
    steps = []
    for done in ledger.prune(BEGAN + after(990)):
        steps.append(done)
        write(path, [record(5_000 + len(steps))])
    after_it = ledger.size()

    assert [*range(100, 901, 100), 990] == sorted(set(steps))
    assert 10 + len(steps) == after_it.rows
    assert (before.oldest, after_it.oldest) == (BEGAN, BEGAN + after(990))
    assert after_it.file_bytes < before.file_bytes / 5
    assert 0 == after_it.free_bytes


def test_size_of_nothing(path: Path) -> None:
    """A ledger without rows has a size, and no time."""
    write(path, [])
    size = LedgerFile(path).size()

    assert (0, None, None) == (size.rows, size.oldest, size.newest)
    assert size.file_bytes > 0


def problem_of(path: Path) -> list[str]:
    """Return what each operation says of the file."""
    ledger, said = LedgerFile(path), []
    for operation in (
        ledger.size,
        lambda: next(ledger.pages(None, None), None),
        lambda: ledger.pending(1),
        lambda: next(ledger.prune(BEGAN), None),
    ):
        with pytest.raises(LedgerProblem) as caught:
            operation()
        said.append(str(caught.value))
    return said


def test_no_ledger(path: Path) -> None:
    """Where there is none, none is made."""
    assert [f"{path}: there is no ledger yet"] * 4 == problem_of(path)
    assert not path.exists()


def test_damaged(path: Path) -> None:
    """What is no ledger is left as it is."""
    path.write_bytes(b"no database " * 100)
    before = path.read_bytes()
    [said] = set(problem_of(path))

    assert f"{path}: the file is not a database; move it aside, and a new one is begun" == said
    assert before == path.read_bytes()


def test_newer(path: Path) -> None:
    """What a newer version wrote is neither read nor pruned."""
    write(path, [])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    [said] = set(problem_of(path))

    assert f"{path}: a newer passgate wrote it (schema 99, this one knows" in said
