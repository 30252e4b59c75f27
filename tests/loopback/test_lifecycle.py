"""The life of the process: start, log, reload, rotation, drain, deploy.

Each test runs ``passgate serve`` as an operator does, and speaks to it in bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from passgate.core.settings import Settings
from tests.loopback.gateway import (
    WAIT_S,
    Answer,
    Gateway,
    Served,
    connect,
    eventually,
    message,
    read_answer,
)
from tests.loopback.upstream import Beside

KEY = "pg_" + "k" * 43
OTHER_KEY = "pg_" + "o" * 43
CREDENTIAL = "up_first"  # eight characters

# Contract, section 5, in its order.
FIELDS = re.findall(
    r"\w+",
    """
    ts id client method path route upstream model model_served stream status ending error
    queued_ms ttfb_ms first_token_ms duration_ms bytes_up bytes_down input_tokens output_tokens
    cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens thinking_tokens cost_nusd usage
    stop_reason session agent parent_agent upstream_request_id peer attempts web_searches speed
    service_tier inference_geo price_status iterations
    """,
)


@pytest.fixture
def beside() -> Iterator[Beside]:
    """A simulated upstream."""
    with Beside() as beside:
        yield beside


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to run in, with the credential's file in it."""
    put(tmp_path / "credential", CREDENTIAL)
    return tmp_path


def put(path: Path, text: str) -> None:
    """Write a file as an operator's tool does: whole, and readable for its owner alone."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


def client(name: str, key: str) -> str:
    """Return a ``[[client]]`` table."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f'[[client]]\nname = "{name}"\nkey_sha256 = "{digest}"\n'


def config(
    upstream_port: int,
    *,
    server: str = "port = 0",
    clients: str = client("test", KEY),
    credential: str = 'file = "credential"',
    more: str = "",
) -> str:
    """Return a configuration file; times are short where a test would wait for them."""
    return f"""
[server]
{server}
[admin]
port = 0
{clients}
[upstream.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream_port}"
credential = {{ kind = "api_key", {credential} }}
{more}
"""


def request(model: str = "claude-sonnet-4-5", key: str = KEY, *fields: str, **more: Any) -> bytes:
    """Return a whole Messages request."""
    body = json.dumps(message(model, **more)).encode()
    lines = ["POST /v1/messages HTTP/1.1", "host: gateway", f"x-api-key: {key}", *fields]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def get(path: str, *fields: str) -> bytes:
    """Return a request for *path*."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: localhost", *fields, "", ""]).encode()


def ask(port: int, raw: bytes) -> Answer:
    """Send *raw* on a new connection and return the answer."""
    with connect(port) as connection:
        connection.sendall(raw)
        return read_answer(connection)


def refuses(port: int) -> bool:
    """Return whether nobody listens at *port*."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def closed(connection: socket.socket) -> bool:
    """Return whether the far end has closed, once there is something to read."""
    return connection.recv(1) == b""


class Reading:
    """An answer that is read in a thread, so that the test can go on meanwhile."""

    def __init__(self, port: int, raw: bytes) -> None:
        self._connection = connect(port)
        self._connection.sendall(raw)
        self._answer: Answer | None = None
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        first = self._connection.recv(65536)
        self._seen.set()
        with contextlib.suppress(EOFError, ConnectionError):
            self._answer = read_answer(self._connection, rest=first)

    def begun(self) -> Reading:
        """Return once the first bytes of the answer are here."""
        self._thread.start()
        assert self._seen.wait(WAIT_S)
        return self

    @property
    def runs(self) -> bool:
        """Whether the answer is still coming."""
        return self._thread.is_alive()

    def whole(self) -> Answer:
        """Return the answer once it has ended, in whatever way."""
        self._thread.join(WAIT_S)
        self._connection.close()
        assert self._answer is not None
        return self._answer


class Load:
    """Clients that ask without a pause until they are told to stop.

    Attributes:
        answered: How many requests were answered with 200, whole.
        failures: What else happened.
    """

    def __init__(self, once: Callable[[], Answer], threads: int = 3) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._once = once
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._once()
                failure = (
                    "" if (answer.status, answer.complete) == (200, True) else str(vars(answer))
                )
            except (OSError, EOFError) as error:
                failure = repr(error)
            with self._lock:
                if failure:
                    self.failures.append(failure)
                else:
                    self.answered += 1

    def goes_on(self, more: int = 50) -> None:
        """Wait until *more* further requests were answered."""
        goal = self.answered + more
        eventually(lambda: self.answered >= goal or self.failures)


# Start.


