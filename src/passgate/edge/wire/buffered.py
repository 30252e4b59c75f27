"""A TLS connection that is read into a buffer of ours.

The loop's TLS layer makes a new object of 256 KiB for every read into a plain protocol,
which costs more than the decryption. Into a buffered one it writes what it has.
"""

from __future__ import annotations

import asyncio

from passgate.edge.wire.client import ClientConnection

# Four TLS records. One buffer serves every connection, since it is emptied at once.
READ_BYTES = 64 * 1024


class Buffered(asyncio.BufferedProtocol):
    """Between the TLS layer and a connection: hands on what is read, and all else."""

    __slots__ = ("_connection", "_view")

    def __init__(self, connection: ClientConnection, buffer: bytearray) -> None:
        self._connection = connection
        self._view = memoryview(buffer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on the transport."""
        self._connection.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read."""
        self._connection.data_received(bytes(self._view[:nbytes]))

    def eof_received(self) -> None:
        """Hand on that the upstream ends the connection."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that the connection is lost."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on that the upstream reads slower than is written."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that the upstream reads again."""
        self._connection.resume_writing()
