"""What comes down: every byte of a response as it came, but for the contract's list."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import pytest

from tests.loopback.gateway import (
    Answer,
    Gateway,
    connect,
    eventually,
    message,
    read_answer,
    running,
)
from tests.loopback.peers import Peer, Scripted, rest_of


@dataclass(frozen=True)
class Down:
    """A scene that the upstream plays, asked for by its name; "" is the ordinary one."""

    scene: str
    stream: bool = False
    line: str = ""

    @property
    def id(self) -> str:
        """What a test's name says."""
        return f"{self.line} {self.scene}{' stream' * self.stream}".strip()


# fmt: off
STREAMED = [
    "text-0", "text-1", "text-300", "thinking", "tool", "refusal", "max-tokens", "pings",
    "big-300000", "gzip", "deflate", "mid-error-3", "head-dup", "trailers", "http10", "close",
    "no-length", "interim", "echo-credential", "slow-2000-20", "error-529",
]
UNARY = [
    "default", "thinking", "tool", "refusal", "big-17000", "big-3000000", "gzip", "deflate",
    *(f"error-{code}" for code in (400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 504, 529)),
    "error-599", "error-html-502", "error-html-403", "early-413", "early-500", "head-dup",
    "trailers", "http10", "close", "no-length", "interim", "first-byte-20", "echo-credential",
]
# fmt: on
DOWN = [
    *(Down(scene, stream=True) for scene in STREAMED),
    *(Down(scene) for scene in UNARY),
    Down("", line="GET /v1/models?limit=2"),
    Down("", line="HEAD /v1/models"),
    Down("", line="HEAD /v1/nowhere"),
    Down("", line="GET /v1/files/file_size_2000000/content"),
    Down("", line="GET /v1/files/file_size_0/content"),
    Down("gzip", line="GET /v1/models"),
    Down("close", line="HEAD /v1/models"),
    Down("no-length", line="HEAD /v1/models"),
]


@pytest.mark.parametrize("row", DOWN, ids=lambda row: row.id)
def test_response(gateway: Gateway, row: Down) -> None:
    """A response comes down as the upstream sent it: head, framing and body, byte by byte."""
    extra = [f"x-demo-scene: {row.scene}"] if row.scene else []
    raw = gateway.post(message(stream=row.stream), *extra)
    if row.line:
        raw = gateway.head(*row.line.split(" "), *extra)
    key, credential = gateway.key.encode(), gateway.credential.encode()
    got = _asked(gateway.port, raw)
    direct = _asked(gateway.upstream.port, raw.replace(key, credential))
    record, *others = gateway.settled()

    assert _first_words(direct) == _first_words(got)
    assert _end_to_end(direct, gateway.credential) == _end_to_end(got, "")
    assert _neutral(_without_trailer(direct)) == _neutral(got.raw)
    assert (direct.interim, direct.complete) == (got.interim, got.complete)
    assert ([], got.status, len(got.body)) == (others, record.status, record.bytes_down)


def _asked(port: int, raw: bytes) -> Answer:
    with connect(port) as connection:
        connection.sendall(raw)
        return read_answer(connection, raw.partition(b" ")[0].decode())


def _first_words(answer: Answer) -> bytes:
    """Return status and reason: the version is for one connection."""
    return answer.head.partition(b"\r\n")[0].partition(b" ")[2]


_HOP_BY_HOP = {"connection", "keep-alive", "trailer", "transfer-encoding", "set-cookie"}


def _end_to_end(answer: Answer, credential: str) -> list[tuple[str, str]]:
    """Return what a client gets of an upstream's fields: in order, as spelled."""
    listed = ",".join(answer.get("connection")).lower().split(",")
    gone = _HOP_BY_HOP | {name.strip() for name in listed}
    return [
        (name, "..." if _volatile(name) else value)
        for name, value in answer.fields
        if name.lower() not in gone and not (credential and credential in value)
    ]


