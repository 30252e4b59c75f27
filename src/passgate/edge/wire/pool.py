"""The connections to one upstream: reused newest first, dialled where none is idle."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from passgate.core import faults
from passgate.core.exchange import Outbound
from passgate.core.faults import Refused
from passgate.core.settings import Limits, UpstreamSettings
from passgate.core.vitals import PoolState
from passgate.edge.wire.answers import AnswerMemory
from passgate.edge.wire.buffered import READ_BYTES, Buffered
from passgate.edge.wire.call import Call
from passgate.edge.wire.client import ClientConnection
from passgate.edge.wire.drive import Wait
from passgate.edge.wire.listener import tick_of
from passgate.edge.wire.outbox import Outbox
from passgate.edge.wire.server import ServerConnection
from passgate.gateway.interfaces import Awaits, Clock, Tasks

# Shorter than any usual upstream's own limit, so that we close first.
_MAX_IDLE_S = 30.0


class Pool:
    """The connections to one upstream.

    Attributes:
        limits: Bounds of time; may be swapped while running.
        answers: How it words its heads.
        last_told: Head of the last answer that said something of rate limits, else empty.
    """

    def __init__(
        self,
        upstream: UpstreamSettings,
        limits: Limits,
        outbox: Outbox,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self.put = outbox.put  # bound once for all connections
        self._upstream = upstream
        self.limits = limits
        self._clock = clock
        self._tasks = tasks
        self._idle: list[ClientConnection] = []
        self._all: set[ClientConnection] = set()
        self._tls: ssl.SSLContext | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False
        self._dials = self._failed_dials = 0
        self.last_told = b""
        self.answers = AnswerMemory()
        self._read_buffer = bytearray(READ_BYTES if upstream.tls else 0)

    def open(
        self,
        outbound: Outbound,
        down: ServerConnection,
        sent: Callable[[], None] | None,
        *,
        fresh: bool = False,
    ) -> Awaitable[ClientConnection]:
        """Send a request and return its answer; see ``interfaces.Pool``."""
        connection = None if fresh else self._take()
        if connection is None:
            return self._open_new(outbound, down, sent)
        answered: Wait[ClientConnection] = Wait()
        connection.request(outbound, down, sent, answered)
        return answered

    def again(
        self, outbound: Outbound, down: ServerConnection, answered: Awaits[ClientConnection]
    ) -> bool:
        """Send a request, if a connection is idle; see ``interfaces.Pool``."""
        connection = self._take()
        if connection is None:
            return False
        connection.request(outbound, down, None, answered)
        return True

    def call(self, outbound: Outbound, method: str) -> Call:
        """Send a request whose answer is read, not passed on; see ``interfaces.Pool``."""
        return Call(self, self._clock, outbound, method)

    async def _open_new(
        self, outbound: Outbound, down: ServerConnection, sent: Callable[[], None] | None
    ) -> ClientConnection:
        connection = await self._dial()
        answered: Wait[ClientConnection] = Wait()
        connection.request(outbound, down, sent, answered)
        del outbound, sent  # the body is let go once it is written
        return await answered

    def _take(self) -> ClientConnection | None:
        now_s = self._clock.monotonic()
        while self._idle:
            connection = self._idle.pop()
            # Also of one that was used in this very turn: its end may have come with its answer.
            if now_s - connection.idle_since_s < _MAX_IDLE_S and not connection.ended:
                return connection
            connection.discard()
        return None

    async def _dial(self) -> ClientConnection:
        """Return a new connection.

        Raises:
            Refused: It could not be made, or not in time.
        """
        dial: asyncio.Task[ClientConnection] = self._tasks.start(
            self._connect(), f"dial {self._upstream.name}"
        )
        try:
            return await dial
        except BaseException:
            dial.cancel()
            dial.add_done_callback(_discard)
            raise

    async def _connect(self) -> ClientConnection:
        connection = ClientConnection(self)
        try:
            async with asyncio.timeout(self.limits.connect_s):
                await self._dial_socket(connection)
        except BaseException as error:
            connection.discard()  # it may have been made in the very moment
            self._failed_dials += isinstance(error, OSError)  # a time-out is one
            if isinstance(error, TimeoutError):
                raise Refused(faults.CONNECT_TIMEOUT) from error
            if isinstance(error, OSError):  # TLS errors are of these
                raise Refused(faults.UNREACHABLE) from error
            raise
        self._dials += 1
        self._all.add(connection)
        if self._sweep is None:
            self._tick()
        return connection

    async def _dial_socket(self, connection: ClientConnection) -> None:
        """Connect, and agree on TLS where that is spoken.

        Raises:
            OSError: No name, no route, refused, or a certificate that is not good.
        """
        upstream, loop = self._upstream, asyncio.get_running_loop()
        host, port = upstream.host, upstream.port
        if not upstream.tls:
            await loop.create_connection(lambda: connection, host, port)
            return
        if self._tls is None:
            self._tls = await loop.run_in_executor(None, _tls_context, upstream)
        buffered = Buffered(connection, self._read_buffer)
        await loop.create_connection(
            lambda: buffered, host, port, ssl=self._tls, server_hostname=host
        )

    def _tick(self) -> None:
        limits = self.limits
        tick_s = tick_of(limits)
        oldest_s = self._clock.monotonic() - _MAX_IDLE_S
        for connection in tuple(self._all):
            connection.sweep(tick_s, limits.first_byte_s, limits.idle_s)
        while self._idle and self._idle[0].idle_since_s < oldest_s:
            self._idle.pop(0).discard()
        if self._retired and not self._all:
            self._sweep = None
            return
        self._sweep = asyncio.get_running_loop().call_later(tick_s, self._tick)

    # What a connection calls.

    def takes_back(self, connection: ClientConnection) -> None:
        """Have *connection* idle again."""
        if self._retired:
            connection.discard()
            return
        connection.idle_since_s = self._clock.monotonic()
        self._idle.append(connection)

    def forgets(self, connection: ClientConnection, *, idle: bool) -> None:
        """Drop *connection*, which is closed."""
        self._all.discard(connection)
        if idle and connection in self._idle:
            self._idle.remove(connection)

    def state(self) -> PoolState:
        """Return what it holds now; see ``interfaces.Pool``."""
        idle = len(self._idle)
        return PoolState(idle, len(self._all) - idle, self._dials, self._failed_dials)

    def retire(self) -> None:
        """Open nothing more; what runs ends by itself."""
        self._retired = True
        for connection in tuple(self._idle):
            connection.discard()

    def close(self) -> None:
        """Close every connection, and look at no time limit any more."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self._all):
            connection.discard()


def _discard(dial: asyncio.Task[ClientConnection]) -> None:
    """Close a connection that was made for a client who has left meanwhile."""
    if not dial.cancelled() and dial.exception() is None:
        dial.result().discard()


def _tls_context(upstream: UpstreamSettings) -> ssl.SSLContext:
    """Return a context that verifies the upstream; reading the trust store takes a while."""
    context = ssl.create_default_context(cafile=upstream.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
