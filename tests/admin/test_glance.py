"""What the operator's page tells of the ledger."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from passgate.admin.glance import Glance
from passgate.core.exchange import Ending, Record
from passgate.core.vitals import Totals
from passgate.edge import ledger_sql
from passgate.edge.ledger_file import LedgerFile, LedgerProblem
from passgate.edge.ledger_report import LedgerReport

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


class Still:
    """A clock that the test moves, and an owner of tasks that counts."""

    def __init__(self) -> None:
        self.monotonic_s = 100.0
        self.looks = 0

    def monotonic(self) -> float:
        """See ``interfaces.Clock``."""
        return self.monotonic_s

    def wall(self) -> float:
        """See ``interfaces.Clock``."""
        return NOW.timestamp()

    def start(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """See ``interfaces.Tasks``."""
        self.looks += 1
        return asyncio.get_running_loop().create_task(coro, name=name)


def record(number: int, age: timedelta = timedelta(), **said: Any) -> Record:
    """Return a record that began *age* ago."""
    ordinary: dict[str, Any] = {
        "client": "ci",
        "model": "asked",
        "model_served": "claude-a",
        "status": 200,
        "ending": Ending.COMPLETE,
        "usage": "final",
        "input_tokens": 1,
        "cache_read_tokens": 2,
        "cache_write_5m_tokens": 3,
        "cache_write_1h_tokens": 4,
        "output_tokens": 5,
        "cost_nusd": 100,
        "price_status": "exact",
    }
    return Record(NOW - age, f"req_{number}", **ordinary | said)


def written(path: Path, *records: Record) -> None:
    """Write a ledger."""
    connection = ledger_sql.open_to_write(path)
    ledger_sql.insert(connection, records)
    connection.close()


def glance(path: Path, still: Still) -> Glance:
    """Return what looks into the ledger at *path*."""
    opened = LedgerFile(path).opened
    return Glance(
        lambda since: LedgerReport(opened, since, lambda *_: None).days(),
        LedgerProblem,
        still,
        still,
    )


async def test_sums(tmp_path: Path) -> None:
    """Today and thirty days are told, by client and by the model that served, the dearest first."""
    day = timedelta(days=1)
    written(
        tmp_path / "l",
        record(1),
        record(2, status=529),
        record(3, client="dev", cost_nusd=900, model_served=None),
        record(4, day, cost_nusd=None, price_status="unknown"),
        record(5, 29 * day, error="upstream"),
        record(6, 31 * day),
        record(7, usage="none", cost_nusd=None, input_tokens=None),
    )
    told = await glance(tmp_path / "l", Still()).spent()
    assert told is not None
    today, month = told

    assert ("Today, by UTC", "The last 30 days") == (today.title, month.title)
    assert (Totals("dev", 1, 0, 10, 5, 900), Totals("ci", 3, 1, 29, 15, 200)) == today.clients
    assert (Totals("dev", 1, 0, 10, 5, 900), Totals("ci", 5, 2, 49, 25, 300, 1)) == month.clients
    assert ["asked", "claude-a"] == [each.name for each in month.models]


async def test_kept_for_a_while(tmp_path: Path) -> None:
    """However many look, the ledger is read once in half a minute."""
    written(tmp_path / "l", record(1))
    still = Still()
    looking = glance(tmp_path / "l", still)
    both = await asyncio.gather(looking.spent(), looking.spent())
    written(tmp_path / "l", record(2))
    still.monotonic_s += 29
    kept = await looking.spent()
    still.monotonic_s += 2
    anew = await looking.spent()

    assert both[0] == both[1] == kept
    assert anew is not None
    assert (2, 2) == (anew[0].clients[0].requests, still.looks)


async def test_no_ledger(tmp_path: Path) -> None:
    """Without a ledger there is nothing to tell; once there is one, it is told."""
    still = Still()
    looking = glance(tmp_path / "l", still)
    before = await looking.spent()
    written(tmp_path / "l", record(1))
    still.monotonic_s += 31

    assert before is None
    assert await looking.spent() is not None


async def test_broken_ledger(tmp_path: Path) -> None:
    """A file that is no ledger, or that breaks while it is read, is as none."""
    (tmp_path / "l").write_text("no ledger" * 200)
    connection = sqlite3.connect(tmp_path / "m")
    connection.execute("CREATE TABLE exchanges (ts INTEGER)")
    connection.close()

    assert await glance(tmp_path / "l", Still()).spent() is None
    assert await glance(tmp_path / "m", Still()).spent() is None
