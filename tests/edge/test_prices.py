"""Prices are found by a child that comes and goes; what it does to the gateway is nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from passgate.core.exchange import Record
from passgate.core.pricebook import PriceBook, Prices
from passgate.core.pricing import Price
from passgate.edge import prices
from passgate.edge.prices import COMMAND, PriceLookup
from passgate.edge.tasks import TaskOwner

OPUS, NEON = "claude-opus-5-5", "gemini-9-neon"
KNOWN = Price(10 * 4000 + 20 * 20_000, "exact")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing longer than a test has time."""
    monkeypatch.setattr(prices, "_GATHER_S", 0.0)
    monkeypatch.setattr(prices, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(prices, "_IDLE_S", 0.05)


def record(model: str, id_: str = "1") -> Record:
    """Return a record that wants a price."""
    made = Record(datetime(2026, 11, 22, tzinfo=UTC), id_, model=model, upstream="claude")
    made.usage, made.input_tokens, made.output_tokens = "final", 10, 20
    return made


class Bench:
    """A lookup, and what it told.

    Attributes:
        told: Ids and prices, in the order they were told.
        notices: What the operator was told.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.told: list[tuple[str, Price]] = []
        self.notices: list[str] = []
        self.faults: list[Exception] = []
        self._news = asyncio.Condition()
        self.tasks = TaskOwner(self.faults.append)
        self.book = PriceBook(self.notices.append)
        self.book.goes_by({"claude": "anthropic"}, [])
        self.lookup = PriceLookup(self.book, self.tasks, self._late, self._notice, command)
        self._event = asyncio.Event()

    def _late(self, found: Prices) -> None:
        self.told += found.items()
        self._event.set()

    def _notice(self, sentence: str) -> None:
        self.notices.append(sentence)
        self._event.set()

    async def news(self) -> None:
        """Return when something was told since the last call."""
        async with asyncio.timeout(20):
            await self._event.wait()
        self._event.clear()


@asynccontextmanager
async def bench(*command: str) -> AsyncIterator[Bench]:
    """Run a lookup."""
    made = Bench(command or COMMAND)
    try:
        yield made
    finally:
        await made.tasks.cancel_all()
    assert [] == made.faults


def child(script: str) -> tuple[str, ...]:
    """Return a child that runs *script*."""
    return (sys.executable, "-I", "-S", "-c", script)


async def test_found() -> None:
    """A price that is not known is pending, told as soon as it is found, and known from then."""
    async with bench() as it:
        first, later = record(OPUS), record(OPUS, "2")
        it.lookup([first])
        await it.news()
        it.lookup([later])

    assert (None, "pending") == (first.cost_nusd, first.price_status)
    assert [("1", KNOWN)] == it.told
    assert KNOWN == (later.cost_nusd, later.price_status)
    assert [] == it.notices


async def test_once() -> None:
    """However many records and models: each is asked for once, of one child."""
    async with bench() as it:
        it.lookup([record(OPUS, str(number)) for number in range(50)])
        it.lookup([record(NEON, "neon"), record(OPUS, "last")])
        await it.news()
        while len(it.told) < 52:
            await it.news()

    assert {(str(number), KNOWN) for number in (*range(50), "last")} | {
        ("neon", Price(None, "unknown"))
    } == set(it.told)
    assert ["'gemini-9-neon' of anthropic has no price"] == [
        notice.partition(":")[0].removeprefix("model ") for notice in it.notices
    ]


async def test_prefetched() -> None:
    """What is expected is looked up before there is a record."""
    async with bench() as it:
        it.book.foresee("claude", OPUS, lambda: record(OPUS))
        it.lookup.wake()
        await asyncio.wait(it.tasks._tasks)
        known = record(OPUS)
        it.lookup([known])

    assert KNOWN == (known.cost_nusd, known.price_status)
    assert [] == it.told


async def test_a_child_for_a_while(tmp_path: Path) -> None:
    """The child ends when nothing is asked, and comes back when something is."""
    pids = tmp_path / "pids"
    script = (
        "import os, sys\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "for line in sys.stdin: print('{\"model\": null}', flush=True)"
    )
    async with bench(*child(script)) as it:
        for model in ("a", "b"):
            it.lookup([record(model)])
            await it.news()
            async with asyncio.timeout(20):
                await asyncio.wait(it.tasks._tasks)
            assert not any(map(is_alive, pids_in(pids)))

    assert 2 == len(pids_in(pids))


BROKEN = [
    pytest.param(("/nonexistent/python",), "FileNotFoundError", id="not there"),
    pytest.param(child("raise SystemExit"), "ChildFailed", id="ends at once"),
    pytest.param(child("input(); print('nonsense')"), "ChildFailed", id="nonsense"),
    pytest.param(child("print('x' * 200_000)"), "ChildFailed", id="too much"),
    pytest.param(child("import time; time.sleep(60)"), "does not answer", id="silent"),
]


@pytest.mark.parametrize(("command", "why"), BROKEN)
async def test_broken(command: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a child prices are pending, the operator is told once, and it is tried again."""
    monkeypatch.setattr(prices, "_ANSWER_S", 0.5)
    async with bench(*command) as it:
        waiting = record(OPUS)
        it.lookup([waiting])
        await it.news()
        it.lookup._command = COMMAND
        monkeypatch.setattr(prices, "_ANSWER_S", 20.0)
        await it.news()

    assert "pending" == waiting.price_status
    assert [("1", KNOWN)] == it.told
    assert 1 == len(it.notices)
    assert why in it.notices[0]


async def test_a_question_that_kills() -> None:
    """A name that the child cannot take keeps no other from its price."""
    script = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    if 'bad' in line: raise SystemExit\n"
        "    print('{\"model\": null}', flush=True)"
    )
    async with bench(*child(script)) as it:
        it.lookup([record("bad", "bad"), record("good", "good")])
        while not it.told:
            await it.news()

    assert [("good", Price(None, "unknown"))] == it.told


async def test_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's environment is empty, whatever the gateway's holds."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    script = (
        "import os, sys\n"
        "left = set(os.environ) - {'LC_CTYPE'}\n"  # Python's own, where there is none
        "for line in sys.stdin: print('no' if left else '{\"model\": null}', flush=True)"
    )
    async with bench(*child(script)) as it:
        it.lookup([record(OPUS)])
        while not it.told:
            await it.news()

    assert [("1", Price(None, "unknown"))] == it.told


async def test_stopped_midway(tmp_path: Path) -> None:
    """A gateway that stops leaves no child behind."""
    script = (
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "time.sleep(60)"
    )
    async with bench(*child(script)) as it:
        it.lookup([record(OPUS)])
        await asyncio.to_thread(appears, tmp_path / "pid")

    assert [False] == [is_alive(pid) for pid in pids_in(tmp_path / "pid")]


def appears(path: Path) -> None:
    """Return when something was written to *path*."""
    for _ in range(2000):
        if pids_in(path):
            return
        time.sleep(0.01)
    pytest.fail("the child was never started")


def pids_in(path: Path) -> list[int]:
    """Return the process ids that children wrote."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    """Return whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
