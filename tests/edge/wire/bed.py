"""The gateway on wires in memory: its real connections, pools and pipeline, no network.

Nothing runs but when it is told to, so a test can stop the world between any two bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.credential import Credential
from passgate.core.exchange import Ending, Record, RequestHead
from passgate.core.faults import Refused
from passgate.core.routes import globs, routes_of
from passgate.core.settings import (
    CredentialKind,
    CredentialSettings,
    Limits,
    RouteSettings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.core.upstreams import upstream_of
from passgate.edge.codings import decoder_for
from passgate.edge.gemini_keys import Keyring
from passgate.edge.installs import Installs
from passgate.edge.wire.client import ClientConnection
from passgate.edge.wire.listener import Listener
from passgate.edge.wire.outbox import Outbox
from passgate.edge.wire.pool import Pool
from passgate.edge.wire.server import ServerConnection
from passgate.gateway import interfaces
from passgate.gateway.admission import Admission
from passgate.gateway.gemini import Gemini
from passgate.gateway.interfaces import Downstream, Rest
from passgate.gateway.lanes import Lane, Snapshot, Waits
from passgate.gateway.listing import Listing
from passgate.gateway.local import Readiness
from passgate.gateway.metering import Meters
from passgate.gateway.native import Native
from passgate.gateway.pipeline import Pipeline
from passgate.gateway.recorder import Recorder
from passgate.gateway.relay import Relay
from passgate.gateway.signatures import SignatureMemory
from tests import strict
from tests.strict import Message

KEY = b"pg_a-key-that-only-this-test-bed-knows"
NARROW_KEY = b"pg_a-key-for-two-models-and-nothing-else"
CREDENTIAL = b"the-credential-of-the-operator"

_EOF = object()
_COMPLETE = Ending.COMPLETE


class Turns:
    """An event loop of which only the turns are left."""

    def __init__(self) -> None:
        self._soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Have *callback* called in its turn."""
        self._soon.append((callback, args))

    def settle(self) -> None:
        """Go on until nothing is left to do."""
        while self._soon:
            callback, args = self._soon.popleft()
            callback(*args)


