"""Every bound on time, size, number and memory: what is over it ends, what is at it passes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from passgate.core.settings import Limits, Settings
from passgate.edge.wire import server
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
from tests.loopback.peers import Peer, Scripted, rest_of
from tests.loopback.test_lifecycle import KEY, config
from tests.loopback.upstream import Beside

MB = 1_000_000
MOST_HELD = 33_554_432
CHUNKED = "transfer-encoding: chunked"
HEALTH = b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n"
SHORT_S = 0.15
STEP_S = 0.03


@contextlib.contextmanager
def limited(upstream_port: int | None = None, **limits: Any) -> Iterator[Gateway]:
    """Run a gateway with other limits, which in the end holds nothing any more."""

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        upstream = replace(upstream, port=upstream_port or upstream.port)
        return replace(settings, limits=Limits(**limits), upstreams=(upstream,))

    with Gateway(change) as gateway:
        yield gateway
        holds_nothing(gateway)


def holds_nothing(gateway: Gateway) -> None:
    """Wait until no exchange is in flight and no body is held."""
    admission = gateway.app._admission
    eventually(lambda: (admission.in_flight, admission.held_bytes) == (0, 0))


@pytest.fixture(autouse=True)
def nothing_held(gateway: Gateway) -> Iterator[None]:
    """After each test the shared gateway holds no body, and no exchange is in flight."""
    yield
    holds_nothing(gateway)


def code(answer: Answer) -> tuple[int, list[str]]:
    """Return an answer's status, and who of us says so."""
    return answer.status, answer.get("x-passgate-error")


def ended(gateway: Gateway) -> list[tuple[int | None, str | None, str]]:
    """Return status, error and ending of every record so far, once there is one."""
    records = gateway.recorded()
    return [(one.status, one.error, one.ending.value) for one in records]


# Time: the client.


def test_dripped_head() -> None:
    """A head that comes byte by byte is refused when its time is over, however it goes on."""
    with limited(client_head_s=SHORT_S) as gateway, gateway.connect() as connection:
        begun_s = time.monotonic()
        connection.settimeout(STEP_S)
        for byte in gateway.head():
            connection.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if connection.recv(1, socket.MSG_PEEK):
                    break
        took_s = time.monotonic() - begun_s
        connection.settimeout(WAIT_S)
        answer = read_answer(connection)

        assert (400, ["http"]) == code(answer)
        assert rest_of(connection) == (b"", "fin")
        assert took_s < 10 * SHORT_S
        assert [(400, "http", "refused")] == ended(gateway)


@pytest.mark.parametrize("served", [False, True], ids=["first head", "next head"])
def test_silent_connection(served: bool) -> None:  # noqa: FBT001  a row of a table
    """A connection on which no head comes is closed without an answer or a record."""
    limits: dict[str, Any] = {"keep_alive_s" if served else "client_head_s": SHORT_S}
    with limited(**limits) as gateway, gateway.connect() as connection:
        if served:
            connection.sendall(HEALTH)
            assert read_answer(connection).status == 200
        begun_s = time.monotonic()
        assert rest_of(connection) == (b"", "fin")
        assert SHORT_S / 2 < time.monotonic() - begun_s < 10 * SHORT_S
        assert gateway.settled() == []


def test_next_head_has_its_own_time() -> None:
    """On a connection in use a head's time begins with its first byte, not with the idling."""
    with limited(client_head_s=SHORT_S, keep_alive_s=9) as gateway, gateway.connect() as connection:
        connection.sendall(HEALTH)
        read_answer(connection)
        connection.settimeout(0.05)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                connection.recv(1)
        connection.sendall(HEALTH[:9])
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(HEALTH[9:-2])
        connection.settimeout(WAIT_S)
        connection.sendall(HEALTH[-2:])
        assert read_answer(connection).status == 200
        connection.sendall(HEALTH[:9])
        assert (400, ["http"]) == code(read_answer(connection))


