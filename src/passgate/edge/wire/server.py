"""One connection to a client: the Downstream of every exchange on it.

Bytes in become a head, the handler is driven from here, and what it writes goes out at
once. All waiting is bounded by :meth:`ServerConnection.sweep`, called by one timer for
all connections, so that no exchange pays for a timer of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, cast

from passgate.core import faults
from passgate.core.exchange import RequestHead
from passgate.core.faults import DownstreamLeft, Fault, Refused
from passgate.core.known import Known
from passgate.core.settings import Limits
from passgate.edge.wire.chunks import BadChunk, ChunkWalker
from passgate.edge.wire.drive import Drive, Wait
from passgate.edge.wire.heads import MAX_HEAD_BYTES, HeadMemory, HeadProbe, too_long
from passgate.gateway.interfaces import Stoppable, Throttled

if TYPE_CHECKING:
    from passgate.edge.wire.client import ClientConnection
    from passgate.edge.wire.listener import Listener

# Requests that a client sends ahead of their turn; more are left in its socket.
_MAX_AHEAD_BYTES = 64 * 1024
# A client that sends its whole body before it reads must still get a refusal.
_LINGER_BYTES = 1 << 20
_LINGER_S = 2.0
# So long a drain waits for the first byte of who had just connected.
_NEWCOMER_S = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # linger for no time: close with a reset


class Phase(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"  # an exchange runs, its body is still coming
    ANSWER = "answer"  # an exchange runs, its body is here
    LINGER = "linger"  # the answer is sent, what still comes is thrown away
    CLOSING = "closing"  # the answer is being sent, nothing more is read
    CLOSED = "closed"


# Bound once: reading a member through its class costs more than the comparison.
HEAD, BODY, ANSWER, LINGER, CLOSING, CLOSED = Phase


class ServerConnection(asyncio.Protocol):
    """A client's connection.

    Attributes:
        head: Head of the exchange that runs.
        known: What the handler remembers of that head; forgotten when another one comes.
        peer: The client's address, without its port.
        runs: What serves the exchange that runs, or None.
        crowded: Whether there were too many connections when this one came.
        bytes_up: Body bytes received in this exchange.
        bytes_down: Body bytes sent in this exchange.
        committed: Whether a response head was sent in this exchange.
    """

    __slots__ = (
        "_ahead",
        "_begun",
        "_body",
        "_drive",
        "_expects",
        "_hold",
        "_idle_s",
        "_in_turn",
        "_lasts",
        "_left",
        "_limit_bytes",
        "_listener",
        "_memory",
        "_phase",
        "_probe",
        "_put",
        "_reading",
        "_seen_buffer",
        "_served",
        "_taking",
        "_transport",
        "_until_close",
        "_up",
        "_wait",
        "_walker",
        "_writable",
        "bytes_down",
        "bytes_up",
        "committed",
        "crowded",
        "head",
        "known",
        "peer",
        "runs",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._put = listener.put
        self._phase = HEAD
        self._ahead = b""  # received, and not its turn yet
        self._memory = HeadMemory()
        self.known: Known | None = None
        self._probe: HeadProbe | None = None
        self._drive = Drive()
        self.runs: Stoppable | None = None
        self._idle_s = 0.0
        self._in_turn = False
        self._reading = True
        self._writable = True
        self._seen_buffer = 0
        self._served = False
        self._taking = False  # whether we know where the body goes
        self._expects = False
        self._up: ClientConnection | None = None
        self._body: bytearray | None = None
        self._hold: Callable[[int], None] | None = None
        self._limit_bytes = 0
        self._wait: Wait[bytearray] | None = None
        self._begun: Wait[None] | None = None
        self.peer = ""
        self.crowded = False
        self._begin(_NO_HEAD)

    def _begin(self, head: RequestHead) -> None:
        """Set what belongs to one exchange."""
        self.head = head
        self.committed = self._until_close = False
        self.bytes_up = self.bytes_down = 0
        self._lasts = head.keep_alive and not self.crowded
        length = head.length
        self._left = length or 0
        self._walker = ChunkWalker() if length is None else None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self.peer = address[0] if isinstance(address, tuple) else ""
        self.crowded = self._listener.joins(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._phase is HEAD and self._writable:
            self._take_head(data)
        elif self._taking and self._phase is BODY:
            self._idle_s = 0.0
            self._take_body(data)
        elif self._phase is LINGER:
            self._left -= len(data)
            if self._left < 0:
                self._transport.abort()
        else:
            self._keep(data)

    def eof_received(self) -> None:
        """End with the client: a FIN while its answer is due means that it left."""
        if self.runs is not None:
            self.runs.throw(DownstreamLeft())
        else:
            self._listener.outbox.flush()  # the transport closes itself, now

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._phase = CLOSED
        self._ahead = b""
        self.throw(DownstreamLeft())
        self._listener.leaves(self)

    def pause_writing(self) -> None:
        """Slow the upstream down: the client reads slower than it sends.

        No further exchange begins either: whoever sends requests and reads no answer
        would have them all kept here.
        """
        self._writable = False
        self._idle_s = 0.0
        if self._up is not None:
            self._up.pause_reading()

    def resume_writing(self) -> None:
        """Let the upstream go on, or the next exchange begin."""
        self._writable = True
        if self._up is not None:
            self._up.resume_reading()
        elif self._phase is HEAD:
            self._in_order()

    def write(self, data: bytes) -> None:
        """Send *data* at the end of this turn of the loop."""
        self._put(self._transport.write, data)

    # Reading.

    def pause_reading(self) -> None:
        """Take no more from the client for now: the upstream reads slower than it sends."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the client again."""
        if not self._reading and self._phase is not CLOSED:
            self._reading = True
            self._idle_s = 0.0
            self._transport.resume_reading()

    def _keep(self, data: bytes) -> None:
        """Keep bytes whose turn has not come; leave what is too much in the client's socket."""
        self._ahead += data
        if self._begun is not None:
            self._look_for_first_chunk(self._begun)
        if len(self._ahead) > _MAX_AHEAD_BYTES:
            self.pause_reading()

    def _take_head(self, data: bytes) -> None:
        """Look for a whole head; begin an exchange when there is one."""
        known = len(self._ahead)
        if known:
            data = self._ahead + data
        end = data.find(b"\r\n\r\n", known and max(0, known - 3), MAX_HEAD_BYTES) + 4
        if end > 3:
            self._ahead = data[end:]
            self._probe = None
            head = self._memory.parse(data[:end])
            if self._memory.fresh:
                self.known = None
            self._start(head)
            return
        if self._served and not known:
            self._idle_s = 0.0  # this head's time begins
        fault = too_long(data) or self._nonsense(data[known:])
        if fault is not None:
            self._ahead = b""
            self.known = None
            self._start(RequestHead(fault=fault))
            return
        self._ahead = data

    def _nonsense(self, new: bytes) -> Fault | None:
        """Return why the beginning of a head, which goes on with *new*, cannot become one."""
        if self._probe is None:
            self._probe = HeadProbe()
        if self._probe.accepts(new):
            return None
        return faults.http(400, "the head is not valid HTTP/1.1")

    def _start(self, head: RequestHead) -> None:
        """Begin an exchange; what came behind its head is in ``_ahead``."""
        self._begin(head)
        if self._left or self._walker is not None:
            self._phase = BODY
            self._expects = b"expect" in head.said and _expects(head)
        else:
            self._phase = ANSWER
        serving = self._listener.handler(self)
        if serving is not None:
            self.runs = self._drive
            self._drive.run(serving, self.ended)

    def _read_body(self) -> None:
        """Take the body from now on, beginning with what is already here."""
        self._invite()
        self._taking = True
        self._idle_s = 0.0
        if self._ahead:
            data, self._ahead = self._ahead, b""
            self._take_body(data)
        if self._up is None or self._up.writable:
            self.resume_reading()

    def _invite(self) -> None:
        """Ask for the body, if the client waits to be asked."""
        if self._expects and not self._ahead:
            self.write(_CONTINUE)
        self._expects = False

    def _take_body(self, data: bytes) -> None:
        """Take body bytes; whatever comes behind the body is kept for later."""
        if self._walker is not None:
            self._take_chunks(self._walker, data)
            return
        if len(data) > self._left:
            self._keep(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        if self._left == 0:
            self._phase = ANSWER
        self._pass(data)
        if self._left == 0:
            self._body_complete()

    def _take_chunks(self, walker: ChunkWalker, data: bytes) -> None:
        spans: list[tuple[int, int]] = []
        try:
            end = walker.walk(data, spans)
        except BadChunk:
            self._stop_taking(Refused(faults.BAD_CHUNK))
            return
        for start, stop in spans:
            self._pass(data[start:stop])
            if not self._taking:
                return  # refused, or the upstream wants no more
        if walker.done:
            self._phase = ANSWER
            if end < len(data):
                self._keep(data[end:])
            if self._up is not None:
                self._up.send(b"0\r\n\r\n")
            self._body_complete()

    def _pass(self, data: bytes) -> None:
        """Hold body bytes, or send them on."""
        self.bytes_up += len(data)
        if self._up is not None:
            self._up.send(data if self._walker is None else b"%x\r\n%s\r\n" % (len(data), data))
        elif self._body is not None:
            if len(self._body) + len(data) > self._limit_bytes:
                self._stop_taking(Refused(faults.too_large(self._limit_bytes)))
                return
            try:
                if self._hold is not None:
                    self._hold(len(data))
            except Refused as refused:
                self._stop_taking(refused)
                return
            self._body += data

    def _body_complete(self) -> None:
        self._taking = False
        if self._up is not None:
            self._up.sent_all()
        elif self._wait is not None and self._body is not None:
            wait, body = self._wait, self._body
            self._wait = self._body = self._hold = None  # a held body is let go when written
            wait.fire(body)

    def _stop_taking(self, error: Exception) -> None:
        """Take no more of this body, and say why."""
        self._taking = False
        self._body = None
        self._lasts = False
        self._phase = BODY
        self.throw(error)

    # Downstream: what the handler calls.

    def body_at_hand(self) -> bytes | None:
        """Return the whole body if it came together with its head; see ``Downstream``."""
        length, ahead = self._left, self._ahead
        if self._walker is not None or len(ahead) < length:
            return None
        self._left = 0
        self.bytes_up = length
        self._phase = ANSWER
        if len(ahead) == length:
            self._ahead = b""
            return ahead
        self._ahead = ahead[length:]
        return ahead[:length]

    async def body(self, limit_bytes: int, hold: Callable[[int], None]) -> bytes | bytearray:
        """Return the whole body; see ``Downstream.body``."""
        if self._walker is None:
            if self._left == 0:
                return b""  # nothing will come that could end a wait
            hold(self._left)
        else:
            self._hold = hold
        self._limit_bytes = limit_bytes
        self._body = bytearray()
        wait: Wait[bytearray] = Wait()
        self._wait = wait
        self._read_body()
        return await wait

    async def begun(self) -> None:
        """Return when a body may be passed on; see ``Downstream.begun``."""
        if self._walker is None:
            return
        begun: Wait[None] = Wait()
        self._begun = begun
        self._idle_s = 0.0
        self._invite()
        self._look_for_first_chunk(begun)
        await begun
        self._begun = None

    def _look_for_first_chunk(self, begun: Wait[None]) -> None:
        ahead = ChunkWalker()
        try:
            ahead.walk(self._ahead)
        except BadChunk:
            self._stop_taking(Refused(faults.BAD_CHUNK))
            return
        if ahead.begun:
            begun.fire(None)

    def join(self, up: ClientConnection) -> None:
        """Have *up* as the other side: what is left of the body goes there."""
        self._up = up
        if self._phase is BODY:
            self._read_body()

    def follow(self, call: Throttled) -> None:
        """Slow *call* down where the client is slow, and end it with this exchange."""
        self._up = cast("ClientConnection", call)  # no more is asked of it: the body is here
        if not self._writable:
            call.pause_reading()

    def part(self) -> None:
        """Have no other side any more."""
        self._up = None
        self._taking = False

    def stop_upload(self) -> None:
        """Pass nothing more of the body on."""
        self._taking = False

    def start(self, head: bytes, *, chunked: bool, lasts: bool) -> bytes:
        """Commit to a response; return its head as it is to be written.

        Args:
            head: Status line and end-to-end fields, without the CRLF behind the last.
            chunked: Whether the body comes chunked.
            lasts: Whether the connection may be used again after this response.
        """
        self.committed = True
        if not self._writable and self._up is not None:
            self._up.pause_reading()
        # An answer that comes before the body was read: what still comes is no request.
        early = self._phase is BODY
        self._lasts = self._lasts and lasts and not early and not self._listener.draining
        self._until_close = not lasts
        if chunked:
            if self.head.http10:
                self._until_close = True
            else:
                head += b"\r\ntransfer-encoding: chunked"
        return head + (b"\r\n\r\n" if self._lasts else b"\r\nconnection: close\r\n\r\n")

    def interim(self, head: bytes) -> None:
        """Pass an interim response on; HTTP/1.0 has none."""
        if not self.head.http10 and not self.committed:
            self.write(head + b"\r\n\r\n")

    def answer(self, head: bytes, body: bytes) -> None:
        """Send a whole answer that we author; see ``Downstream.answer``."""
        if self._phase is BODY and self._walker is None and len(self._ahead) >= self._left:
            self._ahead = self._ahead[self._left :]  # the body is here: the connection can last
            self._phase = ANSWER
        if self.head.method == "HEAD":
            body = b""
        self.bytes_down = len(body)
        self.write(self.start(head, chunked=False, lasts=True) + body)

    def begin(self, head: bytes) -> None:
        """Begin an answer that we author piece by piece; see ``Downstream.begin``."""
        self.write(self.start(head, chunked=True, lasts=True))

    def send(self, data: bytes) -> bool:
        """Send a piece of it, if the client keeps up; see ``Downstream.send``."""
        if self._writable:
            self.push(data)
            return True
        return False

    def push(self, data: bytes) -> None:
        """Send a piece of it, whether or not the client keeps up; see ``Downstream.push``."""
        size = len(data)
        self.bytes_down += size
        self.write(data if self.head.http10 else b"%x\r\n%s\r\n" % (size, data))

    def finish(self) -> None:
        """End it."""
        if not self.head.http10:
            self.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cut the connection."""
        if self._phase is not CLOSED:
            self._phase = CLOSED
            if self._until_close:
                # A FIN would say that the body is whole.
                connection = self._transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    # The end of an exchange.

    def ended(self, escaped: Exception | None) -> None:
        """Go on with the next exchange, or end the connection; see ``Downstream.ended``."""
        self.runs = None
        self._served = True
        self._idle_s = 0.0
        at_rest = self._phase is ANSWER and self._up is None and escaped is None
        if at_rest and self._lasts and not self._listener.draining:  # nearly always
            self._go_on(lasts=True, unread=False)
            return
        refused_head = self.head.fault is not None
        if self._wait is not None:
            self._taking = False
            self._wait = self._body = self._hold = None
        self._begun = None
        phase, lasts = self._phase, self._lasts
        if self._up is not None:
            self._up.close()  # whatever stopped the exchange stops its upstream call
            self._up = None
        if escaped is not None:
            self._listener.report(escaped)
            self.abort()
        elif phase is not CLOSED:
            self._go_on(lasts=lasts, unread=refused_head or phase is BODY)
        if self._listener.draining:
            self._listener.ended()

    def _go_on(self, *, lasts: bool, unread: bool) -> None:
        """Wait for the next exchange, or end the connection.

        Args:
            lasts: Whether it can be used again.
            unread: Whether the client may still send what belongs to the last exchange.
        """
        if lasts:
            self._phase = HEAD
            if self._ahead or not self._reading:
                self._in_order()
        elif unread:
            self._linger()
        else:
            self._phase = CLOSING
            self._listener.outbox.flush()
            self._transport.close()

    def _in_order(self) -> None:
        """Begin what was sent ahead, one after the other; a loop, so that none nests."""
        if self._in_turn:
            return
        self._in_turn = True
        try:
            while self._ahead and self._phase is HEAD and self._writable:
                data, self._ahead = self._ahead, b""
                self._probe = None  # it may have seen the beginning of this already
                self._take_head(data)
                if self._ahead == data:
                    break  # the beginning of a head
        finally:
            self._in_turn = False
        if self._phase is HEAD and self._writable:
            self.resume_reading()

    def _linger(self) -> None:
        """End the sending side, and read on for a while, so that the answer arrives.

        A close with unread bytes in the socket is a reset, which takes the answer with it.
        """
        self._phase = LINGER
        self._ahead = b""
        self._left = _LINGER_BYTES
        self._listener.outbox.flush()
        self._transport.write_eof()
        self.resume_reading()

    # What the listener calls.

    @property
    def busy(self) -> bool:
        """Whether an exchange runs or is about to, or its answer is still being sent."""
        # Who has just connected has a request under way.
        about_to = self._phase is HEAD and (bool(self._ahead) or not self._served)
        return about_to or self.runs is not None or self._phase in (LINGER, CLOSING)

    def throw(self, error: Exception) -> None:
        """Stop the exchange that runs, if one does, with *error*."""
        if self.runs is not None:
            self.runs.throw(error)

    def close(self) -> None:
        """Close the connection, on which no exchange runs."""
        self._transport.close()

    def sweep(self, tick_s: float) -> None:
        """Let *tick_s* seconds pass: end what took too long."""
        self._idle_s += tick_s
        limits = self._listener.limits
        if self._phase is LINGER:
            if self._idle_s > _LINGER_S:
                self._transport.abort()
        elif not self._writable or self._phase is CLOSING:
            self._sweep_writing(limits.client_stall_s)
        elif self._phase is BODY:
            due = self._reading and (self._taking or self._begun is not None)
            if due and self._idle_s > limits.client_body_idle_s:
                self._stop_taking(Refused(faults.BODY_STALLED))
        elif self._phase is HEAD:
            self._sweep_head(limits)

    def _sweep_head(self, limits: Limits) -> None:
        """End a connection on which no head comes, or one does not end."""
        begun = bool(self._ahead)
        limit_s = limits.keep_alive_s if self._served and not begun else limits.client_head_s
        if self._listener.draining and not self._served and not begun:
            limit_s = min(limit_s, _NEWCOMER_S)
        if self._idle_s > limit_s:
            self._give_up_on_head(begun=begun)

    def _sweep_writing(self, limit_s: float) -> None:
        """End a connection whose client takes no byte."""
        waiting = self._transport.get_write_buffer_size()
        if waiting != self._seen_buffer:
            self._seen_buffer = waiting
            self._idle_s = 0.0
        elif self._idle_s > limit_s:
            if self.runs is not None:
                self.throw(Refused(faults.CLIENT_STALLED))
            else:
                self.abort()

    def _give_up_on_head(self, *, begun: bool) -> None:
        if begun:
            self._ahead = b""
            self.known = None
            self._start(RequestHead(fault=faults.HEAD_STALLED))
        else:
            self._go_on(lasts=False, unread=False)  # what is still being sent has its own limit


def _expects(head: RequestHead) -> bool:
    """Return whether the client waits to be asked for the body (RFC 9110, 10.1.1)."""
    return head.said[b"expect"].lower() == b"100-continue" and not head.http10


_NO_HEAD = RequestHead()