def test_says_where_it_serves_when_it_does(directory: Path, beside: Beside) -> None:
    """The notes come first, then the line that says where; from then on all of it serves."""
    (directory / "credential").chmod(0o644)
    with Served(config(beside.port), directory) as served:
        ready = ask(served.port, get("/ready", f"x-api-key: {KEY}"))
        admin = ask(served.admin_port, get("/readyz"))
        answer = ask(served.port, request())
        status, log = served.stop()
    lines = served.all_said()

    assert (
        [
            re.match(r"passgate: (?:note|serving on)|", line)[0]  # type: ignore[index]  # may be empty
            for line in lines[:2]
        ]
        == ["passgate: note", "passgate: serving on"]
    )
    assert lines[2:5] == [
        "passgate: a client needs two lines:",
        f"passgate:   export ANTHROPIC_BASE_URL=http://127.0.0.1:{served.port}",
        "passgate:   export ANTHROPIC_API_KEY='<a key from `passgate keys add NAME`>'",
    ]
    assert "can be read by every user" in ready.json()["warnings"][0]
    assert (ready.status, admin.status, answer.status) == (200, 200, 200)
    assert (status, len(log)) == (0, 1)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_once_if_asked(directory: Path, beside: Beside, signum: int) -> None:
    """Whoever has read that it serves may send a signal: it ends in order, also just begun."""
    for _ in range(3):
        with Served(config(beside.port), directory) as served:
            assert served.stop(signum) == (0, [])


def test_credential_comes_before_the_first_client(directory: Path, beside: Beside) -> None:
    """Nobody is let in before the credential was fetched, or its time for that is over."""
    fifo, port = directory / "fifo", free_port()
    os.mkfifo(fifo)
    settings = config(
        beside.port, server=f"port = {port}", credential=f'command = ["cat", "{fifo}"]'
    )
    served = Served(settings, directory)
    writer = os.open(fifo, os.O_WRONLY)  # returns when the command reads, so it has begun
    early = refuses(port)
    os.write(writer, b"up_late\n")
    os.close(writer)
    with served:
        answer = ask(served.port, request())

    assert early
    assert answer.status == 200
    assert beside.credentials() == [b"up_late"]