BODIES = {
    "held by length": ("/v1/messages", "content-length: 999", b'{"model":'),
    "held in chunks": ("/v1/messages", CHUNKED, b'9\r\n{"model":\r\n'),
    "held, nothing came": ("/v1/messages", "content-length: 999", b""),
    "streamed by length": ("/v1/files", "content-length: 999", b"part"),
    "streamed in chunks": ("/v1/files", CHUNKED, b"4\r\npart\r\n"),
    "streamed, no chunk came": ("/v1/files", CHUNKED, b""),
}


@pytest.mark.parametrize(("path", "framing", "part"), BODIES.values(), ids=BODIES)
def test_stalled_body(path: str, framing: str, part: bytes) -> None:
    """A body that stops arriving is refused, its connection closed, and its upstream call too."""
    with limited(client_body_idle_s=SHORT_S) as gateway, gateway.connect() as connection:
        connection.sendall(gateway.head("POST", path, framing) + part)
        answer = read_answer(connection)

        assert (400, ["http"]) == code(answer)
        assert rest_of(connection) == (b"", "fin")
        assert [(400, "http", "refused")] == ended(gateway)
        eventually(lambda: gateway.upstream.open == 0)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/files"], ids=["held", "streamed"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_slow_body(path: str, framing: str) -> None:
    """A body may take as long as it likes while it makes progress."""
    body = b'{"model":"claude-a","max_tokens":1,"messages":[]}'
    pieces = [body[at : at + 4] for at in range(0, len(body), 4)]
    fields = [f"content-length: {len(body)}"]
    if framing == "chunked":
        pieces = [*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]
        fields = [CHUNKED]
    with limited(client_body_idle_s=SHORT_S) as gateway, gateway.connect() as connection:
        connection.sendall(gateway.head("POST", path, *fields))
        for piece in pieces:
            time.sleep(STEP_S)
            connection.sendall(piece)
        answer = read_answer(connection)

        assert (200, []) == code(answer)
        assert [body] == [seen.body for seen in gateway.upstream.seen]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/files/file_size_60000000/content"])
def test_client_takes_nothing(path: str) -> None:
    """Who takes no byte of an answer is cut off, and the upstream with it."""
    with limited(client_stall_s=SHORT_S) as gateway:
        with gateway.connect(receive_buffer=4096) as connection:
            if path == "/v1/messages":
                connection.sendall(gateway.post(message("claude-big-60000000")))
            else:
                connection.sendall(gateway.head("GET", path))
            [record] = gateway.recorded()
            answer = read_answer(connection)

        assert (200, "timed_out") == (record.status, record.ending.value)
        assert (200, False) == (answer.status, answer.complete)
        eventually(lambda: gateway.upstream.open == 0)


def test_client_takes_nothing_small() -> None:
    """What nobody takes does not keep an idle connection, though little of it is left."""
    with (
        limited(client_stall_s=SHORT_S, keep_alive_s=SHORT_S) as gateway,
        gateway.connect(receive_buffer=4096) as connection,
    ):
        [accepted] = eventually(lambda: list(gateway.app.data._connections))
        ours = accepted._transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(gateway.post(message("claude-big-60000")))
        gateway.recorded()
        assert accepted._transport.get_write_buffer_size() > 0
        eventually(lambda: not gateway.app.data._connections, within_s=2)


def test_slow_taker() -> None:
    """Who takes its answer slowly gets the whole of it."""
    with limited(client_stall_s=2 * SHORT_S) as gateway, gateway.connect() as connection:
        raw = gateway.head("GET", "/v1/files/file_size_30000000/content", "connection: close")
        connection.sendall(raw)
        got, begun_s = 0, time.monotonic()
        while piece := connection.recv(MB, socket.MSG_WAITALL):
            got += len(piece)
            time.sleep(STEP_S)

        assert got > 30 * MB
        assert time.monotonic() - begun_s > 4 * SHORT_S
        assert [(200, None, "complete")] == ended(gateway)


# Time: the upstream.


