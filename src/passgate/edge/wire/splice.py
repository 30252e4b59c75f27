"""Upstream connection -> client connection, by callbacks.

A chunk comes in, its framing is checked, the same bytes go out: no task, no future, no
copy. One of four ways per answer, by how its body is framed. Back-pressure is not seen
here: a client's full buffer stops the upstream's reading (``ServerConnection``). A tap
sees what was passed on, without its framing, before the end of it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from passgate.core.exchange import Ending
from passgate.edge.wire.chunks import BadChunk, ChunkWalker
from passgate.edge.wire.server import ServerConnection
from passgate.gateway.interfaces import Tap

_LAST_CHUNK = b"0\r\n\r\n"
_COMPLETE = Ending.COMPLETE


class Splice(Protocol):
    """Passes one body on."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""

    def eof(self) -> bool:
        """Return whether the body is complete when the upstream ends the connection."""


Ended = Callable[[Ending], None]


class ByLength:
    """A body of declared length."""

    __slots__ = ("_down", "_ended", "_left", "_tap")

    def __init__(self, down: ServerConnection, length: int, tap: Tap | None, ended: Ended) -> None:
        self._down = down
        self._tap = tap
        self._left = length
        self._ended = ended

    def feed(self, data: bytes) -> None:
        """Pass *data* on."""
        size = len(data)
        self._left = left = self._left - size
        if left < 0:
            self._ended(Ending.UPSTREAM_BROKE)  # surplus: nothing of this buffer is passed on
            return
        down = self._down
        down.bytes_down += size
        down.write(data)
        if self._tap is not None:
            self._tap.feed(data)
        if left == 0:
            self._ended(_COMPLETE)

    def eof(self) -> bool:
        """Return False: it would have ended by itself."""
        return False


class ByChunks:
    """A chunked body, passed on in its chunks.

    Only whole lines of the coding are passed on, so that a trailer, which stops here, is
    never begun; the last chunk is written anew.
    """

    __slots__ = ("_down", "_ended", "_tap", "_walker")

    def __init__(self, down: ServerConnection, tap: Tap | None, ended: Ended) -> None:
        self._down = down
        self._tap = tap
        self._walker = ChunkWalker()
        self._ended = ended

    def feed(self, data: bytes) -> None:
        """Pass *data* on."""
        walker, down, tap = self._walker, self._down, self._tap
        if at := walker.passes(data):
            down.bytes_down = walker.data_bytes
            down.write(data)
            if tap is not None:
                tap.feed(data[at:-2])
            return
        held, trailing = walker.held, walker.last_at is not None
        spans: list[tuple[int, int]] | None = None if tap is None else []
        try:
            end = walker.walk(data, spans)
        except BadChunk:
            self._ended(Ending.UPSTREAM_BROKE)
            return
        down.bytes_down = walker.data_bytes
        if walker.last_at is None and not walker.held and not held:
            down.write(data)  # the ordinary case
            _show(tap, data, spans)
            return
        if end < len(data):
            self._ended(Ending.UPSTREAM_BROKE)  # surplus: nothing of this buffer is passed on
            return
        if out := self._whole_lines(held + data, len(held), trailing=trailing):
            down.write(out)
        _show(tap, data, spans)
        if walker.done:
            self._ended(_COMPLETE)

    def _whole_lines(self, data: bytes, held: int, *, trailing: bool) -> bytes:
        """Return what of *data* may go on: no unfinished line, no trailer.

        Args:
            data: The piece just walked, after what was held back before it.
            held: How much that was.
            trailing: Whether the last chunk had come before.
        """
        walker = self._walker
        last = _LAST_CHUNK if walker.done else b""
        if trailing:
            return last
        if walker.last_at is not None:
            return data[: held + walker.last_at] + last
        return data[: len(data) - len(walker.held)]

    def eof(self) -> bool:
        """Return False: it would have ended by itself."""
        return False


class ByChunksPlain:
    """A chunked body for a client that knows no chunks: the data alone."""

    __slots__ = ("_down", "_ended", "_tap", "_walker")

    def __init__(self, down: ServerConnection, tap: Tap | None, ended: Ended) -> None:
        self._down = down
        self._tap = tap
        self._walker = ChunkWalker()
        self._ended = ended

    def feed(self, data: bytes) -> None:
        """Pass the data in *data* on."""
        walker = self._walker
        spans: list[tuple[int, int]] = []
        try:
            end = walker.walk(data, spans)
        except BadChunk:
            self._ended(Ending.UPSTREAM_BROKE)
            return
        if end < len(data):
            self._ended(Ending.UPSTREAM_BROKE)
            return
        self._down.bytes_down = walker.data_bytes
        if spans:
            self._down.write(b"".join(data[start:stop] for start, stop in spans))
            _show(self._tap, data, spans)
        if walker.done:
            self._ended(_COMPLETE)

    def eof(self) -> bool:
        """Return False: it would have ended by itself."""
        return False


class ByClose:
    """A body that ends with the connection."""

    __slots__ = ("_down", "_tap")

    def __init__(self, down: ServerConnection, tap: Tap | None) -> None:
        self._down = down
        self._tap = tap

    def feed(self, data: bytes) -> None:
        """Pass *data* on."""
        self._down.bytes_down += len(data)
        self._down.write(data)
        if self._tap is not None:
            self._tap.feed(data)

    def eof(self) -> bool:
        """Return True: that is how it ends."""
        return True


def _show(tap: Tap | None, data: bytes, spans: list[tuple[int, int]] | None) -> None:
    """Have *tap*, if there is one, see what of *data* stands in *spans*."""
    if tap is not None and spans:
        tap.feed(b"".join(data[start:stop] for start, stop in spans))
