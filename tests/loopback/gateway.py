"""A running gateway for tests: in a thread of this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from msgspec.structs import replace

from passgate.app import App
from passgate.core.exchange import Record
from passgate.core.settings import (
    AdminSettings,
    ClientSettings,
    CredentialKind,
    CredentialSettings,
    Limits,
    Listen,
    RouteSettings,
    Settings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.demo.upstream import Upstream
from passgate.gateway.lanes import Waits

T = TypeVar("T")

WAIT_S = 10.0


def client(name: str, key: str, **more: Any) -> ClientSettings:
    """Return a client with *key*."""
    return ClientSettings(name, hashlib.sha256(key.encode()).digest(), **more)


def anthropic(port: int, credential: str, **more: Any) -> UpstreamSettings:
    """Return an Anthropic upstream on loopback."""
    source = CredentialSettings(CredentialKind.API_KEY, env="UPSTREAM_KEY", env_value=credential)
    given: dict[str, Any] = {
        "tls": False,
        "host": "127.0.0.1",
        "prefix": "",
        "credential": source,
    } | more
    return UpstreamSettings("anthropic", UpstreamKind.ANTHROPIC, port=port, **given)


class Gateway:
    """The real app on uvloop, in a thread, with a simulated upstream beside it.

    Attributes:
        key: What the client ``test`` shows.
        credential: What the upstream must be shown.
        upstream: The simulated upstream; its lists may be read from here.
        records: Every record so far.
        notices: What the operator was told.
        port: Of the data listener.
        admin_port: Of the operator's.
        waits: How long clients of translated answers hear nothing.
    """

    def __init__(self, change: Callable[[Settings], Settings] = lambda settings: settings) -> None:
        self.key = f"pg_{secrets.token_urlsafe(32)}"
        self.credential = f"up_{secrets.token_urlsafe(32)}"
        self.upstream = Upstream()
        self.records: list[Record] = []
        self.notices: list[str] = []
        self.port = self.admin_port = 0
        self.waits = Waits()
        self._change = change
        self._recorded = threading.Condition()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def __enter__(self) -> Gateway:
        self._thread.start()
        self.call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run *coro* on the gateway's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coro, self._loop).result(WAIT_S)

    async def _start(self) -> None:
        await self.upstream.start()
        settings = Settings(
            listen=Listen(port=0),
            admin=AdminSettings(listen=Listen(port=0)),
            clients=(client("test", self.key),),
            upstreams=(anthropic(self.upstream.port, self.credential),),
            routes=(RouteSettings("*", "anthropic"),),
        )
        self.settings = self._change(settings)
        await self._begin()

    async def _begin(self) -> None:
        self.app = App(
            self.settings,
            notice=self.notices.append,
            watchers=[self._record],
            log_fd=None,
            waits=self.waits,
        )
        await self.app.start()
        self.port, self.admin_port = self.app.data.address[1], self.app.admin.address[1]

    async def _stop(self) -> None:
        await self.app.close()
        await self.upstream.close()

    def _record(self, records: Sequence[Record]) -> None:
        with self._recorded:
            self.records += records
            self._recorded.notify_all()

    def forget(self) -> None:
        """Forget what was recorded and seen so far, also what nobody was told of yet."""
        self.call(self._flush())
        self.records.clear()
        self.upstream.reset()

    async def _flush(self) -> None:
        self.app._recorder.flush()

    @property
    def url(self) -> str:
        """Where a client reaches it."""
        return f"http://127.0.0.1:{self.port}"

    def recorded(self, count: int = 1) -> list[Record]:
        """Return all records as soon as there are *count*."""
        with self._recorded:
            enough = self._recorded.wait_for(lambda: len(self.records) >= count, WAIT_S)
            assert enough, f"{len(self.records)} records instead of {count}"
            return list(self.records)

    def settled(self) -> list[Record]:
        """Return all records of what has ended by now, without waiting for them."""
        self.call(self._flush())
        return list(self.records)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a new connection to the data listener."""
        return connect(self.port, receive_buffer=receive_buffer)

    def head(self, method: str = "POST", path: str = "/v1/messages", *fields: str) -> bytes:
        """Return a request head with the key, ended; *fields* are further lines."""
        lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"x-api-key: {self.key}", *fields]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def post(
        self, body: bytes | Mapping[str, Any], *fields: str, path: str = "/v1/messages"
    ) -> bytes:
        """Return a whole POST with the key."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.head("POST", path, *fields, f"content-length: {len(body)}") + body

    def ask(self, raw: bytes) -> Answer:
        """Send *raw* on a connection of its own and return the whole answer."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read_answer(connection)


