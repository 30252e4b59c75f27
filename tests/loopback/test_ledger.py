"""What the ledger holds of what was served, and what is served when it cannot be written."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from passgate.core.exchange import Ending
from passgate.edge import ledger_sql
from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sql import FILE_NAME
from tests.contracts.records import record
from tests.loopback.gateway import (
    WAIT_S,
    Served,
    client,
    connect,
    eventually,
    message,
    read_answer,
    running,
)
from tests.loopback.test_lifecycle import KEY, ask, config, get, put, request
from tests.loopback.test_lifecycle import client as client_table
from tests.loopback.upstream import Beside


def kept(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of the ledger in *directory*, as lines of the log, by time."""
    pages = LedgerFile(directory / FILE_NAME).pages(None, None)
    return [json.loads(msgspec.json.encode(record)) for page in pages for record in page]


def test_a_row_for_each_record(tmp_path: Path) -> None:
    """Served, streamed, refused, left: each record is a row. A stranger's is none."""
    narrow = client("narrow", "pg_" + "n" * 43, models=("claude-haiku-*",))
    with running(state_dir=tmp_path, clients=[narrow]) as gateway:
        gateway.ask(gateway.post(message()))
        gateway.ask(gateway.post(message("claude-text-5", stream=True)))
        gateway.ask(gateway.post(message("claude-error-429")))
        gateway.ask(gateway.head("GET", "/v1/models"))
        gateway.ask(gateway.post(message()).replace(gateway.key.encode(), b"pg_" + b"n" * 43))
        gateway.ask(gateway.post(message()).replace(gateway.key.encode(), b"pg_stranger"))
        with gateway.connect() as leaves:
            leaves.sendall(gateway.post(message("claude-silent", stream=True)))
            assert leaves.recv(1)
        records = gateway.recorded(7)
        ledger = gateway.app.ledger
    rows = [
        record for page in LedgerFile(tmp_path / FILE_NAME).pages(None, None) for record in page
    ]

    assert ledger is not None
    assert (0, 0) == (ledger.backlog, ledger.lost)
    assert {each.id: each for each in records if each.client} == {each.id: each for each in rows}
    assert 6 == len(rows)
    assert {Ending.COMPLETE, Ending.REFUSED, Ending.CLIENT_LEFT} == {row.ending for row in rows}


def test_nothing_is_kept_where_there_is_no_place(tmp_path: Path) -> None:
    """Without a state directory there is no ledger, and none is missed."""
    with running() as gateway:
        gateway.ask(gateway.post(message()))

        assert gateway.app.ledger is None
        assert 200 == gateway.ask(gateway.head("GET", "/ready")).status
    assert [] == list(tmp_path.iterdir())


