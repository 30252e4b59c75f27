"""Write the first at once and the rest at the end of the turn of the loop.

A write to a sleeping peer wakes it, which costs more than the rest of the write. Within
one turn many connections have something to say to the same few peers: the first wakes
one, the others find it awake. A lone message waits for nothing, and nothing is kept over
the end of a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A turn in which many large bodies arrive must not hold them all.
_MAX_HELD_BYTES = 256 * 1024

Write = Callable[[bytes | bytearray], None]


class Outbox:
    """What is to be written in this turn, in the order in which it was said."""

    __slots__ = ("_held", "_held_bytes", "_loop", "_open")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[tuple[Write, bytes | bytearray]] = []
        self._held_bytes = 0
        self._open = False  # whether something was written in this turn

    def put(self, write: Write, data: bytes | bytearray) -> None:
        """Have *write* called with *data* in this turn."""
        if not self._open:
            self._open = True
            self._loop.call_soon(self._end_turn)
            try:  # noqa: SIM105  a context manager costs more than the call
                write(data)
            except RuntimeError:
                pass  # closed already, which it reports itself
            return
        self._held.append((write, data))
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self.flush()

    def _end_turn(self) -> None:
        self._open = False
        if self._held:
            self.flush()

    def flush(self) -> None:
        """Write everything now; called before a connection is closed, too."""
        held, self._held, self._held_bytes = self._held, [], 0
        for write, data in held:
            try:
                write(data)
            except RuntimeError:
                continue  # closed already; the others are not
