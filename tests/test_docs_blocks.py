"""Each block of code that a page shows is run or parsed by a test: here, or where said here."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it comes without types

from passgate.core.exchange import Record
from passgate.core.gemini.keys import keys_in
from passgate.doctor import ROWS
from passgate.edge import ledger_sql
from tests.loopback.gateway import Served, connect, eventually, message, read_answer
from tests.loopback.upstream import Beside
from tests.test_docs import FENCE, MANUAL, OPERATIONS, PAGES, blocks_of, program

BASH, NODE = shutil.which("bash"), shutil.which("node")
KEY = "pg_" + "docs" * 10
_HERE = set(PAGES)
# Language -> pages on which a test takes each block of it.
CHECKED = {
    "sh": _HERE,  # below; and the commands in it in test_docs
    "toml": _HERE,  # test_docs.test_example, test_config
    "json": _HERE,
    "yaml": {"docs/operations.md", "docs/metrics.md"},
    "python": _HERE,
    "ts": _HERE,
    "sql": _HERE,
    "text": _HERE,  # what a program prints, and the tree of architecture.md (test_docs)
    "ini": {"docs/operations.md"},  # these three in test_operations
    "nginx": {"docs/operations.md"},
    "caddy": {"docs/operations.md"},
}
# Parsed only; what stands in such a block -> why it is not run.
NOT_RUN = {
    "useradd": "needs root",
    "systemctl": "needs root",
    "make ": "each target runs by itself in CI",
    ".venv/bin/p": "the suite, a part of it, or the benchmark",
    "passgate serve": "does not end; tests/loopback runs it",
    "passgate top": "does not end; tests/cli runs it",
    "passgate tail": "does not end; tests/cli runs it",
    "/live": "does not end; tests/loopback reads it",
    "--upstream-port": "needs a gateway before it; tests/doctor runs it",
}


def shown(language: str) -> list[object]:
    """Return every block of a language."""
    return [
        pytest.param(block, id=f"{page} {number}")
        for page, text in PAGES.items()
        for number, block in enumerate(blocks_of(text, language), 1)
    ]


def test_every_block_has_a_test() -> None:
    """No fence is missed, and none is of a kind that nothing reads."""
    for page, text in PAGES.items():
        found = FENCE.findall(text)

        assert 2 * len(found) == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), page
        assert [] == [kind for kind, _ in found if page not in CHECKED.get(kind, ())], page


# Shell.


def filled(block: str, port: int, state: Path) -> str:
    """Return a block with the reader's own values in it."""
    block = re.sub(r"<[a-z][^<>\n]*>", "value", block)
    block = block.replace("pg_...", KEY).replace("=...", f"={KEY}")
    block = re.sub(r"https://gateway\.example\b|http://127\.0\.0\.1:8787", _url(port), block)
    return block.replace("/var/lib/passgate", str(state)).replace("/backup/", f"{state}/backup-")


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway before a simulated upstream, with a ledger in ``state``."""
    with Beside() as beside:
        config = f"""
