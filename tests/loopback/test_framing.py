"""Requests that are not what they seem: refused, closed, recorded once, never passed on."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.attack.requests import ATTACKS, CHUNKED, KEY, LATER, Attack, get, lines, post
from tests.loopback.gateway import WAIT_S, Gateway, read_answer, running
from tests.loopback.peers import Peer, Scripted, pieces, rest_of


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.id)
def test_refused(gateway: Gateway, row: Attack) -> None:
    """It is refused at once and recorded once; no byte of it goes anywhere; others are served."""
    _refused(gateway, row, [piece.replace(b"<key>", gateway.key.encode()) for piece in row.sent])


SHORT = [row for row in ATTACKS if row.code == "http" and sum(map(len, row.sent)) < 500]


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.id)
def test_refused_byte_by_byte(gateway: Gateway, row: Attack) -> None:
    """However the network cuts it, it is the same refusal."""
    raw = b"".join(row.sent).replace(b"<key>", gateway.key.encode())
    _refused(gateway, row, [raw[at : at + 1] for at in range(len(raw))])


def _refused(gateway: Gateway, row: Attack, sent: list[bytes]) -> None:
    connections = gateway.upstream.connections
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces(connection, sent)
        answer = read_answer(connection)
        end: object = (answer.rest, "open")
        if row.code == "http":
            end = rest_of(connection)
        else:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            assert read_answer(connection).status == 200
    records = gateway.settled()

    assert (row.status, [row.code]) == (answer.status, answer.get("x-passgate-error"))
    assert (b"", "fin" if row.code == "http" else "open") == end
    assert ([], connections) == (gateway.upstream.seen, gateway.upstream.connections)
    assert [(row.status, row.code, "refused")] == [
        (record.status, record.error, record.ending.value) for record in records
    ]
    assert answer.json()["error"]["message"].startswith("passgate: ")
    assert answer.json()["request_id"] == records[0].id
    assert gateway.ask(gateway.head("GET", "/v1/models")).status == 200


# fmt: off
PASSED = {
    "HTTP/1.0 without Host": lines(b"GET /v1/models HTTP/1.0", KEY),
    "a Host with a port": lines(b"GET /v1/models HTTP/1.1", b"Host: gateway.example:8787", KEY),
    "an IPv6 Host": lines(b"GET /v1/models HTTP/1.1", b"host:[::1]:8787", KEY),
    "100 fields": get(*(b"X-%d: 1" % n for n in range(98))),
    "a head of 32 KiB": get(b"X-A: " + b"a" * (32_768 - len(get(b"X-A: ")[0]) - 43)),
    "a target of 8 KiB": get(target=b"/v1/" + b"a" * 8188),
    "a length with zeros": post(b"Content-Length: 0004", body=b"null"),
    "chunks in any case": post(b"transfer-encoding:CHUNKED", body=b"0000004\r\nnull\r\n0\r\n\r\n"),
    "an extension and a trailer": post(CHUNKED, body=b'4 ;a="b"\r\nnull\r\n0;x\r\nX-A: 1\r\n\r\n'),
}
# fmt: on


@pytest.mark.parametrize("sent", PASSED.values(), ids=PASSED)
def test_passed(gateway: Gateway, sent: tuple[bytes]) -> None:
    """What is only near a bound, or odd and right, is served."""
    answer = gateway.ask(sent[0].replace(b"<key>", gateway.key.encode()))

    assert answer.get("x-passgate-error") == []
    assert len(gateway.upstream.seen) == 1


@pytest.mark.parametrize("body", LATER.values(), ids=LATER)
def test_upload_breaks(body: bytes) -> None:
    """An upload that goes wrong later is refused, and its upstream never takes it for whole."""
    got, begun, ended = bytearray(), threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        try:
            while data := peer.socket.recv(1 << 16):
                got.extend(data)
                begun.set()
        finally:
            ended.set()

    with (
        Scripted(script) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
        gateway.connect() as connection,
    ):
        head = gateway.head("POST", "/v1/files", "transfer-encoding: chunked")
        connection.sendall(head + body[:4])
        assert begun.wait(WAIT_S)
        pieces(connection, [body[4:]])
        answer = read_answer(connection)
        end = rest_of(connection)
        [record] = gateway.settled()
        assert ended.wait(1)

    assert (answer.status, answer.get("x-passgate-error")) == (400, ["http"])
    assert (end, record.ending.value) == ((b"", "fin"), "refused")
    assert not got.endswith(b"0\r\n\r\n")
