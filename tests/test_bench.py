"""The benchmark's load driver and fake upstream: what counts as served was served whole.

They run as the processes they are, so that nothing here depends on where ``bench`` is found.
No test looks at a time: this is about bodies.
"""

import asyncio
import hashlib
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.beat import Beats

ROOT = Path(__file__).resolve().parents[1]
CREDENTIAL = "sk-bench-test"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Return the port of a running fake upstream."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.upstream"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as upstream:
        assert upstream.stdin is not None
        assert upstream.stdout is not None
        upstream.stdin.write(f"{CREDENTIAL}\n")
        upstream.stdin.flush()
        yield int(upstream.stdout.readline())
        upstream.stdin.close()

        assert upstream.wait(5) == 0


def fetched(port: int, *, path: str = "/v1/messages", model: str = "", body: bytes = b"") -> bytes:
    """Return a body as an ordinary client gets it, to judge the load driver by."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if model:
        body = json.dumps({"model": model, "messages": []}).encode()
    connection.request("POST" if body else "GET", path, body, {"x-api-key": CREDENTIAL})
    answer = connection.getresponse()
    read = answer.read()
    connection.close()

    assert answer.status == 200
    return read


def outcome_of(port: int, **job: object) -> dict[str, object]:
    """Run the load driver for *job* and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        cwd=ROOT,
        input=json.dumps({"port": port, "key": CREDENTIAL} | job),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    outcome: dict[str, object] = json.loads(ran.stdout)
    return outcome


def sha256(body: bytes) -> str:
    """Return the digest as a job names it."""
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("model", "size"), [("bench-message", 1_500), ("bench-events-300", 40_491)]
)
def test_answers_are_whole(port: int, model: str, size: int) -> None:
    """Under load, every body is the one that a single request gets."""
    body = fetched(port, model=model)
    outcome = outcome_of(
        port,
        model=model,
        body_bytes=20_000,
        connections=4,
        requests=40,
        body_sha256=sha256(body),
    )

    assert (size, 40, {}, 0) == (
        len(body),
        outcome["requests"],
        outcome["failures"],
        outcome["unfinished"],
    )


def test_load_ends_by_time(port: int) -> None:
    """A load bounded by time alone ends, with each request that it began."""
    outcome = outcome_of(
        port,
        model="bench-message",
        body_bytes=2_000,
        connections=3,
        duration_s=0.05,
        body_sha256=sha256(fetched(port, model="bench-message")),
    )

    assert outcome["requests"] != 0
    assert not outcome["failures"]
    assert not outcome["unfinished"]


def test_slow_streams_are_whole(port: int) -> None:
    """Each slow stream brings all of its stamped events."""
    streams, events = 5, 6
    body = fetched(port, model=f"bench-slow-200-{events}")
    outcome = outcome_of(
        port,
        model=f"bench-slow-200-{events}",
        body_bytes=2_000,
        connections=streams,
        requests=streams,
        stamps=events,
    )

    assert events == len(re.findall(rb"sent at \d{20} ns", body))
    assert (streams, streams * events) == (outcome["requests"], outcome["events"])
    assert not outcome["failures"]


def test_big_bodies_are_whole(port: int) -> None:
    """What goes up arrives in full, and so does what comes down."""
    size = 5_000_001
    answer = fetched(port, path="/v1/files", body=bytes(size))
    path = f"/v1/files/bench_{size}/content"
    content = fetched(port, path=path)
    up = outcome_of(port, path="/v1/files", body_bytes=size, requests=2, body_sha256=sha256(answer))
    down = outcome_of(port, path=path, requests=2, body_sha256=sha256(content))

    assert (size, size) == (json.loads(answer)["size_bytes"], len(content))
    assert up["requests"] == down["requests"] == 2
    assert not up["failures"]
    assert not down["failures"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"body_sha256": sha256(b"another body")}, "a body is not the one expected"),
        ({"key": "another key"}, "status 401"),
        ({"model": "bench-slow-200-2", "stamps": 3}, "a stream lacks events"),
    ],
)
def test_wrong_answers_are_no_figures(port: int, wrong: dict[str, object], why: str) -> None:
    """An answer that is not the right one counts as a failure, never as a request served."""
    job: dict[str, object] = {"model": "bench-message", "body_bytes": 2_000, "requests": 1}
    outcome = outcome_of(port, **(job | wrong))

    assert (0, {why: 1}) == (outcome["requests"], outcome["failures"])


def test_beat_that_is_late() -> None:
    """What holds the loop is told, and whether it used the CPU meanwhile."""

    async def held() -> Beats:
        beats = Beats()
        beats.begin()
        await asyncio.sleep(0.01)
        time.sleep(0.05)  # noqa: ASYNC251  that is what is to be told
        await asyncio.sleep(0.01)
        return beats

    beats = asyncio.run(held())
    late_ms, used_ms = max(beats.late)

    assert beats.beats
    assert late_ms > 40
    assert used_ms < late_ms


def test_process_that_only_beats(tmp_path: Path) -> None:
    """It beats until it is told to end, and writes what came of it."""
    out = tmp_path / "beats.json"
    argv = [sys.executable, "-m", "bench.beat", "--out", str(out)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:  # noqa: S603  ours
        assert process.stdout is not None
        process.stdout.readline()  # it beats
        process.terminate()

    assert process.returncode == 0
    assert Beats.of(out).beats > 0
