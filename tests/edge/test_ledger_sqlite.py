"""The ledger on SQLite: the contract, and what goes wrong with files and disks."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from passgate.core.exchange import Record
from passgate.edge import ledger_sql, ledger_sqlite
from passgate.edge.clock import SystemClock
from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sqlite import LedgerUnusable, SqliteLedger
from tests.contracts.ledger import LedgerContract
from tests.contracts.records import BEGAN, record
from tests.loopback.gateway import eventually


class Moved(SystemClock):
    """A clock that a test moves; it also goes on by itself."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.wall_s = (BEGAN + timedelta(days=1)).timestamp()

    def monotonic(self) -> float:
        """Return seconds from an unknown start."""
        return super().monotonic() + self.ahead_s

    def wall(self) -> float:
        """Return seconds since 1970."""
        return self.wall_s


class SqliteBed:
    """A directory for one ledger."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state" / "ledger.sqlite3"
        self.clock = Moved()
        self.notices: list[str] = []
        self._ledgers: list[SqliteLedger] = []

    def open(self, max_rows: int = 1_000) -> SqliteLedger:
        """Return the ledger, opened."""
        ledger = SqliteLedger(self.path, 90, self.clock, self.notices.append, max_rows)
        self._ledgers.append(ledger)
        ledger.open()
        return ledger

    def connected(self) -> closing[sqlite3.Connection]:
        """Lend another program's connection."""
        return closing(sqlite3.connect(self.path, isolation_level=None))

    def kept(self) -> list[Record]:
        """Return what it keeps now, in the order in which it was written."""
        LedgerFile(self.path).settle()
        with self.connected() as connection:
            rows = connection.execute(f"{ledger_sql.SELECT} ORDER BY seq").fetchall()
        return [ledger_sql.record_of(row) for row in rows]

    @contextmanager
    def barred(self) -> Iterator[None]:
        """Let nothing be written."""
        with self.connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close every ledger that a failed test left open."""
        for ledger in self._ledgers:
            ledger.close()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[SqliteBed]:
    """A place for a ledger."""
    bed = SqliteBed(tmp_path)
    yield bed
    bed.close()


class TestContract(LedgerContract):
    """See ``tests/contracts/ledger.py``."""


def test_modes(bed: SqliteBed) -> None:
    """Files and directory are their owner's alone, whatever the umask says."""
    before = os.umask(0)
    try:
        ledger = bed.open()
        ledger.append([record()])
        eventually(lambda: ledger.backlog == 0)
        files = list(bed.path.parent.iterdir())
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in files}

    assert 0o700 == stat.S_IMODE(bed.path.parent.stat().st_mode)
    assert (3, {0o600}) == (len(files), modes)


def test_durable(bed: SqliteBed) -> None:
    """A commit survives a power cut: it is on the disk when it returns."""
    bed.open().close()
    connection = ledger_sql.open_to_write(bed.path)
    got = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum")
    ]
    connection.close()

    assert ["wal", 2, 2] == got


def test_required(bed: SqliteBed) -> None:
    """There is no going on without a file that is required; it is told of once, and left."""
    bed.path.parent.mkdir()
    bed.path.write_bytes(b"no database" * 100)
    ledger = SqliteLedger(bed.path, 90, bed.clock, bed.notices.append)
    with pytest.raises(LedgerUnusable, match=r"ledger\.sqlite3: the file is not a database"):
        ledger.open(required=True)

    assert ([], b"no database" * 100) == (bed.notices, bed.path.read_bytes())


