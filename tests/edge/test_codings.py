"""A coding comes off piece by piece, whatever it is and however it is cut; a bomb does not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.meter import Decode
from passgate.edge.codings import Bomb, Uncoded, decoder_for
from tests.core import oracle

PLAIN = b"".join(oracle.recorded("messages", "sse").values())


CODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": lambda text: zlib.compress(text)[2:-4],
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
_BOMBS = CODED | {"br": lambda text: brotli.compress(text, quality=1)}
_codings = pytest.mark.parametrize("coding", CODED)


def decoder(coding: str) -> Decode:
    """Return what takes *coding* off."""
    decode = decoder_for(coding.encode())
    assert decode is not None
    return decode


@_codings
def test_every_cut(coding: str) -> None:
    """Cut anywhere, or into single bytes, it is the same text."""
    text = PLAIN[:3000]
    coded = CODED[coding](text)
    for at in range(len(coded) + 1):
        decode = decoder(coding)

        assert text == decode(coded[:at]) + decode(coded[at:])
    decode = decoder(coding)

    assert text == b"".join(decode(bytes([byte])) for byte in coded)


@given(st.sampled_from(list(CODED)), st.binary(max_size=2000), st.lists(st.integers(0, 3000)))
def test_any_text(coding: str, text: bytes, cuts: list[int]) -> None:
    """So is any text at all."""
    coded = CODED[coding](text)
    borders = [0, *sorted(min(cut, len(coded)) for cut in cuts), len(coded)]
    decode = decoder(coding)

    assert text == b"".join(decode(coded[a:b]) for a, b in pairwise(borders))


def test_as_it_comes() -> None:
    """What a server has flushed can be read at once, and not only at the end."""
    events = [part + b"\n\n" for part in PLAIN.split(b"\n\n")[:9]]
    gzipped, deflated = zlib.compressobj(wbits=31), zlib.compressobj(wbits=-15)
    brotlied, zstded = brotli.Compressor(), zstandard.ZstdCompressor().compressobj()
    servers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda e: gzipped.compress(e) + gzipped.flush(zlib.Z_SYNC_FLUSH),
        "deflate": lambda e: deflated.compress(e) + deflated.flush(zlib.Z_SYNC_FLUSH),
        "br": lambda e: brotlied.process(e) + brotlied.flush(),
        "zstd": lambda e: zstded.compress(e) + zstded.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
    }
    for coding, code in servers.items():
        decode = decoder(coding)

        assert events == [decode(code(event)) for event in events], coding


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_one_after_the_other(coding: str) -> None:
    """Members and frames may follow one another."""
    coded = CODED[coding](b"a") + CODED[coding](b"") + CODED[coding](b"b")

    assert b"ab" == decoder(coding)(coded)


@_codings
def test_bomb(coding: str) -> None:
    """Little that would make much is refused before it has made it."""
    text = bytes(16 << 20)
    coded = _BOMBS[coding](text)
    for size in (1 << 20, 65536, 100):
        explodes(coding, coded, len(text), size)


def explodes(coding: str, coded: bytes, size_bytes: int, size: int) -> None:
    """Check that *coded* is refused in pieces of *size*, or harmless in each."""
    decode = decoder(coding)
    made = 0
    try:
        for at in range(0, len(coded), size):
            piece = len(decode(coded[at : at + size]))
            made += piece
            assert piece < 4 << 20
    except Bomb:
        made = 0

    # In pieces small enough it is no bomb: each is looked at and let go.
    assert made in (0, size_bytes)
    assert made == 0 or size == 100


@_codings
def test_not_coded(coding: str) -> None:
    """What is not in its coding is told as such."""
    with pytest.raises(Uncoded):
        decoder(coding)(b"\xff\xffevent: message_start\n\n" * 9)


@pytest.mark.parametrize("coding", [b"", b"identity", b"compress", b"gzip, br", b"gzip\nbr", b"x"])
def test_unknown(coding: bytes) -> None:
    """What cannot be taken off is not tried."""
    assert decoder_for(coding) is None