@pytest.fixture
def beside() -> Iterator[Beside]:
    """A simulated upstream."""
    with Beside() as beside:
        yield beside


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to run in."""
    put(tmp_path / "credential", "up_first")
    return tmp_path


def settings(beside: Beside, more: str = "") -> str:
    """Return a configuration file."""
    return config(beside.port, clients=client_table("test", KEY), more=more)


def test_the_end_writes_what_is_left(directory: Path, beside: Beside) -> None:
    """SIGTERM right after an answer loses nothing: the ledger has what the log has."""
    with Served(settings(beside), directory) as gateway, connect(gateway.port) as connection:
        for _ in range(20):
            connection.sendall(request())
            read_answer(connection)
        status, records = gateway.stop()

    assert (0, 20) == (status, len(records))
    assert records == kept(directory / "state")


def test_prices_that_were_left_open(directory: Path, beside: Beside) -> None:
    """A row whose price was not known when the last process ended gets it at the next start."""
    told = {"upstream": "anthropic", "usage": "final", "input_tokens": 1000, "output_tokens": 9}
    priced = {"model": "claude-sonnet-4-5", "model_served": "claude-sonnet-4-5"}
    given = [
        record(n, ts=datetime.now(UTC), price_status="pending", **told, **(priced if n else {}))
        for n in range(3)
    ]
    (directory / "state").mkdir()
    with closing(ledger_sql.open_to_write(directory / "state" / FILE_NAME)) as connection:
        ledger_sql.insert(connection, given)
    with Served(settings(beside), directory):
        eventually(
            lambda: "pending" not in {row["price_status"] for row in kept(directory / "state")}
        )
        rows = kept(directory / "state")

    assert [(None, "unknown")] + [(1000 * 3000 + 9 * 15_000, "exact")] * 2 == [
        (row["cost_nusd"], row["price_status"]) for row in rows
    ]


def test_two_processes(directory: Path, beside: Beside) -> None:
    """Two that serve at once, as in a deploy, write to one ledger; both lose nothing."""
    toml = settings(beside)
    with Served(toml, directory) as old, Served(toml, directory) as new:
        for _ in range(20):
            for gateway in (old, new):
                assert 200 == ask(gateway.port, request()).status
        records = old.stop()[1]
        assert 200 == ask(new.port, request()).status
        records += new.stop()[1]

    assert sorted(each["id"] for each in records) == sorted(
        row["id"] for row in kept(directory / "state")
    )
    assert 41 == len(records)


# Disks.


@dataclass
class Disk:
    """A disk of which a test decides whether it is full.

    Attributes:
        fill: Makes it full for the process with this id.
        clear: Makes room.
        says: What the operator is told.
    """

    fill: Callable[[int], None]
    clear: Callable[[int], None]
    says: str


@contextmanager
def tmpfs(state: Path) -> Iterator[Disk]:
    """A file system of 3 MB, filled by somebody else's file."""
    state.mkdir(0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "none", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:  # noqa: S603
        pytest.skip("only root can mount a small file system")
    blob = state / "blob"

    def fill(_: int) -> None:
        with pytest.raises(OSError, match="No space left"), blob.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    try:
        yield Disk(fill, lambda _: blob.unlink(), "the disk is full")
    finally:
        subprocess.run(["umount", str(state)], check=True)  # noqa: S603, S607


@contextmanager
def file_limit(_: Path) -> Iterator[Disk]:
    """A process that may write no larger file."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux limits another process")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def limit(pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, unlimited[1]))

    def lift(pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)

    yield Disk(limit, lift, "the disk has an I/O error, or takes no larger file")


DISKS = pytest.mark.parametrize("disk", [tmpfs, file_limit], ids=["tmpfs", "file limit"])


def ready(gateway: Served) -> tuple[int, dict[str, Any]]:
    """Return status and body of ``/ready``, asked with a key."""
    answer = ask(gateway.port, get("/ready", f"x-api-key: {KEY}"))
    return answer.status, answer.json()


def until_trouble(gateway: Served) -> None:
    """Ask until the ledger has found out that the disk is full."""

    def troubled() -> bool:
        # Long paths fill the last page that there is room on.
        ask(gateway.port, get(f"/v1/files/{'x' * 900}", f"x-api-key: {KEY}"))
        status, said = ready(gateway)
        return status == 503 or bool(said["warnings"])

    eventually(troubled)


@DISKS
def test_full_disk(
    directory: Path, beside: Beside, disk: Callable[[Path], AbstractContextManager[Disk]]
) -> None:
    """It serves on and says so; when there is room, within 2 s, all that waited is written."""
    # The log goes to a pipe: a limit on files would hold for it, too.
    with (
        disk(directory / "state") as full,
        Served(settings(beside), directory, stdout=subprocess.DEVNULL) as gateway,
    ):
        full.fill(gateway.process.pid)
        until_trouble(gateway)
        served = [ask(gateway.port, request()).status for _ in range(20)]
        status, said = ready(gateway)
        gateway.said(full.says)
        full.clear(gateway.process.pid)
        eventually(lambda: not ready(gateway)[1]["warnings"], within_s=2)
        gateway.said("the ledger is written again; 0 records are lost so far")
        assert 200 == ask(gateway.port, request()).status
        assert 0 == gateway.stop()[0]
        rows = kept(directory / "state")

    assert [200] * 20 == served
    assert (200, [f"the ledger: {full.says}; lost so far: 0 records"]) == (status, said["warnings"])
    assert 21 == len([row for row in rows if row["path"] == "/v1/messages"])


@DISKS
def test_full_disk_of_a_required_ledger(
    directory: Path, beside: Beside, disk: Callable[[Path], AbstractContextManager[Disk]]
) -> None:
    """New exchanges are refused until there is room; what ran is served, and recorded."""
    toml = settings(beside, "[ledger]\nrequired = true\n")
    with (
        disk(directory / "state") as full,
        Served(toml, directory, stdout=subprocess.DEVNULL) as gateway,
        connect(gateway.port) as slow,
    ):
        slow.sendall(request("claude-slow-10-12", stream=True))
        first = slow.recv(1)
        full.fill(gateway.process.pid)
        until_trouble(gateway)
        refused = ask(gateway.port, request())
        status, said = ready(gateway)
        running_then = read_answer(slow, rest=first)
        full.clear(gateway.process.pid)
        eventually(lambda: ready(gateway)[0] == 200, within_s=2)
        assert 200 == ask(gateway.port, request()).status
        assert 0 == gateway.stop()[0]
        rows = kept(directory / "state")

    assert (529, ["busy"], ["2"]) == (
        refused.status,
        refused.get("x-passgate-error"),
        refused.get("retry-after"),
    )
    assert (503, [f"the ledger: {full.says}"]) == (status, said["problems"])
    assert (200, True) == (running_then.status, running_then.complete)
    assert {"claude-slow-10-12", "claude-sonnet-4-5"} <= {row["model"] for row in rows}
    assert "busy" in {row["error"] for row in rows}


def test_disk_that_is_full_at_the_start(directory: Path, beside: Beside) -> None:
    """A disk without room for even an empty ledger keeps nobody from serving."""
    with tmpfs(directory / "state") as full:
        full.fill(0)
        with Served(settings(beside), directory, stdout=subprocess.DEVNULL) as gateway:
            first = ask(gateway.port, request()).status
            gateway.said("the ledger ")
            full.clear(0)
            eventually(lambda: not ready(gateway)[1]["warnings"], within_s=2)
            assert 0 == gateway.stop()[0]
        rows = kept(directory / "state")

    assert (200, 1) == (first, len(rows))


# Files.


def damaged(state: Path) -> str:
    """Put something else in the ledger's place."""
    state.mkdir()
    (state / FILE_NAME).write_bytes(b"this is no ledger " * 500)
    return "the file is not a database; move it aside, and a new one is begun"


def newer(state: Path) -> str:
    """Put the ledger of a newer version there."""
    state.mkdir()
    with closing(sqlite3.connect(state / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE exchanges (x)")
        connection.execute("PRAGMA application_id = 0x70676C64")
        connection.execute("PRAGMA user_version = 1000")
    return "a newer passgate wrote it (schema 1000, this one knows"


def run_to_the_end(directory: Path, toml: str) -> tuple[int, str]:
    """Run ``passgate serve``, which is not to serve; return its exit status and last words."""
    (directory / "passgate.toml").write_text(toml)
    done = subprocess.run(
        [sys.executable, "-m", "passgate", "serve"],
        cwd=directory,
        env={"PASSGATE_STATE_DIR": str(directory / "state"), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("spoil", "more"),
    [(damaged, "[ledger]\nrequired = true\n"), (newer, ""), (newer, "[ledger]\nrequired = true\n")],
    ids=["damaged and required", "newer", "newer and required"],
)
def test_ledger_that_keeps_it_from_starting(
    directory: Path, beside: Beside, spoil: Callable[[Path], str], more: str
) -> None:
    """It says what to do, and leaves the file alone."""
    reason = spoil(directory / "state")
    file = directory / "state" / FILE_NAME
    before = file.read_bytes()
    status, said = run_to_the_end(directory, settings(beside, more))

    assert 1 == status
    assert f"passgate: cannot start: the ledger {file}: {reason}" in said
    assert 1 == len(said.splitlines())
    assert before == file.read_bytes()


def test_damaged_ledger(directory: Path, beside: Beside) -> None:
    """One that is not required: it serves and warns; moved aside, a new one is begun."""
    reason = damaged(directory / "state")
    file = directory / "state" / FILE_NAME
    with Served(settings(beside), directory) as gateway:
        status, said = ready(gateway)
        gateway.said(f"the ledger {file}: {reason}")
        assert 200 == ask(gateway.port, request()).status
        file.rename(file.with_suffix(".aside"))
        eventually(lambda: not ready(gateway)[1]["warnings"], within_s=2)
        records = gateway.stop()[1]

    assert (200, [f"the ledger: {reason}; lost so far: 0 records"]) == (status, said["warnings"])
    assert records == kept(directory / "state")


def test_required_is_reloaded(directory: Path, beside: Beside) -> None:
    """Whether the ledger is required may change while it cannot be written."""
    damaged(directory / "state")
    with Served(settings(beside), directory) as gateway:
        before = ask(gateway.port, request()).status
        gateway.file.write_text(settings(beside, "[ledger]\nrequired = true\n"))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.said("the configuration was loaded anew")
        required = ask(gateway.port, request()).status
        gateway.file.write_text(settings(beside))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.said("the configuration was loaded anew", times=2)
        after = ask(gateway.port, request()).status
        gateway.stop()

    assert (200, 529, 200) == (before, required, after)


def test_export_beside_a_gateway(directory: Path, beside: Beside) -> None:
    """The commands look into a ledger that is written to."""
    with Served(settings(beside), directory) as gateway:
        ask(gateway.port, request())
        time.sleep(0.1)
        lines = subprocess.run(
            [sys.executable, "-m", "passgate", "ledger", "export"],
            env={"PASSGATE_STATE_DIR": str(directory / "state"), "PATH": os.defpath},
            cwd=directory,
            capture_output=True,
            timeout=WAIT_S,
            check=True,
        ).stdout
        ask(gateway.port, request())
        records = gateway.stop()[1]

    assert records[:1] == [json.loads(line) for line in lines.splitlines()]
    assert 2 == len(records)
