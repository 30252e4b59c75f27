"""The live feed: records as they end, and once a second what runs.

Nothing is computed while nobody reads. A reader that is slow loses the oldest messages,
is told how many, and costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from passgate.core.exchange import Record
from passgate.core.faults import BUSY, Refused, status_line
from passgate.core.live import Looks, Running
from passgate.core.vitals import State, Totals, Vitals
from passgate.gateway.interfaces import Downstream

_EVERY_S = 1.0
_MAX_READERS = 16
_MAX_WAITING = 1000  # records, for each reader
_MAX_LINES = 200  # of what runs: a screen has fewer

_HEAD = (
    status_line(200)
    + b"\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no"
)

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Sources:
    """Where the feed takes its numbers from; ``app.py`` fills it in.

    Attributes:
        monotonic: The time that ``Running.opened_s`` is in.
        vitals: How things stand.
        running: What runs, the oldest first, at most so many.
        clients: What each client did.
    """

    def __init__(
        self,
        version: str,
        monotonic: Callable[[], float],
        vitals: Callable[[], Vitals],
        running: Callable[[int], list[Running]],
        clients: Callable[[], tuple[Totals, ...]],
    ) -> None:
        self.version = version
        self.monotonic = monotonic
        self.vitals = vitals
        self.running = running
        self.clients = clients

    def state(self, looks: Looks) -> State:
        """Return everything as it is now; *looks* knows how it was a moment ago."""
        lines = looks.look(self.running(_MAX_LINES), self.monotonic())
        return State(self.version, self.vitals(), self.clients(), tuple(lines))


class _Reader:
    """One reader, and what waits for it."""

    def __init__(self, down: Downstream, left: asyncio.Future[None]) -> None:
        self.down = down
        self.left = left
        self.dropped = 0
        self._waiting: deque[bytes] = deque()

    def tell(self, message: bytes) -> int:
        """Send *message*, or have it wait; return how many were dropped for it."""
        self._waiting.append(message)
        self._flush()
        dropped = max(0, len(self._waiting) - _MAX_WAITING)
        for _ in range(dropped):
            self._waiting.popleft()
        self.dropped += dropped
        return dropped

    def tell_state(self, state: State) -> None:
        """Send the state, unless something waits: the next one says it better."""
        self._flush()
        if not self._waiting:
            self.down.send(_event(b"state", replace(state, dropped=self.dropped)))

    def _flush(self) -> None:
        while self._waiting and self.down.send(self._waiting[0]):
            self._waiting.popleft()


class Feed:
    """A watcher that tells who reads.

    Args:
        later: Calls a function after so many seconds; the loop's ``call_later``.

    Attributes:
        sources: Where the numbers come from; set before anybody reads.
        dropped: Messages lost to slow readers, of all.
    """

    sources: Sources

    def __init__(self, later: Later) -> None:
        self._later = later
        self._readers: set[_Reader] = set()
        self._looks = Looks()
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = 0

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._readers)

    def __call__(self, records: Sequence[Record]) -> None:
        """Tell every reader of *records*."""
        if self._readers:
            for record in records:
                message = _event(b"record", record)
                for reader in self._readers:
                    self.dropped += reader.tell(message)

    async def serve(self, down: Downstream) -> None:
        """Tell *down* until it leaves, or the gateway stops.

        Raises:
            Refused: Too many read already.
        """
        if len(self._readers) >= _MAX_READERS:
            raise Refused(BUSY)
        down.begin(_HEAD)
        reader = _Reader(down, asyncio.get_running_loop().create_future())
        self._readers.add(reader)
        try:
            if self._timer is None:
                self._tick()
            else:
                reader.tell_state(self.sources.state(self._looks))
            await reader.left
            down.finish()
        finally:
            self._readers.discard(reader)

    def _tick(self) -> None:
        """Tell of what runs, as long as somebody reads."""
        if not self._readers:
            self._timer = None
            self._looks.forget()
            return
        self._timer = self._later(_EVERY_S, self._tick)
        state = self.sources.state(self._looks)
        for reader in self._readers:
            reader.tell_state(state)

    async def close(self) -> None:
        """End the answers of all who read."""
        if self._timer is not None:
            self._timer.cancel()
        for reader in self._readers:
            if not reader.left.done():
                reader.left.set_result(None)
        await asyncio.sleep(0)  # a turn in which they say so


def _event(name: bytes, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, msgspec.json.encode(value))