def test_locked_at_the_start(bed: SqliteBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes by itself keeps nobody from starting, though the ledger is required."""
    monkeypatch.setattr(ledger_sql, "_BUSY_S", 0.05)
    bed.path.parent.mkdir()
    ledger = SqliteLedger(bed.path, 90, bed.clock, bed.notices.append)
    with bed.barred():
        ledger.open(required=True)
        problem = ledger.problem
        ledger.append([record(1)])
    eventually(lambda: ledger.backlog == 0, within_s=2)
    ledger.close()

    assert ("another process keeps it locked", [record(1)]) == (problem, bed.kept())


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let this process write no file beyond *size* bytes: a disk that is full for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_that_takes_no_more(bed: SqliteBed) -> None:
    """Records wait and are told of once; when the disk takes them, all are written."""
    ledger = bed.open(max_rows=100)
    ledger.append([record(0)])
    eventually(lambda: ledger.backlog == 0)
    with files_up_to(40_000):
        ledger.append([record(n, path="/" * 1000, attempts=1) for n in range(1, 61)])
        problem = eventually(lambda: ledger.problem)
        eventually(lambda: bed.notices)
        ledger.append([record(n, attempts=1) for n in range(61, 161)])
        waiting, lost = ledger.backlog, ledger.lost
    eventually(lambda: ledger.backlog == 0, within_s=2)
    eventually(lambda: len(bed.notices) > 1)
    ledger.close()
    kept = [each.id for each in bed.kept()]

    assert "the disk has an I/O error, or takes no larger file" == problem
    assert (100, 60) == (waiting, lost)
    assert [record(n).id for n in range(101)] == kept
    assert [
        f"the ledger {bed.path}: {problem}; 60 wait, 0 are lost so far",
        "the ledger is written again; 60 records are lost so far",
    ] == bed.notices


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every opening of a file to write, as it happens; after trouble each try opens it anew."""
    opened: list[Path] = []
    really_open = ledger_sql.open_to_write

    def open_to_write(path: Path) -> sqlite3.Connection:
        opened.append(path)
        return really_open(path)

    monkeypatch.setattr(ledger_sql, "open_to_write", open_to_write)
    monkeypatch.setattr(ledger_sqlite, "_RETRY_S", 0.05)
    return opened


def until_more(tries: list[Path], more: int = 3) -> None:
    """Return when it was tried so often again."""
    goal = len(tries) + more
    eventually(lambda: len(tries) >= goal)


def test_told_once_a_minute(bed: SqliteBed, tries: list[Path]) -> None:
    """Trouble that lasts is told of once a minute, however often it is tried."""
    told = []
    ledger = bed.open()
    with files_up_to(10_000):
        ledger.append([record(n, path="/" * 1000) for n in range(10)])
        for _ in range(3):
            until_more(tries)
            told.append(len(bed.notices))
            bed.clock.ahead_s += 61
    ledger.close()

    assert ([1, 2, 3], 10) == (told, len(bed.kept()))


def test_disk_that_has_room_again_at_the_end(bed: SqliteBed, tries: list[Path]) -> None:
    """What is left is tried for a while, also at the end."""
    ledger = bed.open()
    with files_up_to(10_000):
        ledger.append([record(n, path="/" * 1000) for n in range(10)])
        eventually(lambda: ledger.problem)
        closes = threading.Thread(target=ledger.close)
        closes.start()
        eventually(ledger._closing.is_set)
        until_more(tries)
    closes.join()

    assert ((0, 0), 10) == ((ledger.backlog, ledger.lost), len(bed.kept()))


def test_disk_full_to_the_end(bed: SqliteBed) -> None:
    """What cannot be written until the end is lost, and the last word is how much."""
    ledger = bed.open()
    with files_up_to(10_000):
        ledger.append([record(n, path="/" * 1000) for n in range(10)])
        eventually(lambda: ledger.problem)
        ledger.close()

    assert (0, 10) == (ledger.backlog, ledger.lost)
    assert bed.notices[-1].endswith("10 records are lost")


def test_late_prices_are_no_records(bed: SqliteBed) -> None:
    """Late prices wait in the same room, but nobody is told that they are records."""
    ledger = bed.open(max_rows=20)
    with files_up_to(10_000):
        ledger.append([record(n, path="/" * 1000) for n in range(10)])
        eventually(lambda: ledger.problem)
        ledger.reprice({record(n).id: (7, "exact") for n in range(5)})
        waiting = ledger.backlog
        ledger.append([record(n, attempts=1) for n in range(10, 20)])
        full = ledger.backlog, ledger.lost
        ledger.close()

    assert (10, (15, 5)) == (waiting, full)
    assert (0, 20) == (ledger.backlog, ledger.lost)
    assert bed.notices[-1].endswith(" 15 records are lost")


@pytest.mark.parametrize("damage", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_file(bed: SqliteBed, damage: bytes) -> None:
    """A file that is none of ours is left as it is; moved aside, a new one is begun."""
    bed.path.parent.mkdir()
    bed.path.write_bytes(damage)
    ledger = bed.open()
    ledger.append([record(1)])
    problem, untouched = ledger.problem, bed.path.read_bytes()
    bed.path.rename(bed.path.with_suffix(".aside"))
    eventually(lambda: ledger.backlog == 0, within_s=2)
    ledger.close()

    assert problem
    assert "move it aside" in problem
    assert (damage, [record(1)]) == (untouched, bed.kept())


def test_damaged_while_it_runs(bed: SqliteBed) -> None:
    """Moved aside while the gateway runs, the damaged file is let go of, and a new one begun."""
    ledger = bed.open()
    ledger.append([record(n, path="/" * 1000) for n in range(100)])
    eventually(lambda: ledger.backlog == 0)
    with bed.connected() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with bed.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (bed.path.stat().st_size - 4096))
    ledger.append([record(n, path="/" * 1000) for n in range(100, 200)])
    problem = eventually(lambda: ledger.problem)
    bed.path.rename(bed.path.with_suffix(".aside"))
    eventually(lambda: ledger.backlog == 0, within_s=2)
    ledger.close()

    assert "the file is damaged; move it aside, and a new one is begun" == problem
    assert [record(n).id for n in range(100, 200)] == [each.id for each in bed.kept()]


def test_fault_of_our_own(bed: SqliteBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in what writes is told of like a disk's fault; what waited is written after it."""
    ledger = bed.open()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_sql, "insert", None)
        ledger.append([record(1)])
        problem = eventually(lambda: ledger.problem)
    eventually(lambda: ledger.backlog == 0, within_s=2)
    ledger.close()

    assert ("a fault of passgate's own: TypeError", [record(1)]) == (problem, bed.kept())


def test_file_that_cannot_be_opened(bed: SqliteBed) -> None:
    """What SQLite may not open is told of, with what to look at."""
    bed.open().close()
    beside = bed.path.with_name(f"{bed.path.name}-wal")
    beside.mkdir()
    ledger = bed.open()
    ledger.append([record(1)])
    problem = ledger.problem
    beside.rmdir()
    eventually(lambda: ledger.backlog == 0, within_s=2)

    assert "the file cannot be opened; whose are it and its directory?" == problem


def test_directory_that_cannot_be(bed: SqliteBed) -> None:
    """Where no file can be made, the reason is told; once it can, it is made."""
    bed.path.parent.write_text("a file where the directory should be")
    ledger = bed.open()
    ledger.append([record(1)])
    problem = ledger.problem
    bed.path.parent.unlink()
    eventually(lambda: ledger.backlog == 0, within_s=2)
    ledger.close()

    assert "the file cannot be opened: File exists" == problem
    assert [record(1)] == bed.kept()


def test_newer_schema(bed: SqliteBed) -> None:
    """What a newer version wrote is not written to."""
    bed.open().close()
    with bed.connected() as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerUnusable, match=r"a newer passgate wrote it \(schema 99"):
        bed.open()

    assert [] == bed.notices


