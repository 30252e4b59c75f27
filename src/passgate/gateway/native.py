"""Gemini's own paths, passed 1:1: which of several keys is shown, and what is learnt of it.

Nothing is repeated here. A body passes as it arrives, and what Google answers is the
client's to read; a key that was refused is not shown to the next request.
"""

from __future__ import annotations

from collections.abc import Awaitable

from passgate.core.exchange import AnswerHead, Ending
from passgate.core.gemini.keys import Key
from passgate.core.gemini.resources import Resources
from passgate.core.gemini.status import GoogleError, Outcome, error_in
from passgate.core.known import Known
from passgate.core.routing import PathKind
from passgate.gateway.asking import can_repeat
from passgate.gateway.interfaces import Answer, Clock, Ear, Keys, Tap
from passgate.gateway.lanes import Exchange, repeated
from passgate.gateway.metering import Meters

Body = bytes | bytearray
_FIRST_OTHER, _FIRST_ERROR = 300, 400
# Google's errors and what names a new resource are smaller; a list of files may be cut.
_MOST_KEPT_BYTES = 64 * 1024
# What makes resources among the calls of models; the others answer with content.
_MAKING = (":batch", ":asyncBatch", ":predictLongRunning")


class Native:
    """Serve what is asked for in Google's own words.

    Args:
        clock: The time.
        meters: Make the meter of each answer.
    """

    def __init__(self, clock: Clock, meters: Meters) -> None:
        self._clock = clock
        self._meters = meters
        self._resources = Resources()

    async def serve(self, exchange: Exchange, keys: Keys) -> Ending:
        """Pass one exchange on; say how it ended, or raise why it was not served."""
        down, tally = exchange.down, exchange.tally
        lane, head = exchange.snapshot.lanes[exchange.route.upstream], down.head
        key, several = keys.only, False
        body = down.body_at_hand() if exchange.body is None else exchange.body
        if key is None:
            await keys.ready()
            several = keys.counts.total > 1
            key = self._key(exchange, keys, body) if several else keys.first("")
        credential = keys.shown(key)
        known = exchange.known
        outbound = known.outbound(lane.upstream, head, body, credential, None)
        known.ask = exchange.ask
        known.repeats = exchange.route if can_repeat(known, exchange.route, lane, head) else None
        monotonic = self._clock.monotonic
        tally.sent(monotonic())
        opening: Awaitable[Answer]
        if lane.retry_stale and body is not None:
            opening = repeated(outbound, lane, down, tally, self._clock)
        else:
            opening = lane.pool.open(outbound, down, None)
        del body, outbound
        answer = await opening
        tally.answered(answer.head, monotonic(), credential.secret)
        tally.metering = meter = self._meters.meter(exchange.known.meter_for, answer.head)
        tap = None
        if self._tells(exchange, answer.head, several):
            tap = _Ear(self, keys, key, known, down.head.path, answer.head, meter)
        reply_head = lane.upstream.reply_head(answer.head, credential)
        whole, sees = answer.whole(down, reply_head), tap or meter
        if whole is None:
            passing = answer.splice(down, reply_head, sees)
            del reply_head  # a stream need not hold it
            ending = await passing
        else:
            ending = Ending.COMPLETE
            if sees is not None:
                sees.feed(whole)
        if tap is not None:
            tap.heard()
        elif several and exchange.known.kind is PathKind.NATIVE_MODEL:
            keys.learn(key, exchange.ask.model or "", None)
        return ending

    def _key(self, exchange: Exchange, keys: Keys, body: Body | None) -> Key:
        """Return the key to show: of the resource that is named, else the first that is ready."""
        scope = self._resources.scope_of(exchange.down.head.path, body)
        owner = None if scope is None else keys.named(scope)
        return owner or keys.first(exchange.ask.model or "")

    def _tells(self, exchange: Exchange, answer: AnswerHead, several: bool) -> bool:  # noqa: FBT001
        """Return whether the body of *answer* says something of keys or resources."""
        if answer.status >= _FIRST_ERROR:
            return True
        if not several or answer.status >= _FIRST_OTHER:
            return False
        path = exchange.down.head.path
        return exchange.known.kind is PathKind.NATIVE or any(word in path for word in _MAKING)

    def ear(self, keys: Keys, known: Known, answer: AnswerHead) -> Ear | None:
        """Return what hears of an error that came for the one key of *keys*."""
        key = keys.only
        return None if key is None else _Ear(self, keys, key, known, "", answer)

    def learn(self, ear: _Ear) -> None:
        """Take note of what an answer says of its key, or of what was made with it."""
        head, key, known = ear.head, ear.key, ear.known
        plain = self._meters.plain(bytes(ear.held), head.said.get(b"content-encoding"))
        if head.status < _FIRST_OTHER:
            self._resources.learn(ear.path, plain, key.scope)
            return
        error = error_in(head.status, plain)
        if _of_the_key(error, known.kind):
            ear.keys.learn(key, known.ask.model or "", error)


def _of_the_key(error: GoogleError, kind: PathKind) -> bool:
    """Return whether *error* says something of the key, and not of what was asked for."""
    if error.outcome is Outcome.DENIED and error.status != "FAILED_PRECONDITION":
        return error.reason is not None  # another project's file is forbidden, too
    if error.outcome is Outcome.BUSY:
        return kind is PathKind.NATIVE_MODEL
    return error.outcome is Outcome.INVALID


class _Ear:
    """A tap that keeps the beginning of a body, and passes all of it to the meter.

    Attributes:
        keys: Those of the upstream.
        key: The one that was shown.
        known: What is known of the request's head.
        path: What was asked for, where something may have been made there.
        head: Of the answer.
        held: What it kept.
    """

    def __init__(
        self,
        native: Native,
        keys: Keys,
        key: Key,
        known: Known,
        path: str,
        head: AnswerHead,
        meter: Tap | None = None,
    ) -> None:
        self._native = native
        self._meter = meter
        self.keys = keys
        self.key = key
        self.known = known
        self.path = path
        self.head = head
        self.held = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if len(self.held) < _MOST_KEPT_BYTES:
            self.held += data[: _MOST_KEPT_BYTES - len(self.held)]
        if self._meter is not None:
            self._meter.feed(data)

    def heard(self) -> None:
        """See ``interfaces.Ear``."""
        self._native.learn(self)
