"""The one way in: every exchange is served here, top to bottom.

``handle`` is driven by the HTTP stack in its own callbacks. The ordinary exchange waits
twice, for the upstream's head and for the end of its body; all else runs through at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from passgate.core import auth, faults, messages, routing
from passgate.core.auth import Client
from passgate.core.exchange import NO_ASK, Ask, Ending, RequestHead
from passgate.core.faults import DownstreamLeft, Drained, Fault, Refused, Told
from passgate.core.gemini.minted import without_minted
from passgate.core.known import Known
from passgate.core.routing import PathKind
from passgate.core.tally import Tally, ending_of
from passgate.gateway import local
from passgate.gateway.admission import Admission, Slot
from passgate.gateway.gemini import Gemini
from passgate.gateway.interfaces import Answer, Clock, Downstream, Installs
from passgate.gateway.lanes import Exchange, Snapshot, repeated
from passgate.gateway.local import Readiness
from passgate.gateway.metering import Meters
from passgate.gateway.recorder import Recorder

Body = bytes | bytearray
# Bound once: reading a member through its class costs more than the comparison.
_MESSAGES, _LOCAL, _NOTHING = PathKind.MESSAGES, PathKind.LOCAL, PathKind.NOTHING
_COMPLETE, _LEFT = Ending.COMPLETE, Ending.CLIENT_LEFT


class Pipeline:
    """Serve exchanges.

    Attributes:
        snapshot: What the next exchange goes by; swapped on reload.
        on_bug: Told of an exception that is our own fault.
        running: Every exchange under way, by its id; for the live view, which only reads.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        admission: Admission,
        recorder: Recorder,
        readiness: Readiness,
        clock: Clock,
        meters: Meters,
        id_prefix: str,
        on_bug: Callable[[Exception], None],
        installs: Installs,
        gemini: Gemini,
    ) -> None:
        self.snapshot = snapshot
        self._admission = admission
        self._recorder = recorder
        self._readiness = readiness
        self._clock = clock
        self._meters = meters
        self._id_prefix = id_prefix
        self._count = 0
        self._installs = installs
        self._gemini = gemini
        self.on_bug = on_bug
        self.running: dict[str, tuple[Tally, Downstream]] = {}

    async def handle(self, down: Downstream) -> None:
        """Serve one exchange; whatever happens, record it once."""
        clock, self._count = self._clock, self._count + 1
        id_ = f"{self._id_prefix}{self._count:010x}"
        tally = Tally(id_, down.head, down.peer, clock.monotonic(), clock.wall())
        self.running[id_] = (tally, down)
        ending: Ending | None = _LEFT
        fault = None
        try:
            ending = await self._serve(down, tally)
        except DownstreamLeft:
            down.abort()
        except Drained:
            ending = Ending.DRAINED
            down.abort()
        except Exception as error:  # noqa: BLE001  the one place; what is not a Refused is our bug
            fault = error.fault if isinstance(error, Refused) else faults.INTERNAL
            ending = ending_of(fault)
            if not isinstance(error, Told):
                _refuse(fault, down, tally)
            if fault is faults.INTERNAL:
                self.on_bug(error)
        finally:
            del self.running[id_]
            if ending is not None:
                now_s, up, sent = clock.monotonic(), down.bytes_up, down.bytes_down
                self._recorder.put(tally.closed(ending, fault, now_s, up, sent))

    async def _serve(self, down: Downstream, tally: Tally) -> Ending | None:
        """Serve one exchange; say how it ended, or raise why it was not served.

        None means that it was one of our own paths, which leave no record.
        """
        head, snapshot, known = down.head, self.snapshot, down.known
        if known is not None and known.snapshot is snapshot:
            known.check(tally.opened_wall_s)
            tally.knows(known.client.name, head.said, known.key)
        else:
            known = self._judged(head, snapshot, down, tally)
            if known is None:
                return None
            down.known = known
        kind, client = known.kind, known.client
        slot = self._admission.enter(crowded=down.crowded)
        try:
            if kind is PathKind.TELEMETRY:
                tally.status = await local.telemetry(down, slot, self._installs)
                return Ending.COMPLETE
            body, ask = _at_hand(down, kind) or await _read(down, kind, client, slot)
            route = known.route
            if route is None or known.model != ask.model:
                route = routing.choose(snapshot.routes, client, kind, head.path, ask)
                known.route, known.model = route, ask.model
                known.meter_for = snapshot.lanes[route.upstream].upstream.meter_for(head)
            lane = snapshot.lanes[route.upstream]
            tally.goes_to(route.label, route.upstream, ask)
            if route.native:
                exchange = Exchange(
                    down, kind, client, known, body, ask, route, snapshot, tally, slot
                )
                del body  # whoever serves it lets it go
                return await self._gemini.serve(exchange)
            credential = lane.source.cached or await lane.source.current()
            if snapshot.routes.models is not None and body is not None:
                coding = head.said.get(b"content-encoding")
                body = without_minted(body, coding, messages.MAX_BODY_BYTES, slot.fits)
            outbound = known.outbound(lane.upstream, head, body, credential, route.rename)
            tally.sent(self._clock.monotonic())
            repeats = lane.retry_stale and (body is not None or head.length == 0)
            opening: Awaitable[Answer] = (
                repeated(outbound, lane, down, partial(self._sent, tally))
                if repeats
                else lane.pool.open(outbound, down, slot.to_be_released)
            )
            del body, outbound  # from here on only the connection holds them, until written
            answer = await opening
            if repeats:
                slot.release()  # the body was kept till now
            tally.answered(answer.head, self._clock.monotonic(), credential.secret)
            lane.judge(credential, answer.head.status)
            tally.metering = tap = self._meters.meter(known.meter_for, answer.head)
            # Neither head has a name here, so that a stream does not hold them.
            passing = answer.splice(down, lane.upstream.reply_head(answer.head, credential), tap)
            return _COMPLETE if passing is None else await passing
        finally:
            slot.leave()

    def _judged(
        self, head: RequestHead, snapshot: Snapshot, down: Downstream, tally: Tally
    ) -> Known | None:
        """Return who asks for what, or None if it was one of our own paths and is answered."""
        if head.fault is not None:
            raise Refused(head.fault)
        kind = routing.kind_of(head.method, head.path, google_key=b"x-goog-api-key" in head.said)
        if kind is _LOCAL:
            local.answer(head, down, self._readiness, known=self._knows(head))
            return None
        key = auth.presented_key(head.said, head.query)
        if key and key in head.target:
            tally.path = ""  # what is recorded must not hold it
            raise Refused(faults.KEY_IN_QUERY)
        if kind is _NOTHING:
            raise Refused(faults.NOT_FOUND)
        client = auth.identify(key, snapshot.clients, tally.opened_wall_s)
        tally.knows(client.name, head.said, key)
        routing.permit(client, kind, head.path)
        return Known(snapshot, kind, key, client)

    def _sent(self, tally: Tally) -> None:
        tally.sent(self._clock.monotonic())

    def _knows(self, head: RequestHead) -> bool:
        """Return whether a good key was shown where none is needed."""
        try:
            key = auth.presented_key(head.said, head.query)
            auth.identify(key, self.snapshot.clients, self._clock.wall())
        except Refused:
            return False
        return True