@pytest.mark.parametrize("table", ["server", "admin"])
def test_address_in_use(directory: Path, beside: Beside, table: str) -> None:
    """Where an address is taken it says so and ends, and has opened nothing else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other, used = free_port(), taken.getsockname()[1]
        ports = (used, other) if table == "server" else (other, used)
        settings = config(beside.port, server=f"port = {ports[0]}").replace(
            "[admin]\nport = 0", f"[admin]\nport = {ports[1]}"
        )
        served = Served(settings, directory)
        line = served.said("cannot listen")
        ended = served.ended()
        served.__exit__()

    assert line.startswith("passgate: cannot listen: ")
    assert "address already in use" in line.lower()
    assert ended == (1, [])
    assert not any("serving on" in line for line in served.all_said())


def test_every_problem_at_once(directory: Path, beside: Beside) -> None:
    """A configuration that cannot be is refused with all that is wrong with it."""
    settings = config(beside.port, server='port = "x"\nmax_in_flight = 0', clients="")
    served = Served(settings, directory)
    served.said("port")
    ended = served.ended()
    served.__exit__()
    said = served.all_said()

    assert ended == (1, [])
    assert len(said) == 3
    for what in ("[server] port: ", "[server] max_in_flight: ", "no client key: "):
        assert sum(what in line for line in said) == 1


# The log.


def exchanges(port: int) -> int:
    """Have some exchanges of every kind; return how many."""
    kinds = [
        request(),
        request("claude-text-5", stream=True),
        request("claude-error-529"),
        request("claude-two-lengths"),
        request(key="pg_unknown"),
        get("/v1/models?limit=2", f"x-api-key: {KEY}"),
        get("/nothing/here", f"x-api-key: {KEY}"),
        request("cläude-☃"),
        b"GET / HTTP/3\r\n\r\n",
    ]
    for raw in kinds:
        ask(port, raw)
    for path in ("/health", "/ready", "/api/hello"):
        ask(port, get(path))
    return len(kinds)


def test_one_line_per_exchange(directory: Path, beside: Beside) -> None:
    """Stdout holds one JSON object per exchange, its fields in order, and nothing else."""
    with Served(config(beside.port), directory) as served:
        count = exchanges(served.port)
        status, log = served.stop()
        lines = served.lines()

    assert (status, len(log)) == (0, count)
    assert {tuple(FIELDS)} == {tuple(record) for record in log}
    assert all(line.endswith(b"}\n") for line in lines)
    assert [(record["client"], record["status"], record["ending"]) for record in log] == [
        ("test", 200, "complete"),
        ("test", 200, "complete"),
        ("test", 529, "complete"),
        ("test", 502, "upstream_broke"),
        (None, 401, "refused"),
        ("test", 200, "complete"),
        (None, 404, "refused"),
        ("test", 200, "complete"),
        (None, 400, "refused"),
    ]
    assert [record["path"] for record in log][5] == "/v1/models"
    assert len({record["id"] for record in log}) == count


@pytest.mark.parametrize("how", ["argument", "file"])
def test_text_log(directory: Path, beside: Beside, how: str) -> None:
    """For people there is a line per exchange, with what they look for first."""
    settings = config(beside.port, more='[log]\nformat = "text"' if how == "file" else "")
    arguments = ["serve", "--config", "passgate.toml"] + ["--log", "text"] * (how == "argument")
    with Served(settings, directory, arguments=arguments) as served:
        count = exchanges(served.port)
        eventually(lambda: len(served.lines()) == count)
        first, *_, snow, _ = [line.decode() for line in served.lines()]

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ status=200 ending=complete duration_ms=[\d.]+ "
        r"client=test method=POST path=/v1/messages model=claude-sonnet-4-5 upstream=anthropic "
        r"in=\d+ cached=\d+ out=\d+ id=req_pg[0-9a-f]+\n",
        first,
    )
    assert r"model=cl\xe4ude-\u2603 " in snow


def test_stalled_reader_of_the_log(directory: Path, beside: Beside) -> None:
    """A reader of stdout that stalls costs lines, never time: all is served, and it ends."""
    reader, writer = os.pipe()
    with Served(config(beside.port), directory, stdout=writer) as served:
        os.close(writer)
        with connect(served.port) as connection:
            statuses = []
            for _ in range(400):  # of which a pipe holds less than a quarter
                connection.sendall(request())
                statuses.append(read_answer(connection).status)
        served.process.send_signal(signal.SIGTERM)
        status = served.process.wait(WAIT_S)
        written = os.read(reader, 1 << 20).splitlines()
    os.close(reader)

    assert statuses == [200] * 400
    assert status == 0
    assert 0 < len(written) < 400
    for line in written[:-1]:
        json.loads(line)


def test_reader_of_the_log_dies(directory: Path, beside: Beside) -> None:
    """A reader of stdout that has gone stops nothing."""
    reader, writer = os.pipe()
    with Served(config(beside.port), directory, stdout=writer) as served:
        os.close(writer)
        first = ask(served.port, request()).status
        os.close(reader)
        later = [ask(served.port, request()).status for _ in range(20)]
        served.process.send_signal(signal.SIGTERM)
        status = served.process.wait(WAIT_S)

    assert (first, later, status) == (200, [200] * 20, 0)


def test_unknown_callers_do_not_fill_the_disk(directory: Path, beside: Beside) -> None:
    """Refusals of unknown callers make ten lines a second; the rest is summed in one."""
    with Served(config(beside.port), directory) as served:
        with connect(served.port) as connection:
            for _ in range(200):
                connection.sendall(request(key="pg_unknown"))
                assert read_answer(connection).status == 401
        status, log = served.stop()
    summed = [record for record in log if set(record) == {"ts", "refused_unknown_callers"}]
    single = [record for record in log if record not in summed]

    assert status == 0
    assert sum(record["refused_unknown_callers"] for record in summed) + len(single) == 200
    assert len(single) <= 10 * len({record["ts"][:19] for record in log})


# The end.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_drain(directory: Path, beside: Beside, signum: int) -> None:
    """What runs is finished, what comes anew finds nobody, and the end is an orderly one."""
    with Served(config(beside.port), directory) as served:
        idle = connect(served.port)
        idle.sendall(request())
        read_answer(idle)
        streams = [
            Reading(served.port, request(f"claude-slow-40-{20 + n}", stream=True)).begun()
            for n in range(3)
        ]
        served.process.send_signal(signum)
        served.said("draining")
        eventually(lambda: refuses(served.port))
        running = served.process.poll() is None
        answers = [stream.whole() for stream in streams]
        status, log = served.ended()

        assert closed(idle)
        idle.close()
    assert running
    assert status == 0
    assert [answer.complete for answer in answers] == [True] * 3
    assert all(answer.body.endswith(b'{"type":"message_stop"}\n\n') for answer in answers)
    assert [(record["ending"], record["status"]) for record in log] == [("complete", 200)] * 4


def test_newcomer_in_a_drain(directory: Path, beside: Beside) -> None:
    """Who had connected when the signal came, and asks only then, is served."""
    with Served(config(beside.port), directory) as served, connect(served.port) as newcomer:
        served.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(served.port))
        raw = request()
        for part in (raw[:20], raw[20:-10], raw[-10:]):
            newcomer.sendall(part)
        answer = read_answer(newcomer)
        status, log = served.ended()

    assert (answer.status, answer.complete, answer.get("connection")) == (200, True, ["close"])
    assert (status, len(log)) == (0, 1)


def test_silent_newcomer_in_a_drain(directory: Path, beside: Beside) -> None:
    """Who had connected and says nothing is not waited for until its usual limit."""
    settings = config(beside.port, server="port = 0\nclient_head_s = 600")
    with Served(settings, directory) as served, connect(served.port) as newcomer:
        served.process.send_signal(signal.SIGTERM)
        rest = received(newcomer)
        status, log = served.ended()

    assert (rest, status, log) == (b"", 0, [])


def test_drain_delay(directory: Path, beside: Beside) -> None:
    """Before the listener closes, ``/ready`` says so for a while, and all is still served."""
    settings = config(beside.port, server="port = 0\ndrain_delay_s = 1")
    with Served(settings, directory) as served:
        served.process.send_signal(signal.SIGTERM)
        served.said("draining")
        ready, health = ask(served.port, get("/ready")), ask(served.port, get("/health"))
        admin = ask(served.admin_port, get("/readyz"))
        answer = ask(served.port, request())
        status, log = served.ended()
        gone = refuses(served.port), refuses(served.admin_port)

    assert (ready.status, ready.json()) == (503, {"status": "draining"})
    assert (admin.status, admin.json()["status"]) == (503, "draining")
    assert health.status == 200
    assert (answer.status, answer.complete, answer.get("connection")) == (200, True, ["close"])
    assert (status, [record["ending"] for record in log]) == (0, ["complete"])
    assert gone == (True, True)


def test_open_connection_in_a_drain(directory: Path, beside: Beside) -> None:
    """A request on an open connection is still served, as the last one of its connection."""
    with Served(config(beside.port), directory) as served:
        kept = connect(served.port)
        kept.sendall(request())
        before = read_answer(kept)
        stream = Reading(served.port, request("claude-slow-40-40", stream=True)).begun()
        served.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(served.port))
        kept.sendall(request())
        after = read_answer(kept)
        ended = closed(kept)
        kept.close()
        live = stream.whole()
        status, log = served.ended()

    assert (before.status, before.get("connection")) == (200, [])
    assert (after.status, after.complete, after.get("connection")) == (200, True, ["close"])
    assert ended
    assert (live.complete, status, len(log)) == (True, 0, 3)


def test_backlog_of_a_drain(directory: Path, beside: Beside) -> None:
    """Connections that the kernel had taken when the signal came are served."""
    with Served(config(beside.port), directory) as served:
        served.process.send_signal(signal.SIGSTOP)
        waiting = [connect(served.port) for _ in range(30)]
        for connection in waiting:
            connection.sendall(request())
        served.process.send_signal(signal.SIGTERM)
        served.process.send_signal(signal.SIGCONT)
        answers = [read_answer(connection) for connection in waiting]
        for connection in waiting:
            connection.close()
        status, log = served.ended()

    assert [(answer.status, answer.complete) for answer in answers] == [(200, True)] * 30
    assert (status, len(log)) == (0, 30)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no-head-yet"])
def test_drain_is_over(directory: Path, beside: Beside, *, stream: bool) -> None:
    """What outlasts the drain is cut, so that it looks cut, and recorded as drained."""
    settings = config(beside.port, server="port = 0\ndrain_s = 0.1")
    with Served(settings, directory) as served, connect(served.port) as connection:
        if stream:
            connection.sendall(request("claude-slow-40-100000", stream=True))
            first = connection.recv(100)
        else:
            connection.sendall(request("claude-hang"))
            eventually(lambda: len(beside.upstream.seen) == 1)
            first = b""
        served.process.send_signal(signal.SIGTERM)
        rest = received(connection)
        status, log = served.ended()
        eventually(lambda: beside.upstream.hang_ups == 1)

    assert not (first + rest).endswith(b"0\r\n\r\n")
    assert bool(first) is stream
    assert status == 0
    assert [("drained", 200 if stream else None)] == [(r["ending"], r["status"]) for r in log]


def received(connection: socket.socket) -> bytes:
    """Return all that still comes on a connection until it ends in whatever way."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def test_second_signal(directory: Path, beside: Beside) -> None:
    """A second signal ends at once what a drain would have waited for."""
    with Served(config(beside.port), directory) as served, connect(served.port) as connection:
        connection.sendall(request("claude-slow-40-100000", stream=True))
        connection.recv(100)
        served.process.send_signal(signal.SIGTERM)
        served.said("draining")
        served.process.send_signal(signal.SIGTERM)
        rest = received(connection)
        status, log = served.ended()

    assert not rest.endswith(b"0\r\n\r\n")
    assert (status, [record["ending"] for record in log]) == (0, ["drained"])


