"""What ``passgate report`` shows and hands out, and its exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from passgate.cli import report
from passgate.core.exchange import Ending, Record
from passgate.core.pricing import Key, Quote, Schedule, schedule_of
from passgate.edge import ledger_sql, prices
from passgate.edge.price_child import answers
from tests.cli.command import Command

LOOK_UP = prices.look_up
NOW = datetime.now(UTC)
MORNING = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
OPUS = "claude-opus-5-5"
NOT_METERED: dict[str, Any] = {
    "status": 529,
    "usage": "none",
    "price_status": None,
    **dict.fromkeys([name for name in Record.__struct_fields__ if name.endswith("_tokens")]),
    "cost_nusd": None,
}


class Report(Command):
    """The command, with a state directory and a configuration of its own."""

    def __init__(
        self, directory: Path, capture: pytest.CaptureFixture[str], env: pytest.MonkeyPatch
    ) -> None:
        super().__init__(report, capture)
        self.file = directory / "state" / "ledger.sqlite3"
        self.config = directory / "passgate.toml"
        self._count = 0
        env.setenv("PASSGATE_STATE_DIR", str(self.file.parent))
        env.chdir(directory)

    def keeps(self, days_ago: float, times: int = 1, **fields: Any) -> None:
        """Put exchanges into the ledger, each of case A and a little different."""
        records = []
        for _ in range(times):
            self._count += 1
            each = Record(MORNING - timedelta(days=days_ago), f"req_{self._count}", "ci")
            each.status, each.ending, each.usage = 200, Ending.COMPLETE, "final"
            each.model = each.model_served = OPUS
            each.upstream, each.ttfb_ms, each.duration_ms = "claude", 400.0, 2000.0
            each.input_tokens, each.output_tokens, each.cache_read_tokens = 100, 700, 50_000
            each.cache_write_5m_tokens, each.cache_write_1h_tokens = 1000, 2000
            each.cost_nusd, each.price_status = 45_400_000, "exact"
            for name, value in fields.items():
                setattr(each, name, value)
            records.append(each)
        with closing(ledger_sql.open_to_write(self.file)) as connection:
            ledger_sql.insert(connection, records)

    def json(self, *words: str) -> dict[str, Any]:
        """Return the report as a program reads it."""
        said = self(*words, "--format", "json")
        assert (0, "") == (said.status, said.err)
        found: dict[str, Any] = json.loads(said.out)
        return found


def in_this_process(keys: Sequence[Key]) -> dict[Key, Schedule]:
    """Return the rates of *keys* as the child would say them, without starting one."""
    lines = [prices._question(key).decode() for key in keys]
    quotes = [msgspec.json.decode(said, type=Quote) for said in answers(iter(lines))]
    return {key: schedule_of(key, quote) for key, quote in zip(keys, quotes, strict=True)}


@pytest.fixture
def tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Report:
    """The command, which looks prices up without a process of its own: that takes a while."""
    monkeypatch.setattr(prices, "look_up", in_this_process)
    return Report(tmp_path, capsys, monkeypatch)


def test_no_ledger(tell: Report) -> None:
    """Without a ledger there is no report, and it is said why."""
    said = tell()

    assert (1, "") == (said.status, said.out)
    assert "there is no ledger yet" in said.err


def test_nothing(tell: Report) -> None:
    """A time without exchanges is said to be one, in each format."""
    tell.keeps(100)
    said = tell()
    data = tell.json()
    rows = tell("--format", "csv").out.splitlines()

    assert 0 == said.status
    assert "no exchange of this time" in said.out
    assert ([], [], 0) == (data["groups"], data["days"], data["total"]["requests"])
    assert 1 == len(rows)


def test_total(tell: Report) -> None:
    """Sums, what caching saved, percentiles and what is not known: integers in nano-USD."""
    tell.keeps(1, times=3)
    tell.keeps(2, price_status="unknown", cost_nusd=None, model="x", model_served="x")
    tell.keeps(2, **NOT_METERED)
    tell.keeps(2, usage="partial", price_status="approximate")
    total = tell.json()["total"]

    assert (6, 1, 5, 1, 1, 1) == tuple(
        total[name]
        for name in ("requests", "errors", "metered", "partial", "approximate", "unpriced")
    )
    assert 4 * 45_400_000 == total["cost_nusd"]
    assert 700 == total["unpriced_output_tokens"]
    # All input at 4 USD instead: 0.2264 for each.
    assert 4 * (226_400_000 - 45_400_000) == total["saved_nusd"]
    assert round(50_000 / 53_100, 4) == total["cache_hit_share"]
    assert 400 == pytest.approx(total["ttfb_p50_ms"], rel=1 / 16)
    assert 2000 == pytest.approx(total["duration_p99_ms"], rel=1 / 16)


def test_unknown_is_not_nothing(tell: Report) -> None:
    """Where nothing has a price there is no cost, and no saving."""
    tell.keeps(1, price_status="unknown", cost_nusd=None, model="x", model_served="x")
    [group] = tell.json("--by", "model")["groups"]

    assert ("x", None, None) == (group["model"], group["cost_nusd"], group["saved_nusd"])


def test_by(tell: Report) -> None:
    """Groups come with the dearest first, days in their order."""
    tell.keeps(1, client="small")
    tell.keeps(3, times=2, client="big", model_served="claude-haiku-5-5")
    tell.keeps(2, client="small", session="s", cost_nusd=1)
    day = [(MORNING - timedelta(days=ago)).date().isoformat() for ago in (3, 2, 1)]

    assert ["big", "small"] == [each["client"] for each in tell.json()["groups"]]
    assert ["claude-haiku-5-5", OPUS] == [
        each["model"] for each in tell.json("--by", "model")["groups"]
    ]
    assert [None, "s"] == [each["session"] for each in tell.json("--by", "session")["groups"]]
    assert day == [each["day"] for each in tell.json("--by", "day")["groups"]]
    assert day == [each["day"] for each in tell.json()["days"]]
    assert [2, 1, 1] == [each["requests"] for each in tell.json()["days"]]


def test_agents(tell: Report) -> None:
    """Agents stand below who started them, with all that is below them."""
    tell.keeps(1, session="s", times=2)
    tell.keeps(1, session="s", agent="a")
    tell.keeps(1, session="s", agent="b", parent_agent="a")
    groups = tell.json("--by", "agent")["groups"]
    table = tell("--by", "agent").out

    assert [("s", None, 0, 4), ("s", "a", 1, 2), ("s", "b", 2, 1)] == [
        (each["session"], each["agent"], each["depth"], each["requests"]) for each in groups
    ]
    assert ["s ", "  a ", "    b "] == [
        line[:width]
        for line, width in zip(
            [line for line in table.splitlines() if line.strip()[:2] in ("s ", "a ", "b ")],
            (2, 4, 6),
            strict=True,
        )
    ]
    assert "lines do not add up" in table


def test_csv(tell: Report) -> None:
    """One row a group, with what a spreadsheet would run made harmless."""
    tell.keeps(1, client="=1+1")
    tell.keeps(1, client="plain", session="s", agent="a")
    rows = list(csv.DictReader(io.StringIO(tell("--format", "csv").out)))
    agents = list(csv.DictReader(io.StringIO(tell("--by", "agent", "--format", "csv").out)))

    assert ["'=1+1", "plain"] == sorted(each["client"] for each in rows)
    assert {"45400000"} == {each["cost_nusd"] for each in rows}
    assert ["", "a"] == sorted({each["agent"] for each in agents})
    assert "ttfb_p50_ms" in rows[0]
    assert "ttfb_p50_ms" not in agents[0]


@pytest.mark.parametrize(
    ("since", "expected"),
    [("2d", 2), ("3d", 3), ("1w", 3), ("40d", 4), ("0d", 0), ("MORNING-1", 1), ("2000-01-01", 4)],
)
def test_since(tell: Report, since: str, expected: int) -> None:
    """Days are whole ones, in UTC: the first one is the one that the moment lies in."""
    for ago in (0.5, 1.5, 2.5, 35):
        tell.keeps(ago)
    if since == "MORNING-1":
        since = (MORNING - timedelta(days=1)).date().isoformat()

    assert expected == tell.json("--since", since)["total"]["requests"]


def test_flat(tell: Report) -> None:
    """A flat price beside the price per token, in words and for programs."""
    for ago in range(1, 11):
        tell.keeps(ago, times=20)
    found = tell.json("--flat", "10")["flat"]
    table = tell("--flat", "10").out
    dear = tell("--flat", "1000").out

    assert (10 * 10**9, 30.44, 10, 10) == (
        found["flat_nusd"],
        found["period_days"],
        found["days"],
        found["active_days"],
    )
    assert 200 * 45_400_000 == found["recorded"]["cost_nusd"]
    # 2,000 tokens for an hour, at 8 instead of 5 USD.
    assert 200 * (45_400_000 - 2000 * 3000) == found["five_minutes"]["cost_nusd"]
    assert round(20 * 45_400_000 * 30.44) == found["recorded"]["period_nusd"]
    assert 221 == found["break_even"]["requests"]
    assert "flat" == found["verdict"]
    assert "the flat price is cheaper for this traffic" in table
    assert "paying per token is cheaper for this traffic" in dear
    assert "221 requests" in table


def test_flat_with_little(tell: Report) -> None:
    """A verdict is refused where the figures do not suffice, and the reason is told."""
    tell.keeps(1.5)

    assert "too little data" in tell("--flat", "10").out
    assert tell.json("--flat", "10", "--period", "7")["flat"]["period_days"] == 7
    tell.keeps(1.5, price_status="unknown", cost_nusd=None)
    assert "more than 5 % of the output has no price" in tell("--flat", "10").out


USAGE = [
    ["--flat", "-1"],
    ["--flat", "x"],
    ["--flat", "nan"],
    ["--flat", "1e9"],
    ["--flat", "0.00000000001"],
    ["--period", "0"],
    ["--period", "x"],
    ["--since", "x"],
    ["--by", "x"],
    ["--flat", "1", "--format", "csv"],
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_usage(tell: Report, words: list[str]) -> None:
    """What cannot be meant is a usage error, and nothing is printed."""
    tell.keeps(1)
    said = tell(*words)

    assert (2, "") == (said.status, said.out)
    assert said.err


def test_config(tell: Report) -> None:
    """Overrides count for what caching saved; a file that is wrong is told of."""
    tell.keeps(1, model="own", model_served="own")
    before = tell.json()["total"]["saved_nusd"]
    tell.config.write_text(
        '[pricing.override.own]\nprovider = "anthropic"\ninput = "1"\noutput = "1"\n'
        'cache_read = "0"\n'
    )
    after = tell.json()["total"]["saved_nusd"]
    tell.config.write_text("[pricing]\nx = 1\n")
    said = tell()

    assert (None, 50_000 * 1000) == (before, after)
    assert 1 == said.status
    assert "[pricing] x: unknown key" in said.err


def test_no_price_list(tell: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the price list there is a report all the same, but not what caching saved."""
    tell.keeps(1)
    monkeypatch.setattr(prices, "look_up", LOOK_UP)
    monkeypatch.setattr(prices, "COMMAND", ("/nonexistent",))
    total = tell.json()["total"]

    assert (45_400_000, None) == (total["cost_nusd"], total["saved_nusd"])


