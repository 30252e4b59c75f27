"""What ``passgate ledger`` prints, writes and deletes, and its exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from passgate.cli import ledger
from passgate.core.exchange import Ending, Record
from passgate.edge import ledger_sql
from passgate.edge.logs import as_json
from tests.cli.command import Command
from tests.contracts.records import record


class Ledger(Command):
    """The command, with a state directory and a configuration of its own."""

    def __init__(
        self, directory: Path, capture: pytest.CaptureFixture[str], env: pytest.MonkeyPatch
    ) -> None:
        super().__init__(ledger, capture)
        self.file = directory / "state" / "ledger.sqlite3"
        self.config = directory / "passgate.toml"
        env.setenv("PASSGATE_STATE_DIR", str(self.file.parent))
        env.chdir(directory)

    def keeps(self, *records: Record) -> None:
        """Put *records* into the ledger."""
        with closing(ledger_sql.open_to_write(self.file)) as connection:
            ledger_sql.insert(connection, records)


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """The command."""
    return Ledger(tmp_path, capsys, monkeypatch)


def test_size(run: Ledger) -> None:
    """How big, how old, and how long it is kept: for people and for programs."""
    run.config.write_text("[ledger]\nkeep_days = 30\n")
    run.keeps(record(0), record(5))
    said, as_json = run("size"), json.loads(run("size", "--format", "json").out)
    written = sum(file.stat().st_size for file in run.file.parent.iterdir())

    assert (0, "") == (said.status, said.err)
    assert [
        f"file    {run.file}",
        f"size    {written / 1e6:.1f} MB",
        "rows    2",
        "oldest  2026-11-01T00:00:00Z",
        "newest  2026-11-01T00:00:05Z",
        "kept    30 days",
    ] == said.out.splitlines()
    assert {
        "file": str(run.file),
        "bytes": written,
        "free_bytes": 0,
        "rows": 2,
        "oldest": "2026-11-01T00:00:00Z",
        "newest": "2026-11-01T00:00:05Z",
        "keep_days": 30,
    } == as_json


def test_size_of_nothing(run: Ledger) -> None:
    """A ledger without rows is no error."""
    run.keeps()
    empty = json.loads(run("size", "--format", "json").out)

    assert (0, None, None) == (empty["rows"], empty["oldest"], empty["newest"])
    assert "rows    0\nkept    90 days\n" in run("size").out


def aged(**spans: int) -> list[Record]:
    """Return records that began so long ago, by id."""
    now = datetime.now(UTC)
    return [record(id=name, ts=now - timedelta(days=days)) for name, days in spans.items()]


def exported(run: Ledger, *words: str) -> list[dict[str, Any]]:
    """Return the lines of an export."""
    return [json.loads(line) for line in run("export", *words).out.splitlines()]


def test_prune(run: Ledger) -> None:
    """What is older than the configuration says goes; the command line counts over it."""
    run.config.write_text("[ledger]\nkeep_days = 30\n")
    run.keeps(*aged(old=31, older=300, young=29, new=0))
    first, left = run("prune"), exported(run)
    second, last = run("prune", "--keep-days", "5"), exported(run)

    assert (0, "") == (first.status, first.err)
    assert first.out.startswith("deleted: 2 rows older than 30 days; ")
    assert second.out.startswith("deleted: 1 rows older than 5 days; ")
    assert (["young", "new"], ["new"]) == ([e["id"] for e in left], [e["id"] for e in last])


def test_prune_says_how_far_it_is(run: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it counts, and leaves the line clean."""
    run.keeps(*aged(old=91))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    said = run("prune")

    assert said.err.startswith("\r1 rows deleted")
    assert said.err.endswith("\r\x1b[K")


ODD = record(
    1,
    model='a "quoted", model',
    session="=HYPERLINK(1)",
    stop_reason="+1",
    stream=True,
    cost_nusd=-1,
    ttfb_ms=0.25,
    output_tokens=0,
    ending=Ending.CLIENT_LEFT,
    path="/v1/über",
)


def test_export_is_the_log(run: Ledger) -> None:
    """JSON lines are those that the log had, to the byte."""
    run.keeps(record(0), ODD)
    said = run("export")

    assert (0, "") == (said.status, said.err)
    assert as_json([record(0), ODD]).decode() == said.out


