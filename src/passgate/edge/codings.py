"""Content codings, taken off piece by piece: gzip, deflate, br and zstd.

For the meter's side copy alone: what is relayed stays as it came. The output of one piece
is bounded, so that a bomb costs its exchange the meter, and nobody anything else.

Source: RFC 9110, 8.4; RFC 9659 (the window of zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from passgate.core.meter import Decode

# A socket is read in pieces of at most 256 KiB: sixteen times that is much for text, and
# a few milliseconds of work.
_MAX_PIECE_BYTES = 4 << 20
_GZIP, _ZLIB, _RAW = 31, 15, -15
_DEFLATED, _METHOD_MASK, _CHECK = 8, 15, 31
_MAX_ZSTD_WINDOW = 8 << 20
# The shortest block of zstd is 4 bytes and makes 128 KiB: so much at once makes 2 MiB.
_ZSTD_SLICE_BYTES = 64


class Bomb(Exception):
    """A piece decodes to more than anybody would send."""


class Uncoded(Exception):
    """The bytes are not in the coding that they were said to be in."""


def decoder_for(coding: bytes) -> Decode | None:
    """Return what takes *coding* off, or None where nothing can.

    Args:
        coding: Value of ``content-encoding``.
    """
    make = _DECODERS.get(coding.strip().lower())
    return None if make is None else make()


class _Zlib:
    """gzip, one member after the other, or deflate."""

    __slots__ = ("_bits", "_machine")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._machine = zlib.decompressobj(bits)

    def __call__(self, data: bytes) -> bytes:
        made, room = [], _MAX_PIECE_BYTES
        while data:
            try:
                made.append(self._machine.decompress(data, room))
            except zlib.error as error:
                raise Uncoded from error
            room -= len(made[-1])
            if room <= 0:
                raise Bomb
            data = self._machine.unused_data
            if self._machine.eof and data:
                self._machine = zlib.decompressobj(self._bits)
        return b"".join(made)


class _Deflate:
    """deflate as the standard says, with zlib's frame, or as some servers do, without."""

    __slots__ = ("_inner", "_start")

    def __init__(self) -> None:
        self._start = b""
        self._inner: _Zlib | None = None

    def __call__(self, data: bytes) -> bytes:
        if self._inner is None:
            data = self._start = self._start + data
            if len(data) < 2:  # zlib's frame begins with two
                return b""
            framed = data[0] & _METHOD_MASK == _DEFLATED
            framed = framed and int.from_bytes(data[:2], "big") % _CHECK == 0
            self._inner = _Zlib(_ZLIB if framed else _RAW)
        return self._inner(data)


class _Brotli:
    __slots__ = ("_error", "_machine")

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # when it is needed: few send it

        self._machine = brotli.Decompressor()
        self._error = brotli.error

    def __call__(self, data: bytes) -> bytes:
        try:
            made: bytes = self._machine.process(data, output_buffer_limit=_MAX_PIECE_BYTES)
        except self._error as error:
            raise Uncoded from error
        if len(made) >= _MAX_PIECE_BYTES:
            raise Bomb
        return made


class _Zstd:
    __slots__ = ("_error", "_machine")

    def __init__(self) -> None:
        import zstandard  # as above

        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
        self._machine = decompressor.decompressobj(read_across_frames=True)
        self._error = zstandard.ZstdError

    def __call__(self, data: bytes) -> bytes:
        made, room = [], _MAX_PIECE_BYTES
        for at in range(0, len(data), _ZSTD_SLICE_BYTES):
            try:
                made.append(self._machine.decompress(data[at : at + _ZSTD_SLICE_BYTES]))
            except self._error as error:
                raise Uncoded from error
            room -= len(made[-1])
            if room <= 0:
                raise Bomb
        return b"".join(made)


def _gzip() -> Decode:
    return _Zlib(_GZIP)


_DECODERS: dict[bytes, Callable[[], Decode]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}