def test_first_byte() -> None:
    """An upstream that does not answer in time is a 504, and its connection is closed."""
    with limited(first_byte_s=SHORT_S) as gateway, gateway.connect() as connection:
        connection.sendall(gateway.post(message("claude-hang")))
        answer = read_answer(connection)
        connection.sendall(gateway.post(message()))

        assert (504, ["timeout"]) == code(answer)
        assert answer.json()["error"]["type"] == "timeout_error"
        assert [(504, "timeout", "timed_out")] == ended(gateway)[:1]
        eventually(lambda: gateway.upstream.hang_ups == 1)
        assert read_answer(connection).status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "events"])
def test_idle_upstream(stream: bool) -> None:  # noqa: FBT001  a row of a table
    """An upstream that falls silent inside a body ends the answer, and never as if complete."""
    with limited(idle_s=SHORT_S) as gateway:
        answer = gateway.ask(gateway.post(message("claude-silent", stream=stream)))

        assert (200, False, []) == (answer.status, answer.complete, answer.get("x-passgate-error"))
        assert len(answer.body) > 0
        assert [(200, "timeout", "timed_out")] == ended(gateway)
        eventually(lambda: gateway.upstream.hang_ups == 1)


def test_slow_upstream() -> None:
    """An upstream may take as long as it likes while it sends something now and then."""
    with limited(idle_s=SHORT_S, first_byte_s=SHORT_S, client_stall_s=SHORT_S) as gateway:
        answer = gateway.ask(gateway.post(message("claude-slow-30-15", stream=True)))
        [record] = gateway.recorded()

        assert answer.complete
        assert record.ending.value == "complete"
        assert record.duration_ms > 2000 * SHORT_S


@pytest.mark.parametrize("listens", [False, True], ids=["closed", "does not accept"])
def test_connect(listens: bool) -> None:  # noqa: FBT001  a row of a table
    """Where nobody listens is a 502, who does not accept in time a 504."""
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        if listens:
            deaf.listen(0)
            stack.enter_context(connect(port))  # its queue holds this one alone
        with limited(port, connect_s=SHORT_S) as gateway:
            answer = gateway.ask(gateway.post(message()))

            expected = (504, "timeout", "timed_out") if listens else (502, "upstream", None)
            assert (expected[0], [expected[1]]) == code(answer)
            assert [(*expected[:2], expected[2] or "upstream_broke")] == ended(gateway)


# Number.


def _is_busy(gateway: Gateway) -> None:
    """Check that a request's head is enough to be told that the gateway is full."""
    assert gateway.ask(HEALTH).status == 200
    with gateway.connect() as connection:
        fields = ("content-length: 1000", "expect: 100-continue")
        connection.sendall(gateway.head("POST", "/v1/messages", *fields))
        answer = read_answer(connection)

        assert (*code(answer), answer.get("retry-after")) == (529, ["busy"], ["1"])
        assert (answer.interim, answer.json()["error"]["type"]) == ([], "overloaded_error")
        assert rest_of(connection) == (b"", "fin")


def test_max_in_flight() -> None:
    """One exchange too many is told so before its body is read; ``/health`` is answered."""
    with limited(max_in_flight=1) as gateway:
        with gateway.connect() as first:
            first.sendall(gateway.post(message("claude-hang")))
            eventually(lambda: gateway.app._admission.in_flight == 1)
            _is_busy(gateway)
        eventually(lambda: gateway.app._admission.in_flight == 0)

        assert gateway.ask(gateway.post(message())).status == 200


def test_max_connections() -> None:
    """One connection too many is told so; it is asked after health all the same."""
    with limited(max_connections=1) as gateway:
        with gateway.connect() as first:
            first.sendall(HEALTH)
            read_answer(first)
            _is_busy(gateway)
            first.sendall(gateway.post(message()))
            assert read_answer(first).status == 200
        eventually(lambda: not gateway.app.data._connections)

        assert gateway.ask(gateway.post(message())).status == 200


# Size.