def test_second_signal_in_the_delay(directory: Path, beside: Beside) -> None:
    """It also ends the delay before the listener closes."""
    settings = config(beside.port, server="port = 0\ndrain_delay_s = 600")
    with Served(settings, directory) as served:
        served.process.send_signal(signal.SIGTERM)
        served.said("draining")
        assert served.stop() == (0, [])


# Reload.


def by_signal(served: Served) -> None:
    """Have the configuration read again."""
    served.process.send_signal(signal.SIGHUP)


def by_itself(served: Served) -> None:
    """Let the change of the file be noticed."""


HOW = pytest.mark.parametrize("reload", [by_signal, by_itself], ids=["SIGHUP", "changed-file"])


@HOW
def test_reload_of_clients(
    directory: Path, beside: Beside, reload: Callable[[Served], None]
) -> None:
    """A new key opens; a revoked one does not, but what runs under it ends by itself."""
    with Served(config(beside.port), directory) as served:
        stream = Reading(served.port, request("claude-slow-20-45", stream=True)).begun()
        early = ask(served.port, request(key=OTHER_KEY)).status
        put(served.file, config(beside.port, clients=client("other", OTHER_KEY)))
        reload(served)
        served.said("the configuration was loaded anew")
        new, old = (ask(served.port, request(key=key)).status for key in (OTHER_KEY, KEY))
        still = stream.runs
        whole = stream.whole()
        _, log = served.stop()

    assert (early, new, old) == (401, 200, 401)
    assert (still, whole.complete) == (True, True)
    assert [(r["client"], r["ending"]) for r in log if r["stream"]] == [("test", "complete")]


