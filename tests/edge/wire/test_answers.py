"""Which response heads are accepted, and what is made of them, the first time and later."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passgate.core.exchange import AnswerHead
from passgate.edge.wire import answers
from passgate.edge.wire.answers import (
    MAX_ANSWER_HEAD_BYTES,
    AnswerMemory,
    BadAnswer,
    parse_answer,
)
from passgate.edge.wire.heads import MAX_HEAD_BYTES


def response(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    """Return a response head."""
    return "\r\n".join([first, *lines]).encode("latin-1") + b"\r\n\r\n"


def test_whole_answer() -> None:
    """A response head is taken apart once; what may go on is cut, not rebuilt."""
    raw = response("Set-Cookie: a", "Content-LENGTH: 5", "request-ID: r", "x: \xe9")
    got = parse_answer(raw, "POST")

    assert b"HTTP/1.1 200 OK\r\nContent-LENGTH: 5\r\nrequest-ID: r\r\nx: \xe9" == got.fields
    assert (200, 5, False, True) == (got.status, got.length, got.chunked, got.keep_alive)
    assert b"r" == got.request_id


@pytest.mark.parametrize(
    ("raw", "method", "length", "chunked", "keep_alive"),
    [
        pytest.param(response("Content-Length: 5"), "GET", 5, False, True, id="length"),
        pytest.param(response("Transfer-Encoding: Chunked"), "GET", None, True, True, id="chunks"),
        pytest.param(response(), "GET", None, False, True, id="until the end"),
        pytest.param(response("Content-Length: 5"), "HEAD", 0, False, True, id="HEAD"),
        pytest.param(
            response("Transfer-Encoding: chunked"), "HEAD", 0, False, True, id="HEAD, chunks"
        ),
        pytest.param(
            response("Content-Length: 5", first="HTTP/1.1 304 N"), "GET", 0, False, True, id="304"
        ),
        pytest.param(response(first="HTTP/1.1 204 N"), "GET", 0, False, True, id="204"),
        pytest.param(
            response("Content-Length: 0", first="HTTP/1.1 204 N"),
            "GET",
            0,
            False,
            True,
            id="204, 0",
        ),
        pytest.param(response(first="HTTP/1.1 103 E"), "GET", 0, False, True, id="103"),
        pytest.param(
            response("Connection: upgrade", "Upgrade: x", first="HTTP/1.1 101 S"),
            "GET",
            0,
            False,
            True,
            id="101",
        ),
        pytest.param(
            response("Connection: close", "Content-Length: 5"), "GET", 5, False, False, id="close"
        ),
        pytest.param(
            response("Content-Length: 5", "Connection: keep-alive", first="HTTP/1.0 200 OK"),
            "GET",
            5,
            False,
            False,
            id="HTTP/1.0",
        ),
        pytest.param(
            response("Content-Length: 5", first="HTTP/1.1 200"),
            "GET",
            5,
            False,
            True,
            id="no phrase",
        ),
        pytest.param(
            response("Content-Length: 5", first="HTTP/1.1 599 \xe9"),
            "GET",
            5,
            False,
            True,
            id="599",
        ),
    ],
)
def test_answer_framing(
    raw: bytes,
    method: str,
    length: int | None,
    chunked: bool,  # noqa: FBT001  a column
    keep_alive: bool,  # noqa: FBT001  a column
) -> None:
    """How a response's body is framed, and whether its connection can be used again."""
    got = parse_answer(raw, method)

    assert (length, chunked, keep_alive) == (got.length, got.chunked, got.keep_alive)
    assert got.fields.startswith(b"HTTP/1.1 ")


