"""Every seam of the gateway: what the pipeline needs, whoever provides it.

The pipeline is a coroutine that is driven by the HTTP stack, not by a task: it may await
what these interfaces return, futures and tasks, and nothing of asyncio's that needs a
current task (time limits are the stack's).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, Ending, Outbound, Record, RequestHead
from passgate.core.gemini.keys import Counts, Key
from passgate.core.gemini.status import GoogleError
from passgate.core.installs import Install, InstallCounts
from passgate.core.known import Known
from passgate.core.meter import Decode
from passgate.core.settings import Limits
from passgate.core.vitals import PoolState

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Coming(Protocol[T_co]):
    """A value that will come, or why it does not; awaited, or told to a callback."""

    def __await__(self) -> Generator[Any, None, T_co]:
        """Return the value, or raise."""

    def result(self) -> T_co:
        """Return the value, which has come, or raise."""

    def add_done_callback(self, wake: Callable[[Any], None]) -> None:
        """Have *wake* called when it has come, at once if it has."""


class Awaits(Protocol[T_contra]):
    """Who is told of a value when it comes: just once."""

    def fire(self, value: T_contra) -> None:
        """Take the value."""

    def fail(self, error: Exception) -> None:
        """Take why there is none."""


class Stoppable(Protocol):
    """An exchange that runs."""

    def throw(self, error: Exception) -> None:
        """Stop it with *error*."""


class Clock(Protocol):
    """The time. The monotonic one for spans, the wall for stamps."""

    def monotonic(self) -> float:
        """Return seconds from an unknown start; never goes back."""

    def wall(self) -> float:
        """Return seconds since 1970."""


class Tasks(Protocol):
    """The one owner of tasks: keeps the reference, reports the error, cancels at shutdown."""

    def start(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *coro* as a task named *name*."""


class CredentialSource(Protocol):
    """Where one upstream's credential comes from."""

    @property
    def usable(self) -> bool:
        """Whether ``current`` would give something now."""

    @property
    def problem(self) -> str | None:
        """Why the last fetch failed, without any secret."""

    @property
    def cached(self) -> Credential | None:
        """The credential, where ``current`` would give it at once."""

    @property
    def fetched_s(self) -> float | None:
        """Monotonic time at which the source last gave something, or None."""

    async def current(self) -> Credential:
        """Return the credential, at once where one is cached.

        Raises:
            CredentialMissing: None is usable.
        """

    def rejected(self, credential: Credential) -> None:
        """Take note that the upstream refused *credential*; the next one is fetched anew."""

    async def refresh(self) -> None:
        """Look whether the source has changed. Called each second; never raises."""


class Keys(CredentialSource, Protocol):
    """The keys of a Gemini upstream, of which each call shows one."""

    @property
    def counts(self) -> Counts:
        """How many keys there are, and how many can be used."""

    @property
    def only(self) -> Key | None:
        """The key, where there is just one and it is read: that one is always tried."""

    async def ready(self) -> None:
        """Return when the keys are read.

        Raises:
            CredentialMissing: There is none.
        """

    def choose(
        self, model: str, conversation: bytes, scope: str | None, tried: Collection[Key]
    ) -> Key | None:
        """Return the key for a translated call, or None where none is left."""

    def first(self, model: str) -> Key:
        """Return the first key in order that is ready for *model*, else the first of all."""

    def named(self, secret_scope: str) -> Key | None:
        """Return the key with that scope, if there still is one."""

    def shown(self, key: Key) -> Credential:
        """Return *key* as what the upstream is shown."""

    def learn(self, key: Key, model: str, said: GoogleError | None) -> None:
        """Take note of an answer: an error, or None where it was none."""

    def soonest(self, model: str) -> tuple[float, bool] | None:
        """Return in how many seconds a key is ready for *model*, and whether on a new day."""


class Installs(Protocol):
    """Which machines use this gateway."""

    def note(self, install: Install) -> None:
        """Have *install* kept, soon, and do not wait for it.

        Raises:
            Refused: Too many wait to be kept.
        """

    async def counts(self) -> InstallCounts:
        """Return what is told of all installs, those noted before included.

        Raises:
            Refused: They cannot be read.
        """


class Downstream(Protocol):
    """The client's side of one exchange.

    Whatever is awaited here or elsewhere raises ``DownstreamLeft`` in the pipeline when
    the client leaves, and ``Refused`` when it breaks the protocol.

    Attributes:
        known: What the pipeline keeps of ``head``; None again when a head comes that
            differs in more than its length.
        runs: What is to be stopped when the client leaves; set by who serves an exchange
            without a coroutine, which calls ``ended`` at its end.
    """

    head: RequestHead
    known: Known | None
    runs: Stoppable | None
    peer: str
    crowded: bool
    bytes_up: int
    bytes_down: int
    committed: bool

    def body_at_hand(self) -> bytes | None:
        """Return the whole body if it came together with its head, else None."""

    async def body(self, limit_bytes: int, hold: Callable[[int], None]) -> bytes | bytearray:
        """Return the whole body.

        Args:
            limit_bytes: Most bytes to hold.
            hold: Called with the bytes about to be held; raises to refuse them.

        Raises:
            Refused: The body is larger than *limit_bytes*.
        """

    async def begun(self) -> None:
        """Return when the first chunk of a chunked body was seen to be valid, else at once."""

    def answer(self, head: bytes, body: bytes) -> None:
        """Send a whole answer that we author and end the exchange."""

    def begin(self, head: bytes) -> None:
        """Begin an answer that we author piece by piece: ``send``, and ``finish`` at its end."""

    def send(self, data: bytes) -> bool:
        """Send a piece, not empty, of what was begun; return whether that was done.

        False, and nothing was sent: the client reads slower than we write. What to do then,
        wait or leave it out, is the caller's to decide; nothing is kept for it.
        """

    def push(self, data: bytes) -> None:
        """Send a piece, not empty, of what was begun, whether or not the client keeps up.

        For who brings the pieces from a call that the client's slowness slows: see ``follow``.
        """

    def finish(self) -> None:
        """End what was begun."""

    def abort(self) -> None:
        """Cut the connection, so that what was sent does not look complete."""

    def follow(self, call: Throttled) -> None:
        """Slow *call* down where the client is slow, and end it with this exchange."""

    def ended(self, escaped: Exception | None) -> None:
        """Take note that the exchange is over; *escaped* is a bug of who served it."""


