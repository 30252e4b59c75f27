"""Every watcher is told of every record, once, in order, soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from passgate.core.exchange import Record
from passgate.edge.clock import SystemClock
from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sqlite import SqliteLedger
from passgate.gateway.recorder import Recorder


class Later:
    """A loop's ``call_later`` that the test calls."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay_s: float, call: Callable[[], None]) -> None:
        """Take note of what is to be called."""
        self.due.append((delay_s, call))

    def comes(self) -> None:
        """Call all of it."""
        due, self.due = self.due, []
        for _, call in due:
            call()


def record(number: int) -> Record:
    """Return a record."""
    return Record(datetime(2026, 1, 1, tzinfo=UTC), str(number))


def told(into: list[str]) -> Callable[[Sequence[Record]], None]:
    """Return a watcher that takes note of ids."""
    return lambda records: into.extend(record.id for record in records)


def test_told_soon_and_together() -> None:
    """Records that come close together are told in one call, a twentieth of a second later."""
    later, calls = Later(), list[Sequence[Record]]()
    recorder = Recorder([calls.append], later)
    for number in range(3):
        recorder.put(partial(record, number))
    before, due = list(calls), list(later.due)
    later.comes()

    assert [] == before
    assert [0.05] == [delay_s for delay_s, _ in due]
    assert [["0", "1", "2"]] == [[each.id for each in call] for call in calls]


def test_many_are_told_in_pieces() -> None:
    """Who waits while many are told of waits for a few of them."""
    later, calls = Later(), list[Sequence[Record]]()
    recorder = Recorder([calls.append], later)
    for number in range(150):
        recorder.put(partial(record, number))
    before, due = [len(call) for call in calls], len(later.due)
    later.comes()

    assert ([64, 64], 1) == (before, due)
    assert list(map(str, range(150))) == [each.id for call in calls for each in call]


def test_nothing_is_not_told() -> None:
    """Without a record no watcher is bothered, also where it was flushed before."""
    later, calls = Later(), list[Sequence[Record]]()
    recorder = Recorder([calls.append], later)
    recorder.flush()
    recorder.put(partial(record, 1))
    recorder.flush()
    later.comes()

    assert 1 == len(calls)


@given(st.lists(st.sampled_from(["put", "flush", "later"])))
def test_once_each_in_order(events: list[str]) -> None:
    """However puts, flushes and turns fall: every record is told of once, in order."""
    later, ids = Later(), list[str]()
    recorder = Recorder([told(ids)], later)
    for number, event in enumerate(events):
        match event:
            case "put":
                recorder.put(partial(record, number))
            case "flush":
                recorder.flush()
            case _:
                later.comes()
    recorder.flush()

    assert [str(number) for number, event in enumerate(events) if event == "put"] == ids


def test_watcher_that_fails() -> None:
    """A watcher's bug is counted; the others are told, and so is it the next time."""

    def fails(_: Sequence[Record]) -> None:
        raise ValueError

    ids: list[str] = []
    bugs: list[Exception] = []
    recorder = Recorder([fails, told(ids), fails], Later(), on_bug=bugs.append)
    for number in range(2):
        recorder.put(partial(record, number))
        recorder.flush()

    assert (["0", "1"], 4, [ValueError]) == (ids, recorder.failed, [*map(type, bugs)])


def test_record_that_cannot_be_made() -> None:
    """A bug of one exchange is counted, and costs the others nothing."""

    def fails() -> Record:
        raise ValueError

    ids: list[str] = []
    bugs: list[Exception] = []
    recorder = Recorder([told(ids)], Later(), on_bug=bugs.append)
    for make in (partial(record, 1), fails, partial(record, 2)):
        recorder.put(make)
    recorder.flush()

    assert (["1", "2"], 1, [ValueError]) == (ids, recorder.failed, [*map(type, bugs)])


def test_ledger(tmp_path: Path) -> None:
    """The ledger comes last, with what the watchers left, and gets no unknown caller's record."""

    def prices(records: Sequence[Record]) -> None:
        for each in records:
            each.cost_nusd = 7
        raise ValueError

    ledger = SqliteLedger(tmp_path / "ledger", 90, SystemClock(), lambda _: None)
    ledger.open()
    recorder = Recorder([prices], Later(), ledger)
    known = record(1)
    known.client = "ci"
    recorder.put(partial(record, 2))
    recorder.put(lambda: known)
    recorder.flush()
    ledger.close()
    kept = [each for page in LedgerFile(ledger.path).pages(None, None) for each in page]

    assert ([known], 7, 0) == (kept, kept[0].cost_nusd, ledger.lost)


def test_ledger_gets_many_at_once(tmp_path: Path) -> None:
    """The ledger gets many records when their watchers are told, and writes them with the rest."""
    calls: list[tuple[int, bool]] = []

    class Notes(SqliteLedger):
        def append(self, records: Sequence[Record], *, more: bool = False) -> None:
            calls.append((len(records), more))
            super().append(records, more=more)

    ledger = Notes(tmp_path / "ledger", 90, SystemClock(), lambda _: None)
    ledger.open()
    later = Later()
    recorder = Recorder([], later, ledger)
    given = [Record(datetime(2026, 1, 1, tzinfo=UTC), str(n), "ci") for n in range(128)]
    for each in given:
        recorder.put(partial(replace, each))
    later.comes()
    ledger.close()
    kept = [each for page in LedgerFile(ledger.path).pages(None, None) for each in page]

    assert [(64, True), (64, True), (0, False)] == calls
    assert given == kept


def test_record_that_comes_while_others_are_told() -> None:
    """What a watcher's own work leads to is told the next time."""
    later, ids = Later(), list[str]()

    def puts(records: Sequence[Record]) -> None:
        told(ids)(records)
        if len(ids) == 1:
            recorder.put(partial(record, 2))

    recorder = Recorder([puts], later)
    recorder.put(partial(record, 1))
    later.comes()
    first = list(ids)
    later.comes()

    assert (["1"], ["1", "2"]) == (first, ids)
