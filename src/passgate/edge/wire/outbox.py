"""Write once per turn of the loop, after everything that came in it was read.

A write to a sleeping peer wakes it, which costs more than the rest of the write. Within
one turn many connections have something to say to the same few peers: said together,
only the first one wakes anybody. Nothing is kept over the end of a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A turn in which many large bodies arrive must not hold them all.
_MAX_HELD_BYTES = 256 * 1024

Write = Callable[[bytes | bytearray], None]


class Outbox:
    """What is to be written at the end of this turn, in the order in which it was said."""

    __slots__ = ("_held", "_held_bytes", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[tuple[Write, bytes | bytearray]] = []
        self._held_bytes = 0

    def put(self, write: Write, data: bytes | bytearray) -> None:
        """Have *write* called with *data* at the end of this turn."""
        held = self._held
        if not held:
            self._loop.call_soon(self.flush)
        held.append((write, data))
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write everything now; called before a connection is closed, too."""
        held, self._held, self._held_bytes = self._held, [], 0
        for write, data in held:
            try:
                write(data)
            except RuntimeError:
                continue  # this one is closed, which it reports itself; the others are not