def test_harmless(tell: Report) -> None:
    """What a client chose cannot move a terminal's cursor, and is cut where it is long."""
    tell.keeps(1, client="\x1b[2J[red]" + "x" * 100)
    out = tell().out

    assert "\x1b" not in out
    assert "\\x1b[2J[red]xxx" in out
    assert "x" * 40 not in out


def test_many(tell: Report) -> None:
    """A table has an end; programs get every group."""
    for number in range(40):
        tell.keeps(1, client=f"client-{number}", cost_nusd=number)
    table = tell().out

    assert "and 10 more" in table
    assert 40 == len(tell.json()["groups"])


def test_plain_when_piped(tell: Report) -> None:
    """Piped on there is no colour, and no line is wrapped."""
    tell.keeps(1)
    out = tell().out

    assert "\x1b" not in out
    assert all(len(line) <= 160 for line in out.splitlines())
    assert "45.4" not in out
    assert "$0.0454" in out


@pytest.mark.parametrize("columns", [50, 80, 110])
def test_terminal(tell: Report, columns: int) -> None:
    """On a terminal no line is wider than it; colours are there unless they are not wanted."""
    for ago in range(1, 5):
        tell.keeps(ago, times=3, client="a-client-of-a-long-name")
    coloured = on_a_terminal(columns, {})
    plain = on_a_terminal(columns, {"NO_COLOR": "1"})

    assert "\x1b[" in coloured
    assert "\x1b[3" not in plain
    assert all(len(line.rstrip()) <= columns for line in plain.splitlines() if "\x1b" not in line)
    assert "$0.54" in plain


def on_a_terminal(columns: int, environ: dict[str, str]) -> str:
    """Return what the command writes to a terminal so wide."""
    leader, follower = pty.openpty()
    given = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONUTF8": "1"}  # noqa: TID251  a child's
    given |= {"PASSGATE_STATE_DIR": os.environ["PASSGATE_STATE_DIR"], "COLUMNS": str(columns)}  # noqa: TID251
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(leader, 65_536):
                pieces.append(piece)
        except OSError:
            pass  # the other end was closed

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    done = subprocess.run(
        [sys.executable, "-m", "passgate", "report"],
        stdout=follower,
        stderr=follower,
        env=given | environ,
        timeout=30,
        check=False,
    )
    os.close(follower)
    reading.join(10)
    os.close(leader)
    assert 0 == done.returncode
    return b"".join(pieces).decode()