def _at_hand(down: Downstream, kind: PathKind) -> tuple[Body, Ask] | None:
    """Return a body that came with its head, and what it asks for: nearly every request."""
    if kind is not _MESSAGES or b"content-encoding" in down.head.said:
        return None
    body = down.body_at_hand()
    return None if body is None else (body, messages.peek(body))


async def _read(
    down: Downstream, kind: PathKind, client: Client, slot: Slot
) -> tuple[Body | None, Ask]:
    """Return the body, if it must be held to learn the model, and what it asks for."""
    head = down.head
    if kind is not _MESSAGES:
        await down.begun()
        if kind is PathKind.NATIVE_MODEL:
            streams = ":stream" in head.path
            return None, Ask(model=routing.native_model(head.path), stream=streams)
        return None, NO_ASK
    if head.length is not None and head.length > messages.MAX_BODY_BYTES:
        raise Refused(faults.too_large(messages.MAX_BODY_BYTES))
    body = await down.body(messages.MAX_BODY_BYTES, slot.hold)
    coding = head.said.get(b"content-encoding")
    if coding is None:
        return body, messages.peek(body)
    plain = messages.decoded(body, coding, messages.MAX_BODY_BYTES, slot.fits)
    if plain is None and client.models is not None:
        raise Refused(faults.request("content-encoding: this key needs a body we can read"))
    return body, NO_ASK if plain is None else messages.peek(plain)


def _refuse(fault: Fault, down: Downstream, tally: Tally) -> None:
    """Answer with *fault*, or cut what was begun: a status cannot be taken back."""
    if down.committed:
        down.abort()
        return
    tally.status = fault.status
    google_key = b"x-goog-api-key" in down.head.said
    google = routing.speaks_google(down.head.path, google_key=google_key)
    down.answer(*faults.answer(fault, tally.id, google=google))