def test_two_ledgers_on_one_file(bed: SqliteBed) -> None:
    """Two processes that share a port write to one file: nothing is lost, nothing is twice."""
    ledgers = [bed.open(max_rows=10_000), bed.open(max_rows=10_000)]
    for number in range(0, 400, 10):
        for which, ledger in enumerate(ledgers):
            ledger.append([record(n, peer=str(which)) for n in range(number, number + 10)])
            ledger.append([record(1000 * (which + 1) + n) for n in range(number, number + 10)])
    for ledger in ledgers:
        ledger.close()
    expected = [*range(400), *range(1000, 1400), *range(2000, 2400)]

    assert [record(n).id for n in expected] == sorted(each.id for each in bed.kept())
    assert [0, 0] == [ledger.lost for ledger in ledgers]


def test_old_rows_go(bed: SqliteBed) -> None:
    """Rows older than ``keep_days`` go, in steps; the others stay, and a change counts."""
    ledger = bed.open(max_rows=5_000)
    day = 86_400
    ledger.append([record(n) for n in range(1_200)])
    ledger.append([record(30 * day + n) for n in range(10)])
    eventually(lambda: ledger.backlog == 0)
    bed.kept()  # all are rows now
    bed.clock.wall_s = (BEGAN + timedelta(days=90, seconds=600)).timestamp()
    bed.clock.ahead_s = 601
    ledger.append([record(60 * day)])  # wakes it
    eventually(lambda: len(bed.kept()) == 611)
    first = bed.kept()[0]
    ledger.keep_days = 31
    for run, left in ((2, 12), (3, 3)):  # what began within a day of the oldest, each time
        bed.clock.ahead_s = run * 601
        ledger.append([record((60 + run) * day)])
        eventually(lambda: len(bed.kept()) == left)  # noqa: B023  called at once

    assert record(600) == first


def test_clock_that_is_years_ahead(bed: SqliteBed) -> None:
    """It takes one day's rows every ten minutes, not all there is."""
    ledger = bed.open()
    day = 86_400
    ledger.append([record(n * day // 2) for n in range(20)])
    eventually(lambda: ledger.backlog == 0)
    bed.clock.wall_s += 10 * 365 * day
    left = []
    for minutes in (11, 22, 33):
        bed.clock.ahead_s = minutes * 60
        ledger.append([record(20 * day + minutes)])  # wakes it
        eventually(lambda: ledger.backlog == 0 and ledger._prune_at_s > bed.clock.monotonic())
        left.append(len([r for r in bed.kept() if r.ts < BEGAN + timedelta(days=20)]))

    assert [18, 16, 14] == left


def test_pending(bed: SqliteBed) -> None:
    """Rows whose price was not known when they were written are found again."""
    ledger = bed.open()
    ledger.append([record(n, price_status=("exact", "pending")[n % 2]) for n in range(9)])
    ledger.close()
    found = LedgerFile(bed.path).pending(most=3)

    assert [record(n, price_status="pending") for n in (7, 5, 3)] == found


def test_a_clock_that_is_wrong(bed: SqliteBed) -> None:
    """A record from before 1970 or of the far future is kept as it is."""
    moments = [datetime(1969, 7, 20, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)]
    given = [record(n, ts=moment) for n, moment in enumerate(moments)]
    ledger = bed.open()
    ledger.keep_days = 36_500
    ledger.append(given)
    ledger.close()

    assert given == bed.kept()
