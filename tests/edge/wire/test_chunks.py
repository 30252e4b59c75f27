"""The chunked coding, against llhttp and under every cut."""

from __future__ import annotations

import re

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passgate.edge.wire.chunks import BadChunk, ChunkWalker
from tests.edge.wire.bed import cut

_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class Llhttp:
    """A chunked body, as llhttp reads it.

    Attributes:
        data: Its data.
        done: Whether it was seen to its end.
        good: Whether nothing was wrong with it.
    """

    def __init__(self, body: bytes) -> None:
        self.data = b""
        self.done = False
        self.good = True
        try:
            httptools.HttpRequestParser(self).feed_data(_HEAD + body)
        except httptools.HttpParserError:
            self.good = False

    def on_body(self, data: bytes) -> None:
        """Take data."""
        if not self.done:
            self.data += data

    def on_message_complete(self) -> None:
        """Take note of the end."""
        self.done = True


class Walked:
    """A chunked body, as we walk through it.

    Attributes:
        data: Its data.
        end: How many bytes belong to it.
        walker: What walked.
    """

    def __init__(self, body: bytes, cuts: list[int]) -> None:
        self.walker = ChunkWalker()
        self.data, self.end = b"", 0
        for piece in cut(body, cuts):
            spans: list[tuple[int, int]] = []
            self.end += self.walker.walk(piece, spans)
            self.data += b"".join(piece[start:stop] for start, stop in spans)
            if self.walker.done:
                break


def walked(body: bytes, cuts: list[int]) -> Walked | None:
    """Return the body as we walk through it, or None where it is refused."""
    try:
        return Walked(body, cuts)
    except BadChunk:
        return None


def outcome(body: bytes, cuts: list[int]) -> tuple[bytes, int, int, bool, bool] | None:
    """Return all that must not depend on how *body* is cut."""
    found = walked(body, cuts)
    if found is None:
        return None
    walker = found.walker
    return found.data, found.end, walker.data_bytes, walker.done, walker.begun


sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"])
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b c";d=e', b";sig=0123456789abcdef"])
trailers = st.sampled_from([b"X-T: 1\r\n", b"x:\r\n", b"Digest:\tz=\xff\r\n"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a valid chunked body and its data."""
    chunks = draw(
        st.lists(st.binary(min_size=1, max_size=40) | st.just(b"\r\n0\r\n\r\n"), max_size=6)
    )
    raw = b"".join(
        draw(sizes) % len(chunk) + draw(extensions) + b"\r\n" + chunk + b"\r\n" for chunk in chunks
    )
    last = draw(st.sampled_from([b"0", b"000"])) + draw(extensions) + b"\r\n"
    return raw + last + b"".join(draw(st.lists(trailers, max_size=3))) + b"\r\n", b"".join(chunks)


def cuts_of(body: bytes) -> st.SearchStrategy[list[int]]:
    """Return places to cut *body* at."""
    return st.lists(st.integers(0, len(body)), max_size=8) | st.just(list(range(len(body))))


@given(bodies(), st.data())
def test_valid(made: tuple[bytes, bytes], data: st.DataObject) -> None:
    """A valid body is walked to its end and no further, with the data that llhttp sees."""
    body, expected = made
    theirs = Llhttp(body)
    found = walked(body + b"GET / HTTP/1.1\r\n\r\n", data.draw(cuts_of(body)))
    assert found is not None

    assert (expected, True, True) == (theirs.data, theirs.done, theirs.good)
    assert (expected, len(body), True) == (found.data, found.end, found.walker.done)
    assert len(expected) == found.walker.data_bytes


@given(bodies(), st.data())
def test_unfinished(made: tuple[bytes, bytes], data: st.DataObject) -> None:
    """The beginning of a valid body is walked as far as it goes, and is not the end."""
    body, whole = made
    part = body[: data.draw(st.integers(0, len(body) - 1))]
    found = walked(part, data.draw(cuts_of(part)))
    assert found is not None

    assert (False, len(part)) == (found.walker.done, found.end)
    assert whole.startswith(found.data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a body with something wrong in it, perhaps."""
    body, _ = draw(bodies())
    at = draw(st.integers(0, len(body)))
    odd = st.sampled_from(
        [b"\n", b"\r", b" ", b"\t", b"\0", b";", b"+", b"-", b"0x", b"g", b":", b"\x7f", b"f" * 17]
    )
    return body[:at] + draw(odd | st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]


@given(damaged(), st.data())
@settings(max_examples=400)
@example(b"5 ;a\r\nhello\r\n0\r\n\r\n", None)
@example(b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n", None)
@example(b"5" + b" " * 900 + b"\r\nhello\r\n0\r\n\r\n", None)
@example(b"0\r\nX: " + b"a" * 2000 + b"\r\n\r\n", None)
def test_cuts_change_nothing(body: bytes, data: st.DataObject | None) -> None:
    """However a body is cut, valid or not: the same data and end, or the same refusal."""
    cuts = list(range(len(body))) if data is None else data.draw(cuts_of(body))

    assert outcome(body, []) == outcome(body, cuts)


# What we let through and llhttp does not: blanks behind a size, and what an extension says.
_LAX = re.compile(rb"^([0-9A-Fa-f]{1,16})[ \t]{0,5}(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n", re.MULTILINE)


@given(damaged())
@settings(max_examples=400)
def test_no_laxer_than_llhttp(body: bytes) -> None:
    """What we take for a whole body is one to llhttp, too, but for extensions: same data."""
    found = walked(body, [])
    if found is None or not found.walker.done:
        return
    raw, at, plain = body[: found.end], 0, b""
    while line := _LAX.match(raw, at):
        size = int(line[1], 16)
        if size == 0:
            break
        plain += b"%x\r\n" % size + raw[line.end() : line.end() + size + 2]
        at = line.end() + size + 2
    assert line is not None
    theirs = Llhttp(plain + b"0\r\n" + raw[line.end() :])

    assert (found.data, True) == (theirs.data, theirs.done)
    assert theirs.good


@given(damaged())
@settings(max_examples=400)
def test_no_other_data_than_llhttp(body: bytes) -> None:
    """What llhttp takes for a whole body has the same data to us, or is refused."""
    theirs, found = Llhttp(body), walked(body, [])
    if theirs.done and theirs.good and found is not None:
        assert (theirs.data, True) == (found.data, found.walker.done)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"g\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5\0\r\n",
        b"5;a\0\r\n",
        b"5;a\x7f\r\n",
        b"5 x\r\n",
        b"5      \r\n",
        b"11111111111111111\r\n",
        b"00000000000000001\r\n",
        b"1" * 2000,
        b"5;" + b"a" * 1001 + b"\r\n",
        b"5;" + b"a" * 2000,
        b"1\r\naX",
        b"1\r\na\n",
        b"1\r\na\rX",
        b"1\r\nab\r\n",
        b"0\r\nX\r\n",
        b"0\r\n: x\r\n",
        b"0\r\nX : x\r\n",
        b"0\r\n x\r\n",
        b"0\r\nX: a\0\r\n",
        b"0\r\nX: a\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\nX: " + b"a" * 1024 + b"\r\n",
        b"0\r\n" + b"X: 1\r\n" * 2000,
    ],
    ids=lambda body: repr(body[:24])[2:-1],
)
def test_refused(body: bytes) -> None:
    """Every byte that is not as RFC 9112 has it, and every line without end, is refused."""
    assert outcome(body, []) is None
    assert outcome(body, list(range(len(body)))) is None


def test_bounds() -> None:
    """A line may be 1,024 bytes long, a size 16 digits, all trailers together 8 KiB."""
    longest = b"0000000000000005     ;" + b"a" * 1000 + b"\r\nhello\r\n"
    trailers = b"X: 12345\r\n" * 819
    found = walked(longest + b"0\r\n" + trailers + b"\r\n", [])
    assert found is not None

    assert 1024 == longest.index(b"\n") + 1
    assert (b"hello", True) == (found.data, found.walker.done)
    assert walked(b"0\r\n" + trailers + b"X: 1\r\n\r\n", []) is None


def test_begun() -> None:
    """A body has begun when its first size line was seen to be valid, not before."""
    walker = ChunkWalker()
    seen = []
    for byte in b"5;a=b\r\nh":
        seen.append(walker.begun)
        walker.walk(bytes([byte]))

    assert [False] * 7 + [True] == seen


def test_where_the_last_chunk_begins() -> None:
    """What may be passed on ends where the zero chunk's line begins, however that is cut."""
    body = b"1\r\na\r\n0;x\r\nX: 1\r\n\r\n"
    for at in range(1, len(body)):
        walker, passed = ChunkWalker(), 0
        for piece in cut(body, [at]):
            held, trailing = len(walker.held), walker.last_at is not None
            walker.walk(piece)
            if walker.last_at is None:
                passed += held + len(piece) - len(walker.held)
            elif not trailing:
                passed += held + walker.last_at

        assert body.index(b"0;x") == passed, at


@given(bodies(), st.data())
def test_whole_chunks(made: tuple[bytes, bytes], data: st.DataObject) -> None:
    """The short way takes just what the long way would take as one whole chunk of data."""
    body, _ = made
    pieces = cut(body, data.draw(cuts_of(body)))
    one, other = ChunkWalker(), ChunkWalker()
    for piece in pieces:
        taken = one.passes(piece)
        if not taken:
            one.walk(piece)
        spans: list[tuple[int, int]] = []
        other.walk(piece, spans)
        states = [[getattr(walker, name) for name in walker.__slots__] for walker in (one, other)]

        assert states[0] == states[1]
        assert not taken or len(spans) == 1
        if one.done:
            break


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b"5\r\n",
        b"5\r\nhello",
        b"5\r\nhelloXX",
        b"5\r\nhello\r\n0",
        b"0\r\n\r\n",
        b"x\r\n",
        b"6\r\nhello\r\n",
    ],
)
def test_not_a_whole_chunk(piece: bytes) -> None:
    """Anything else is left to the long way, and nothing of it is taken."""
    walker = ChunkWalker()

    assert not walker.passes(piece)
    assert (0, False, b"") == (walker.data_bytes, walker.begun, walker.held)
