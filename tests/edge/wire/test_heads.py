"""Which heads are accepted, what is made of them, and which are refused with what."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passgate.core.exchange import RequestHead
from passgate.edge.wire.heads import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    HeadMemory,
    HeadProbe,
    parse_request,
    too_long,
)
from tests.edge.wire.bed import cut


def request(*lines: str, first: str = "POST /v1/messages HTTP/1.1") -> bytes:
    """Return a request head; without fields one with a Host alone."""
    return "\r\n".join([first, *(lines or ("Host: a",))]).encode("latin-1") + b"\r\n\r\n"


def with_host(*lines: str) -> bytes:
    """Return a request head with a Host and these fields."""
    return request("Host: a", *lines)


# Requests that are accepted.


def test_whole_head() -> None:
    """A head is taken apart once; what may go on is cut, not rebuilt."""
    raw = request(
        "hOST: gateway:8787",
        "X-API-Key:  k ",
        "Content-Length: 5",
        "Connection: Keep-Alive",
        "x-Odd: \xe9\t~ ",
        first="PATCH /v1/x/y?a=b?c HTTP/1.1",
    )
    got = parse_request(raw)

    assert ("PATCH", b"/v1/x/y?a=b?c", "/v1/x/y", b"a=b?c") == (
        got.method,
        got.target,
        got.path,
        got.query,
    )
    assert raw[raw.index(b"\r\n") : -4] == got.raw_fields
    assert b"\r\nContent-Length: 5\r\nx-Odd: \xe9\t~ " == got.fields
    assert b"k" == got.said[b"x-api-key"]
    assert (5, True, False, None) == (got.length, got.keep_alive, got.http10, got.fault)


@pytest.mark.parametrize(
    ("raw", "length", "keep_alive"),
    [
        pytest.param(request(), 0, True, id="no body"),
        pytest.param(with_host("Content-Length: 0"), 0, True, id="empty body"),
        pytest.param(with_host("Content-Length: 007"), 7, True, id="zeros in front"),
        pytest.param(with_host("Content-Length: " + "9" * 18), 10**18 - 1, True, id="long"),
        pytest.param(with_host("Transfer-Encoding: chunked"), None, True, id="chunked"),
        pytest.param(with_host("Transfer-Encoding: ChunkeD"), None, True, id="chunked, any case"),
        pytest.param(with_host("Connection: close"), 0, False, id="close"),
        pytest.param(with_host("Connection: x, CLOSE"), 0, False, id="close among others"),
        pytest.param(with_host("Connection: x", "connection: close"), 0, False, id="close, later"),
        pytest.param(with_host("Connection: closed"), 0, True, id="not close"),
        pytest.param(with_host("Connection: Upgrade", "Upgrade: h2c"), 0, True, id="upgrade"),
        pytest.param(request(first="GET / HTTP/1.0"), 0, False, id="HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", 0, False, id="HTTP/1.0 without Host"),
        pytest.param(
            request("Host: a", "Connection: keep-alive", first="GET / HTTP/1.0"),
            0,
            False,
            id="HTTP/1.0 that would go on",
        ),
    ],
)
def test_framing(raw: bytes, length: int | None, keep_alive: bool) -> None:  # noqa: FBT001  a column
    """How the body is framed, and whether the connection can be used again."""
    got = parse_request(raw)

    assert (None, length, keep_alive) == (got.fault, got.length, got.keep_alive)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", None),
        ("/?", "/", b""),
        ("/a?b", "/a", b"b"),
        ("/a?b?c", "/a", b"b?c"),
        ("//a", "//a", None),
        ("/a%20b;c@d", "/a%20b;c@d", None),
    ],
)
def test_target(target: str, path: str, query: bytes | None) -> None:
    """A path ends at the first question mark; what it may hold is judged where it is routed."""
    got = parse_request(request(first=f"GET {target} HTTP/1.1"))

    assert (None, target.encode(), path, query) == (got.fault, got.target, got.path, got.query)


@pytest.mark.parametrize(
    "host", ["a", "a:1", "[::1]", "[::1]:80", "192.0.2.1", "a-b.c_d~", "%41", "xn--a.b"]
)
def test_host(host: str) -> None:
    """A host is a name or an address, perhaps with a port."""
    assert parse_request(request(f"Host: {host}")).fault is None


# Requests that are refused.

REFUSED = {
    # What llhttp, strict, refuses by itself.
    "a space before the colon": (400, with_host("A : b")),
    "no colon": (400, with_host("Ab")),
    "no name": (400, with_host(": b")),
    "a name with a space": (400, with_host("A b: c")),
    "a name beyond ASCII": (400, with_host("\xc4: b")),
    "a folded field": (400, with_host("A: b", " c")),
    "a folded field, tab": (400, with_host("A: b", "\tTransfer-Encoding: chunked")),
    "a fold behind the request line": (400, request(" A: b", "Host: a")),
    "NUL in a value": (400, with_host("A: b\0")),
    "a bare CR": (400, with_host("A: b\rc")),
    "a bare CR as an end": (400, with_host("A: b\rC: d")),
    "a bare LF": (400, with_host("A: b\nC: d")),
    "a control character": (400, with_host("A: \x01")),
    "both lengths": (400, with_host("Content-Length: 5", "Transfer-Encoding: chunked")),
    "both lengths, the other way": (
        400,
        with_host("Transfer-Encoding: chunked", "Content-Length: 5"),
    ),
    "two lengths": (400, with_host("Content-Length: 5", "Content-Length: 6")),
    "the same length twice": (400, with_host("Content-Length: 5", "Content-Length: 5")),
    "a list of lengths": (400, with_host("Content-Length: 5, 5")),
    "a negative length": (400, with_host("Content-Length: -5")),
    "a length with a sign": (400, with_host("Content-Length: +5")),
    "a hexadecimal length": (400, with_host("Content-Length: 0x5")),
    "an empty length": (400, with_host("Content-Length:")),
    "a length of 19 digits": (400, with_host("Content-Length: " + "1" * 19)),
    "a length beyond 64 bits": (400, with_host("Content-Length: " + "9" * 20)),
    "a space in the length": (400, with_host("Content-Length: 5 5")),
    # What it lets through.
    "no Host": (400, request("A: b")),
    "two Hosts": (400, request("Host: a", "Host: a")),
    "an empty Host": (400, request("Host:")),
    "a Host with a path": (400, request("Host: a/b")),
    "a Host with a user": (400, request("Host: a@b")),
    "a Host with a space": (400, request("Host: a b")),
    "a list of Hosts": (400, request("Host: a, b")),
    "another coding": (400, with_host("Transfer-Encoding: gzip")),
    "two codings": (400, with_host("Transfer-Encoding: gzip, chunked")),
    "chunked twice": (400, with_host("Transfer-Encoding: chunked, chunked")),
    "chunked in two lines": (
        400,
        with_host("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ),
    "identity": (400, with_host("Transfer-Encoding: identity")),
    "an empty coding": (400, with_host("Transfer-Encoding:")),
    "almost chunked": (400, with_host("Transfer-Encoding: xchunked")),
    "chunked with a parameter": (400, with_host("Transfer-Encoding: chunked;q=1")),
    "chunked in HTTP/1.0": (
        400,
        request("Transfer-Encoding: chunked", first="POST /v1/messages HTTP/1.0"),
    ),
    "two Hosts in HTTP/1.0": (400, request("Host: a", "Host: b", first="GET / HTTP/1.0")),
    "HTTP/0.9": (400, b"GET /\r\n\r\n"),
    "HTTP/2.0": (400, request(first="GET / HTTP/2.0")),
    "HTTP/1.2": (400, request(first="GET / HTTP/1.2")),
    "ICE": (400, request(first="SOURCE / ICE/1.0")),
    "RTSP": (400, request(first="PLAY / RTSP/1.0")),
    "the preface of HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "lower case": (400, request(first="get / HTTP/1.1")),
    "no such method": (400, request(first="FETCH / HTTP/1.1")),
    "two spaces": (400, request(first="GET  / HTTP/1.1")),
    "two spaces behind": (400, request(first="GET /  HTTP/1.1")),
    "a space in the target": (400, request(first="GET /a b HTTP/1.1")),
    "a tab": (400, request(first="GET\t/ HTTP/1.1")),
    "a space at the end": (400, request(first="GET / HTTP/1.1 ")),
    "a line feed in front": (400, b"\n" + request()),
    "an empty line in front": (400, b"\r\n" + request()),
    "two empty lines in front": (400, b"\r\n\r\n" + request()),
    "an absolute target": (400, request(first="GET http://a/b HTTP/1.1")),
    "an authority": (400, request(first="GET a:443 HTTP/1.1")),
    "an asterisk": (400, request(first="OPTIONS * HTTP/1.1")),
    "a fragment beyond ASCII": (400, request(first="GET /\xe9 HTTP/1.1")),
    "DEL in the target": (400, request(first="GET /\x7f HTTP/1.1")),
    "TRACE": (405, request(first="TRACE / HTTP/1.1")),
    "CONNECT": (405, request(first="CONNECT a:443 HTTP/1.1")),
    "CONNECT to a path": (405, request(first="CONNECT /v1/messages HTTP/1.1")),
    "a long target": (414, request(first="GET /" + "a" * MAX_TARGET_BYTES + " HTTP/1.1")),
    "a long query": (414, request(first="GET /?" + "a" * MAX_TARGET_BYTES + " HTTP/1.1")),
    "many fields": (431, with_host(*["A: b"] * MAX_FIELDS)),
}


@pytest.mark.parametrize(("status", "raw"), REFUSED.values(), ids=list(REFUSED))
def test_refused(status: int, raw: bytes) -> None:
    """What is malformed, ambiguous or beyond a bound is refused, and the connection with it."""
    got = parse_request(raw)
    fault = got.fault
    assert fault is not None

    assert (status, "http", True) == (fault.status, fault.code, fault.closes)
    assert (0, False, b"", {}) == (got.length, got.keep_alive, got.fields, got.said)


def test_bounds() -> None:
    """What is just within a bound is accepted."""
    target = "/" + "a" * (MAX_TARGET_BYTES - 1)

    assert parse_request(request(first=f"GET {target} HTTP/1.1")).fault is None
    assert parse_request(with_host(*["A: b"] * (MAX_FIELDS - 1))).fault is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (request("A: b", first="GET /v1/x?secret HTTP/1.1"), ("GET", "/v1/x")),
        (request(first="TRACE /a HTTP/1.1"), ("TRACE", "/a")),
        (request(first="GET /" + "a" * 9000 + " HTTP/1.1"), ("GET", "/" + "a" * 1023)),
        (request(first="GET / HTTP/2.0"), ("", "")),
        (b"\x16\x03\x01\r\n\r\n", ("", "")),
    ],
    ids=["known", "TRACE", "long", "another version", "TLS"],
)
def test_what_is_told_of_a_refused_head(raw: bytes, expected: tuple[str, str]) -> None:
    """The record of a refusal says method and path where there are any; never a query."""
    got = parse_request(raw)

    assert got.fault is not None
    assert expected == (got.method, got.path)


@given(st.binary(max_size=80) | st.text("GET /:HTTP1.0\r\nHost a", max_size=80).map(str.encode))
def test_any_head(raw: bytes) -> None:
    """Whatever comes before an empty line is accepted or refused, and nothing else happens."""
    got = parse_request(raw + b"\r\n\r\n")

    assert (got.fault is not None) or got.path.startswith("/")


# A head that arrives in pieces.


@pytest.mark.parametrize("raw", [raw for status, raw in REFUSED.values() if status == 400])
def test_probe_agrees(raw: bytes) -> None:
    """What is refused in pieces would have been refused as a whole."""
    for at in range(len(raw) - 3):
        probe = HeadProbe()
        if not all(probe.accepts(piece) for piece in (raw[:at], raw[at:-3]) if piece):
            assert parse_request(raw).fault is not None


@given(st.data())
def test_probe_lets_through_what_is_good(data: st.DataObject) -> None:
    """A good head is never refused for coming in pieces, whatever they are."""
    raw = data.draw(
        st.sampled_from(
            [
                request(),
                with_host("Content-Length: 5"),
                with_host("Transfer-Encoding: chunked", "A:  \xe9 "),
                with_host("Connection: Upgrade", "Upgrade: websocket"),
                request("Host: a", first="OPTIONS /v1/x?a HTTP/1.0"),
            ]
        )
    )
    part = raw[: data.draw(st.integers(0, len(raw) - 1))]
    cuts = data.draw(st.lists(st.integers(0, len(part)), max_size=5) | st.just(list(range(999))))
    probe = HeadProbe()

    assert all(probe.accepts(piece) for piece in cut(part, cuts))


def test_probe_of_an_upgrade() -> None:
    """An upgrade is not refused for being one: its fields are cut, and the rest is served."""
    assert HeadProbe().accepts(with_host("Connection: Upgrade", "Upgrade: websocket"))


def test_probe_refuses_at_once() -> None:
    """Nonsense is refused at its first byte that cannot be, not when the head is whole."""
    accepted = [HeadProbe().accepts(raw) for raw in (b"\x16\x03\x01", b"GET / HTTP/1.1\r\nA b")]

    assert [False, False] == accepted


TARGET_LINE_BYTES = MAX_TARGET_BYTES + 64


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(
            b"GET /" + b"a" * (TARGET_LINE_BYTES - 5), None, id="a line as long as may be"
        ),
        pytest.param(b"GET /" + b"a" * (TARGET_LINE_BYTES - 4), 414, id="a byte more"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000, None, id="a long field"),
        pytest.param(
            b"GET / HTTP/1.1\r\n".ljust(MAX_HEAD_BYTES, b"a"), None, id="as long as may be"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n".ljust(MAX_HEAD_BYTES + 1, b"a"), 431, id="too long"),
        pytest.param(b"a" * 100_000, 414, id="too long in both ways"),
    ],
)
def test_too_long(part: bytes, expected: int | None) -> None:
    """A head without end is refused before it is held for long."""
    for raw in (part, bytearray(part)):
        fault = too_long(raw)

        assert expected == (None if fault is None else fault.status)


# The memory of a connection.

_FIRST = [
    "POST /v1/messages HTTP/1.1",
    "POST /v1/messages?a HTTP/1.1",
    "POST /v1/messages HTTP/1.0",
]
_LINES = [
    "Host: a",
    "Host: b",
    "Content-Length: 5",
    "Content-Length: 77",
    "Content-Length: 077",
    "Content-Length: 123456789012345678",
    "Content-Length: 1234567890123456789",
    "content-length:5",
    "Content-Length: 5 ",
    "Content-Length: 5x",
    "Content-Length: ",
    "content_length: 5",
    "X-A: Content-Length: 5",
    "X-Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Connection: content-length",
    "X-Api-Key: k",
    "Accept-Encoding: gzip, zz",
]


@st.composite
def heads(draw: st.DrawFn) -> list[bytes]:
    """Return heads that an agent may send one after the other: much alike, some not at all."""
    lines = draw(st.lists(st.sampled_from(_LINES), min_size=1, max_size=4))
    made = []
    for _ in range(draw(st.integers(2, 6))):
        if draw(st.integers(0, 3)) == 0:
            lines = [*lines]
            lines[draw(st.integers(0, len(lines) - 1))] = draw(st.sampled_from(_LINES))
        digits = draw(st.sampled_from(["0", "5", "12", "007", "9" * 18, "9" * 19, "", "5\r\nX: y"]))
        said = [
            f"Content-Length: {digits}" if line.startswith("Content-Length") else line
            for line in lines
        ]
        raw = request(*said, first=draw(st.sampled_from(_FIRST)))
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, len(raw)))
            raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + 1 :]
        made.append(raw)
    return made


@given(heads())
@example([with_host("Content-Length: 5"), with_host("Content-Length: 5\r\nContent-Length: 5")])
@example(
    [with_host("Content-Length: 5"), with_host("Content-Length: 5\r\nTransfer-Encoding: chunked")]
)
@example([with_host("Content-Length: 55"), with_host("Content-Length: 5")])
@example([with_host("Content-Length: 5", "X-A: 5"), with_host("Content-Length: 6", "X-A: 5")])
@example([with_host("Content-Length: 5"), with_host("Content-Length: 5"), b"\r\n\r\n"])
def test_memory(made: list[bytes]) -> None:
    """What a connection remembers of a head changes nothing about the next one."""
    memory = HeadMemory()

    for raw in made:
        assert _all(parse_request(raw)) == _all(memory.parse(raw))


def _all(head: RequestHead) -> object:
    return msgspec.structs.astuple(head), list(head.said)
