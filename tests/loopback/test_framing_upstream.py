"""Answers that are not what they seem: a 502, or a connection cut; never a clean end."""

from __future__ import annotations

from collections.abc import Iterator
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
from tests.loopback.peers import Scripted, pieces, rest_of, says

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH, CHUNKED = OK + b"Content-Length: 4\r\n", OK + b"Transfer-Encoding: chunked\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@dataclass(frozen=True)
class Said:
    """What an upstream says to each request, and how it goes on.

    Attributes:
        then: ``hold`` the connection, ``fin`` or ``reset``.
    """

    id: str
    answer: bytes
    then: str = "hold"


# fmt: off
BEFORE_THE_HEAD = [
    Said("nothing, FIN", b"", "fin"),
    Said("nothing, RST", b"", "reset"),
    Said("a cut status line, FIN", b"HTTP/1.1 2", "fin"),
    Said("a cut head, FIN", LENGTH, "fin"),
    Said("a cut head, RST", LENGTH, "reset"),
    Said("interim, FIN", INTERIM, "fin"),
    Said("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Said("TLS", bytes.fromhex("15030300020228")),
    Said("HTTP/0.9", b"<html></html>\r\n\r\n", "fin"),
    Said("ICY", b"ICY 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("http/1.1", b"http/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("an empty line first", b"\r\n" + LENGTH + b"\r\nnull"),
    Said("a status of letters", b"HTTP/1.1 2xx OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 99", b"HTTP/1.1 099 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 2000", b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 20", b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("two blanks", b"HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("two lengths", LENGTH + b"Content-Length: 5\r\n\r\nnull!"),
    Said("two equal lengths", LENGTH + b"Content-Length: 4\r\n\r\nnull"),
    Said("two lengths in one", OK + b"Content-Length: 4, 4\r\n\r\nnull"),
    Said("a negative length", OK + b"Content-Length: -4\r\n\r\nnull"),
    Said("a signed length", OK + b"Content-Length: +4\r\n\r\nnull"),
    Said("an empty length", OK + b"Content-Length:\r\n\r\nnull"),
    Said("a huge length", OK + b"Content-Length: 99999999999999999999\r\n\r\nnull"),
    Said("length and chunked", LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("chunked and length", CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n"),
    Said("chunked twice", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    Said("identity", OK + b"Transfer-Encoding: identity\r\n\r\nnull", "fin"),
    Said("an empty coding", OK + b"Transfer-Encoding:\r\n\r\nnull", "fin"),
    Said("chunked in HTTP/1.0",
         b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "fin"),
    Said("a blank before the colon", LENGTH + b"X-A : 1\r\n\r\nnull"),
    Said("a blank before a length's", OK + b"Content-Length : 4\r\n\r\nnull"),
    Said("a folded value", LENGTH + b"X-A: 1\r\n 2\r\n\r\nnull"),
    Said("a folded first field", OK + b" X-A: 1\r\nContent-Length: 4\r\n\r\nnull"),
    Said("bare LF behind a field", LENGTH + b"X-A: 1\nX-B: 2\r\n\r\nnull"),
    Said("bare LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 4\n\nnull", "fin"),
    Said("bare CR in a value", LENGTH + b"X-A: 1\rX-B: 2\r\n\r\nnull"),
    Said("bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("NUL in a value", LENGTH + b"X-A: \x00\r\n\r\nnull"),
    Said("a control in a value", LENGTH + b"X-A: \x1b[2J\r\n\r\nnull"),
    Said("NUL in a name", LENGTH + b"X-\x00: 1\r\n\r\nnull"),
    Said("no name", LENGTH + b": 1\r\n\r\nnull"),
    Said("no colon", LENGTH + b"X-A\r\n\r\nnull"),
    Said("a 204 with a length", b"HTTP/1.1 204 N\r\nContent-Length: 4\r\n\r\nnull"),
    Said("a 204 with chunks", b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("a 204 with a body", b"HTTP/1.1 204 N\r\n\r\nnull"),
    Said("a 304 with a body", b"HTTP/1.1 304 N\r\nContent-Length: 4\r\n\r\nnull"),
    Said("101", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    Said("101 behind interim", INTERIM + b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n"),
    Said("an interim with a chunked body",
         b"HTTP/1.1 103 E\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LENGTH + b"\r\nnull"),
    Said("33 interim", INTERIM * 33 + LENGTH + b"\r\nnull"),
    Said("endless 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000),
    Said("an endless status line", b"HTTP/1.1 200 " + b"a" * 1_000_000),
    Said("an endless value", LENGTH + b"X-A: " + b"a" * 1_000_000),
    Said("endless fields", LENGTH + b"X-A: a\r\n" * 100_000),
    Said("a head of 128 KiB", LENGTH + b"X-A: a\r\n" * 16_000 + b"\r\nnull"),
    Said("surplus", LENGTH + b"\r\nnull" + LENGTH + b"\r\nevil"),
    Said("surplus behind nothing", OK + b"Content-Length: 0\r\n\r\n" + LENGTH + b"\r\nevil"),
]
AFTER_THE_HEAD = [
    Said("a length too long, FIN", OK + b"Content-Length: 5\r\n\r\nnull", "fin"),
    Said("a length too long, RST", OK + b"Content-Length: 5\r\n\r\nnull", "reset"),
    Said("no byte of a body, FIN", LENGTH + b"\r\n", "fin"),
    Said("no end, RST", OK + b"\r\nnull", "reset"),
    Said("no chunk, FIN", CHUNKED + b"\r\n", "fin"),
    Said("a cut size, FIN", CHUNKED + b"\r\n4", "fin"),
    Said("a cut chunk, FIN", CHUNKED + b"\r\n4\r\nnu", "fin"),
    Said("a cut chunk, RST", CHUNKED + b"\r\n4\r\nnu", "reset"),
    Said("no last chunk, FIN", CHUNKED + b"\r\n4\r\nnull\r\n", "fin"),
    Said("half a last chunk, FIN", CHUNKED + b"\r\n4\r\nnull\r\n0\r\n", "fin"),
    Said("half a trailer, FIN", CHUNKED + b"\r\n4\r\nnull\r\n0\r\nX-A: 1\r\n", "fin"),
    Said("a bad first size", CHUNKED + b"\r\nx\r\nnull\r\n0\r\n\r\n"),
    Said("a bad second size", CHUNKED + b"\r\n4\r\nnull\r\nx\r\n\r\n"),
    Said("a size of 17 digits", CHUNKED + b"\r\n00000000000000004\r\nnull\r\n0\r\n\r\n"),
    Said("a size beyond 64 bits", CHUNKED + b"\r\n10000000000000004\r\nnull\r\n0\r\n\r\n"),
    Said("data too long", CHUNKED + b"\r\n4\r\nnull!\r\n0\r\n\r\n"),
    Said("data too short", CHUNKED + b"\r\n5\r\nnull\r\n0\r\n\r\n"),
    Said("bare LF behind the data", CHUNKED + b"\r\n4\r\nnull\n0\r\n\r\n"),
    Said("bare LF behind a size", CHUNKED + b"\r\n4\nnull\r\n0\r\n\r\n"),
    Said("bare LF at the end", CHUNKED + b"\r\n4\r\nnull\r\n0\n\n"),
    Said("an endless extension", CHUNKED + b"\r\n4;" + b"a" * 100_000),
    Said("an endless trailer", CHUNKED + b"\r\n0\r\n" + b"X-A: a\r\n" * 10_000),
    Said("a bad trailer", CHUNKED + b"\r\n0\r\nX A: 1\r\n\r\n"),
    Said("surplus behind chunks", CHUNKED + b"\r\n4\r\nnull\r\n0\r\n\r\n" + LENGTH + b"\r\nevil"),
]
# fmt: on


@pytest.fixture
def beside(request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, Scripted]]:
    """A gateway before an upstream that says what the row says."""
    row: Said = request.param
    with (
        Scripted(says(row.answer, row.then)) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
    ):
        yield gateway, upstream


@pytest.mark.parametrize("beside", BEFORE_THE_HEAD, ids=lambda row: row.id, indirect=True)
def test_no_head(beside: tuple[Gateway, Scripted]) -> None:
    """Before a head was passed on it is a 502; nothing is repeated, the client may go on."""
    gateway, upstream = beside
    with gateway.connect() as connection:
        for count in (1, 2):
            connection.sendall(gateway.post(message(stream=True)))
            answer = read_answer(connection)

            assert (answer.status, answer.get("x-passgate-error")) == (502, ["upstream"])
            assert answer.json()["error"]["type"] == "api_error"
            assert answer.rest == b""
            # Each came on a connection of its own: the one before is in doubt.
            assert (count, count) == (upstream.connections, len(upstream.heads))
    records = gateway.settled()

    assert {(record.ending.value, record.status, record.attempts) for record in records} == {
        ("upstream_broke", 502, 1)
    }
    assert len(records) == 2


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("beside", AFTER_THE_HEAD, ids=lambda row: row.id, indirect=True)
def test_cut(beside: tuple[Gateway, Scripted], version: str) -> None:
    """After the head the client's connection is cut, so that what came cannot look whole."""
    gateway, upstream = beside
    ask = gateway.post(message(stream=True)).replace(b"HTTP/1.1", version.encode(), 1)
    with gateway.connect() as connection:
        connection.sendall(ask)
        whole = _looks_whole(*rest_of(connection))
    [record] = gateway.settled()
    eventually(lambda: not _open(gateway))

    assert not whole
    assert (record.ending.value, record.error, record.attempts) == ("upstream_broke", "upstream", 1)
    assert (upstream.connections, len(upstream.heads)) == (1, 1)


def _open(gateway: Gateway) -> int:
    [lane] = gateway.app._lanes.values()
    return len(lane.pool._all)  # type: ignore[attr-defined]  # the real pool


def _looks_whole(got: bytes, end: str) -> bool:
    """Return whether a strict reader would take *got* for a whole response."""
    head, blank, body = got.partition(b"\r\n\r\n")
    fields = head.lower()
    if not blank:
        return False
    if b"\r\ntransfer-encoding: chunked" in fields:
        return body.endswith(b"0\r\n\r\n")
    if b"\r\ncontent-length: " in fields:
        return len(body) == int(fields.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    return end == "fin"


SCENES = ["cut-0", "cut-1", "cut-7", "reset-0", "reset-3", "cut-length"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("scene", SCENES)
def test_cut_stream(gateway: Gateway, scene: str, stream: bool) -> None:  # noqa: FBT001
    """What a broken stream has said arrives, and then the connection is cut."""
    answer = _asked(gateway, gateway.post(message(f"claude-{scene}", stream=stream)))
    direct = _asked(gateway, gateway.post(message(f"claude-{scene}", stream=stream)), direct=True)
    [record] = gateway.settled()

    assert (answer.complete, record.ending.value) == (False, "upstream_broke")
    assert direct.body.startswith(answer.body)
    if scene.startswith("cut"):
        assert answer.body == direct.body
    assert gateway.ask(gateway.post(message())).status == 200


def _asked(gateway: Gateway, raw: bytes, *, direct: bool = False) -> Answer:
    with connect(gateway.upstream.port if direct else gateway.port) as connection:
        connection.sendall(raw)
        return read_answer(connection)


def test_early_answer(gateway: Gateway) -> None:
    """An answer that comes before the body was read arrives; the upload stops there."""
    head = gateway.head("POST", "/v1/files", "content-length: 50000000", "x-demo-scene: early-413")
    with gateway.connect() as connection:
        connection.sendall(head)
        pieces(connection, [b"a" * 65_536] * 8)
        answer = read_answer(connection)
        end = rest_of(connection)
    [record] = gateway.settled()

    assert (answer.status, answer.complete) == (413, True)
    assert (answer.get("x-passgate-error"), answer.get("connection")) == ([], ["close"])
    assert (end[0], record.ending.value) == (b"", "complete")
    assert record.bytes_up < 50_000_000


def test_interim_flood_reaches_nobody() -> None:
    """Of thousands of early hints a client sees no more than the few that are usual."""
    with (
        Scripted(says(INTERIM * 20_000)) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
    ):
        answer = gateway.ask(gateway.post(message()))

    assert (answer.status, len(answer.interim)) == (502, 32)
