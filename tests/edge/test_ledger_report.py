"""A report reads sums and times that are those of the exchanges, however it splits the work."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from passgate.core import report
from passgate.core.exchange import Ending, Record
from passgate.core.report import Row
from passgate.edge import ledger_report, ledger_sql, ledger_sums
from passgate.edge.ledger_file import LedgerFile, LedgerProblem
from passgate.edge.ledger_report import LedgerReport

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = NOON.toordinal() - 719_163


def record(number: int) -> Record:
    """Return one of many different exchanges, one every half hour."""
    made = Record(NOON + timedelta(minutes=30 * number), f"req_{number}", f"client-{number % 3}")
    made.model = made.model_served = ("opus", "haiku")[number % 2]
    made.upstream, made.session = "claude", f"session-{number % 5}"
    made.agent = f"agent-{number % 7}" if number % 4 else None
    made.usage, made.cost_nusd, made.price_status = "final", number, "exact"
    made.input_tokens = number
    made.status, made.ending = (200, 529)[number % 10 == 0], Ending.COMPLETE
    made.ttfb_ms, made.duration_ms = number * 3.7, number * 41.3
    return made


RECORDS = [record(number) for number in range(600)]


@pytest.fixture(scope="module", params=["summed", "not summed", "partly"])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with all of them, of which all, nothing or some is summed up."""
    path = tmp_path_factory.mktemp("state") / "ledger.sqlite3"
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(ledger_sql.open_to_write(path)) as connection,
    ):
        patch.setattr(ledger_sums, "MOST_ROWS", 100)
        ledger_sql.insert(connection, RECORDS)
        for _ in range({"summed": 6, "not summed": 0, "partly": 2}[request.param]):
            assert ledger_sums.sum_up(connection)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hundred rows be many parts."""
    monkeypatch.setattr(ledger_report, "_PART_ROWS", 37)


def reader(
    path: Path, since_day: int = 0, told: list[tuple[int, int]] | None = None
) -> LedgerReport:
    """Return what reads the ledger at *path*."""
    parts: list[tuple[int, int]] = [] if told is None else told
    return LedgerReport(
        LedgerFile(path).opened, since_day, lambda done, of: parts.append((done, of))
    )


def costs(rows: Iterator[Row] | list[Row]) -> Counter[tuple[object, ...]]:
    """Return requests and cost of each row by its labels, day and model."""
    found: Counter[tuple[object, ...]] = Counter()
    at = report.COUNTERS.index("cost_nusd")
    for row in rows:
        found[(*row.labels, row.day, row.model, "requests")] += row.counters[0]
        found[(*row.labels, row.day, row.model, "cost")] += row.counters[at]
    return found


@pytest.mark.parametrize("since", [0, DAY + 3, DAY + 1000])
def test_days(ledger: Path, since: int) -> None:
    """By day, client and model: whole days from the first one on."""
    expected: Counter[tuple[object, ...]] = Counter()
    for each in RECORDS:
        day = each.ts.toordinal() - 719_163
        if day >= since:
            expected[(each.client, day, each.model, "requests")] += 1
            expected[(each.client, day, each.model, "cost")] += each.cost_nusd or 0
    got = reader(ledger, since).days()

    assert +expected == +costs(got)
    assert {"claude"} >= {row.upstream for row in got}


@pytest.mark.parametrize("since", [0, DAY + 3])
def test_sessions(ledger: Path, since: int) -> None:
    """By session, agent and its parent, where what is not told is nothing."""
    expected: Counter[tuple[object, ...]] = Counter()
    for each in RECORDS:
        day = each.ts.toordinal() - 719_163
        if day >= since:
            expected[(each.session, each.agent, None, day, each.model, "requests")] += 1
            expected[(each.session, each.agent, None, day, each.model, "cost")] += (
                each.cost_nusd or 0
            )

    assert +expected == +costs(reader(ledger, since).sessions())


@pytest.mark.parametrize("by", [None, "client", "model", "day"])
def test_times(ledger: Path, by: str | None) -> None:
    """Times fall into the steps that say so, of what was answered well and whole."""
    times = reader(ledger).times(by)
    good = [each for each in RECORDS if each.status == 200]
    groups = {
        None: {None},
        "client": {each.client for each in good},
        "model": {each.model for each in good},
        "day": {each.ts.toordinal() - 719_163 for each in good},
    }[by]
    first, whole = Counter[int](), Counter[int]()
    for firsts, wholes in times.values():
        first += firsts
        whole += wholes

    assert groups == set(times)
    assert sorted(each.ttfb_ms or 0 for each in good) == pytest.approx(
        [middle(step) for step in sorted(first.elements())], rel=1 / 32, abs=1 / 64
    )
    assert sorted(each.duration_ms for each in good) == pytest.approx(
        [middle(step) for step in sorted(whole.elements())], rel=1 / 32, abs=1 / 64
    )


def middle(step: int) -> float:
    """Return the middle of a step."""
    return sum(report.step_bounds_ms(step)) / 2


def test_extreme_times(tmp_path: Path) -> None:
    """No time at all, next to none, and longer than anything have a step each."""
    path = tmp_path / "ledger.sqlite3"
    spans = [0.0, 0.01, 1 / 64, 0.49, 0.5, 31.99, 32.0, 1e6, 1e9]
    with closing(ledger_sql.open_to_write(path)) as connection:
        for at, span in enumerate(spans):
            each = Record(NOON, str(at), "a", status=200, ending=Ending.COMPLETE)
            each.duration_ms, each.ttfb_ms = span, None
            ledger_sql.insert(connection, [each])
    [(first, whole)] = reader(path).times(None).values()
    bounds = [report.step_bounds_ms(step) for step in sorted(whole.elements())]

    assert not first
    assert all(low <= span < high for span, (low, high) in zip(spans, bounds, strict=True))


def test_sample(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many exchanges an even part is looked at, and that is told."""
    every = reader(ledger)
    every.times(None)
    monkeypatch.setattr(ledger_report, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(ledger_report, "_BLOCKS", 10)
    some = reader(ledger)
    [(_, whole)] = some.times(None).values()
    [(p50, _, _)] = [report.percentiles(whole)]

    assert (False, True) == (every.sampled, some.sampled)
    assert 80 <= whole.total() <= 100
    assert p50 == pytest.approx(300 * 41.3, rel=0.2)


def test_progress(ledger: Path) -> None:
    """Whoever waits is told how many parts are done; what is summed up takes none."""
    told: list[tuple[int, int]] = []
    list(reader(ledger, told=told).days())

    assert [(done, len(told)) for done in range(1, len(told) + 1)] == told


def test_memory(tmp_path: Path) -> None:
    """However many exchanges there are, a report holds sums, not exchanges."""
    path = tmp_path / "ledger.sqlite3"
    with closing(ledger_sql.open_to_write(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for at in range(0, 20_000, 100):
            records = [record(number % 600) for number in range(at, at + 100)]
            for number, each in enumerate(records, at):
                each.id = str(number)
            ledger_sql.insert(connection, records)
        while ledger_sums.sum_up(connection):
            pass
    tracemalloc.start()
    try:
        many = reader(path)
        days, sessions, times = many.days(), sum(1 for _ in many.sessions()), many.times("client")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 20_000 == sum(row.counters[0] for row in days)
    assert sessions
    assert 18_000 == sum(whole.total() for _, whole in times.values())
    assert peak_bytes < 2_000_000  # as records they take ten times that


def test_no_ledger(tmp_path: Path) -> None:
    """Where there is none, that is what is said."""
    with pytest.raises(LedgerProblem, match="there is no ledger yet"):
        reader(tmp_path / "none").days()


def test_empty(tmp_path: Path) -> None:
    """An empty ledger has no sums and no times."""
    path = tmp_path / "ledger.sqlite3"
    ledger_sql.open_to_write(path).close()
    empty = reader(path)

    assert ([], [], {}) == (empty.days(), list(empty.sessions()), empty.times("client"))