def test_kept_connection_of_a_revoked_key(directory: Path, beside: Beside) -> None:
    """A key is looked at with each request: an open connection keeps nobody in."""
    with Served(config(beside.port), directory) as served, connect(served.port) as kept:
        kept.sendall(request())
        before = read_answer(kept).status
        put(served.file, config(beside.port, clients=client("other", OTHER_KEY)))
        by_signal(served)
        served.said("the configuration was loaded anew")
        kept.sendall(request())
        after = read_answer(kept).status

    assert (before, after) == (200, 401)


def test_clients_of_the_state_directory(directory: Path, beside: Beside) -> None:
    """What ``passgate keys`` writes is picked up by the gateway that runs."""
    with Served(config(beside.port), directory) as served:
        keys = [sys.executable, "-m", "passgate", "keys"]
        env = {"PASSGATE_STATE_DIR": str(directory / "state")}
        run = subprocess.run(  # noqa: S603  our own program
            [*keys, "add", "new"], cwd=directory, env=env, capture_output=True, check=True
        )
        key = run.stdout.decode().strip()
        served.said("the configuration was loaded anew")
        added = ask(served.port, request(key=key)).status
        subprocess.run(  # noqa: S603  our own program
            [*keys, "revoke", "new"], cwd=directory, env=env, capture_output=True, check=True
        )
        served.said("the configuration was loaded anew", times=2)
        revoked = ask(served.port, request(key=key)).status

    assert (added, revoked) == (200, 401)


BROKEN = {
    "no-toml": ("[server\n", "line 1"),
    "unknown-key": (config(1, server="port = 0\nprot = 1"), "[server] prot: unknown key"),
    "wrong-type": (config(1, server='port = "x"'), "[server] port: "),
    "two-problems": (config(1, server="port = -1", credential='file = ""'), "[server] port: "),
}


@HOW
@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file(
    directory: Path,
    beside: Beside,
    broken: str,
    reason: str,
    reload: Callable[[Served], None],
) -> None:
    """A broken file is refused with the reason; the old one serves on, until it is mended."""
    with Served(config(beside.port), directory) as served:
        put(served.file, broken)
        reload(served)
        served.said("the new configuration is refused, the old one serves on:")
        line = served.said(reason)
        meanwhile = ask(served.port, request()).status
        put(served.file, config(beside.port, clients=client("other", OTHER_KEY)))
        reload(served)
        served.said("the configuration was loaded anew")
        mended = [ask(served.port, request(key=key)).status for key in (KEY, OTHER_KEY)]

    assert "passgate.toml" in line
    assert (meanwhile, mended) == (200, [401, 200])


def test_changed_listener(directory: Path, beside: Beside) -> None:
    """A changed listener needs a restart, and it says so; all else is in force."""
    with Served(config(beside.port), directory) as served:
        elsewhere = f"port = {free_port()}"
        put(served.file, config(beside.port, server=elsewhere, clients=client("o", OTHER_KEY)))
        by_signal(served)
        line = served.said("restart")
        served.said("the configuration was loaded anew")
        answer = ask(served.port, request(key=OTHER_KEY))

    assert line == "passgate: a changed listener needs a restart; all else is in force"
    assert answer.status == 200


def test_one_change_is_loaded_once(directory: Path, beside: Beside) -> None:
    """What SIGHUP has loaded is not loaded again when the change of the file is noticed."""
    with Served(config(beside.port), directory) as served:
        served.process.send_signal(signal.SIGSTOP)  # else it could notice before the signal
        put(served.file, config(beside.port, clients=client("other", OTHER_KEY)))
        by_signal(served)
        served.process.send_signal(signal.SIGCONT)
        served.said("the configuration was loaded anew")
        for number in range(2):  # the files are looked at, and once more
            put(directory / "credential", f"up_{number}")
            new = f"up_{number}".encode()
            eventually(lambda: seen_after(served, beside, new))  # noqa: B023  at once
        status, _ = served.stop()

    assert status == 0
    assert sum("loaded anew" in line for line in served.all_said()) == 1


