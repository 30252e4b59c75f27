"""``passgate tail``: a line for each exchange, over restarts of the gateway."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from passgate.cli.tail import line_of
from passgate.core.exchange import Ending, Record
from passgate.core.settings import AdminSettings, Listen, Settings
from tests.loopback.gateway import Gateway, eventually, message, quiet_port

AT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ADMIN_KEY = "adm_" + "t" * 43
WAIT_S = 20.0


def record(**said: Any) -> Record:
    """Return an ordinary record, but for what is *said*."""
    ordinary: dict[str, Any] = {
        "client": "ci",
        "method": "POST",
        "path": "/v1/messages",
        "model": "claude-sonnet-4-5",
        "status": 200,
        "ending": Ending.COMPLETE,
        "duration_ms": 2400.0,
        "bytes_down": 5000,
        "session": "11111111-1111-4111-8111-111111111111",
    }
    return Record(AT, "req", **ordinary | said)


LINES = {
    "metered": (
        {
            "usage": "final",
            "input_tokens": 10,
            "cache_read_tokens": 2000,
            "output_tokens": 350,
            "cost_nusd": 12_300_000,
            "first_token_ms": 340.0,
        },
        "200 complete     2.4s  $0.0123  2.0k in    350 out first 340ms 11111111",
    ),
    "partial": (
        {"usage": "partial", "input_tokens": 10, "output_tokens": 3, "error": "upstream"},
        "200 upstream     2.4s        -    10 in     ~3 out 11111111",
    ),
    "not-metered": ({}, "200 complete     2.4s 5.0kB 11111111"),
    "refused": (
        {"client": None, "model": None, "status": 401, "error": "key", "bytes_down": 0},
        "-            POST /v1/messages            401 key          2.4s 11111111",
    ),
    "left": (
        {"status": None, "ending": Ending.CLIENT_LEFT, "bytes_down": 0, "agent": "a1"},
        "  - client_left   2.4s 11111111 agent a1",
    ),
}


@pytest.mark.parametrize(("said", "expected"), LINES.values(), ids=LINES.keys())
def test_line(said: dict[str, Any], expected: str) -> None:
    """A line says who, what, how it ended, how long, how much."""
    assert expected in line_of(record(**said), 500)


def test_narrow() -> None:
    """On a narrow terminal the cost is still there, and nothing is cut in the middle."""
    narrow = line_of(record(usage="final", output_tokens=350, cost_nusd=12_300_000), 80)

    assert "claude-sonnet-4-5" in narrow
    assert "$0.0123" in narrow
    assert "~" not in narrow


@given(st.integers(1, 250), st.text(), st.text())
def test_width(width: int, model: str, session: str) -> None:
    """No line is wider than the terminal, and none obeys what a client sent."""
    line = line_of(record(model=model, session=session, agent="\x1b[2J"), width)

    assert len(line) <= width
    assert line.isascii()
    assert line.isprintable()


class Tail:
    """``passgate tail`` as a process.

    Attributes:
        lines: What it printed so far.
        told: What it said on stderr so far.
    """

    def __init__(self, cwd: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PASSGATE")}  # noqa: TID251
        self.process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-W", "error", "-m", "passgate", "tail", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=clean | (env or {}),
        )
        self.lines: list[str] = []
        self.told: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self.lines.extend, args=(self.process.stdout,)),
            threading.Thread(target=self.told.extend, args=(self.process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()

    def ended(self) -> int:
        """Return its status once it has ended."""
        status = self.process.wait(WAIT_S)
        for thread in self._threads:
            thread.join(WAIT_S)
        return status


@contextmanager
def tail(cwd: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Tail]:
    """Run it for a while."""
    running = Tail(cwd, *arguments, env=env)
    try:
        yield running
    finally:
        running.process.kill()
        running.ended()
        assert running.process.stdout is not None
        assert running.process.stderr is not None
        running.process.stdout.close()
        running.process.stderr.close()


def admin_at(port: int) -> Gateway:
    """Return a gateway whose operator's listener is at *port*."""

    def change(settings: Settings) -> Settings:
        return replace(settings, admin=AdminSettings(Listen(port=port)))

    return Gateway(change)