BAD_ANSWERS = {
    "HTTP/2.0": response(first="HTTP/2.0 200 OK"),
    "HTTP/0.9": response(first="HTTP/0.9 200 OK"),
    "HTTP/1.2": response(first="HTTP/1.2 200 OK"),
    "another protocol": response(first="ICY 200 OK"),
    "a request": b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n",
    "a status of two digits": response(first="HTTP/1.1 20 OK"),
    "a status of four digits": response(first="HTTP/1.1 2000 OK"),
    "a status below 100": response(first="HTTP/1.1 099 OK"),
    "a status above 599": response(first="HTTP/1.1 600 OK"),
    "two spaces": response(first="HTTP/1.1  200 OK"),
    "two lengths": response("Content-Length: 5", "Content-Length: 5"),
    "a list of lengths": response("Content-Length: 5, 5"),
    "a length that is none": response("Content-Length: x"),
    "an empty length": response("Content-Length:"),
    "a negative length": response("Content-Length: -1"),
    "a length of 19 digits": response("Content-Length: " + "1" * 19),
    "both lengths": response("Content-Length: 5", "Transfer-Encoding: chunked"),
    "both lengths, the other way": response("Transfer-Encoding: chunked", "Content-Length: 5"),
    "another coding": response("Transfer-Encoding: gzip"),
    "two codings": response("Transfer-Encoding: gzip, chunked"),
    "chunked twice": response("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunked in HTTP/1.0": response("Transfer-Encoding: chunked", first="HTTP/1.0 200 OK"),
    "chunks in a 204": response("Transfer-Encoding: chunked", first="HTTP/1.1 204 N"),
    "a length in a 204": response("Content-Length: 5", first="HTTP/1.1 204 N"),
    "a folded field": response("A: b", " c"),
    "a space before the colon": response("A : b"),
    "NUL": response("A: \0"),
    "a bare LF": response("A: b\nSet-Cookie: c"),
    "a bare CR": response("A: b\rSet-Cookie: c"),
    "a line in front": b"\r\n" + response(),
}


@pytest.mark.parametrize("raw", BAD_ANSWERS.values(), ids=list(BAD_ANSWERS))
def test_bad_answer(raw: bytes) -> None:
    """A response that is malformed or ambiguous is none."""
    with pytest.raises(BadAnswer):
        parse_answer(raw, "GET")


@given(st.binary(max_size=80) | st.text("HTTP/1.0 25:\r\nAa", max_size=80).map(str.encode))
def test_any_answer(raw: bytes) -> None:
    """Whatever an upstream sends before an empty line is a response head, or is not."""
    try:
        got = parse_answer(raw + b"\r\n\r\n", "GET")
    except BadAnswer:
        return

    assert 100 <= got.status <= 599


def test_bound_of_an_answer() -> None:
    """An upstream's head may be larger than a client's."""
    assert MAX_ANSWER_HEAD_BYTES == 2 * MAX_HEAD_BYTES


# What an upstream said before.


def judged(memory: AnswerMemory, raw: bytes, method: str = "POST") -> AnswerHead | str:
    """Return what *memory* makes of a head."""
    try:
        return memory.parse(raw, method)
    except BadAnswer as error:
        return str(error)


def anew(raw: bytes, method: str = "POST") -> AnswerHead | str:
    """Return what is made of a head that is like none before."""
    return judged(AnswerMemory(), raw, method)


def alike(one: AnswerHead | str, other: AnswerHead | str) -> bool:
    """Return whether all that anybody looks at is the same; what was cut is nobody's."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    looked_at = (b"content-length", b"content-encoding", b"request-id", b"connection")
    return (
        [one.said.get(name) for name in looked_at] == [other.said.get(name) for name in looked_at]
    ) and (one.status, one.fields, one.length, one.chunked, one.keep_alive) == (
        other.status,
        other.fields,
        other.length,
        other.chunked,
        other.keep_alive,
    )


LINES = [
    "Content-Length: 5",
    "content-length: 123456789012345678",
    "Content-Length:  7",
    "content-length: 5 ",
    "content-length: 1234567890123456789",
    "content-length: -5",
    "request-id: req_1",
    "Request-Id: req_\xe9",
    "request-id: a b",
    "request-id:",
    "x-a: b",
    "x-a: other: words, of \xe9 any\tlength",
    "x-a:",
    "X-A: b",
    "x-a: b\x01",
    "set-cookie: a=b",
    "set-cookie: c=d; secure",
    "connection: close",
    "connection: keep-alive",
    "connection: x-a",
    "transfer-encoding: chunked",
    "transfer-encoding: Chunked",
    "transfer-encoding: gzip, chunked",
    "content-encoding: gzip",
    "content-encoding: br",
    "keep-alive: timeout=5",
    "proxy-x: y",
    "upgrade: h2c",
    "te: trailers",
    "trailer: x-a",
]
FIRST = ["HTTP/1.1 200 OK", "HTTP/1.1 201 OK", "HTTP/1.1 204 No", "HTTP/1.1 304 No"]
FIRST += ["HTTP/1.0 200 OK", "HTTP/1.1 103 E", "HTTP/1.1 200", "HTTP/1.1 400 \xe9", "HTTP/1.1 2 N"]
heads = st.builds(
    lambda lines, first: response(*lines, first=first),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from(FIRST),
)


@given(st.lists(heads, min_size=2, max_size=8), st.sampled_from(["POST", "GET", "HEAD"]))
@example([response("x-a: b"), response("x-a: b\x01")], "POST")
@example([response("content-length: 5"), response("content-length: 1234567890123456789")], "POST")
@example([response("x-a: b\r\nx-b: c"), response("x-a: b", "transfer-encoding: chunked")], "POST")
def test_a_head_is_what_it_would_be_alone(raws: list[bytes], method: str) -> None:
    """Whatever was said before, a head is taken for what it says, or refused."""
    memory = AnswerMemory()
    for raw in raws * 2:
        assert alike(anew(raw, method), judged(memory, raw, method)), raw


@pytest.mark.parametrize("junk", [*range(9), *range(10, 32), 127])
def test_no_control_character_hides_in_a_value(junk: int) -> None:
    """What is no value is none in a head of a known shape either."""
    memory = AnswerMemory()
    memory.parse(response("x: a", "content-length: 5"), "POST")

    assert "grammar" == judged(memory, response(f"x: a{chr(junk)}b", "content-length: 5"))


def test_a_head_of_a_known_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second head of a shape is not judged again; what was cut of the first is cut."""
    memory = AnswerMemory()
    lines = ("content-length: 5", "set-cookie: a", "request-id: r1", "connection: keep-alive")
    memory.parse(response("a: 1", *lines, "z: 1"), "POST")
    monkeypatch.delattr(answers, "parse_answer")
    got = memory.parse(
        response("a: 2", "content-length: 77", "set-cookie: b", "request-id: r2", lines[3], "z: "),
        "POST",
    )

    assert b"HTTP/1.1 200 OK\r\na: 2\r\ncontent-length: 77\r\nrequest-id: r2\r\nz: " == got.fields
    assert (77, False, True) == (got.length, got.chunked, got.keep_alive)
    assert b"r2" == got.request_id
    assert b"keep-alive" == got.said[b"connection"]


def test_few_shapes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four shapes are known; after a thousand heads that are of none, the next four."""
    memory = AnswerMemory()
    for name in range(1004):
        memory.parse(response(f"x-{name}: 1"), "POST")
    monkeypatch.delattr(answers, "parse_answer")

    assert 200 == memory.parse(response("x-1003: 2"), "POST").status
    with pytest.raises(NameError):
        memory.parse(response("x-3: 2"), "POST")


def test_a_long_head_is_judged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape as long as a head may be is not kept."""
    memory = AnswerMemory()
    raw = response("x: " + "a" * 4096)
    memory.parse(raw, "POST")
    monkeypatch.delattr(answers, "parse_answer")

    with pytest.raises(NameError):
        memory.parse(raw, "POST")
