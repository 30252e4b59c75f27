"""The client's side of an answer that we author: its status is held until there is an event."""

from __future__ import annotations

from passgate.core.faults import status_line
from passgate.gateway.interfaces import Clock, Downstream
from passgate.gateway.lanes import Exchange, Waits

# Some proxies would gather events, and some clients would keep them.
_STREAM = b"\r\ncache-control: no-cache\r\nx-accel-buffering: no"
# An answer in one piece has nothing to say before its end; the upstream's limits end it.
_NEVER_S = 86_400.0


class Authored:
    """What a client has of its answer: nothing at first, and while that is so it can be begun anew.

    Attributes:
        begun: Whether it has anything, so that its status is fixed.
    """

    def __init__(
        self, exchange: Exchange, content_type: bytes, waits: Waits, clock: Clock, *, stream: bool
    ) -> None:
        self.begun = False
        self._exchange = exchange
        self._down: Downstream = exchange.down
        self._content_type = content_type
        self._ping_s = waits.ping_s
        self._monotonic = clock.monotonic
        self._stream = stream
        # From when the exchange was opened: the client has been waiting since.
        self._due_s = exchange.tally.opened_s + waits.hold_s

    def patience_s(self) -> float:
        """Return for how long nothing need be said to the client."""
        return max(0.0, self._due_s - self._monotonic()) if self._stream else _NEVER_S

    def idle(self, ping: bytes) -> None:
        """Take note that nothing has come for so long; a client that reads is told to wait on."""
        if not self._stream:
            return
        if not self.begun:
            self._begin()
        self._down.send(ping)  # a client that does not read has more than it wants
        self._due_s = self._monotonic() + self._ping_s

    def send(self, events: bytes) -> None:
        """Send the next events of a stream."""
        if not self.begun:
            self._begin()
        self._down.push(events)
        self._due_s = self._monotonic() + self._ping_s

    def _begin(self) -> None:
        self.begun = True
        self._exchange.commits(200)
        self._down.begin(self._head(200, _STREAM))

    def finish(self) -> None:
        """End a stream."""
        self._down.finish()

    def whole(self, body: bytes) -> None:
        """Send an answer in one piece."""
        self._exchange.commits(200)
        self._down.answer(self._head(200, b"\r\ncontent-length: %d" % len(body)), body)

    def _head(self, status: int, more: bytes) -> bytes:
        return b"%s\r\ncontent-type: %s%s\r\nrequest-id: %s" % (
            status_line(status),
            self._content_type,
            more,
            self._exchange.tally.id.encode(),
        )
