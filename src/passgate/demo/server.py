"""What both simulated APIs share: listening, reading requests, remembering them.

What is answered, and how, is decided by what is built on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl as tls
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from passgate.demo.content import Json
from passgate.demo.wire import HEAD_BYTES, Connection, Fields, Head, Malformed, Reader

MOST_SEEN = 1000
SEEN_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived.

    Attributes:
        head: The raw head, including its final empty line.
        body: At most the first MiB of the body.
        body_bytes: How much of the body arrived; all of it, unless the peer left before.
        fields: Names as spelled, values without outer blanks, in order.
    """

    method: str
    target: str
    head: bytes
    body: bytes
    body_bytes: int
    body_sha256: str
    fields: Fields


class Server:
    """A server on loopback that notices who hangs up.

    Attributes:
        port: Where it listens.
        url: The same as an origin, such as ``http://127.0.0.1:4711``.
        seen: The last 1000 requests, in the order in which their bodies ended.
        connections: How many were accepted so far.
        hang_ups: How many of them the peer closed between a request's head and the end
            of its answer.
    """

    def __init__(self) -> None:
        self.port = 0
        self.url = ""
        self.seen: list[Seen] = []
        self.connections = 0
        self.hang_ups = 0
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def reset(self) -> None:
        """Forget the requests and hang-ups seen so far."""
        self.seen.clear()
        self.hang_ups = 0

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, ssl: tls.SSLContext | None = None
    ) -> None:
        """Listen on *host*; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if ssl else 'http'}://{host}:{self.port}"

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._open.values())
        for connection, task in list(self._open.items()):
            connection.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self) -> asyncio.StreamReaderProtocol:
        reader = Reader(limit=HEAD_BYTES)

        def accepted(
            _: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> Coroutine[None, None, None]:
            return self._converse(Connection(reader, writer), reader)

        return asyncio.StreamReaderProtocol(reader, accepted)

    async def _converse(self, connection: Connection, reader: Reader) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None or not self._server.is_serving():
            connection.abort()  # it was accepted while close() ran
            return
        reader.on_gone = partial(self._peer_left, connection, task)
        self.connections += 1
        self._open[connection] = task
        task.add_done_callback(lambda _: self._open.pop(connection))
        try:
            while not connection.ending and (head := await connection.read_head()):
                connection.answering = True
                await self._exchange(connection, head)
                connection.answering = False
        except Malformed:
            await connection.refuse()
        except (asyncio.CancelledError, OSError):
            connection.abort()  # the peer has gone, or close() was called
        finally:
            await connection.close()

    def _peer_left(self, connection: Connection, task: asyncio.Task[None]) -> None:
        if connection.answering:
            connection.answering = False
            self.hang_ups += 1
            task.cancel()

    async def _exchange(self, connection: Connection, head: Head) -> None:
        """Answer the request whose head was read."""
        raise NotImplementedError

    async def _read(
        self,
        connection: Connection,
        head: Head,
        most: int,
        enough: Callable[[bytes], bool] = lambda _: False,
    ) -> tuple[bytes, int]:
        """Read and remember a request's body; return what was held of it, and its length.

        Args:
            connection: Where it comes from.
            head: Its head.
            most: How much to hold; the rest is counted and hashed.
            enough: Whether to read on after this start of the body; asked before the body
                with no bytes.
        """
        held, size, digest = bytearray(), 0, hashlib.sha256()
        done = enough(b"")
        try:
            if not done and head.get(b"expect") is not None:
                await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            async with contextlib.aclosing(connection.blocks(head)) as blocks:
                while not done and (block := await anext(blocks, b"")):
                    done = size == 0 and enough(block)
                    held += block[: max(0, most - size)]
                    size += len(block)
                    digest.update(block)
        finally:
            self._remember(head, bytes(held[:SEEN_BODY_BYTES]), size, digest.hexdigest())
        return bytes(held), size

    def _remember(self, head: Head, body: bytes, size: int, sha256: str) -> None:
        """Add a request to what was seen, and forget the oldest beyond what is kept."""
        self.seen.append(
            Seen(
                method=head.method,
                target=head.target,
                head=head.raw,
                body=body,
                body_bytes=size,
                body_sha256=sha256,
                fields=head.fields,
            )
        )
        del self.seen[:-MOST_SEEN]


def json_object(body: bytes, coding: bytes, most: int) -> Json | None:
    """Return the JSON object that *body* is, None where it is none.

    Args:
        body: As received.
        coding: Its ``content-encoding``, empty without one.
        most: Most bytes to decode.
    """
    try:
        if coding.lower() in (b"gzip", b"deflate"):
            body = zlib.decompressobj(wbits=47).decompress(body, most)
        value = json.loads(body)
    except (ValueError, RecursionError, zlib.error):
        return None
    return value if isinstance(value, dict) else None
