"""The chunked coding: where its data stands in the bytes, and where it ends.

A walker, not a decoder: it copies nothing, so that a response can go on in the framing
it came in. llhttp could tell neither where a message ends within the bytes fed to it,
nor where a trailer begins, and both must be known before anything is passed on.

Source: RFC 9112, 7.1.
"""

from __future__ import annotations

import re

# At most 16 digits, and an extension of printable ASCII. Bare LF is refused. In all no more
# than _MAX_LINE_BYTES, however the line is cut.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]{0,5}(;[\t\x20-\x7e\x80-\xff]{0,1000})?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
# Enough for any extension in use; an endless one is an attack.
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024


class BadChunk(Exception):
    """The bytes are not in the chunked coding as we accept it."""


class ChunkWalker:
    """Walk through a chunked body, however it is cut.

    Attributes:
        data_bytes: Bytes of data seen so far.
        begun: Whether the first size line was seen to be valid.
        held: The unfinished line at the end of what was walked.
        last_at: Where in the last piece the zero chunk's line began; negative where that
            was in an earlier piece, None while it has not come.
        done: Whether the end was seen, trailers included.
    """

    __slots__ = ("_left", "_trailer_bytes", "begun", "data_bytes", "done", "held", "last_at")

    def __init__(self) -> None:
        self._left = 0  # of the current chunk's data and the CRLF behind it
        self._trailer_bytes = 0
        self.data_bytes = 0
        self.begun = False
        self.held = b""
        self.last_at: int | None = None
        self.done = False

    def passes(self, piece: bytes) -> int:
        """Take *piece* if it is exactly one whole chunk of data, as nearly every event is.

        Returns:
            Where its data begins, up to the last two bytes. Else 0, and nothing was taken:
            :meth:`walk` has to look.
        """
        if self._left or self.held or self.last_at is not None:
            return 0
        found = _SIZE_LINE.match(piece)
        if found is None:
            return 0
        data, at = int(found[1], 16), found.end()
        if not data or at + data + 2 != len(piece) or piece[-2:] != b"\r\n":
            return 0
        self.begun = True
        self.data_bytes += data
        return at

    def walk(self, piece: bytes, spans: list[tuple[int, int]] | None = None) -> int:
        """Take the next bytes; return how many of them belong to the body.

        That is all of them, unless :attr:`done` is true after the call.

        Args:
            piece: The next bytes.
            spans: Gets start and end in *piece* of every run of data.

        Raises:
            BadChunk: They are not chunked coding as we accept it.
        """
        at, size = 0, len(piece)
        while at < size and not self.done:
            if self._left:
                at = self._data(piece, at, size, spans)
            elif self.held or self.last_at is not None:
                at = self._line(piece, at)
            else:
                found = _SIZE_LINE.match(piece, at)
                data = 0 if found is None else int(found[1], 16)
                if found is None or data == 0:
                    at = self._line(piece, at)
                    continue
                start = found.end()
                end = start + data
                self.begun = True
                if piece[end : end + 2] == b"\r\n":  # the ordinary case: all of a chunk
                    self.data_bytes += data
                    if spans is not None:
                        spans.append((start, end))
                    at = end + 2
                else:
                    self._left, at = data + 2, start
        return at

    def _data(self, piece: bytes, at: int, size: int, spans: list[tuple[int, int]] | None) -> int:
        """Step over data and the CRLF behind it."""
        data = min(self._left - 2, size - at)
        if data > 0:
            self.data_bytes += data
            if spans is not None:
                spans.append((at, at + data))
            self._left -= data
            at += data
        while 0 < self._left <= 2 and at < size:
            if piece[at] != (13 if self._left == 2 else 10):
                raise BadChunk("no CRLF behind the data")
            self._left -= 1
            at += 1
        return at

    def _line(self, piece: bytes, at: int) -> int:
        """Step over one size line or trailer line, or hold its beginning."""
        end = piece.find(b"\n", at) + 1
        line = self.held + (piece[at:end] if end else piece[at:])
        if len(line) > _MAX_LINE_BYTES:
            raise BadChunk("a line without end")
        if not end:
            self.held = line
            return len(piece)
        self.held = b""
        if self.last_at is not None:
            self._trailer(line)
        elif self._size(line) == 0:
            self.last_at = end - len(line)
        return end

    def _size(self, line: bytes) -> int:
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise BadChunk("size line")
        self.begun = True
        data = int(found[1], 16)
        self._left = data + 2 if data else 0
        return data

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _MAX_TRAILER_BYTES or not _TRAILER_LINE.fullmatch(line):
            raise BadChunk("trailer")
