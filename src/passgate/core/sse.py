"""Server-sent events: where they end in a stream of bytes, and what they carry.

A stream is cut by the network anywhere, so bytes are fed as they come and events are
taken as they are complete. What an event means is decided by who reads it.

Source: WHATWG HTML, "Interpreting an event stream".
"""

from __future__ import annotations

import re

# An event ends with an empty line, so with two line ends in a row. A line ends with LF,
# CRLF or CR: however they are mixed, one of these pairs is there, and CRLF alone is none.
_PAIRS = (b"\n\n", b"\n\r", b"\r\r")
_PAIR = re.compile(b"|".join(_PAIRS))
_WHOLE = (b"\n\n", b"\r\n\r\n")


class SSEDecoder:
    """Cut a byte stream into the raw blocks of server-sent events.

    The cost is linear in the bytes fed, however small the pieces.

    Args:
        max_event_bytes: Most bytes held for one unfinished event. A longer one is left
            out, and the next one is read as if nothing had been.

    Attributes:
        skipped_bytes: How much was left out.
    """

    __slots__ = ("_held", "_max_event_bytes", "_skips", "skipped_bytes")

    def __init__(self, max_event_bytes: int = 1 << 20) -> None:
        self._held = bytearray()
        self._max_event_bytes = max_event_bytes
        self._skips = False
        self.skipped_bytes = 0

    @property
    def between(self) -> bool:
        """Whether the next byte begins an event."""
        return not self._held

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes, return the blocks of the events they complete.

        Bytes, not text: a chunk may end inside a UTF-8 character.
        """
        return blocks(self.whole(chunk))

    def whole(self, chunk: bytes) -> bytes:
        """Take the next bytes, return all that is complete, in one piece."""
        if not self._held and chunk.endswith(_WHOLE):
            return chunk  # the ordinary case: as it was sent, so it came
        # A pair may straddle the border.
        border = bytes(self._held[-1:]) + chunk[:1]
        pairs = _PAIRS if b"\r" in chunk or b"\r" in border else _PAIRS[:1]
        end = max(chunk.rfind(pair) for pair in pairs) + 2
        if end < 2:
            end = 1 if border in _PAIRS else 0
        elif chunk[end - 1 : end + 1] == b"\r\n":
            end += 1
        if not end:
            self._hold(chunk)
            return b""
        whole = bytes(self._held) + chunk[:end]
        if self._skips:
            self._skips = False
            start = min(at for pair in pairs if (at := whole.find(pair)) >= 0) + 2
            self.skipped_bytes += start
            whole = whole[start:]
        self._held.clear()
        self._hold(chunk[end:])
        return whole

    def _hold(self, rest: bytes) -> None:
        """Keep the beginning of an event; of one that is too long only its last byte."""
        held = self._held
        held += rest
        if self._skips or len(held) > self._max_event_bytes:
            self._skips = True
            self.skipped_bytes += len(held) - 1
            del held[:-1]


def blocks(whole: bytes) -> list[bytes]:
    """Return the raw block of every event in *whole*, which ends with one."""
    if b"\r" not in whole:  # the ordinary case, in an eighth of the time
        return [block for part in whole.split(b"\n\n") if (block := part.strip(b"\n"))]
    return [block for part in _PAIR.split(whole) if (block := part.strip(b"\r\n"))]


def payload(block: bytes) -> bytes:
    """Return the data that *block* carries; empty for a comment and for other fields alone."""
    lines = (line for line in block.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[6:] if line[5:6] == b" " else line[5:] for line in lines)
