"""Events come out of a byte stream as they went in, however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.sse import SSEDecoder, blocks, payload

STREAM = (
    b"event: a\ndata: {}\n\n: comment\r\n\r\ndata: one\rdata: two\r\rid: 1\n\r\ndata:three\r\n\n"
    b"\n\n\ndata: \xf0\x9f\x91\x8d\n\nretry: 5\r\n\r\n"
)
BLOCKS = [
    b"event: a\ndata: {}",
    b": comment",
    b"data: one\rdata: two",
    b"id: 1",
    b"data:three",
    b"data: \xf0\x9f\x91\x8d",
    b"retry: 5",
]


def fed(pieces: list[bytes], max_event_bytes: int = 1 << 20) -> list[bytes]:
    """Return the blocks in *pieces*."""
    decoder = SSEDecoder(max_event_bytes)
    return [block for piece in pieces for block in decoder.feed(piece)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """However the network slices a stream, the same events come out."""
    assert BLOCKS == fed([STREAM[a:b] for a, b in pairwise([0, *cuts, len(STREAM)])])


def test_byte_by_byte() -> None:
    """Also one byte after the other."""
    assert BLOCKS == fed([bytes([byte]) for byte in STREAM])


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b"y"]), max_size=20))
def test_line_ends(parts: list[bytes]) -> None:
    """Where a line ends is decided by the standard's rule, however line ends are mixed."""
    text = b"".join(parts) + b"z\n\n"
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
    expected = [line.split() for block in lines if (line := block.strip(b"\n"))]
    got = [b.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split() for b in fed([text])]

    assert expected == got


def test_nothing_is_copied() -> None:
    """A piece that is made of whole events is handed on as it came."""
    decoder = SSEDecoder()
    piece = b"data: 1\n\ndata: 2\r\n\r\n"

    assert decoder.whole(piece) is piece
    assert decoder.between
    assert [b"data: 1", b"data: 2"] == blocks(piece)


def test_unfinished() -> None:
    """What is not complete is no event."""
    decoder = SSEDecoder()

    assert [] == decoder.feed(b"data: 1\n")
    assert not decoder.between
    assert b"" == decoder.whole(b"data: 2")
    assert [b"data: 1\ndata: 2"] == decoder.feed(b"\n\ndata: 3"[:2])


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_too_long(size: int) -> None:
    """An event over the cap is left out and not held; those around it are not touched."""
    stream = b"data: 1\n\ndata: %s\n\ndata: 2\r\n\r\n" % (b"x" * 1000)
    decoder = SSEDecoder(max_event_bytes=100)
    got, most = [], 0
    for at in range(0, len(stream), size):
        got += decoder.feed(stream[at : at + size])
        most = max(most, len(decoder._held))

    assert [b"data: 1", b"data: 2"] == [block for block in got if len(block) < 900]
    assert most <= 100
    assert size == 1000 or 1000 < decoder.skipped_bytes <= 1008


def test_two_too_long() -> None:
    """Nor is one that follows one."""
    decoder = SSEDecoder(max_event_bytes=10)
    pieces = [b"data: %s" % (b"x" * 50), b"yy\n\ndata: %s" % (b"x" * 50), b"\n\ndata: 1\n\n"]

    assert [b"data: 1"] == [block for piece in pieces for block in decoder.feed(piece)]
    assert decoder.between


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x", b" x"),
        (b"event: a\ndata: x\r\ndata: y\rdata:\nid: 1", b"x\ny\n"),
        (b": data: x", b""),
        (b"event: a", b""),
        (b"database: 1\ndata", b""),
    ],
)
def test_payload(block: bytes, expected: bytes) -> None:
    """The data is what the data lines hold, in order."""
    assert expected == payload(block)