def asked(gateway: Gateway, running: Tail, lines: int) -> None:
    """Ask until the tail has printed so many lines: it may have come too late for the first."""
    seen = len(running.lines)

    def told() -> bool:
        gateway.ask(gateway.post(message("claude-text-5", stream=True)))
        return len(running.lines) >= seen + lines

    eventually(told, WAIT_S)


def test_restart(tmp_path: Path) -> None:
    """It waits for a gateway, prints, says when it is lost, and goes on when it is back."""
    port = quiet_port()
    with tail(tmp_path, "--url", f"http://127.0.0.1:{port}") as running:
        eventually(lambda: len(running.told) == 1, WAIT_S)
        with admin_at(port) as gateway:
            asked(gateway, running, 2)
        eventually(lambda: len(running.told) == 3, WAIT_S)
        with admin_at(port) as gateway:
            asked(gateway, running, 1)
        told = [line.partition(f":{port}: ")[2].strip() for line in running.told]

    assert [
        "Connection refused; trying again",
        "connected again",
        "the gateway has ended the feed; trying again",
        "connected again",
    ] == told[:4]
    assert all("claude-text-5" in line for line in running.lines)
    assert "\x1b" not in "".join(running.lines)


def test_json(tmp_path: Path) -> None:
    """For programs each record is a line of JSON; the key may come from a file or a variable."""

    def change(settings: Settings) -> Settings:
        digest = hashlib.sha256(ADMIN_KEY.encode()).digest()
        return replace(settings, admin=AdminSettings(Listen(port=0), digest))

    (tmp_path / "key").write_text(ADMIN_KEY + "\n")
    with Gateway(change) as gateway:
        url = f"http://127.0.0.1:{gateway.admin_port}"
        with (
            tail(tmp_path, "--json", "--url", url, "--key-file", "key") as one,
            tail(tmp_path, "--json", "--url", url, env={"PASSGATE_ADMIN_KEY": ADMIN_KEY}) as other,
        ):
            asked(gateway, one, 1)
            asked(gateway, other, 1)
            records = [json.loads(line) for line in (*one.lines, *other.lines)]
        with tail(tmp_path, "--url", url) as refused:
            status = refused.ended()

    assert {("test", "complete")} == {(each["client"], each["ending"]) for each in records}
    assert 1 == status
    assert "PASSGATE_ADMIN_KEY" in refused.told[0]


CONFIG = """
[admin]
port = {port}

[upstream.anthropic]
kind = "anthropic"
base_url = "https://api.anthropic.com"
credential = {{ kind = "api_key", env = "NOT_IN_THIS_SHELL" }}
"""


def test_address_from_the_configuration(tmp_path: Path) -> None:
    """It finds the listener by the configuration, whatever else of that is wrong here."""
    with Gateway() as gateway:
        (tmp_path / "passgate.toml").write_text(CONFIG.format(port=gateway.admin_port))
        with tail(tmp_path) as running:
            asked(gateway, running, 1)
        port = str(gateway.admin_port)
        with tail(tmp_path / "..", env={"PASSGATE_ADMIN_PORT": port}) as running:
            asked(gateway, running, 1)


WRONG = {
    "url": (("--url", "gateway:8788"), "http://HOST:PORT"),
    "key-file": (("--key-file", "missing"), "--key-file: No such file"),
    "config": (("--config", "missing.toml"), "missing.toml"),
}


@pytest.mark.parametrize(("arguments", "told"), WRONG.values(), ids=WRONG.keys())
def test_wrong(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """What cannot work is said at once."""
    with tail(tmp_path, *arguments) as running:
        status = running.ended()

    assert 1 == status
    assert told in "".join(running.told)


def test_wrong_listener(tmp_path: Path) -> None:
    """At the clients' listener there is no feed, and it says where to look."""
    with Gateway() as gateway, tail(tmp_path, "--url", gateway.url) as running:
        status = running.ended()

    assert 1 == status
    assert "operator's listener" in running.told[0]