def seen_after(served: Served, beside: Beside, credential: bytes, key: str = OTHER_KEY) -> bool:
    """Ask once more; return whether the upstream was shown *credential*."""
    ask(served.port, request(key=key))
    return beside.credentials()[-1] == credential


def test_changed_upstream(directory: Path, beside: Beside) -> None:
    """After a reload requests go to the new upstream; what runs stays at the old one."""
    with Beside() as other, Served(config(beside.port), directory) as served:
        stream = Reading(served.port, request("claude-slow-40-40", stream=True)).begun()
        put(served.file, config(other.port))
        by_signal(served)
        served.said("the configuration was loaded anew")
        answer = ask(served.port, request())
        live = stream.whole()
        eventually(lambda: beside.upstream.open == 0)
        counts = len(beside.upstream.seen), len(other.upstream.seen)

    assert (answer.status, live.complete) == (200, True)
    assert counts == (1, 1)


def test_reload_keeps_connections(directory: Path, beside: Beside) -> None:
    """A reload that changes nothing of an upstream keeps the connections to it."""
    with Served(config(beside.port), directory) as served:
        ask(served.port, request())
        put(served.file, config(beside.port, clients=client("other", OTHER_KEY)))
        by_signal(served)
        served.said("the configuration was loaded anew")
        answer = ask(served.port, request(key=OTHER_KEY))

    assert answer.status == 200
    assert beside.upstream.connections == 1


def test_reloaded_limits(directory: Path, beside: Beside) -> None:
    """New limits count for what comes after them, on open connections too."""
    with Served(config(beside.port), directory) as served, connect(served.port) as kept:
        kept.sendall(request())
        before = read_answer(kept).status
        put(served.file, config(beside.port, server="port = 0\nfirst_byte_s = 0.05"))
        by_signal(served)
        served.said("the configuration was loaded anew")
        kept.sendall(request("claude-hang"))
        after = read_answer(kept)

    assert (before, after.status) == (200, 504)
    assert after.get("x-passgate-error") == ["timeout"]


def test_reload_of_the_admin_key(directory: Path, beside: Beside) -> None:
    """A new admin key and new host names are in force, as it says of all but listeners."""
    with Served(config(beside.port), directory) as served:
        named = get("/readyz").replace(b"localhost", b"gateway.internal")
        before = ask(served.admin_port, named).status, ask(served.admin_port, get("/readyz")).json()
        digest = hashlib.sha256(b"adm_" + b"a" * 43).hexdigest()
        admin = f'[admin]\nkey_sha256 = "{digest}"\nallowed_hosts = ["gateway.internal"]'
        put(served.file, config(beside.port).replace("[admin]", admin))
        by_signal(served)
        served.said("the configuration was loaded anew")
        after = ask(served.admin_port, named).status, ask(served.admin_port, get("/readyz")).json()
        known = ask(served.admin_port, get("/readyz", "x-api-key: adm_" + "a" * 43)).json()

    assert before == (403, {"status": "ready", "problems": [], "warnings": []})
    assert after == (200, {"status": "ready"})
    assert known == {"status": "ready", "problems": [], "warnings": []}


def test_admin_key_outlives_a_changed_listener(directory: Path, beside: Beside) -> None:
    """Settings for another address are not put on this one: it might be left without a key."""
    digest = hashlib.sha256(b"adm_" + b"a" * 43).hexdigest()
    guarded = f'[admin]\nkey_sha256 = "{digest}"'
    with Served(config(beside.port).replace("[admin]", guarded), directory) as served:
        put(served.file, config(beside.port).replace("[admin]\nport = 0", f"[admin]\nport = {1}"))
        by_signal(served)
        served.said("a changed listener needs a restart")
        served.said("the configuration was loaded anew")
        ready = ask(served.admin_port, get("/readyz")).json()

    assert ready == {"status": "ready"}


def test_reload_of_the_log(directory: Path, beside: Beside) -> None:
    """A new format of the log is in force, too."""
    with Served(config(beside.port), directory) as served:
        ask(served.port, request())
        eventually(lambda: len(served.lines()) == 1)
        put(served.file, config(beside.port, more='[log]\nformat = "text"'))
        by_signal(served)
        served.said("the configuration was loaded anew")
        ask(served.port, request())
        eventually(lambda: len(served.lines()) == 2)
        first, second = served.lines()

    assert first.startswith(b'{"ts":')
    assert b" status=200 ending=complete " in second


def test_file_that_has_gone(directory: Path, beside: Beside) -> None:
    """Without its file it serves on as it did."""
    with Served(config(beside.port), directory) as served:
        served.file.unlink()
        served.said("the new configuration is refused, the old one serves on:")
        status = ask(served.port, request()).status

    assert status == 200


