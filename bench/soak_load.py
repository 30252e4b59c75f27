"""The clients of a soak: each streams an answer, and then the next one, until time is up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, cast

from bench import canned
from bench.job import Job, request_of
from bench.responses import BrokenResponse, Decoder

_RAMP_S: Final = 10.0
_STREAM_S: Final = (10.0, 40.0)
_EVENTS_PER_S: Final = (2, 3, 4)
_HANG_UP, _SMALL = 0.03, 0.05  # of all exchanges
_SHORTEST_S: Final = 2.0
_LIMIT_S: Final = 30.0  # beyond its last event, and a stream is stuck
_BODY_BYTES: Final = 2_000
_LINES_OF_EVENT: Final = 3
_FIRST_LEFT: Final = 2  # the event at which a client may hang up at the earliest
_EVENTS_AROUND: Final = len(canned.opening()) + len(canned.closing())


@dataclass(slots=True)
class Crowd:
    """All clients, and what became of their exchanges."""

    port: int
    key: str
    streams: int
    seconds: float
    ended: int = 0
    hung_up: int = 0
    events: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311  a load

    async def stream(self) -> None:
        """Return when the time is up and every exchange has ended."""
        stop_s = monotonic() + self.seconds
        async with asyncio.TaskGroup() as clients:
            for at in range(self.streams):
                clients.create_task(self._client(at / self.streams * _RAMP_S, stop_s))

    async def _client(self, wait_s: float, stop_s: float) -> None:
        await asyncio.sleep(wait_s)
        connection: _Connection | None = None
        while (left_s := stop_s - monotonic()) > _SHORTEST_S:
            if connection is None or connection.lost:
                connection = await self._connect()
            if connection is None or not await self._exchange(connection, left_s):
                await asyncio.sleep(1)  # a gateway that fails is not to be hammered
        if connection is not None:
            connection.close()

    async def _connect(self) -> _Connection | None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.port)
        except OSError as error:
            self.failures[f"no connection: {error.strerror}"] += 1
            return None
        return connection

    async def _exchange(self, connection: _Connection, left_s: float) -> bool:
        small = self.chance.random() < _SMALL
        per_s = self.chance.choice(_EVENTS_PER_S)
        count = int(per_s * min(self.chance.uniform(*_STREAM_S), left_s))
        leaves = not small and self.chance.random() < _HANG_UP
        model = canned.SLOW_MODEL.format(per_s=per_s, count=count)
        job = Job(
            port=self.port,
            key=self.key,
            model=canned.MESSAGE_MODEL if small else model,
            body_bytes=_BODY_BYTES,
        )
        leave_at = self.chance.randrange(_FIRST_LEFT, count) if leaves else None
        try:
            async with asyncio.timeout(count / per_s + _LIMIT_S):
                status = await connection.ask(request_of(job)[0], leave_at)
        except (TimeoutError, BrokenResponse, ConnectionError) as error:
            connection.abort()
            self.failures[f"{type(error).__name__} {error}".strip()] += 1
            return False
        self.events += connection.lines // _LINES_OF_EVENT
        if status is None:
            self.hung_up += 1
            return True
        whole = (
            connection.size == len(canned.message_body())
            if small
            else connection.lines == _LINES_OF_EVENT * (count + _EVENTS_AROUND)
        )
        if status == 200 and whole:
            self.ended += 1
            return True
        self.failures["an answer is not whole" if status == 200 else f"status {status}"] += 1
        connection.abort()
        return False


class _Connection(asyncio.Protocol):
    """One connection of a client, which it leaves in the middle if it is told to."""

    def __init__(self) -> None:
        self.lost = False
        self.lines = self.size = 0
        self._decoder = Decoder(self._count)
        self._leave_at: int | None = None
        self._answered: asyncio.Future[int | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes, leave_at: int | None) -> int | None:
        """Return the answer's status, or None if the client left at its event *leave_at*."""
        self.lines = self.size = 0
        self._leave_at = leave_at
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def _count(self, piece: bytes) -> None:
        # Single bytes: no cut between two pieces can hide one.
        self.lines += piece.count(b"\n")
        self.size += len(piece)

    def data_received(self, data: bytes) -> None:
        try:
            ended = self._decoder.feed(data)
        except BrokenResponse as error:
            self._answer(error)
            return
        if ended:
            self._answer(self._decoder.status)
        elif self._leave_at is not None and self.lines >= self._leave_at * _LINES_OF_EVENT:
            self.abort()
            self._answer(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._answer(ConnectionError("a connection was lost"))

    def _answer(self, said: int | Exception | None) -> None:
        answered, self._answered = self._answered, None
        if answered is None or answered.done():
            return
        if isinstance(said, Exception):
            answered.set_exception(said)
        else:
            answered.set_result(said)

    def abort(self) -> None:
        """Leave at once."""
        self.lost = True
        self._transport.abort()

    def close(self) -> None:
        """Leave in order."""
        self._transport.close()
