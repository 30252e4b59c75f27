"""The simulated upstream: a Messages API on loopback that behaves as it is asked to.

``python -m passgate.demo.upstream [PORT]`` runs it by itself. What can be asked for is
listed in ``scenes.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import ssl as tls
import sys
import zlib
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial

from passgate.demo.api import Api
from passgate.demo.content import DEFAULT, Json, Scene
from passgate.demo.replies import HELD_BYTES, Call, credentials_of
from passgate.demo.scenes import SCENES, Stage, early_scene_of, scene_of
from passgate.demo.wire import HEAD_BYTES, Connection, Fields, Head, Malformed, Reader, Reply

_MOST_SEEN = 1000
_SEEN_BODY_BYTES = 1 << 20


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


class Upstream:
    """One simulated upstream.

    Args:
        credential: What callers have to show; None takes every caller.
        pace_s: Seconds before each event of a stream.

    Attributes:
        port: Where it listens.
        url: The same as an origin, such as ``http://127.0.0.1:4711``.
        seen: The last 1000 requests, in the order in which their bodies ended.
        connections: How many were accepted so far.
        hang_ups: How many of them the peer closed between a request's head and the end
            of its answer.
    """

    def __init__(self, *, credential: str | None = None, pace_s: float = 0.0) -> None:
        self.port = 0
        self.url = ""
        self.seen: list[Seen] = []
        self.connections = 0
        self.hang_ups = 0
        self._credential = credential
        self._pace_s = pace_s
        self._api = Api()
        self._calls = 0
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
        call = await self._receive(connection, head)
        if connection.doomed:
            connection.ending = True
            return
        scene, reply = self._ordinary(call)
        pace_s = self._pace_s if reply.is_stream else 0.0
        play = SCENES.get(scene.name, SCENES["default"])
        await play(Stage(connection, call, reply, pace_s))

    async def _receive(self, connection: Connection, head: Head) -> Call:
        """Read a request's body, or what of it the scene wants to see."""
        # An upload is counted and hashed, a Messages request has to be understood.
        most = HELD_BYTES if head.path.startswith("/v1/messages") else _SEEN_BODY_BYTES
        held, size, digest = bytearray(), 0, hashlib.sha256()
        early = early_scene_of(head, b"")
        try:
            if early is None and head.get(b"expect") is not None:
                await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            async with contextlib.aclosing(connection.blocks(head)) as blocks:
                while early is None and (block := await anext(blocks, b"")):
                    early = early_scene_of(head, block) if size == 0 else None
                    held += block[: max(0, most - size)]
                    size += len(block)
                    digest.update(block)
        finally:
            self._remember(head, bytes(held[:_SEEN_BODY_BYTES]), size, digest.hexdigest())
        body = bytes(held)
        ask = _object(body, head.get(b"content-encoding") or b"")
        scene = early or scene_of(head, (ask or {}).get("model"))
        self._calls += 1
        request_id = f"req_{self._calls:024d}"
        return Call(head, body, size, ask, scene, request_id, scheme=self.url.partition(":")[0])

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
        del self.seen[:-_MOST_SEEN]

    def _ordinary(self, call: Call) -> tuple[Scene, Reply]:
        """Return the answer to *call*, and its scene: none is played for who may not call."""
        if self._credential is not None and call.head.path.startswith("/v1/"):
            shown = set(credentials_of(call.head))
            if shown != {self._credential.encode()}:
                said = "invalid x-api-key" if shown else "x-api-key header is required"
                return DEFAULT, call.refused(401, said)
        try:
            return call.scene, self._api.reply(call)
        except RecursionError:
            return DEFAULT, call.refused(400, "The request body is nested too deeply")


def _object(body: bytes, coding: bytes) -> Json | None:
    """Return the JSON object that *body* is, None where it is none."""
    try:
        if coding.lower() in (b"gzip", b"deflate"):
            body = zlib.decompressobj(wbits=47).decompress(body, HELD_BYTES)
        value = json.loads(body)
    except (ValueError, RecursionError, zlib.error):
        return None
    return value if isinstance(value, dict) else None


async def _run(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstream = Upstream(pace_s=0.03)
    await upstream.start(port=port)
    sys.stdout.write(f"{upstream.url}\n")
    sys.stdout.flush()
    await stop.wait()
    await upstream.close()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