def _volatile(name: str) -> bool:
    return name.lower() in ("date", "request-id") or name.endswith("-reset")


def _neutral(body: bytes | bytearray) -> bytes:
    """Return *body* without the one thing that differs between two equal requests."""
    return re.sub(rb"req_[0-9]{24}", b"req_", body)


def _without_trailer(answer: Answer) -> bytes:
    last = re.search(rb"\r\n0\r\n(?:[^\r\n]+\r\n)+\r\n\Z", answer.raw)
    return bytes(answer.raw[: last.start()]) + b"\r\n0\r\n\r\n" if last else bytes(answer.raw)


OK = b"HTTP/1.1 200 OK\r\n"
NONE = b"Content-Length: 0\r\n\r\n"
CHUNKS = b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Raw:
    """What an upstream says, byte by byte, and what a client gets; None where it is the same."""

    id: str
    said: bytes
    got: bytes | None = None
    line: bytes = b"GET /v1/x HTTP/1.1"


# fmt: off
RAW = [
    Raw("no reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    Raw("an odd reason", b"HTTP/1.1 299 It's (fine), caf\xe9\r\nCONTENT-LENGTH:2\r\n\r\nok"),
    Raw("an unknown status", b"HTTP/1.1 599 X\r\nContent-Length: 2  \r\n\r\nok"),
    Raw("fields as spelled", OK + b"X-A: 1\r\nx-a:\t2 \r\nX-Empty:\r\nX-A: 1\r\n" + NONE),
    Raw("bytes above ASCII", OK + b"X-A: \x80\xff\r\nContent-Length: 1\r\n\r\n\x00"),
    Raw("fields that we cut only upwards", OK + b"Cookie: a\r\nX-Forwarded-For: b\r\nHost: c\r\n"
        b"x_api_key: d\r\nAuthorization: e\r\nAccept-Encoding: f\r\n" + NONE),
    Raw("a redirect", b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\n" + NONE),
    Raw("204", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
    Raw("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    Raw("HEAD with a length", OK + b"Content-Length: 9\r\n\r\n", line=b"HEAD /v1/x HTTP/1.1"),
    Raw("HEAD in chunks", OK + CHUNKS, OK + b"\r\n", b"HEAD /v1/x HTTP/1.1"),
    Raw("HEAD without", OK + b"X-A: 1\r\n\r\n", line=b"HEAD /v1/x HTTP/1.1"),
    Raw("interim",
        b"HTTP/1.1 103 E\r\nLink: <a>\r\nSet-Cookie: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK + NONE,
        b"HTTP/1.1 103 E\r\nLink: <a>\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK + NONE),
    Raw("a 100 nobody waits for", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + NONE, OK + NONE),
    Raw("hop-by-hop", OK + b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: a\r\n"
        b"Proxy-Authenticate: b\r\nproxy-new: c\r\nUpgrade: d\r\nTE: e\r\nSet-Cookie: f\r\n"
        b"set-cookie2: g\r\nTrailer: h\r\nX-Kept: 1\r\n" + NONE, OK + b"X-Kept: 1\r\n" + NONE),
    Raw("odd chunks",
        OK + CHUNKS + b'0001;a="b" \r\nx\r\n0A \t\r\n0\r\n\r\n12345\r\n000\r\n\r\n',
        OK + CHUNKS + b'0001;a="b" \r\nx\r\n0A \t\r\n0\r\n\r\n12345\r\n0\r\n\r\n'),
    Raw("a trailer",
        OK + b"Trailer: X\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\nX-T: y\r\nX:\r\n\r\n",
        OK + CHUNKS + b"1\r\nx\r\n0\r\n\r\n"),
    Raw("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Content-Length: 2\r\n\r\nok"),
    Raw("close with a length", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Content-Length: 2\r\n\r\nok"),
    Raw("chunks for HTTP/1.0", OK + CHUNKS + b"1\r\na\r\n2;x\r\nbc\r\n0\r\nT: x\r\n\r\n",
        OK + b"connection: close\r\n\r\nabc", b"GET /v1/x HTTP/1.0"),
    Raw("interim for HTTP/1.0", b"HTTP/1.1 103 E\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
        OK + b"Content-Length: 1\r\nconnection: close\r\n\r\nx", b"GET /v1/x HTTP/1.0"),
]
# fmt: on


@pytest.mark.parametrize("cut", ["whole", "in bytes"])
@pytest.mark.parametrize("row", RAW, ids=lambda row: row.id)
def test_raw(row: Raw, cut: str) -> None:
    """To the byte, and however the network cut it, the answer is what the upstream said."""

    def script(peer: Peer) -> None:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.request()
        size = len(row.said) if cut == "whole" else 1
        for at in range(0, len(row.said), size):
            peer.send(row.said[at : at + size])
        peer.hold()

    want = row.said if row.got is None else row.got
    with (
        Scripted(script) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
        gateway.connect() as connection,
    ):
        key = gateway.key.encode()
        connection.sendall(row.line + b"\r\nhost: h\r\nx-api-key: " + key + b"\r\n\r\n")
        got = b""
        while len(got) < len(want) and (data := connection.recv(1 << 16)):
            got += data
        if row.line.endswith(b"1.1"):  # the connection lasts, and nothing else has come
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n")
            assert read_answer(connection).status == 200
        else:
            assert rest_of(connection) == (b"", "fin")

    assert want == got


def test_idle_end(gateway: Gateway) -> None:
    """An upstream that ends a connection after its answer costs the next request nothing."""
    for _ in range(3):
        assert gateway.ask(gateway.post(message("claude-fin"))).status == 200
        eventually(lambda: gateway.upstream.open == 0)

    assert [record.status for record in gateway.settled()] == [200, 200, 200]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_client_closes(gateway: Gateway, version: str) -> None:
    """A client that wants no second answer is told so, and gets its one whole."""
    raw = gateway.post(message(), "Connection: close" if version == "HTTP/1.1" else "x: y")
    with gateway.connect() as connection:
        connection.sendall(raw.replace(b"HTTP/1.1", version.encode()))
        answer = read_answer(connection)
        end = rest_of(connection)

    assert answer.head.startswith(b"HTTP/1.1 200 ")
    assert (answer.get("connection"), answer.complete, end) == (["close"], True, (b"", "fin"))


def test_pipelined(gateway: Gateway) -> None:
    """Requests sent ahead are answered one after the other, in their order."""
    chunked = gateway.head("POST", "/v1/files", "transfer-encoding: chunked")
    asks = [
        (200, gateway.post(message("claude-first-byte-40"))),
        (200, gateway.head("GET", "/v1/models")),
        (200, gateway.post(message("claude-text-9", stream=True))),
        (200, b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (200, chunked + b"5\r\nhello\r\n0\r\n\r\n"),
        (404, gateway.head("GET", "/v1/nowhere")),
        (404, gateway.head("GET", "/nowhere")),
        (200, gateway.post(message("claude-big-200000"))),
        (401, b"GET /v1/models HTTP/1.1\r\nhost: h\r\n\r\n"),
        (200, gateway.post(message(), "connection: close")),
    ]
    answers, rest = [], b""
    with gateway.connect() as connection:
        connection.sendall(b"".join(raw for _, raw in asks))
        for _, raw in asks:
            answers.append(read_answer(connection, raw.partition(b" ")[0].decode(), rest))
            rest = answers[-1].rest
        end = rest_of(connection)
    targets = " ".join(seen.target.removeprefix("/v1/") for seen in gateway.upstream.seen)

    assert [status for status, _ in asks] == [answer.status for answer in answers]
    assert all(answer.complete for answer in answers)
    assert (rest, *end) == (b"", b"", "fin")
    assert targets == "messages models messages files nowhere messages messages"