def message(model: str = "claude-sonnet-4-5", **more: Any) -> dict[str, Any]:
    """Return the body of a Messages request; *model* names the upstream's scene."""
    user = {"role": "user", "content": "hello"}
    return {"model": model, "max_tokens": 64, "messages": [user]} | more


def quiet_port() -> int:
    """Return a free port of loopback that the kernel gives to nobody who asks for any port.

    For who listens on it, ends, and listens again while other tests run.
    """
    for port in random.sample(range(12_000, 30_000), 50):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def connect(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    """Return a new connection to loopback *port*, with a time limit."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(WAIT_S)
    connection.connect(("127.0.0.1", port))
    return connection


class Answer:
    """One HTTP response, read by hand so that nothing is made pretty.

    Attributes:
        status: Of the final response.
        fields: Name and value as received, in order.
        raw: The bytes of the body as they came, framing included.
        body: The body without its framing.
        complete: Whether the framing says that it is whole.
        interim: Heads of 1xx responses before it.
        rest: What had come behind it.
    """

    def __init__(self) -> None:
        self.status = 0
        self.head = b""
        self.fields: list[tuple[str, str]] = []
        self.raw: bytes | bytearray = b""
        self.body = b""
        self.complete = False
        self.interim: list[bytes] = []
        self.rest = b""

    def get(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def read_answer(connection: socket.socket, method: str = "POST", rest: bytes = b"") -> Answer:
    """Read one whole response, or what there is of it when the connection ends."""
    stream = _Stream(connection, rest)
    answer = Answer()
    while True:
        answer.head = stream.until(b"\r\n\r\n")
        lines = answer.head[:-4].split(b"\r\n")
        answer.status = int(lines[0].split()[1])
        if answer.status >= 200:
            break
        answer.interim.append(answer.head)
    pairs = [line.decode("latin-1").partition(":") for line in lines[1:]]
    answer.fields = [(name, value.strip()) for name, _, value in pairs]
    with contextlib.suppress(EOFError, ConnectionError):
        _read_body(stream, answer, method)
    return answer


def _read_body(stream: _Stream, answer: Answer, method: str) -> None:
    start = stream.used
    try:
        if method == "HEAD" or answer.status in (204, 304):
            answer.complete = True
        elif answer.get("transfer-encoding"):
            while size := int(stream.until(b"\r\n").split(b";")[0], 16):
                answer.body += stream.exactly(size)
                assert stream.exactly(2) == b"\r\n"
            while stream.until(b"\r\n") != b"\r\n":
                pass
            answer.complete = True
        elif length := answer.get("content-length"):
            answer.body = stream.up_to(int(length[0]))
            answer.complete = len(answer.body) == int(length[0])
        else:
            answer.body = stream.up_to(None)
            answer.complete = True
    finally:
        answer.raw = stream.seen[start : stream.used]
        answer.rest = bytes(stream.seen[stream.used :])


class _Stream:
    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        self._connection = connection
        self.seen = bytearray(rest)
        self.used = 0

    def _more(self) -> None:
        data = self._connection.recv(1 << 18)
        if not data:
            raise EOFError
        self.seen += data

    def until(self, mark: bytes) -> bytes:
        while (end := self.seen.find(mark, self.used)) < 0:
            self._more()
        return self._take(end + len(mark))

    def exactly(self, size: int) -> bytes:
        while len(self.seen) < self.used + size:
            self._more()
        return self._take(self.used + size)

    def up_to(self, size: int | None) -> bytes:
        with contextlib.suppress(EOFError, ConnectionError):
            while size is None or len(self.seen) < self.used + size:
                self._more()
        return self._take(len(self.seen) if size is None else min(len(self.seen), self.used + size))

    def _take(self, end: int) -> bytes:
        data = bytes(self.seen[self.used : end])
        self.used = end
        return data


def eventually(true: Callable[[], T], within_s: float = WAIT_S) -> T:
    """Return what *true* returns as soon as that is truthy; fail after *within_s*."""
    until = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.005)
    return value


class Served:
    """``passgate serve`` as a process of its own.

    Its log goes to a file, so that it can be read while the process runs.

    Args:
        config: What ``passgate.toml`` says; None for no such file.
        directory: Where it runs and keeps its state.
        env: Its environment, besides what every process has.
        arguments: What follows ``passgate``; by default it serves *config*.
        program: What runs passgate.
        stdout: Where its log goes instead; somebody else then reads it.

    Attributes:
        port: Of the data listener, once :meth:`ready` has returned.
        admin_port: Of the operator's.
        process: The process.
    """

    def __init__(
        self,
        config: str | None,
        directory: Path,
        env: Mapping[str, str] | None = None,
        *,
        arguments: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "passgate"),
        stdout: int | None = None,
    ) -> None:
        self.file = directory / "passgate.toml"
        if config is not None:
            self.file.write_text(config)
        self._stderr = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self.port = self.admin_port = 0
        clean = {k: v for k, v in os.environ.items() if not _OURS(k)}  # noqa: TID251  a child's
        given = clean | {"PASSGATE_STATE_DIR": str(directory / "state"), "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(  # noqa: S603  our own program
            [
                *program,
                *(arguments or ("serve", "--config", str(self.file))),
            ],
            stdout=self._log if stdout is None else stdout,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=given | dict(env or {}),
        )

    def __enter__(self) -> Served:
        try:
            return self.ready()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)
        while self._read_stderr(WAIT_S):
            pass
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._log.close()
        # A traceback or a warning is a bug, whatever else the test looks at.
        strange = [line for line in self.all_said() if not line.startswith("passgate: ")]
        assert strange == []

    def ready(self) -> Served:
        """Wait until it says where it serves."""
        line = self.said("serving on ")
        places = [part.rpartition(":")[2] for part in line.split("serving on ")[1].split(", ")]
        self.port = int(places[0])
        self.admin_port = int(places[1].split()[0])
        return self

    def said(self, text: str, times: int = 1) -> str:
        """Return the last of the first *times* lines of stderr with *text*, once it is there."""
        until = time.monotonic() + WAIT_S
        while True:
            found = [line for line in self._stderr.decode().splitlines() if text in line]
            if len(found) >= times:
                return found[times - 1]
            data = self._read_stderr(until - time.monotonic())
            assert data, f"{text!r} was not said: {self._stderr.decode()}"

    def _read_stderr(self, within_s: float) -> bytes:
        assert self.process.stderr is not None
        ready, _, _ = select.select([self.process.stderr], [], [], max(0, within_s))
        data = os.read(self.process.stderr.fileno(), 65536) if ready else b""
        self._stderr += data
        return data

    def lines(self) -> list[bytes]:
        """Return the whole lines of its log so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).splitlines(keepends=True)

    def logged(self, count: int = 1) -> list[dict[str, Any]]:
        """Return every record of its log as soon as there are *count*."""
        eventually(lambda: len([x for x in self.lines() if x.endswith(b"\n")]) >= count)
        return [json.loads(line) for line in self.lines() if line.endswith(b"\n")]

    def stop(self, signum: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Send a signal, wait for the end; return the exit status and the log's records."""
        self.process.send_signal(signum)
        return self.ended()

    def ended(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait for the end; return the exit status and the log's records."""
        status = self.process.wait(WAIT_S)
        return status, [json.loads(line) for line in self.lines()]

    def all_said(self) -> list[str]:
        """Return every line of its stderr, once it has ended."""
        return self._stderr.decode().splitlines()


def _OURS(name: str) -> bool:  # noqa: N802  reads as the set it stands for
    return name.startswith(("PASSGATE_", "ANTHROPIC_", "CLAUDE_", "GEMINI_"))


@contextlib.contextmanager
def running(
    *, limits: Limits | None = None, clients: Sequence[ClientSettings] = (), **more: Any
) -> Iterator[Gateway]:
    """Run a gateway with other limits, further clients or other settings."""

    def change(settings: Settings) -> Settings:
        settings = replace(settings, clients=settings.clients + tuple(clients), **more)
        return replace(settings, limits=limits) if limits is not None else settings

    with Gateway(change) as gateway:
        yield gateway
