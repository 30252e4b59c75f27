"""The connections of one listening socket: their number, their time limits, their end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from passgate.core.faults import Drained
from passgate.core.settings import Limits, Listen
from passgate.edge.wire.outbox import Outbox
from passgate.edge.wire.server import ServerConnection
from passgate.gateway.interfaces import Downstream, Rest

Handler = Callable[[Downstream], Coroutine[Any, Any, Rest | None] | None]

# More than any burst of agents; the kernel caps it at net.core.somaxconn.
_BACKLOG = 4096
_SLOWEST_TICK_S = 0.5


def tick_of(limits: Limits) -> float:
    """Return how often time limits are looked at: four times within the shortest."""
    spans = (
        limits.first_byte_s,
        limits.idle_s,
        limits.client_head_s,
        limits.client_body_idle_s,
        limits.client_stall_s,
        limits.keep_alive_s,
    )
    return max(0.01, min(_SLOWEST_TICK_S, *(span / 4 for span in spans)))


class Listener:
    """One listening socket and every connection that it accepted.

    Attributes:
        handler: Begins to serve one exchange; see ``Pipeline.handle``.
        limits: Bounds of time and number; may be swapped while running.
        draining: Whether every response is now the last of its connection.
        address: Host and port it is bound to.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        outbox: Outbox,
        report: Callable[[Exception], None],
    ) -> None:
        self.handler = handler
        self.outbox = outbox
        self.put = outbox.put  # bound once for all connections
        self.limits = limits
        self.report = report
        self.draining = False
        self.address = ("", 0)
        self._connections: set[ServerConnection] = set()
        self._idle: asyncio.Event | None = None
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None

    async def open(self, listen: Listen) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        found = await loop.getaddrinfo(
            listen.host,
            listen.port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listen.reuse_port:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.settimeout(0)
            listening.bind(found[0][4])
            self._server = await loop.create_server(
                lambda: ServerConnection(self), sock=listening, backlog=_BACKLOG
            )
        except OSError:
            listening.close()
            raise
        self._socket = listening
        self.address = listening.getsockname()[:2]
        self._tick()

    @property
    def connections(self) -> int:
        """How many there are now, idle ones included."""
        return len(self._connections)

    def _tick(self) -> None:
        tick_s = tick_of(self.limits)
        for connection in tuple(self._connections):
            connection.sweep(tick_s)
        self._sweep = asyncio.get_running_loop().call_later(tick_s, self._tick)

    # What a connection calls.

    def joins(self, connection: ServerConnection) -> bool:
        """Count a new connection; return whether there are now too many."""
        self._connections.add(connection)
        return len(self._connections) > self.limits.max_connections

    def leaves(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if self.draining:
            self.ended()

    def ended(self) -> None:
        """Look whether the last exchange of a drain has ended."""
        if self._idle is not None and not self._busy():
            self._idle.set()

    def _busy(self) -> bool:
        return any(connection.busy for connection in self._connections)

    # The end.

    async def stop_accepting(self) -> None:
        """Close the socket, and serve who has connected to it before.

        Whoever connects between the last look and the close is reset, so there must be
        nothing in between: the loop lets go of the socket first.
        """
        if self._server is None or self._socket is None:
            return
        last = self._socket.dup()
        self._server.close()
        self._server = None
        loop = asyncio.get_running_loop()
        for accepted in _emptied(last):
            await loop.connect_accepted_socket(lambda: ServerConnection(self), accepted)

    async def drain(self, drain_s: float) -> None:
        """Return when no exchange runs any more; after *drain_s* they are stopped."""
        try:
            async with asyncio.timeout(drain_s):
                await self._all_ended()
        except TimeoutError:
            self.stop_exchanges()

    async def _all_ended(self) -> None:
        """Return when no exchange runs, and what has arrived meanwhile begins none."""
        self._idle = asyncio.Event()
        while True:
            await asyncio.sleep(0)  # what has arrived is read in this turn
            if not self._busy():
                return
            await self._idle.wait()
            self._idle.clear()

    def stop_exchanges(self) -> None:
        """Stop every exchange that runs."""
        for connection in tuple(self._connections):
            connection.throw(Drained())

    async def close(self) -> None:
        """Close every connection, on which no exchange runs any more."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        self.outbox.flush()
        for connection in tuple(self._connections):
            connection.close()
        for _ in range(3):  # a closed transport reports its end a turn later
            await asyncio.sleep(0)


def _emptied(listening: socket.socket) -> list[socket.socket]:
    """Return every connection that waits at a socket that does not block, and close it."""
    found = []
    with listening, suppress(OSError):  # at last: none waits; or there are no descriptors
        while True:
            found.append(listening.accept()[0])
    for accepted in found:
        accepted.settimeout(0)
    return found