def test_max_body_memory() -> None:
    """Held bodies together stay within their memory; the next one gets it when it is free."""
    body = b'{"model":"claude-a","pad":"' + b"x" * 600_000 + b'"}'
    with limited(max_body_memory_mb=1) as gateway, gateway.connect() as first:
        raw = gateway.post(body)
        first.sendall(raw[:-9])
        eventually(lambda: gateway.app._admission.held_bytes == len(body))
        full = [gateway.ask(gateway.head("POST", "/v1/messages", "content-length: 600000"))]
        in_chunks = gateway.head("POST", "/v1/messages", CHUNKED) + b"%x\r\n" % MB + b"x" * MB
        full += [gateway.ask(in_chunks)]
        streamed = gateway.ask(gateway.post(b"x" * 2 * MB, path="/v1/files"))
        first.sendall(raw[-9:])
        served = [read_answer(first).status, gateway.ask(raw).status]

        assert [(529, ["busy"])] * 2 == [code(answer) for answer in full]
        assert (200, [200, 200]) == (streamed.status, served)


def test_memory_of_coded_bodies() -> None:
    """What a coded body is unpacked to counts while its model is read, and not any longer."""
    small, large = (zlib.compress(_padded(size)) for size in (600_000, 3 * MB))
    with limited(max_body_memory_mb=2) as gateway:
        full = gateway.ask(gateway.post(large, "content-encoding: deflate"))
        coded = gateway.post(small, "content-encoding: deflate")
        with gateway.connect() as connection:
            for _ in range(4):
                connection.sendall(coded)
                assert read_answer(connection).status == 200
        models = [record.model for record in gateway.recorded(5)]

        assert (529, ["busy"]) == code(full)
        assert [None, *["claude-a"] * 4] == models


def _padded(size: int) -> bytes:
    start = b'{"model":"claude-a","max_tokens":1,"messages":[],"pad":"'
    return start + b"x" * (size - len(start) - 2) + b'"}'


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("expect", [(), ("expect: 100-continue",)], ids=["", "expect"])
def test_too_large(gateway: Gateway, path: str, expect: tuple[str, ...]) -> None:
    """A declared length over 32 MiB is refused at its head, and its body not asked for."""
    with gateway.connect() as connection:
        fields = (f"content-length: {MOST_HELD + 1}", *expect)
        connection.sendall(gateway.head("POST", path, *fields))
        answer = read_answer(connection)

    assert (413, ["size"], []) == (*code(answer), answer.interim)
    assert answer.json()["error"]["type"] == "request_too_large"
    assert (0, []) == (gateway.recorded()[0].bytes_up, gateway.upstream.seen)


