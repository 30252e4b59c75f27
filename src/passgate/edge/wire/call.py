"""A call whose answer is read here, not passed on: head and chunks, with silence told.

To the upstream's connection a call is the client, one that takes a body without chunks.
To the client's connection it is the upstream: what slows its answer down, and hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from passgate.core.exchange import AnswerHead, Ending, Outbound, RequestHead
from passgate.edge.wire.drive import Drive, Wait

if TYPE_CHECKING:
    from passgate.edge.wire.client import ClientConnection
    from passgate.edge.wire.pool import Pool
    from passgate.edge.wire.server import ServerConnection
    from passgate.gateway.interfaces import Clock

# What an upstream may be ahead of who reads.
_MOST_HELD_BYTES = 256 * 1024


class Closed(Exception):
    """Raised in what opens a connection that nobody waits for any more."""


class Call:
    """One request and its answer; see ``interfaces.Call``.

    Attributes:
        head: Of the request, as far as the upstream's connection asks.
        bytes_down: Body bytes of the answer so far.
        ending: How the body ended, None while it has not.
        writable: Always true: see ``ClientConnection``.
    """

    __slots__ = (
        "_answer",
        "_clock",
        "_closed",
        "_drive",
        "_due_s",
        "_error",
        "_for_head",
        "_held",
        "_held_bytes",
        "_looks",
        "_slow",
        "_timer",
        "_up",
        "_waiting",
        "bytes_down",
        "ending",
        "head",
    )

    writable = True

    def __init__(self, pool: Pool, clock: Clock, outbound: Outbound, method: str) -> None:
        body = outbound.body or b""
        # HTTP/1.0 has no chunks: the connection then writes the data alone.
        self.head = RequestHead(method=method, length=len(body), http10=True)
        self.bytes_down = 0
        self.ending: Ending | None = None
        self._clock = clock
        self._answer: AnswerHead | None = None
        self._error: Exception | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._up: ClientConnection | None = None
        self._waiting: Wait[Any] | None = None
        self._for_head = True
        self._looks = False
        self._slow = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        # The two halves of the stack hand each other themselves; of a client's connection
        # the upstream's needs no more than what is here.
        opening = pool.open(outbound, cast("ServerConnection", self), None)
        self._drive = Drive()
        self._drive.run(self._run(opening), self._stopped)

    async def _run(self, opening: Awaitable[ClientConnection]) -> None:
        answer = await opening
        self._answer = answer.head
        self._look_soon()
        self.ending = await answer.splice(cast("ServerConnection", self), b"", None)
        self._look()

    def _stopped(self, error: Exception | None) -> None:
        if error is not None:
            self._error = error
            self._look_soon()

    # What the reader calls.

    def answer_head(self, within_s: float) -> Wait[AnswerHead | None]:
        """Return the answer's head; see ``interfaces.Call``."""
        wait: Wait[AnswerHead | None] = Wait()
        self._begin_to_wait(wait, within_s, for_head=True)
        return wait

    def read(self, within_s: float) -> Wait[bytes | None]:
        """Return the next bytes of the body; see ``interfaces.Call``."""
        wait: Wait[bytes | None] = Wait()
        self._begin_to_wait(wait, within_s, for_head=False)
        return wait

    def _begin_to_wait(self, wait: Wait[Any], within_s: float, *, for_head: bool) -> None:
        self._waiting, self._for_head = wait, for_head
        self._look()
        if self._waiting is not None:
            self._due_s = self._clock.monotonic() + within_s
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(within_s, self._alarm)

    def _alarm(self) -> None:
        """Tell of silence; a timer that was set for an earlier wait is set anew."""
        self._timer = None
        wait, left_s = self._waiting, self._due_s - self._clock.monotonic()
        if wait is None or self._closed:
            return
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._alarm)
            return
        self._waiting = None
        wait.fire(None)

    def _look_soon(self) -> None:
        """Look in the next turn: what follows a head must first be under way."""
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Give who waits what is there."""
        self._looks = False
        wait = self._waiting
        if wait is None:
            return
        if self._error is not None:
            self._waiting = None
            wait.fail(self._error)
        elif self._for_head:
            if self._answer is not None:
                self._waiting = None
                wait.fire(self._answer)
        elif self._held or self.ending is not None:
            self._waiting = None
            wait.fire(self._taken())

    def _taken(self) -> bytes:
        held = self._held
        if not held:
            return b""
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        full = self._held_bytes > _MOST_HELD_BYTES
        self._held_bytes = 0
        if full:
            self._throttle()
        return data

    def close(self) -> None:
        """Hang up, unless the answer is whole."""
        if self._closed:
            return
        self._closed = True
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._up is not None:
            self._up.close()
            self._up = None
        if self.ending is None and self._error is None:
            self._drive.throw(Closed())

    # What the client's connection calls.

    def pause_reading(self) -> None:
        """Take no more from the upstream for now: the client reads slower than it sends."""
        self._slow = True
        self._throttle()

    def resume_reading(self) -> None:
        """Take from the upstream again."""
        self._slow = False
        self._throttle()

    def _throttle(self) -> None:
        if self._up is None:
            return
        if self._slow or self._held_bytes > _MOST_HELD_BYTES:
            self._up.pause_reading()
        else:
            self._up.resume_reading()

    # What the upstream's connection calls: see ServerConnection.

    def join(self, up: ClientConnection) -> None:
        """Have *up* as the other side."""
        self._up = up
        if self._closed:  # while it was dialled
            up.close()
        elif self._slow:
            up.pause_reading()

    def part(self) -> None:
        """Have no other side any more."""
        self._up = None

    def start(self, head: bytes, *, chunked: bool, lasts: bool) -> bytes:
        """Return nothing: a head is a value here."""
        return b""

    def write(self, data: bytes) -> None:
        """Hold *data* for who reads."""
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes > _MOST_HELD_BYTES:
                self._throttle()
            # At once: what is written in answer to it then goes out with this turn's writes.
            self._look()

    def interim(self, head: bytes) -> None:
        """Drop an interim response: nobody here waits for one."""

    def stop_upload(self) -> None:
        """Do nothing: the whole request was sent at once."""

    def abort(self) -> None:
        """Do nothing: how the body ended is told by ``ending``."""
