"""The sums are those of the exchanges, whatever is written, priced, deleted, in any order."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passgate.core import report
from passgate.core.exchange import Record
from passgate.edge import ledger_sql, ledger_sums
from passgate.edge.ledger_sums import DAILY, SESSIONS, Kept

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
Sums = dict[tuple[Any, ...], tuple[int, ...]]


@contextmanager
def ledger() -> Iterator[sqlite3.Connection]:
    """Return an empty ledger in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        ledger_sql.migrate(connection)
        yield connection


def expected(records: list[Record], kept: Kept) -> Sums:
    """Return the sums of *records*, counted one by one."""
    sums: dict[tuple[Any, ...], Counter[str]] = {}
    for each in records:
        day, model = each.ts.toordinal() - 719_163, each.model_served or each.model or ""
        key = {
            "sums_daily": (day, each.upstream or "", each.client, model),
            "sums_sessions": (
                day,
                each.session or "",
                each.agent or "",
                each.parent_agent or "",
                each.upstream or "",
                model,
            ),
        }[kept.name]
        unpriced = each.price_status in ("unknown", "pending")
        sums.setdefault(key, Counter()).update(
            {
                "requests": 1,
                "errors": int(each.error is not None or (each.status or 0) >= 400),
                "metered": int(each.usage != "none"),
                "partial": int(each.usage == "partial"),
                "approximate": int(each.price_status == "approximate"),
                "unpriced": int(unpriced),
                "unpriced_output_tokens": (each.output_tokens or 0) * unpriced,
                **{
                    name: getattr(each, name) or 0
                    for name in report.COUNTERS
                    if name in Record.__struct_fields__
                },
            }
        )
    return {key: tuple(count[n] for n in report.COUNTERS) for key, count in sums.items()}


def found(connection: sqlite3.Connection, kept: Kept) -> Sums:
    """Return the sums that a report reads: what is summed up, and what is not."""
    [upto] = connection.execute(ledger_sums.UPTO).fetchone()
    rows = connection.execute(kept.summed, {"day": 0}).fetchall()
    bounds = {"low": upto + 1, "high": 1 << 40, "ts": 0}
    rows += connection.execute(kept.not_summed, bounds).fetchall()
    sums: dict[tuple[Any, ...], Counter[int]] = {}
    for row in rows:
        key = row[: len(kept.keys)]
        sums.setdefault(key, Counter()).update(dict(enumerate(row[len(kept.keys) :])))
    size = range(len(report.COUNTERS))
    return {key: tuple(count[at] for at in size) for key, count in sums.items()}


def test_counters() -> None:
    """What is kept is what a report counts, in its order."""
    assert ledger_sums.COUNTERS == report.COUNTERS


_COUNT = st.none() | st.integers(0, 1000)
_NAME = st.none() | st.sampled_from("xy")
_RECORDS = st.builds(
    Record,
    ts=st.sampled_from([NOON, NOON + timedelta(hours=11), NOON + timedelta(hours=13)]),
    id=st.just(""),
    client=st.sampled_from(["a", "b"]),
    upstream=_NAME,
    model=_NAME,
    model_served=_NAME,
    session=_NAME,
    agent=_NAME,
    parent_agent=_NAME,
    status=st.none() | st.sampled_from([200, 399, 400, 529]),
    error=st.none() | st.just("upstream"),
    usage=st.sampled_from(["none", "partial", "final"]),
    price_status=st.none() | st.sampled_from(["exact", "approximate", "unknown", "pending"]),
    cost_nusd=_COUNT,
    input_tokens=_COUNT,
    output_tokens=_COUNT,
    cache_read_tokens=_COUNT,
    cache_write_5m_tokens=_COUNT,
    cache_write_1h_tokens=_COUNT,
    thinking_tokens=_COUNT,
    web_searches=_COUNT,
)
_STEPS = st.lists(
    st.one_of(
        st.lists(_RECORDS, min_size=1, max_size=4),
        st.just("sum up"),
        st.tuples(
            st.just("price"), st.integers(0, 20), _COUNT, st.sampled_from(["exact", "unknown"])
        ),
        st.tuples(st.just("delete"), st.integers(0, 2)),
        st.tuples(st.just("drop last"), st.integers(1, 3)),
    ),
    max_size=14,
)


@settings(deadline=None)
@given(steps=_STEPS)
def test_always_the_sums(steps: list[Any]) -> None:
    """After any writes, prices and deletions: the sums of what is there, summed up or not."""
    with pytest.MonkeyPatch.context() as patch, ledger() as connection:
        patch.setattr(ledger_sums, "MOST_ROWS", 3)
        count = 0
        for step in steps:
            match step:
                case "sum up":
                    ledger_sums.sum_up(connection)
                case ("price", number, cost, status):
                    ledger_sql.reprice(connection, [(str(number), (cost, status))])
                case ("delete", days):
                    before = ledger_sql.micros(NOON + timedelta(hours=12 * days))
                    ledger_sql.delete_before(connection, before, 2)
                case ("drop last", most):
                    connection.execute(
                        "DELETE FROM exchanges WHERE seq IN "
                        "(SELECT seq FROM exchanges ORDER BY seq DESC LIMIT ?)",
                        (most,),
                    )
                case records:
                    for each in records:
                        each.id, count = str(count), count + 1
                    ledger_sql.insert(connection, records)
        rows = connection.execute(f"{ledger_sql.SELECT} ORDER BY seq")
        left = [ledger_sql.record_of(row) for row in rows]
        for kept in (DAILY, SESSIONS):
            assert expected(left, kept) == found(connection, kept)


def test_by_the_thousand() -> None:
    """A thousand are summed up at a time; fewer wait, and are read all the same."""
    records = [Record(NOON, str(number), "a", input_tokens=1) for number in range(2500)]
    with ledger() as connection:
        for at in range(0, 2500, 100):
            ledger_sql.insert(connection, records[at : at + 100])
        did = [ledger_sums.sum_up(connection) for _ in range(4)]
        [upto] = connection.execute(ledger_sums.UPTO).fetchone()
        [(_, sums)] = found(connection, DAILY).items()

    assert [True, True, False, False] == did
    assert 2000 == upto
    assert 2500 == sums[0]


def test_nonsense_does_not_fail() -> None:
    """What an upstream may say at most, a thousand times over, can be summed up."""
    count, cost = (1 << 53) - 1, (1 << 63) - 1
    records = [
        Record(NOON, str(number), "a", input_tokens=count, cost_nusd=cost) for number in range(1000)
    ]
    with ledger() as connection:
        for at in range(0, 1000, 100):
            ledger_sql.insert(connection, records[at : at + 100])

        assert ledger_sums.sum_up(connection)


def test_older_ledger() -> None:
    """A ledger of the first version is brought up to date, and nothing of it is left out."""
    first, *_ = ledger_sql._STEPS
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in first:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {ledger_sql._APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        old = [Record(NOON, "1", "a", input_tokens=7)]
        ledger_sql.insert(connection, old)
        ledger_sql.migrate(connection)

        assert expected(old, DAILY) == found(connection, DAILY)