class Wire(asyncio.Transport):
    """A connection, seen by its protocol as a transport and by the test from the far end.

    As strict as uvloop's: to write once the connection is lost raises.

    Attributes:
        got: What the far end has got.
        stalled: Whether the far end takes only what :meth:`takes` says.
        reading: Whether the protocol wants to be given more.
        writable: Whether the protocol was told that it may write on.
        ended: Whether the far end was told that nothing more comes.
        reset: Whether it was cut so that the far end sees a reset, not a FIN.
        unseen: Whether the far end has ended without the protocol having been told.
        left: Whether the far end has left.
        dropped: How many bytes were still to be sent when the connection was cut.
        linger: What ``SO_LINGER`` was set to.
        watch: Told of everything that is written.
        lost: Whether the protocol was told that it is over.
    """

    def __init__(self, turns: Turns, protocol: asyncio.Protocol, high_bytes: int = 1 << 16) -> None:
        super().__init__()
        self.got = bytearray()
        self.stalled = False
        self.reading = self.writable = True
        self.ended = self.reset = self.unseen = self.lost = self.left = False
        self.watch: Callable[[object], object] = lambda _: None
        self.linger = b""
        self.dropped = 0
        self._turns = turns
        self._protocol = protocol
        self._high_bytes = high_bytes
        self._closing = self._dead = False
        self._unsent = bytearray()
        self._coming: deque[bytes | object] = deque()
        protocol.connection_made(self)

    # What the far end does.

    def sends(self, *pieces: bytes) -> None:
        """Have *pieces* arrive, one after the other."""
        self._coming.extend(pieces)
        self._arrive()

    def ends(self) -> None:
        """Send a FIN."""
        self.left = True
        self._coming.append(_EOF)
        self._arrive()

    def resets(self) -> None:
        """Cut the connection."""
        self.left = True
        self._die(ConnectionResetError())

    def takes(self, size: int | None = None) -> None:
        """Take *size* bytes; without it all, and whatever comes from now on."""
        if size is None:
            self.stalled = False
        self.got += self._unsent[:size]
        del self._unsent[:size]
        if not self.writable and len(self._unsent) <= self._high_bytes // 4:
            self.writable = True
            self._protocol.resume_writing()
        if not self._unsent and self._closing:
            self._die(None)

    @property
    def closed(self) -> bool:
        """Whether nothing can be said on it any more, in either direction."""
        return self._dead

    def _arrive(self) -> None:
        """Have one piece arrive, the rest in turns of their own."""
        if not self._coming or not self.reading or self._closing:
            return
        piece = self._coming.popleft()
        if isinstance(piece, bytes):
            self._protocol.data_received(piece)
        elif not self._protocol.eof_received():
            self.close()
        if self._coming:
            self._turns.call_soon(self._arrive)

    def _die(self, error: Exception | None) -> None:
        if not self._dead:
            self._dead = self._closing = self.ended = True
            self.dropped = len(self._unsent)
            self._unsent.clear()
            self._turns.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)
        self.lost = True

    # What a protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``asyncio.WriteTransport``."""
        self.watch(data)
        if self.lost or (self.ended and not self._dead):
            raise RuntimeError("unable to perform operation; the handler is closed")
        if self._dead:
            return
        self._unsent += data
        if not self.stalled:
            self.got += self._unsent
            self._unsent.clear()
        elif len(self._unsent) > self._high_bytes and self.writable:
            self.writable = False
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """See ``asyncio.WriteTransport``."""
        self.ended = True

    def close(self) -> None:
        """See ``asyncio.BaseTransport``."""
        self._closing = True
        if not self._unsent:
            self._die(None)

    def abort(self) -> None:
        """See ``asyncio.WriteTransport``."""
        self.reset = self.reset or (bool(self.linger) and not self._dead)
        self._die(None)

    def is_closing(self) -> bool:
        """See ``asyncio.BaseTransport``."""
        return self._closing

    def pause_reading(self) -> None:
        """See ``asyncio.ReadTransport``."""
        self.reading = False

    def resume_reading(self) -> None:
        """See ``asyncio.ReadTransport``; what waits comes in a later turn."""
        self.reading = True
        self._turns.call_soon(self._arrive)

    def get_write_buffer_size(self) -> int:
        """See ``asyncio.WriteTransport``."""
        return len(self._unsent)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See ``asyncio.BaseTransport``; the wire is its own socket."""
        return {"peername": ("192.0.2.1", 4711), "socket": self}.get(name, default)

    # What a protocol asks of the socket.

    def fileno(self) -> int:
        """Return what can be polled for whether the far end has ended."""
        quiet, ended = _descriptors()
        return ended if self.unseen else quiet

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """Take note of how the connection is to be closed."""
        assert (socket.SOL_SOCKET, socket.SO_LINGER) == (level, name)
        self.linger = value


@cache
def _descriptors() -> tuple[int, int]:
    """Return a descriptor on which nothing ever comes, and one that has ended."""
    quiet, _ = os.pipe()
    ended, end = os.pipe()
    os.close(end)
    return quiet, ended


class Dial:
    """A task that dials, of which the test says how it ends."""

    def __init__(self, turns: Turns) -> None:
        self.done = False
        self._turns = turns
        self._connection: ClientConnection | None = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Any], object]] = []

    def ends(self, outcome: ClientConnection | Exception | None) -> None:
        """End with a connection, an error, or, with None, cancelled."""
        if isinstance(outcome, Exception):
            self._error = outcome
        else:
            self._connection = outcome
        self.done = True
        for callback in self._callbacks:
            self._turns.call_soon(callback, self)

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        if not self.done:
            yield self
        return self.result()

    def result(self) -> ClientConnection:
        """See ``asyncio.Task``."""
        if self._error is not None:
            raise self._error
        assert self._connection is not None, "asked for the result of a cancelled dial"
        return self._connection

    def exception(self) -> Exception | None:
        """See ``asyncio.Task``."""
        return self._error

    def cancelled(self) -> bool:
        """See ``asyncio.Task``."""
        return self.done and self._connection is None and self._error is None

    def cancel(self) -> None:
        """See ``asyncio.Task``."""
        if not self.done:
            self.ends(None)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """See ``asyncio.Task``."""
        if self.done:
            self._turns.call_soon(callback, self)
        else:
            self._callbacks.append(callback)


class StillClock:
    """A clock that goes only where a test moves it.

    Attributes:
        now_s: What both clocks say.
    """

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        """See ``interfaces.Clock``."""
        return self.now_s

    def wall(self) -> float:
        """See ``interfaces.Clock``."""
        return self.now_s


class StaticSource:
    """A credential that is always there; see ``interfaces.CredentialSource``."""

    usable = True
    problem = None
    fetched_s = 0.0

    def __init__(self, credential: Credential) -> None:
        self.cached = credential
        self.refused: list[Credential] = []

    async def current(self) -> Credential:
        """Return the credential."""
        return self.cached

    def rejected(self, credential: Credential) -> None:
        """Note that it was refused."""
        self.refused.append(credential)

    async def refresh(self) -> None:
        """Do nothing."""


class Bed:
    """A gateway, the wires to its clients and those to its upstreams.

    Attributes:
        records: Every record.
        bugs: Every exception that somebody was told of.
        begun: Every request head that was handed to the pipeline.
        dials: Every dial, in order.
        upstreams: The wires to upstreams, in order.
        meters: What makes the meters.
    """

    def __init__(self, *, limits: Limits | None = None, retry_stale: bool = False) -> None:
        self.limits = limits = limits or Limits()
        self.turns = Turns()
        self.clock = StillClock()
        self.records: list[Record] = []
        self.bugs: list[Exception] = []
        self.begun: list[RequestHead] = []
        self.dials: list[Dial] = []
        self.upstreams: list[Wire] = []
        self.high_bytes = 1 << 16
        self.outbox = Outbox(cast(asyncio.AbstractEventLoop, self.turns))
        self.admission = Admission(limits.max_in_flight, limits.max_body_memory_mb << 20)
        kinds = (UpstreamKind.ANTHROPIC, UpstreamKind.GEMINI)
        self.pools: dict[str, Pool] = {}
        lanes = {kind.value: self._lane(kind, retry_stale=retry_stale) for kind in kinds}
        routes = [RouteSettings("old-*", "anthropic", "new"), RouteSettings("*", "anthropic")]
        wide, narrow = hashlib.sha256(KEY).digest(), hashlib.sha256(NARROW_KEY).digest()
        models = globs(["claude-*", "gemini-*"])
        self.snapshot = Snapshot(
            {wide: Client("wide", wide), narrow: Client("narrow", narrow, models=models)},
            routes_of(routes, [(kind.value, kind) for kind in kinds]),
            lanes,
        )
        self.meters = meters = Meters(decoder_for, self.clock.monotonic)
        self.pipeline = Pipeline(
            self.snapshot,
            self.admission,
            Recorder([self.records.extend], lambda _, flush: self.turns.call_soon(flush)),
            Readiness(list, list),
            self.clock,
            meters,
            "req_",
            self.bugs.append,
            Installs(None, bytes, self.clock),
            Gemini(
                Native(self.clock, meters),
                Relay(self.clock, SignatureMemory(self.clock.monotonic), Waits(), print),
                Listing(self.clock, meters),
            ),
        )
        self.listener = Listener(self._handle, limits, self.outbox, self.bugs.append)

    def _lane(self, kind: UpstreamKind, *, retry_stale: bool) -> Lane:
        settings = UpstreamSettings(
            kind.value,
            kind,
            tls=True,
            host="up.test",
            port=443,
            prefix="",
            credential=CredentialSettings(CredentialKind.NONE),
        )
        pool = Pool(settings, self.limits, self.outbox, self.clock, cast("interfaces.Tasks", self))
        self.pools[kind.value] = pool
        source = StaticSource(Credential(kind.value, CredentialKind.API_KEY, CREDENTIAL))
        seam = cast("interfaces.Pool", pool)
        keys = None
        if kind is UpstreamKind.GEMINI:
            keys = Keyring(
                kind.value, CredentialKind.API_KEY, source, self.clock, b"", listed=False
            )
        return Lane(upstream_of(settings), keys or source, seam, retry_stale, keys)

    def start(self, coro: Coroutine[Any, Any, Any], _: str) -> Dial:
        """Take a dial for the test to end; see ``interfaces.Tasks``."""
        coro.close()
        self.dials.append(dial := Dial(self.turns))
        return dial

    def _handle(self, down: Downstream) -> Coroutine[Any, Any, Rest | None] | None:
        self.begun.append(down.head)
        return self.pipeline.handle(down)

    # What a test does.

    def client(self) -> Wire:
        """Connect a client."""
        return Wire(self.turns, ServerConnection(self.listener), self.high_bytes)

    def connection(self, upstream: str = "anthropic") -> tuple[Wire, ClientConnection]:
        """Return a new connection to an upstream, for a dial to end with."""
        pool = self.pools[upstream]
        connection = ClientConnection(pool)
        self.upstreams.append(wire := Wire(self.turns, connection, self.high_bytes))
        pool._all.add(connection)
        return wire, connection

    def idle(self, upstream: str = "anthropic") -> Wire:
        """Put a new connection into a pool."""
        wire, connection = self.connection(upstream)
        self.pools[upstream].takes_back(connection)
        return wire

    def dialled(self) -> None:
        """End every dial with a connection."""
        for dial in self.dials:
            if not dial.done:
                dial.ends(self.connection()[1])
        self.turns.settle()

    def unreachable(self) -> None:
        """End every dial with a failure, those that follow from it too."""
        while pending := [dial for dial in self.dials if not dial.done]:
            for dial in pending:
                dial.ends(Refused(faults.UNREACHABLE))
            self.turns.settle()

    def passes(self, seconds: float, tick_s: float = 0.5) -> None:
        """Let time pass on every connection."""
        for _ in range(int(seconds / tick_s) + 1):
            self.clock.now_s += tick_s
            for down in tuple(self.listener._connections):
                down.sweep(tick_s)
            for pool in self.pools.values():
                for up in tuple(pool._all):
                    up.sweep(tick_s, self.limits.first_byte_s, self.limits.idle_s)
            self.turns.settle()

    # What must hold.

    def at_rest(self) -> None:
        """Check that no exchange runs, that each left one record, and nothing hangs on it."""
        self.turns.settle()
        assert not self.bugs, self.bugs
        assert (0, 0) == (self.admission.in_flight, self.admission.held_bytes)
        assert self.exchanges == len({record.id for record in self.records}) == len(self.records)
        for pool in self.pools.values():
            idle = pool._idle
            assert len(idle) == len(set(idle))
            for up in idle:
                wire = cast(Wire, up._transport)
                assert wire.reading, "a connection was pooled that does not read"
                assert wire.writable, "a connection was pooled that does not write"
                assert not wire.closed, "a connection was pooled that is closed"
            assert set(idle) == {up for up in pool._all if not cast(Wire, up._transport).closed}

    @property
    def exchanges(self) -> int:
        """How many exchanges have begun."""
        return sum(not self.is_local(head) for head in self.begun)

    @staticmethod
    def is_local(head: RequestHead) -> bool:
        """Return whether a request is answered by ourselves, which is no exchange."""
        ours = head.path in ("/health", "/ready", "/api/hello") and head.method in ("GET", "HEAD")
        return head.fault is None and (ours or (head.path == "/" and head.method == "HEAD"))


def responses_to(client: Wire, bed: Bed) -> list[Message]:
    """Return what *client*, the only one of *bed*, got."""
    closed = client.ended and not (client.reset or client.left)
    methods = [head.method for head in bed.begun]
    return strict.responses(bytes(client.got), methods, closed=closed)


def check_end(bed: Bed, client: Wire) -> None:
    """Check that all has ended, and that each response looks as whole as its record says.

    Args:
        bed: On which nothing happens any more.
        client: Its only client.
    """
    bed.at_rest()
    if client.dropped:
        return  # it has a part of something
    got = iter([message for message in responses_to(client, bed) if message.status >= 200])
    records = iter(bed.records)
    for head in bed.begun:
        response = next(got, None)
        whole = response is not None and response.complete
        record = None if bed.is_local(head) else next(records)
        missed = client.left or client.stalled
        if record is None or record.ending is _COMPLETE:
            assert whole or missed, record
        elif response is not None and response.get(b"x-passgate-error"):
            assert (whole or missed) and record.error is not None, record
        else:
            assert not whole, record
    assert next(got, None) is None


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return *data* in pieces, cut at *cuts*; an empty piece is none."""
    pieces = [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]
    return [piece for piece in pieces if piece]