def test_export_as_csv(run: Ledger) -> None:
    """CSV has a line of names; null is nothing; no text is a formula to a spreadsheet."""
    run.keeps(record(0), ODD)
    said = run("export", "--format", "csv")
    names, plain, odd = csv.reader(io.StringIO(said.out, newline=""))
    got = dict(zip(names, odd, strict=True))

    assert list(Record.__struct_fields__) == names
    assert "2026-11-01T00:00:00Z" == plain[0]
    assert {
        "ts": "2026-11-01T00:00:01Z",
        "model": 'a "quoted", model',
        "session": "'=HYPERLINK(1)",
        "stop_reason": "'+1",
        "stream": "true",
        "cost_nusd": "-1",
        "ttfb_ms": "0.25",
        "output_tokens": "0",
        "input_tokens": "",
        "ending": "client_left",
        "path": "/v1/über",
    }.items() <= got.items()


def test_export_of_a_span(run: Ledger) -> None:
    """A date, a time, or a time ago; the beginning is in it, the end is not."""
    run.keeps(record(0), record(60), *aged(old=10, new=1))
    spans = [
        exported(run, "--since", "2026-11-01", "--until", "2026-11-01T00:01Z"),
        exported(run, "--since", "5d"),
        exported(run, "--until", "5d", "--since", "100w"),
    ]
    ids = [[each["id"] for each in span] for span in spans]

    assert [record(0).id] == ids[0]
    assert "new" in ids[1]
    assert "old" in ids[2]
    assert "new" not in ids[2]


def test_export_to_a_file(run: Ledger) -> None:
    """The file is new, whole, and its owner's alone; one that is there is left alone."""
    run.keeps(record(0))
    out = run.file.parent / "out.json"
    first, second = run("export", "--output", str(out)), run("export", "--output", str(out))

    assert (0, "", "") == (first.status, first.out, first.err)
    assert as_json([record(0)]) == out.read_bytes()
    assert 0o600 == stat.S_IMODE(out.stat().st_mode)
    assert (1, f"passgate: {out}: File exists\n") == (second.status, second.err)


def test_export_that_fails(run: Ledger) -> None:
    """A part of an export is not left behind."""
    run.keeps(*(record(n) for n in range(1_500)))
    with closing(ledger_sql.open_to_write(run.file)) as connection:
        connection.execute("UPDATE exchanges SET ending = 'unheard' WHERE id = 'req_001400'")
    out = run.file.parent / "out.json"
    with pytest.raises(ValueError, match="unheard"):
        run("export", "--output", str(out))

    assert not out.exists()


def test_reader_that_has_enough(run: Ledger) -> None:
    """`passgate ledger export | head -1` ends quietly."""
    run.keeps(*(record(n, path="/" * 500) for n in range(3_000)))
    command = [sys.executable, "-m", "passgate", "ledger", "export"]
    env = {"PASSGATE_STATE_DIR": str(run.file.parent), "PATH": os.defpath}
    with subprocess.Popen(  # noqa: S603  our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()

    assert as_json([record(0, path="/" * 500)]) == line
    assert (0, b"") == (process.returncode, err)


@pytest.mark.parametrize("words", [["size"], ["prune"], ["export"], ["export", "--format=csv"]])
def test_no_ledger(run: Ledger, words: list[str]) -> None:
    """Without a ledger it says so, and makes none."""
    said = run(*words)

    assert (1, "", f"passgate: {run.file}: there is no ledger yet\n") == (
        said.status,
        said.out,
        said.err,
    )
    assert not run.file.exists()


def test_configuration_that_is_wrong(run: Ledger) -> None:
    """Of the configuration its own table counts, and nothing else."""
    run.keeps()
    run.config.write_text("[ledger]\nkeep_days = 0\n")
    wrong = run("size")
    run.config.write_text("[server]\nport = 'x'\n[ledger]\nkeep_days = 5\n")
    other = run("size")
    missing = run("size", "--config", "elsewhere.toml")

    assert (1, 1) == (wrong.status, missing.status)
    assert "passgate.toml: [ledger] keep_days: must be from 1" in wrong.err
    assert (0, "kept    5 days") == (other.status, other.out.splitlines()[-1])


@pytest.mark.parametrize(
    "words",
    [[], ["size", "x"], ["export", "--since", "soon"], ["prune", "--keep-days", "0"], ["drop"]],
)
def test_wrong_use(run: Ledger, words: list[str]) -> None:
    """A wrong use is told apart from a ledger that is wrong."""
    assert 2 == run(*words).status