[server]
port = 0
[admin]
port = 0
[upstream.anthropic]
kind = "anthropic"
base_url = "{_url(beside.port)}"
credential = {{ kind = "api_key", env = "UPSTREAM_KEY" }}
[[route]]
model = "*"
upstream = "anthropic"
"""
        directory = tmp_path_factory.mktemp("docs")
        environ = {"PASSGATE_KEY": KEY, "UPSTREAM_KEY": "up_" + "u" * 40}
        with Served(config, directory, environ) as running:
            body = json.dumps(message("claude-text-3")).encode()
            head = f"POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: {KEY}\r\n"
            with connect(running.port) as connection:
                connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                assert read_answer(connection).complete
            ledger = directory / "state" / ledger_sql.FILE_NAME
            with closing(sqlite3.connect(ledger)) as rows:
                eventually(
                    lambda: rows.execute("SELECT count(*) FROM exchanges").fetchone() == (1,)
                )
            yield running


def run(block: str, served: Served, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as its reader would, in a directory of its own."""
    assert BASH is not None
    state = directory / "state"
    if "ledger" in block or "report" in block:
        state = served.file.parent / "state"
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(directory),
        "PASSGATE_STATE_DIR": str(state),
        "PASSGATE_CONFIG": str(served.file),
        "UPSTREAM_KEY": "up_" + "u" * 40,
        "PASSGATE_KEY": KEY,
        "ANTHROPIC_BASE_URL": _url(served.port),
        "ANTHROPIC_API_KEY": KEY,
        "BATCH": "msgbatch_1",
    }
    if "keys " in block and "keys add ci" not in block:  # it revokes or rotates one that there is
        block = f"passgate keys add ci\n{block}"
    if "passgate keys" in block or "passgate check" in block:  # there it would be a credential
        del environ["ANTHROPIC_API_KEY"]
    script = f"set -euo pipefail\n{filled(block, served.port, state)}"
    return subprocess.run(  # noqa: S603  found above
        [BASH, "-c", script],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize("block", shown("sh"))
def test_shell(block: str, served: Served, tmp_path: Path) -> None:
    """A block of shell does what it says; what cannot be run here is well formed."""
    assert BASH is not None
    checked = subprocess.run(  # noqa: S603  found above
        [BASH, "-n", "-c", filled(block, 1, tmp_path)], capture_output=True, text=True, check=False
    )
    assert (0, "") == (checked.returncode, checked.stderr)
    if any(part in block for part in NOT_RUN):
        return
    for needed in ("curl", "sqlite3"):
        if needed in block and shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    done = run(block, served, tmp_path)

    assert 0 == done.returncode, done.stdout + done.stderr
    if '/v1/messages"' in block:
        assert "message_stop" in done.stdout
    if "sqlite3" in block:
        for name in ("ledger", "smaller"):
            restored(served.file.parent / "state" / f"backup-{name}.sqlite3", tmp_path / name)


def restored(copy: Path, directory: Path) -> None:
    """Put a copy of the ledger where a gateway would look, and read it."""
    directory.mkdir()
    copy.rename(directory / "ledger.sqlite3")
    (directory / "ledger.sqlite3").chmod(0o600)
    exported = subprocess.run(
        [sys.executable, "-m", "passgate", "ledger", "export"],
        env={"PASSGATE_STATE_DIR": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    models = [json.loads(line)["model"] for line in exported.stdout.splitlines()]

    assert "claude-text-3" in models


def test_what_is_not_run() -> None:
    """Each reason for not running a block is still needed."""
    blocks = [block for text in PAGES.values() for block in blocks_of(text, "sh")]

    assert [] == [part for part in NOT_RUN if not any(part in block for block in blocks)]


# Everything else.


@pytest.mark.parametrize("block", shown("json"))
def test_json(block: str) -> None:
    """JSON is JSON."""
    assert json.loads(block)


@pytest.mark.parametrize("block", shown("python"))
def test_python(block: str) -> None:
    """A program of a client runs, with the library that it is for."""
    exec(compile(block, "block", "exec"), {})  # noqa: S102  our own page


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize("block", shown("ts"))
def test_typescript(block: str, tmp_path: Path) -> None:
    """What stands there is also JavaScript, and Node takes it."""
    assert NODE is not None
    (tmp_path / "block.mjs").write_text(block)
    subprocess.run([NODE, "--check", tmp_path / "block.mjs"], check=True)  # noqa: S603  found above


@pytest.mark.parametrize("block", shown("sql"))
def test_sql(block: str) -> None:
    """A query runs on a real ledger."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        ledger_sql.migrate(connection)
        assert [] == connection.execute(block).fetchall()


@pytest.mark.parametrize("block", shown("text"))
def test_text(block: str) -> None:
    """A command above its output is one that we have; a keys file is one that we read."""
    for line in re.findall(r"^\$ passgate (.*)$", block, re.MULTILINE):
        program().parse_args(line.split())
    if block.startswith("row "):  # what the doctor prints; its rows are two words at most
        named = re.findall(r"^(\S+(?: \S+)?) +(?:ok|fail) ", block, re.MULTILINE)
        assert [row.name for row in ROWS] == named
    if block.startswith("# gemini_keys.txt"):
        filled_in = re.sub("<(.*?)>", lambda one: one[1].replace(" ", "-"), block)
        assert 3 == len(keys_in(filled_in.encode(), b"salt"))


METRICS = re.findall(r"^\| `(\w+)` \|", MANUAL["docs/metrics.md"], re.MULTILINE)
ALERTS, *_ = [each for each in blocks_of(OPERATIONS, "yaml") if each.startswith("- alert")]
SHIPPING, *_ = [each for each in blocks_of(OPERATIONS, "yaml") if each.startswith("sources")]


def test_yaml() -> None:
    """There is no block of YAML but these."""
    assert {ALERTS, SHIPPING} == set(blocks_of(OPERATIONS, "yaml"))
    [scrape] = blocks_of(MANUAL["docs/metrics.md"], "yaml")
    [job] = yaml.safe_load(scrape)["scrape_configs"]

    assert {"job_name", "authorization", "static_configs"} == set(job)


def test_alerts() -> None:
    """Each alert asks for metrics that there are, by labels that they have."""
    for alert in yaml.safe_load(ALERTS):
        names = re.findall(r"passgate_\w+", alert["expr"])
        assert names
        assert set(names) <= set(METRICS)
        for label in re.findall(r"(\w+)=\"|by \((\w+)\)", alert["expr"]):
            [row] = re.findall(rf"^\| `{names[0]}` .*$", MANUAL["docs/metrics.md"], re.MULTILINE)
            assert f"`{''.join(label)}`" in row


def test_log_shipping() -> None:
    """What ships the log names stages that are there and fields that a record has."""
    stages = yaml.safe_load(SHIPPING)
    named = {name for stage in stages.values() for name in stage}
    inputs = {
        name
        for stage in stages.values()
        for each in stage.values()
        for name in each.get("inputs", ())
    }
    source = stages["transforms"]["records"]["source"]
    written = set(re.findall(r"^\.(\w+) =", source, re.MULTILINE))
    read = set(re.findall(r"(?<![\w)])\.([a-z]\w+)", source)) - written

    assert ["sources", "transforms", "sinks"] == list(stages)
    assert inputs <= named
    assert {"message", "ts"} == read
    assert read - {"message"} <= set(Record.__struct_fields__)