class Tap(Protocol):
    """Sees a body as it passes. It neither changes nor delays it, and never raises."""

    @property
    def feed(self) -> Callable[[bytes], object]:
        """Takes the next bytes of the body, without its framing."""


class Ear(Tap, Protocol):
    """A tap that has something to learn once the body is over."""

    def heard(self) -> None:
        """Learn from what was fed; nothing more comes."""


class Answer(Protocol):
    """An upstream's response, of which the head has come.

    Its connection belongs to the exchange until all is passed on or the exchange has ended;
    then it goes back to the pool, or is closed if anything about it is in doubt.

    Attributes:
        head: The head, until it is passed on: nobody needs it through a long body.
    """

    head: AnswerHead

    def whole(self, down: Downstream, head: bytes) -> bytes | None:
        """Send *head* and the body to the client if all of it is here, and it is not large.

        Args:
            down: The client's side.
            head: The response head, without framing.

        Returns:
            The body; None where nothing was sent, and ``splice`` is to be called.
        """

    def splice(self, down: Downstream, head: bytes, tap: Tap | None) -> Coming[Ending]:
        """Send *head* and the body to the client as it arrives; return how it stops.

        Args:
            down: The client's side.
            head: The response head, without framing.
            tap: Sees the body too, or None where nobody wants to.
        """


class Throttled(Protocol):
    """What brings bytes for a client, and can be told to wait."""

    def pause_reading(self) -> None:
        """Bring no more for now."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Bring nothing more."""


class Call(Throttled, Protocol):
    """A request of ours and its answer, which is read here instead of passed on.

    Silence is told and ends nothing: what is awaited again goes on where it was.

    Attributes:
        ending: How the body ended, None while it has not.
    """

    ending: Ending | None

    def answer_head(self, within_s: float) -> Awaitable[AnswerHead | None]:
        """Return the answer's head, or None where it has not come within *within_s*.

        Raises:
            Refused: Not reachable, broke, malformed or silent for too long before its head.
        """

    def read(self, within_s: float) -> Awaitable[bytes | None]:
        """Return the next bytes of the body, ``b""`` once it has ended, None in silence."""


class Pool(Protocol):
    """The connections to one upstream.

    Attributes:
        limits: Bounds of time; may be swapped while running.
        last_told: Head of the last answer that said something of rate limits, else empty.
    """

    limits: Limits
    last_told: bytes

    def open(
        self,
        outbound: Outbound,
        down: Downstream,
        sent: Callable[[], None] | None,
        *,
        fresh: bool = False,
    ) -> Awaitable[Answer]:
        """Send a request and return its answer as soon as the response head is there.

        Args:
            outbound: What to send.
            down: Where the body comes from if *outbound* does not hold it, and who must
                be told of interim responses.
            sent: Called once a held body was written, if there is anything to call.
            fresh: Whether to dial even where a connection is idle.

        Raises:
            Refused: Not reachable, broke, malformed or silent before its head.
            UpstreamStale: A reused connection ended without one byte.
        """

    def again(self, outbound: Outbound, down: Downstream, answered: Awaits[Any]) -> bool:
        """Send a request, body and all, if a connection is idle; return whether that was done.

        Args:
            outbound: What to send.
            down: The client's side.
            answered: Told of the ``Answer``, as soon as the response head is there.
        """

    def state(self) -> PoolState:
        """Return what it holds now, and what it did since it was made."""

    def call(self, outbound: Outbound, method: str) -> Call:
        """Send a request, body and all, whose answer is read here.

        Whoever makes a call closes it.
        """

    def retire(self) -> None:
        """Open nothing more; what runs ends by itself."""

    def close(self) -> None:
        """Close every connection."""


class Ledger(Protocol):
    """Where the records of known callers are kept.

    Nothing here waits or raises, but for ``open`` and ``close``, which are not for the loop.
    """

    @property
    def backlog(self) -> int:
        """How many rows are taken and not yet written."""

    @property
    def lost(self) -> int:
        """How many rows were given up since the start."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, naming no file; None while all is well."""

    def append(self, records: Sequence[Record], *, more: bool = False) -> None:
        """Have *records* written, each once, soon; what there is no room for is counted.

        Args:
            records: Whose watchers have been told.
            more: Whether others follow within a moment, to be written with these.
        """

    def reprice(self, prices: Mapping[str, tuple[int | None, str]]) -> None:
        """Have cost in nano-USD and price status replaced in the rows with these ids.

        It follows what was appended before. What cannot be written stays as it is.
        """

    def close(self) -> None:
        """Write what is left, and no more from then on; waits, but not for ever."""


Rest = Callable[[Exception | None], None]
"""Goes on with what a coroutine has left to be done, or ends it with what was thrown into that."""

Codings = Callable[[bytes], Decode | None]
"""Returns what takes a content coding off piece by piece, or None where nothing can."""

Watcher = Callable[[Sequence[Record]], None]
"""Told of every record, many at a time. It does not wait; if it raises it is counted."""