def test_command_that_hangs(directory: Path, beside: Beside) -> None:
    """A new credential's command that hangs keeps no other credential from being changed."""
    os.mkfifo(directory / "fifo")
    other = f"""
[upstream.other]
kind = "anthropic"
base_url = "http://127.0.0.1:{beside.port}"
credential = {{ kind = "api_key", command = ["cat", "fifo"] }}
"""
    with Served(config(beside.port), directory) as served:
        put(served.file, config(beside.port, more=other))
        by_signal(served)
        served.said("the configuration was loaded anew")
        put(directory / "credential", "up_second")
        # Contract, section 2: the old one need not be good for longer.
        eventually(lambda: seen_after(served, beside, b"up_second", KEY), within_s=5)


def test_look_that_fails(directory: Path) -> None:
    """A look at the files that fails for our own fault is told of, and is not the last."""
    calls: list[int] = []

    def load() -> Settings:
        calls.append(len(calls))
        raise LookupError("the text may hold what must not be shown")

    with Gateway(lambda settings: replace(settings, watched=(directory / "credential",))) as one:
        one.app._load = load
        for count in (1, 2):
            put(directory / "credential", f"up_{count}")
            eventually(lambda: len(calls) == count)  # noqa: B023  at once
        eventually(lambda: len(one.notices) == 2)
        told = one.notices[0]

    assert told.startswith("a fault of passgate's own: LookupError at app.py:")
    assert "shown" not in told


def test_reload_under_load(directory: Path, beside: Beside) -> None:
    """However often it reloads, no request fails."""
    with (
        Served(config(beside.port), directory) as served,
        Load(lambda: ask(served.port, request())) as load,
    ):
        for number in range(5):
            limit = f"port = 0\nmax_in_flight = {100 + number}"
            put(served.file, config(beside.port, server=limit))
            by_signal(served)
            served.said("the configuration was loaded anew", times=number + 1)
            load.goes_on()

    assert load.failures == []
    assert load.answered >= 250


# Credentials.


def test_rotation_under_load(directory: Path, beside: Beside) -> None:
    """A credential is changed in its file under load, and no request fails for it."""
    upstream = beside.upstream
    with (
        Served(config(beside.port), directory) as served,
        Load(lambda: ask(served.port, request())) as load,
    ):
        for number in range(3):
            load.goes_on()
            upstream._credential = None  # both are good for a while
            put(directory / "credential", f"up_{number}")
            new = f"up_{number}".encode()
            eventually(lambda: set(beside.credentials()[-20:]) == {new})  # noqa: B023  at once
            upstream._credential = f"up_{number}"  # from now on the new one alone
        load.goes_on()

    assert load.failures == []


REFETCHED = {
    "file": 'file = "credential"',
    "command": 'command = ["cat", "credential"], ttl_s = 3600',
}


