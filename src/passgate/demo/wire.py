"""HTTP/1.1 as plainly as it can be written: one connection that reads requests and writes bytes.

It takes nearly anything and checks nearly nothing. What is answered is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

Fields = list[tuple[bytes, bytes]]

BLOCK_BYTES = 1 << 16
# The longest request head taken, and half of what a reader buffers before it pauses the peer.
HEAD_BYTES = 1 << 18


class Malformed(Exception):
    """The peer sent what cannot be read as a request."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head, as received.

    Attributes:
        fields: Names and values in order, names as spelled, values without outer blanks.
        raw: The bytes, including the final empty line.
    """

    method: str
    target: str
    version: bytes
    fields: Fields
    raw: bytes

    @property
    def path(self) -> str:
        """Return the target without its query."""
        return self.target.partition("?")[0]

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the field *name* (lower case), None without one."""
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def is_last(self) -> bool:
        """Tell whether the peer wants no further answer on its connection."""
        listed = (self.get(b"connection") or b"").lower()
        return b"close" in listed or (self.version == b"HTTP/1.0" and b"keep-alive" not in listed)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is framed.

    Attributes:
        parts: The body, made while it is sent; each part is flushed by itself.
        length: Bytes of the body in all, None where that is not known before.
    """

    status: int
    parts: Iterable[bytes]
    length: int | None
    content_type: bytes = b"application/json"
    fields: Fields = field(default_factory=list)

    @property
    def is_stream(self) -> bool:
        """Tell whether the body is server-sent events."""
        return self.content_type.startswith(b"text/event-stream")


def parse_head(raw: bytes) -> Head:
    """Read a head that ends with its empty line.

    Raises:
        Malformed: The first line is not three words.
    """
    first, *lines = raw[:-4].split(b"\r\n")
    words = first.decode("latin-1").split(" ")
    if len(words) != 3:
        raise Malformed(first)
    parted = [line.partition(b":") for line in lines]
    fields = [(name, value.strip(b" \t")) for name, _, value in parted]
    return Head(words[0], words[1], words[2].encode("latin-1"), fields, raw)


class Reader(asyncio.StreamReader):
    """A stream reader that also says at once that the peer has gone.

    The stock one keeps it to itself until somebody reads, and nobody reads while an
    answer is being sent.
    """

    on_gone: Callable[[], None] | None = None

    def feed_eof(self) -> None:
        """Take the peer's FIN."""
        super().feed_eof()
        if self.on_gone is not None:
            self.on_gone()

    def set_exception(self, exc: Exception) -> None:
        """Take the connection's failure, such as the peer's RST."""
        super().set_exception(exc)
        if self.on_gone is not None:
            self.on_gone()


class Connection:
    """One accepted connection.

    Attributes:
        answering: Whether a request's answer is due or on its way.
        ending: Whether no further request is read from it.
        doomed: Whether the next request on it is read and then left without an answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering = False
        self.ending = False
        self.doomed = False
        self._reader = reader
        self._writer = writer

    async def read_head(self) -> Head | None:
        """Return the next request's head, None when the peer closed instead.

        Raises:
            Malformed: It is no request, or longer than HEAD_BYTES.
        """
        raw = b""
        while not raw.strip(b"\r\n"):  # empty lines before a request are allowed
            try:
                raw = await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError as error:
                raise Malformed("the head is too long") from error
        head = parse_head(raw.lstrip(b"\r\n"))
        self.ending = head.is_last
        return head

    async def blocks(self, head: Head) -> AsyncGenerator[bytes, None]:
        """Yield the request's body as it arrives, without its framing.

        Raises:
            Malformed: The framing cannot be read, or the body ends too early.
        """
        try:
            if b"chunked" not in (head.get(b"transfer-encoding") or b"").lower():
                async for block in self._exactly(int(head.get(b"content-length") or 0)):
                    yield block
                return
            while size := int((await self._line()).partition(b";")[0], 16):
                async for block in self._exactly(size):
                    yield block
                await self._line()
            while await self._line():
                pass  # a trailer field
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Malformed("the body cannot be read") from error

    async def _line(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n"))[:-2]

    async def _exactly(self, size: int) -> AsyncGenerator[bytes, None]:
        while size > 0:
            block = await self._reader.read(min(size, BLOCK_BYTES))
            if not block:
                raise asyncio.IncompleteReadError(block, size)
            size -= len(block)
            yield block

    async def send(self, data: bytes) -> None:
        """Write *data* as it is, and wait while the peer takes none."""
        self._writer.write(data)
        await self._writer.drain()

    async def refuse(self) -> None:
        """Answer what could not be read as a request."""
        with contextlib.suppress(OSError):
            await self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async def close(self) -> None:
        """Close with a FIN once the peer took what was written."""
        self.answering = False
        self.ending = True
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self, *, reset: bool = False) -> None:
        """Close now, whatever is unsent; with *reset* by RST instead of FIN."""
        self.answering = False
        self.ending = True
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
