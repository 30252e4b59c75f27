"""One connection to an upstream: send a request, hand its answer to a splice."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, cast

from passgate.core import faults
from passgate.core.exchange import AnswerHead, Ending, Outbound
from passgate.core.faults import Refused, UpstreamStale
from passgate.core.headers import downward
from passgate.edge.wire.answers import MAX_ANSWER_HEAD_BYTES, BadAnswer
from passgate.edge.wire.drive import Wait
from passgate.edge.wire.server import ServerConnection
from passgate.edge.wire.splice import ByChunks, ByChunksPlain, ByClose, ByLength, Splice
from passgate.gateway.interfaces import Awaits, Tap

if TYPE_CHECKING:
    from passgate.edge.wire.pool import Pool

# Early hints come once or twice; thousands are an attack.
_MAX_INTERIM = 32
# From here on it costs more to join a body to its head than to send it apart.
_JOIN_BYTES = 16 * 1024
_CONTINUE = 100
_SWITCHING = 101
_FIRST_FINAL = 200
_FIRST_ERROR = 400


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "idle"
    HEAD = "head"  # a request is sent, its answer has not begun or its head is not whole
    ANSWERED = "answered"  # the head is here, nobody has asked for the body yet
    BODY = "body"
    CLOSED = "closed"


# Bound once: reading a member through its class costs more than the comparison.
IDLE, HEAD, ANSWERED, BODY, CLOSED = Phase
_COMPLETE = Ending.COMPLETE
_NO_HEAD = AnswerHead(0, b"", {}, None, chunked=False, keep_alive=False)


class ClientConnection(asyncio.Protocol):
    """A connection to an upstream; the ``Answer`` of the exchange that uses it.

    Attributes:
        head: The response head, once there is an answer and until its body is passed on.
        idle_since_s: Monotonic time at which it became idle.
        writable: Whether the upstream takes more.
    """

    __slots__ = (
        "_answered",
        "_buffer",
        "_down",
        "_end",
        "_idle_s",
        "_interim",
        "_look",
        "_made",
        "_phase",
        "_pool",
        "_put",
        "_reading",
        "_reusable",
        "_secret",
        "_sending",
        "_sent",
        "_splice",
        "_transport",
        "_used",
        "head",
        "idle_since_s",
        "writable",
    )

    head: AnswerHead

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made = False
        self._put = pool.put
        self._phase = IDLE
        self._buffer = b""
        self._used = False
        self._reading = True
        self._idle_s = 0.0
        self._look: Callable[[int], list[tuple[int, int]]] | None = None
        self._interim = 0
        self._sending = False
        self._reusable = False
        self._secret = b""
        self._sent: Callable[[], None] | None = None
        self._answered: Awaits[ClientConnection] | None = None
        self._end: Wait[Ending] | None = None
        self._splice: Splice | None = None
        self._down: ServerConnection | None = None
        self.idle_since_s = 0.0
        self.writable = True

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._made = True

    def data_received(self, data: bytes) -> None:
        """Take what the upstream sent."""
        self._idle_s = 0.0
        if self._splice is not None:
            self._splice.feed(data)
        elif self._phase is HEAD:
            self._take_head(data)
        elif self._phase is ANSWERED:
            self._buffer += data
        else:
            self._lose()  # nothing was asked: what comes cannot be trusted

    def eof_received(self) -> None:
        """Take note that the upstream ends the connection; the transport closes itself."""
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is lost."""
        self._gone(reset=exc is not None)

    def pause_writing(self) -> None:
        """Slow the client's upload down, if it still goes on: else its leaving is to be seen."""
        self.writable = False
        if self._down is not None and self._sending:
            self._down.pause_reading()

    def resume_writing(self) -> None:
        """Let the client's upload go on."""
        self.writable = True
        self._idle_s = 0.0
        self._written()
        if self._down is not None:
            self._down.resume_reading()

    # The request.

    def request(
        self,
        outbound: Outbound,
        down: ServerConnection,
        sent: Callable[[], None] | None,
        answered: Awaits[ClientConnection],
    ) -> None:
        """Send a request; see ``Pool.open``."""
        if self._phase is CLOSED:  # ended as soon as it was made
            self._pool.forgets(self, idle=False)
            answered.fail(Refused(faults.UPSTREAM_LOST))
            return
        self._phase = HEAD
        self._idle_s = 0.0
        self._down = down
        self._secret = outbound.secret
        self._answered = answered
        head, body = outbound.head, outbound.body
        if body is None:
            self._sending = down.head.length != 0
            chunked = down.head.length is None
            framing = b"\r\ntransfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n\r\n"
            self._put(self._transport.write, head + framing)
        else:
            self._sending = False
            if len(body) < _JOIN_BYTES:
                self._put(self._transport.write, b"\r\n\r\n".join((head, body)))
            else:
                self._put(self._transport.write, head + b"\r\n\r\n")
                self._put(self._transport.write, body)
        if sent is not None:
            self._sent = sent
            self._put(self._look_if_written, b"")
        down.join(self)

    def send(self, data: bytes) -> None:
        """Send the next bytes of a body that is passed on as it arrives."""
        self._idle_s = 0.0
        if self._phase is not CLOSED:
            self._put(self._transport.write, data)

    def sent_all(self) -> None:
        """Take note that the body is complete."""
        self._sending = False

    def _look_if_written(self, _: bytes | bytearray) -> None:
        """Tell that a held body was written, unless the upstream takes it slowly."""
        if self.writable:
            self._written()

    def _written(self) -> None:
        if self._sent is not None:
            self._sent()
            self._sent = None

    # The answer.

    def _take_head(self, data: bytes) -> None:
        """Look for a whole head; interim ones are passed on and do not end the exchange."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        answered, down = self._answered, self._down
        assert answered is not None and down is not None  # noqa: S101  in Phase.HEAD
        while (end := data.find(b"\r\n\r\n", 0, MAX_ANSWER_HEAD_BYTES) + 4) > 3:
            try:
                head = self._pool.answers.parse(data[:end], down.head.method)
            except BadAnswer:
                self._fail(Refused(faults.UPSTREAM_MALFORMED))
                return
            data = data[end:]
            if head.status >= _FIRST_FINAL:
                self._buffer = data
                self.head = head
                self._phase = ANSWERED
                if self._sending and head.status >= _FIRST_ERROR:
                    down.stop_upload()  # it has answered without reading on
                answered.fire(self)
                # What runs now may be the client's next exchange, on this very connection:
                # *data* is behind us, and no head of that one.
                return
            self._pass_interim(head, down)
            if self._phase is not HEAD:
                return
        self._buffer = data
        if len(data) >= MAX_ANSWER_HEAD_BYTES or not _may_be_head(data):
            self._fail(Refused(faults.UPSTREAM_MALFORMED))

    def _pass_interim(self, head: AnswerHead, down: ServerConnection) -> None:
        self._interim += 1
        if head.status == _SWITCHING or self._interim > _MAX_INTERIM:
            self._fail(Refused(faults.UPSTREAM_MALFORMED))
        elif head.status != _CONTINUE:  # that one is ours to send, and we did
            down.interim(downward(head, self._secret))

    def whole(self, down: ServerConnection, head: bytes) -> bytes | None:
        """Pass head and body on, if all of it is here; see ``Answer.whole``."""
        answer, body = self.head, self._buffer
        size = len(body)
        if size != answer.length or size >= _JOIN_BYTES:
            return None
        if answer.limits:
            self._pool.last_told = answer.fields
        self.head, self._buffer = _NO_HEAD, b""
        down.bytes_down = size
        down.write(down.start(head, chunked=False, lasts=True) + body)
        if answer.keep_alive and self.writable and not self._sending:
            self._rest()
        else:
            self._lose()
        return body

    def splice(self, down: ServerConnection, head: bytes, tap: Tap | None) -> Wait[Ending]:
        """Pass head and body on; see ``Answer.splice``."""
        answer, buffer = self.head, self._buffer
        self.head, self._buffer = _NO_HEAD, b""
        self._answered = None  # it has been told, and need not be held as long as a stream runs
        length = answer.length
        if answer.limits:
            self._pool.last_told = answer.fields
        self._phase = BODY
        if length is not None and len(buffer) > length:
            return self._surplus()
        by_close = length is None and not answer.chunked
        self._reusable = answer.keep_alive and not by_close
        down.write(down.start(head, chunked=answer.chunked, lasts=not by_close))
        end: Wait[Ending] = Wait()
        self._end = end
        self._splice = splice = self._splice_for(answer, down, tap)
        if buffer or length == 0:
            splice.feed(buffer)
        return end

    def _splice_for(self, answer: AnswerHead, down: ServerConnection, tap: Tap | None) -> Splice:
        """Return what passes a body on that is framed as *answer* says."""
        if answer.length is not None:
            return ByLength(down, answer.length, tap, self._finish)
        if not answer.chunked:
            return ByClose(down, tap)
        if down.head.http10:
            return ByChunksPlain(down, tap, self._finish)
        return ByChunks(down, tap, self._finish)

    def _surplus(self) -> Wait[Ending]:
        """Refuse an answer behind whose end more came, while it can still be refused."""
        self._lose()
        refused: Wait[Ending] = Wait()
        refused.fail(Refused(faults.UPSTREAM_MALFORMED))
        return refused

    def _finish(self, ending: Ending) -> None:
        """End the exchange on this connection; a broken body must look broken."""
        if self._phase is CLOSED:
            return  # whoever read the last bytes has closed it
        down, end = self._down, self._end
        if ending is _COMPLETE:
            if self._reusable and self.writable and not self._sending:
                self._rest()
            else:
                self._lose()
        else:
            self._lose()
            if down is not None:
                down.abort()
        if end is not None:
            end.fire(ending)

    def close(self) -> None:
        """Let go of the exchange, which closes the connection unless its answer is whole."""
        if self._end is not None or self._answered is not None:
            self._lose()

    def discard(self) -> None:
        """Close the connection, whatever it does, if it was ever made."""
        if self._made:
            self._lose()

    # Rest and loss.

    def _rest(self) -> None:
        """Go back to the pool."""
        self._phase = IDLE
        self._used = True
        self._splice = None
        down, self._down = self._down, None
        if down is not None:
            down.part()
        self._end = self._answered = None
        self._interim = 0
        if not self._reading:
            self.resume_reading()
        self._pool.takes_back(self)

    def _lose(self) -> None:
        """Close the connection at once."""
        if self._phase is not CLOSED:
            self._pool.forgets(self, idle=self._phase is IDLE)
            self._phase = CLOSED
            self._splice = None
            if self._down is not None:
                self._down.part()
                self._down = None
            self._sent = None
            self._end = None
            self._answered = None
            self._buffer = b""
            self._transport.abort()

    def _fail(self, error: Refused) -> None:
        """End an exchange whose head will not come."""
        answered = self._answered
        self._lose()
        if answered is not None:
            answered.fail(error)

    def _gone(self, *, reset: bool = False) -> None:
        """Take note that nothing more will come."""
        if self._phase is HEAD:
            untouched = self._used and not self._buffer and not self._interim
            kind = UpstreamStale if untouched else Refused
            self._fail(kind(faults.UPSTREAM_LOST))
        elif self._phase is BODY and self._splice is not None:
            whole = self._splice.eof() and not reset
            self._finish(_COMPLETE if whole else Ending.UPSTREAM_BROKE)
        else:
            self._lose()

    @property
    def ended(self) -> bool:
        """Whether an idle connection has ended without the loop having told us yet."""
        if self._look is None:
            connection = self._transport.get_extra_info("socket")
            if connection is None or connection.fileno() < 0:
                return True  # it is closed, and we are about to be told
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            self._look = poll.poll
        return self._transport.is_closing() or bool(self._look(0))

    # Back-pressure.

    def pause_reading(self) -> None:
        """Take no more from the upstream for now."""
        if self._reading and self._phase is not CLOSED:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the upstream again."""
        if not self._reading and self._phase is not CLOSED:
            self._reading = True
            self._idle_s = 0.0
            self._transport.resume_reading()

    # What the pool calls.

    def sweep(self, tick_s: float, first_byte_s: float, idle_s: float) -> None:
        """Let *tick_s* seconds pass: end an exchange whose upstream is silent for too long."""
        self._idle_s += tick_s
        if self._phase is HEAD:
            # While the body goes up, what may take long is each step of it.
            if self._idle_s > (idle_s if self._sending else first_byte_s):
                self._fail(Refused(faults.ANSWER_TIMEOUT))
        elif self._phase is BODY and self._reading and self._idle_s > idle_s:
            self._finish(Ending.TIMED_OUT)


def _may_be_head(part: bytes) -> bool:
    """Return whether the beginning of an answer looks like HTTP/1."""
    return part[:7] == b"HTTP/1."[: len(part)]