@pytest.mark.parametrize("source", REFETCHED.values(), ids=REFETCHED.keys())
def test_refused_credential(directory: Path, beside: Beside, source: str) -> None:
    """An upstream's 401 passes as it is; for the next request the credential is fetched anew."""
    beside.upstream._credential = "up_second"
    with Served(config(beside.port, credential=source), directory) as served:
        with connect(served.port) as connection:
            connection.sendall(request())
            refused = read_answer(connection)
            # In place, and with the old stamp: only whoever reads it again sees it.
            stamp = (directory / "credential").stat()
            (directory / "credential").write_text("up_secnd"[: stamp.st_size])
            os.utime(directory / "credential", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            beside.upstream._credential = "up_secnd"
            connection.sendall(request())
            after = read_answer(connection)
        _, log = served.stop()

    assert refused.status == 401
    assert refused.json()["error"]["message"] == "invalid x-api-key"
    assert refused.get("x-passgate-error") == []
    assert after.status == 200
    assert [(record["status"], record["ending"], record["attempts"]) for record in log] == [
        (401, "complete", 1),
        (200, "complete", 1),
    ]


def test_broken_rotation(directory: Path, beside: Beside) -> None:
    """An empty file keeps the last good credential, and ``/ready`` says what is wrong."""
    with Served(config(beside.port), directory) as served:
        put(directory / "credential", "")
        ready = eventually(
            lambda: (
                (said := ask(served.port, get("/ready", f"x-api-key: {KEY}")).json()["warnings"])
                and said
            )
        )
        answer = ask(served.port, request())

    assert ready == ["upstream anthropic: the credential's file is empty"]
    assert answer.status == 200
    assert beside.credentials() == [CREDENTIAL.encode()]


# Deploy.


def ask_again(port: int, resets: list[str]) -> Answer:
    """Ask, and connect once more if the kernel has reset a connection that nobody had read.

    Between the last look at a listening socket and its close there are some microseconds.
    Who connects in them is reset, unless net.ipv4.tcp_migrate_req is set; every SDK then
    connects again by itself.
    """
    try:
        return ask(port, request())
    except ConnectionResetError as error:
        resets.append(repr(error))
        return ask(port, request())


def test_deploy_under_load(directory: Path, beside: Beside) -> None:
    """The next process starts first, the old one is told to stop, and no request fails."""
    settings = config(beside.port, server=f"port = {free_port()}\nreuse_port = true")
    settings = settings.replace("[admin]\nport = 0", f"[admin]\nport = {free_port()}")
    pids, resets = set(), list[str]()
    old = Served(settings, directory).ready()
    port = old.port
    try:
        with Load(lambda: ask_again(port, resets)) as load:
            for _ in range(3):
                new = Served(settings, directory).ready()
                load.goes_on(100)
                status, _ = old.stop()
                assert status == 0
                pids.add(old.process.pid)
                old.__exit__()
                old = new
                load.goes_on(100)
    finally:
        old.__exit__()

    assert load.failures == []
    assert len(pids) == 3
    assert len(resets) <= 6  # of the three that ask, two each time at the very worst


# Commands.


def passgate(
    *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(  # noqa: S603  our own program
        arguments, capture_output=True, text=True, timeout=WAIT_S, check=False, env=env
    )


PROGRAM = {
    "module": (sys.executable, "-m", "passgate"),
    "script": (str(Path(sys.executable).with_name("passgate")),),
}


@pytest.mark.parametrize("program", PROGRAM.values(), ids=PROGRAM.keys())
def test_version(program: Sequence[str]) -> None:
    """Both ways to start it are the same program, and it says which."""
    from passgate import __version__

    ran = passgate(*program, "--version")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"passgate {__version__}\n", "")


@pytest.mark.parametrize("program", PROGRAM.values(), ids=PROGRAM.keys())
def test_demo(program: Sequence[str]) -> None:
    """``passgate demo`` needs nothing: one conversation, and what was recorded of it."""
    ran = passgate(*program, "demo", env={"PYTHONWARNINGS": "error"})

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "model: Hello!" in ran.stdout
    assert re.search(r"\n  ended +complete\n", ran.stdout)
    assert re.search(r"\n  output +[0-9]+ tokens\n  cost +\$0?\.[0-9]+\n", ran.stdout)


def test_no_command() -> None:
    """Without a command there is a usage, and 2."""
    ran = passgate(*PROGRAM["module"])

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("usage: passgate")


def test_serve_demo(directory: Path) -> None:
    """``serve --demo`` needs no key: it makes one, and says the two lines that use it."""
    env = {"PASSGATE_PORT": "0", "PASSGATE_ADMIN_PORT": "0"}
    with Served(None, directory, env, arguments=["serve", "--demo"]) as served:
        key = served.said("ANTHROPIC_API_KEY=").partition("=")[2]
        answer = ask(served.port, request(key=key))
        stream = Reading(served.port, request(key=key, stream=True)).begun()
        state = Path(served.said("PASSGATE_STATE_DIR=").partition("=")[2])
        ledger = state / "ledger.sqlite3"
        had_a_ledger = ledger.exists()
        served.process.send_signal(signal.SIGTERM)
        whole = stream.whole()
        status, log = served.ended()

    assert (answer.status, whole.complete, status) == (200, True, 0)
    assert [record["client"] for record in log] == ["demo", "demo"]
    assert (had_a_ledger, state.exists()) == (True, False)


def test_environment_alone(directory: Path) -> None:
    """Two variables are a whole configuration."""
    env = {
        "PASSGATE_KEY": KEY,
        "ANTHROPIC_API_KEY": "up_of-the-environment",
        "PASSGATE_PORT": "0",
        "PASSGATE_ADMIN_PORT": "0",
        "PASSGATE_HTTP_TIMEOUT_S": "7",
    }
    with Served(None, directory, env, arguments=["serve"]) as served:
        ready = ask(served.port, get("/ready", f"x-api-key: {KEY}"))
        missing = ask(served.port, get("/v1/models", "x-api-key: pg_unknown"))
        lines = served.said("ANTHROPIC_API_KEY=")
        status, log = served.stop()

    assert (ready.status, missing.status, status) == (200, 401, 0)
    assert lines == 'passgate:   export ANTHROPIC_API_KEY="$PASSGATE_KEY"'
    assert [record["client"] for record in log] == [None]


def test_environment_over_the_file(directory: Path, beside: Beside) -> None:
    """What the environment says counts over the file."""
    port = free_port()
    env = {"PASSGATE_PORT": str(port), "PASSGATE_KEY": OTHER_KEY}
    with Served(config(beside.port, server=f"port = {free_port()}"), directory, env) as served:
        statuses = [ask(port, request(key=key)).status for key in (KEY, OTHER_KEY)]

    assert (served.port, statuses) == (port, [200, 200])
