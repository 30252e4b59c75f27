"""Faults that come in numbers: the process lives through them, loses what it must and no more.

One fault at a time, in words and records, is in ``tests/loopback``.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import measure
from passgate.demo.upstream import Upstream
from tests.attack.targets import free_port
from tests.loopback.gateway import (
    WAIT_S,
    Answer,
    Served,
    connect,
    eventually,
    message,
    read_answer,
)
from tests.loopback.peers import reset
from tests.loopback.upstream import Beside

KEY = "pg_" + "storm" * 8
_STREAMS = 50
_CONFIG = """
[server]
port = {port}
{server}
[admin]
port = 0
[upstream.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream}"
credential = {{ kind = "api_key", file = "credential" }}
[[route]]
model = "*"
upstream = "anthropic"
"""


@pytest.fixture
def beside() -> Iterator[Beside]:
    """An upstream that speaks as fast as a model writes."""
    with Beside(Upstream(pace_s=0.02)) as upstream:
        yield upstream


def served(directory: Path, beside: Beside, *, port: int = 0, server: str = "") -> Served:
    """Return a gateway before *beside*."""
    (directory / "credential").touch(mode=0o600)
    (directory / "credential").write_text("up_first")
    config = _CONFIG.format(port=port, server=server, upstream=beside.port)
    return Served(config, directory, {"PASSGATE_KEY": KEY})


def post(scene: str, *, stream: bool = False) -> bytes:
    """Return a request."""
    body = json.dumps(message(f"claude-{scene}", stream=stream)).encode()
    lines = ["POST /v1/messages HTTP/1.1", "host: h", f"x-api-key: {KEY}"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def ask(port: int, raw: bytes) -> Answer:
    """Send *raw* and return the answer."""
    with connect(port) as connection:
        connection.sendall(raw)
        return read_answer(connection)


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def streams(port: int, scene: str, count: int) -> list[socket.socket]:
    """Return *count* connections on which a stream has begun."""
    found = [connect(port) for _ in range(count)]
    for connection in found:
        connection.sendall(post(scene, stream=True))
    for connection in found:
        assert connection.recv(1, socket.MSG_PEEK) == b"H"
    return found


def closed(connections: list[socket.socket]) -> None:
    """Close every one."""
    for connection in connections:
        connection.close()


def test_hang_ups(tmp_path: Path, beside: Beside) -> None:
    """Hundreds who ask and reset leave nothing open on either side; others are served."""
    with served(tmp_path, beside) as gateway:
        port, pid = gateway.port, gateway.process.pid
        assert ask(port, post("text-3")).complete
        before = descriptors(pid)
        for scene in ("text-3", "hang", "slow-50-100"):
            for stream in (False, True):
                raw = post(scene, stream=stream)
                for at in range(40):
                    connection = connect(port)
                    connection.sendall(raw[: len(raw) - at % 2])
                    reset(connection)
        assert ask(port, post("text-3")).complete
        eventually(lambda: descriptors(pid) <= before + 1, within_s=4)
        eventually(lambda: beside.upstream.open <= 2, within_s=2)
        status, log = gateway.stop()

    assert 0 == status
    assert {line["ending"] for line in log} <= {"complete", "client_left"}
    assert len({line["id"] for line in log}) == len(log)


def test_drain_with_live_streams(tmp_path: Path, beside: Beside) -> None:
    """SIGTERM with fifty live streams: each arrives whole, with a record, and it exits with 0."""
    with served(tmp_path, beside) as gateway:
        live = streams(gateway.port, "text-40", _STREAMS)
        gateway.process.send_signal(signal.SIGTERM)
        answers = [read_answer(connection) for connection in live]
        closed(live)
        status, log = gateway.ended()
    [direct] = {ask(beside.port, post("text-40", stream=True)).body}

    assert [(200, True)] * _STREAMS == [(each.status, each.complete) for each in answers]
    assert {len(direct)} == {len(each.body) for each in answers}
    assert (0, ["complete"] * _STREAMS) == (status, [line["ending"] for line in log])


def test_kill(tmp_path: Path, beside: Beside) -> None:
    """SIGKILL with live streams: each looks cut, no call goes on, a new process serves at once."""
    port = free_port()
    with served(tmp_path, beside, port=port) as gateway:
        live = streams(port, "slow-20-200", 20)
        assert ask(port, post("text-3")).complete
        gateway.logged(1)
        gateway.process.kill()
        answers = [read_answer(connection) for connection in live]
        closed(live)
        lines = [json.loads(line) for line in gateway.lines()]
    eventually(lambda: beside.upstream.open == 0, within_s=2)
    with served(tmp_path, beside, port=port) as gateway:
        again = ask(port, post("text-3"))
        status, _ = gateway.stop()

    assert {False} == {answer.complete for answer in answers}
    assert ["complete"] == [line["ending"] for line in lines]
    assert (200, True, 0) == (again.status, again.complete, status)


def test_change_under_a_storm(tmp_path: Path, beside: Beside) -> None:
    """Credentials rotate and settings reload while clients come, ask and reset: none is failed."""
    over, failures, answered = threading.Event(), list[int](), list[int]()

    def asks(port: int) -> None:
        while not over.is_set():
            answer = ask(port, post("text-1"))
            (answered if answer.complete else failures).append(answer.status)

    def resets(port: int) -> None:
        while not over.is_set():
            connection = connect(port)
            connection.sendall(post("text-20", stream=True))
            time.sleep(0.005)
            reset(connection)

    with served(tmp_path, beside) as gateway:
        threads = [
            threading.Thread(target=each, args=(gateway.port,)) for each in (asks, asks, resets)
        ]
        for thread in threads:
            thread.start()
        for number in range(4):
            fresh = tmp_path / "fresh"
            fresh.write_text(f"up_{number}")
            fresh.chmod(0o600)
            fresh.rename(tmp_path / "credential")
            limit = f"max_in_flight = {500 + number}"
            config = _CONFIG.format(port=0, server=limit, upstream=beside.port)
            gateway.file.write_text(config)
            gateway.process.send_signal(signal.SIGHUP)
            new = f"up_{number}".encode()
            eventually(lambda: beside.credentials()[-1:] == [new], within_s=5)  # noqa: B023  at once
        eventually(lambda: len(answered) > 20, within_s=10)
        over.set()
        for thread in threads:
            thread.join(WAIT_S)
        status, _ = gateway.stop()

    assert (0, []) == (status, failures)
    assert set(answered) == {200}
    assert len(answered) > 20


def test_descriptors_run_out(tmp_path: Path, beside: Beside) -> None:
    """With no file left to open it lives, idles, serves who is connected, and then all again."""
    with served(tmp_path, beside) as gateway:
        port, pid = gateway.port, gateway.process.pid
        with connect(port) as kept:
            kept.sendall(post("text-1"))
            assert read_answer(kept).complete
            few = descriptors(pid) + 20
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, few))
            crowd = [connect(port) for _ in range(300)]
            before = measure.cpu_s([pid])
            gateway.said("no file descriptor is left")
            used = measure.cpu_s([pid]) - before
            kept.sendall(post("text-1"))
            still = read_answer(kept)
            closed(crowd)
        eventually(lambda: descriptors(pid) < few - 10, within_s=5)
        gateway.said("there are file descriptors again")
        after = ask(port, post("text-1"))
        status, _ = gateway.stop()

    assert used < 0.25
    assert 1 == sum("no file descriptor" in line for line in gateway.all_said())
    assert [] == [line for line in gateway.all_said() if "passgate's own" in line]
    assert (200, True) == (still.status, still.complete)
    assert (200, True, 0) == (after.status, after.complete, status)


def mounts() -> bool:
    """Return whether a small file system can be made for a process of its own."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    with contextlib.suppress(OSError):
        return not subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603
    return False


@pytest.mark.skipif(not mounts(), reason="no file system can be mounted here")
def test_disk_is_full(tmp_path: Path, beside: Beside) -> None:
    """A full disk under state and log costs rows and lines, and not one request."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "credential").touch(mode=0o600)
    (tmp_path / "credential").write_text("up_first")
    small = f"mount -t tmpfs -o size=400k,mode=700 tmpfs {state}"
    script = f'{small} && exec "$@" >{state}/log'
    program = ("unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "passgate")
    config = _CONFIG.format(port=0, server="", upstream=beside.port)
    with Served(config, tmp_path, {"PASSGATE_KEY": KEY}, program=program) as gateway:
        answers = [ask(gateway.port, post("text-3")) for _ in range(600)]
        health = ask(gateway.port, b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n")
        status, _ = gateway.stop()

    assert {(200, True)} == {(answer.status, answer.complete) for answer in answers}
    assert (200, 0) == (health.status, status)
    assert any("the disk is full" in line for line in gateway.all_said())
