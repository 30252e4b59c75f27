"""Cut HTTP/1.1 responses out of a byte stream, as lightly as Python allows.

Pure. It serves a load driver that gets well-formed responses, one at a time: it finds where a
body ends and nothing else, and what it does not expect it calls broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r", re.IGNORECASE)
_LAST_CHUNK: Final = b"0\r\n\r\n"

# Beyond this, what is held is no unfinished head or chunk but a mistake.
_MAX_HELD_BYTES: Final = 1 << 22

Sink = Callable[[bytes], object]


class BrokenResponse(Exception):
    """The bytes are no response that this decoder reads."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a response says. No *body_bytes* means that the body is chunked."""

    status: int
    body_bytes: int | None


@lru_cache(maxsize=256)
def head_of(head: bytes) -> Head:
    """Read *head*; a load gets the same few heads again and again, so few are parsed.

    Raises:
        BrokenResponse: It has no status, or no framing.
    """
    status = _STATUS.match(head)
    if status is None:
        raise BrokenResponse(f"a response begins with {head[:40]!r}")
    if length := _LENGTH.search(head):
        return Head(int(status[1]), int(length[1]))
    if _CHUNKED.search(head):
        return Head(int(status[1]), None)
    raise BrokenResponse("a response has neither Content-Length nor chunks")


class Decoder:
    """Reads one response after the other.

    Attributes:
        sink: Called with each piece of body; whoever reads may put another one here between
            two responses.
        status: Status of the response that is read, or was read last.
    """

    __slots__ = ("_chunked", "_held", "_in_body", "_left", "sink", "status")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.status = 0
        self._held = b""
        self._in_body = self._chunked = False
        self._left = 0

    def feed(self, data: bytes) -> bool:
        """Take bytes of one response; return whether they complete it.

        Raises:
            BrokenResponse: This is no response, or goes on after its end.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        if not self._in_body:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._hold(data)
                return False
            head = head_of(data[:at])
            self.status, self._in_body = head.status, True
            self._chunked = head.body_bytes is None
            self._left = head.body_bytes or 0
        ended = self._chunks(data, at) if self._chunked else self._counted(data, at)
        self._in_body = not ended
        return ended

    def _hold(self, data: bytes) -> None:
        if len(data) > _MAX_HELD_BYTES:
            raise BrokenResponse("a head or a chunk has no end")
        self._held = data

    def _counted(self, data: bytes, at: int) -> bool:
        piece = data[at:]
        self._left -= len(piece)
        if self._left < 0:
            raise BrokenResponse("a body goes on after its end")
        self.sink(piece)
        return self._left == 0

    def _chunks(self, data: bytes, at: int) -> bool:
        """Sink the whole chunks, hold the rest: the chunks met here are small."""
        while (line_end := data.find(b"\r\n", at)) >= 0:
            try:
                size = int(data[at:line_end], 16)
            except ValueError as error:
                raise BrokenResponse(f"a chunk begins with {data[at : at + 20]!r}") from error
            if size == 0:
                return self._last(data, at)
            begin = line_end + 2
            end = begin + size
            if len(data) < end + 2:
                break
            self.sink(data[begin:end])
            at = end + 2
        self._hold(data[at:])
        return False

    def _last(self, data: bytes, at: int) -> bool:
        rest = data[at:]
        if rest == _LAST_CHUNK:
            return True
        if not _LAST_CHUNK.startswith(rest):
            raise BrokenResponse(f"a chunked body ends with {rest[:40]!r}")
        self._hold(rest)
        return False