@pytest.mark.parametrize("over", [0, 1], ids=["at the limit", "over it"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_largest(gateway: Gateway, framing: str, over: int) -> None:
    """Exactly 32 MiB pass, however they are framed; one byte more does not."""
    body = _padded(MOST_HELD + over)
    raw = gateway.post(body)
    if framing == "chunked":
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        raw = gateway.head("POST", "/v1/messages", CHUNKED) + chunks
    with gateway.connect() as connection:
        with contextlib.suppress(ConnectionError):  # it was refused long ago
            connection.sendall(raw)
        status = 0
        with contextlib.suppress(ConnectionError):
            status = read_answer(connection).status
    [record] = gateway.recorded()

    assert (413, "size") == (record.status, record.error) if over else status == 200
    assert [len(body)][over:] == [seen.body_bytes for seen in gateway.upstream.seen]


def _head_of(gateway: Gateway, size: int) -> bytes:
    bare = len(gateway.head("GET", "/v1/models", "x-pad: "))
    return gateway.head("GET", "/v1/models", "x-pad: " + "x" * (size - bare))


HEADS: dict[str, tuple[int, int, Callable[[Gateway, int], bytes]]] = {
    "head": (32 * 1024, 431, _head_of),
    "target": (8192, 414, lambda it, size: it.head("GET", "/v1/models?" + "x" * (size - 11))),
    "fields": (100, 431, lambda it, n: it.head("GET", "/v1/models", *["x: y"] * (n - 2))),
}


@pytest.mark.parametrize(("most", "status", "make"), HEADS.values(), ids=HEADS)
def test_head_bounds(
    gateway: Gateway, most: int, status: int, make: Callable[[Gateway, int], bytes]
) -> None:
    """A head, target or number of fields at its limit passes; one more is refused."""
    at, over = gateway.ask(make(gateway, most)), gateway.ask(make(gateway, most + 1))

    assert (200, []) == code(at)
    assert (status, ["http"]) == code(over)
    assert over.get("connection") == ["close"]


def test_sent_ahead(gateway: Gateway) -> None:
    """However much was sent ahead, every request is answered in its turn."""
    paths = [f"/v1/models/claude-{number}" for number in range(2000)]
    ahead = b"".join(gateway.head("GET", path) for path in paths)
    with gateway.connect() as connection:
        raw = gateway.post(message("claude-first-byte-100")) + ahead
        sender = threading.Thread(target=connection.sendall, args=(raw,))
        sender.start()
        answer = read_answer(connection)
        for path in paths:
            answer = read_answer(connection, rest=answer.rest)
            assert f"Not found: {path}" in answer.json()["error"]["message"]
        sender.join(WAIT_S)

    assert len(raw) > 2 * server._MAX_AHEAD_BYTES
    assert answer.rest == b""


# Refusals before the body was read.

ASKED = {"good key": (200, 1), "wrong key": (401, 0), "no such path": (404, 0)}


@pytest.mark.parametrize("case", ASKED)
def test_expect(gateway: Gateway, case: str) -> None:
    """A body is asked for when the key was checked, and by nobody but us."""
    body = _padded(100)
    path = "/v2/messages" if case == "no such path" else "/v1/messages"
    head = gateway.head("POST", path, "content-length: 100", "Expect: 100-continue")
    if case == "wrong key":
        head = head.replace(gateway.key.encode(), b"pg_" + b"w" * 43)
    with gateway.connect() as connection:
        connection.sendall(head)
        if case == "good key":
            assert connection.recv(99) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
        answer = read_answer(connection)

    assert (ASKED[case][0], []) == (answer.status, answer.interim)
    assert ASKED[case][1] == len(gateway.upstream.seen)
    assert not any(b"expect" in seen.head.lower() for seen in gateway.upstream.seen)


REFUSED = {
    "wrong key": (401, b"POST /v1/messages HTTP/1.1\r\nhost: h\r\nx-api-key: no\r\n"),
    "no such path": (404, b"POST /v2/x HTTP/1.1\r\nhost: h\r\n"),
    "no HTTP": (400, b"POST /v1/messages HTTP/1.1\r\nhost: h\r\nhost: h\r\n"),
}


@pytest.mark.parametrize("framing", [b"content-length: 1048576", b"transfer-encoding: chunked"])
@pytest.mark.parametrize(("status", "head"), REFUSED.values(), ids=REFUSED)
def test_refusal_arrives(gateway: Gateway, status: int, head: bytes, framing: bytes) -> None:
    """A client that sends 1 MiB before it reads gets its refusal, and no reset."""
    with gateway.connect() as connection:
        connection.sendall(head + framing + b"\r\n\r\n")
        for _ in range(16):
            connection.sendall(b"x" * 65536)
        answer = read_answer(connection)

        assert (status, True, ["close"]) == (
            answer.status,
            answer.complete,
            answer.get("connection"),
        )
        assert rest_of(connection) == (b"", "fin")


@pytest.mark.parametrize("goes_on", [False, True], ids=["keeps still", "sends on"])
def test_linger_ends(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    goes_on: bool,  # noqa: FBT001  a row of a table
) -> None:
    """What comes after a refusal is read for 2 s or 1 MiB, and then the connection ends."""
    monkeypatch.setattr(server, "_LINGER_S", 9 if goes_on else SHORT_S)
    with gateway.connect() as connection:
        connection.sendall(REFUSED["wrong key"][1] + b"content-length: 99999999\r\n\r\n")
        assert read_answer(connection).status == 401
        if goes_on:
            with pytest.raises(ConnectionError):
                connection.sendall(b"x" * 60 * MB)
        else:
            assert gateway.app.data._connections
        eventually(lambda: not gateway.app.data._connections, within_s=2)


# Memory of the process.

MOST_GROWTH = 8 * 1024  # kB
HEAD = "{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-api-key: " + KEY + "\r\n"


@contextlib.contextmanager
def growing_little(port: int, directory: Path) -> Iterator[int]:
    """Run a process in front of *port*, which may not grow; the value is its own port."""
    text = config(port, credential='env = "UPSTREAM_KEY"')
    with Served(text, directory, {"UPSTREAM_KEY": "up_" + "u" * 40}) as served:
        status = Path(f"/proc/{served.process.pid}/status")
        with connect(served.port) as connection:
            connection.sendall(HEALTH)
            read_answer(connection)
        before = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
        yield served.port
        after = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
        served.stop(9)

    assert after - before < MOST_GROWTH


def _get(size: int) -> bytes:
    return (HEAD.format(f"GET /v1/files/file_size_{size}/content") + "\r\n").encode()


def _put(size: int) -> bytes:
    return (HEAD.format("POST /v1/files") + f"content-length: {size}\r\n\r\n").encode()


def _blocked(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send up to *most* bytes until the far end takes no more; return how many went."""
    connection.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += connection.send(piece)
    return sent


def test_memory_of_100_mb(tmp_path: Path) -> None:
    """100 MB pass through in each direction, and the process does not grow by what it passes."""
    with Beside() as beside, growing_little(beside.port, tmp_path) as port:
        with connect(port) as connection:
            connection.sendall(_get(100 * MB))
            got = sum(map(len, iter(lambda: connection.recv(1 << 18), b"")))
        with connect(port) as connection:
            connection.sendall(_put(100 * MB))
            for _ in range(100):
                connection.sendall(b"x" * MB)
            status = read_answer(connection).status
        uploaded = beside.upstream.seen[-1].body_bytes

    assert got > 100 * MB
    assert (200, 100 * MB) == (status, uploaded)


def test_memory_of_who_does_not_read(tmp_path: Path) -> None:
    """Of 60 MB that a client does not take, the rest stays with the upstream."""
    with (
        Beside() as beside,
        growing_little(beside.port, tmp_path) as port,
        connect(port, receive_buffer=4096) as connection,
    ):
        connection.sendall(_get(60 * MB))
        assert connection.recv(12) == b"HTTP/1.1 200"
        for _ in range(10):
            time.sleep(0.05)


@pytest.mark.parametrize("reads", [False, True], ids=["not at all", "slowly"])
def test_memory_of_an_upload(tmp_path: Path, reads: bool) -> None:  # noqa: FBT001  a row
    """Of 60 MB that an upstream does not take, or slowly, the rest stays with the client."""
    got: list[int] = []

    def script(peer: Peer) -> None:
        if not reads:
            peer.over.wait(WAIT_S)
        while sum(got) < 60 * MB:
            got.append(len(peer.socket.recv(MB, socket.MSG_WAITALL)))
            peer.over.wait(0.01)
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with (
        Scripted(script) as upstream,
        growing_little(upstream.port, tmp_path) as port,
        connect(port) as connection,
    ):
        connection.sendall(_put(60 * MB))
        if reads:  # to its end, however long a busy machine takes for a piece
            connection.settimeout(WAIT_S)
            for _ in range(60):
                connection.sendall(b"x" * MB)
            assert read_answer(connection).status == 200
        else:
            assert _blocked(connection, b"x" * MB, 60 * MB) < 60 * MB


@pytest.mark.parametrize("target", ["/health", "/v1/x", "/v2/x"])
def test_memory_of_pipelining(tmp_path: Path, target: str) -> None:
    """Who sends requests without end and reads no answer is not answered without end."""
    with Beside() as beside, growing_little(beside.port, tmp_path) as port:
        raw = f"GET {target} HTTP/1.1\r\nhost: h\r\n\r\n".encode() * 10_000
        with connect(port, receive_buffer=4096) as connection:
            sent = _blocked(connection, raw, 40 * MB)

    assert sent < 40 * MB
