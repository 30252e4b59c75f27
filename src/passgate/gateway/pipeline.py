"""The one way in: every exchange is served here, top to bottom.

The first exchange of a connection, and every one that is special, is a coroutine, driven by
the HTTP stack in its own callbacks, until its answer begins. The ordinary one asks what the
one before it asked for: nothing has to be waited for but its answer, so its request is sent
at once. The answer of either is passed on by callbacks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from passgate.core import faults, routing
from passgate.core.credential import Credential
from passgate.core.exchange import Ending
from passgate.core.faults import Fault, Refused
from passgate.core.known import Known
from passgate.core.routing import PathKind, Route
from passgate.core.tally import Tally
from passgate.gateway import asking, local
from passgate.gateway.admission import Admission, Slot
from passgate.gateway.gemini import Gemini
from passgate.gateway.interfaces import Answer, Clock, Coming, Downstream, Ear, Installs, Rest
from passgate.gateway.lanes import Exchange, Lane, Snapshot, repeated
from passgate.gateway.local import Readiness
from passgate.gateway.metering import Meters
from passgate.gateway.recorder import Recorder

Body = bytes | bytearray
# Bound once: reading a member through its class costs more than the comparison.
_FIRST_ERROR = 400
_COMPLETE, _LEFT = Ending.COMPLETE, Ending.CLIENT_LEFT


class Pipeline(msgspec.Struct, eq=False):
    """Serve exchanges.

    Attributes:
        snapshot: What the next exchange goes by; swapped on reload.
        admission: Who may come in.
        recorder: Is told of every exchange that has ended.
        readiness: What ``/ready`` says.
        clock: The time.
        meters: Make the meter of each answer.
        id_prefix: What the id of every exchange begins with.
        on_bug: Told of an exception that is our own fault.
        installs: Which machines use this gateway.
        gemini: Serves what goes to a Gemini upstream.
        count: How many exchanges have begun.
        running: Every exchange under way, by its id; for the live view, which only reads.
    """

    snapshot: Snapshot
    admission: Admission
    recorder: Recorder
    readiness: Readiness
    clock: Clock
    meters: Meters
    id_prefix: str
    on_bug: Callable[[Exception], None]
    installs: Installs
    gemini: Gemini
    count: int = 0
    running: dict[str, tuple[Tally, Downstream]] = {}

    def __repr__(self) -> str:
        return "Pipeline(...)"  # the rest leads to what is secret

    def handle(self, down: Downstream) -> Coroutine[Any, Any, Rest | None] | None:
        """Begin to serve one exchange; whatever happens, it is recorded once.

        Returns:
            What serves it, to be driven, and may return what goes on with it; or None where
            callbacks serve it from the beginning: see ``_Passing``.
        """
        known, body = down.known, None
        if known is not None and known.repeats and known.snapshot is self.snapshot:
            body = down.body_at_hand()
            if body is not None and self._again(down, known, known.repeats, body):
                return None
        return self._handle(down, body)

    def _again(self, down: Downstream, known: Known, route: Route, body: bytes) -> bool:
        """Send a request like the one before it; return whether that was done.

        Where anything about it is special, nothing has happened, and the coroutine finds
        the same.
        """
        clock, head, lane = self.clock, down.head, self.snapshot.lanes[route.upstream]
        opened_s, wall_s = clock.monotonic(), clock.wall()
        asked = asking.again(known, lane, head, body, self.snapshot)
        if asked is None:
            return False
        try:
            known.check(wall_s)
            self.admission.admit(crowded=down.crowded)
        except Refused:
            return False
        ask, outbound, credential = asked
        self.count += 1
        id_ = f"{self.id_prefix}{self.count:010x}"
        who = id_, head, down.peer, opened_s, wall_s, known.client.name, known.key
        goes = route.label, route.upstream, ask, 1, clock.monotonic()
        tally = Tally(*(who + goes))  # by place, as in ``Tally.closed``
        runs = _Passing(self, down, tally, lane, credential, known)
        if not lane.pool.again(outbound, down, runs):
            self.admission.leave()
            return False
        self.running[id_] = (tally, down)
        down.runs = runs
        return True

    async def _handle(self, down: Downstream, body: bytes | None) -> Rest | None:
        """Serve one exchange; *body* is what was at hand and is taken already."""
        clock, self.count = self.clock, self.count + 1
        id_ = f"{self.id_prefix}{self.count:010x}"
        tally = Tally(id_, down.head, down.peer, clock.monotonic(), clock.wall())
        self.running[id_] = (tally, down)
        so_far: Ending | Rest | None = _LEFT
        fault = None
        try:
            serving = self._serve(down, tally, body)
            del body  # it is let go there
            so_far = await serving
        except Exception as error:  # noqa: BLE001  what is not a Refused is our bug
            so_far, fault = self.stopped(down, tally, error)
        finally:
            if not callable(so_far):
                self.over(down, tally, so_far, fault)
        return so_far if callable(so_far) else None

    def stopped(
        self, down: Downstream, tally: Tally, error: Exception
    ) -> tuple[Ending, Fault | None]:
        """Answer with what stopped an exchange, or cut it; return how it ended, and why."""
        ending, fault = local.stopped(down, tally, error)
        if fault is faults.INTERNAL:
            self.on_bug(error)
        return ending, fault

    def over(
        self, down: Downstream, tally: Tally, ending: Ending | None, fault: Fault | None
    ) -> None:
        """Have an exchange recorded that has ended; None is how one of our own paths ends."""
        del self.running[tally.id]
        if ending is not None:
            now_s, up, sent = self.clock.monotonic(), down.bytes_up, down.bytes_down
            self.recorder.put(partial(tally.closed, ending, fault, now_s, up, sent))

    async def _serve(
        self, down: Downstream, tally: Tally, body: Body | None
    ) -> Ending | Rest | None:
        """Serve one exchange; say how it ended, or raise why it was not served.

        None means that it was one of our own paths, which leave no record. Where its answer
        comes by and by, the rest is returned: nothing of what is here is held for it.
        """
        head, snapshot, known = down.head, self.snapshot, down.known
        if known is not None and known.snapshot is snapshot:
            known.check(tally.opened_wall_s)
            tally.knows(known.client.name, known.key)
        else:
            known = asking.judged(down, snapshot, tally, self.readiness)
            if known is None:
                return None
            down.known = known
        slot = self.admission.enter(crowded=down.crowded)
        goes_on = False
        try:
            if known.kind is PathKind.TELEMETRY:
                tally.status = await local.telemetry(down, slot, self.installs)
                return Ending.COMPLETE
            body, ask = await asking.read(down, known, slot, body)
            route = known.route
            if route is None or known.model != ask.model:
                route = routing.choose(snapshot.routes, known.client, known.kind, head.path, ask)
                known.route, known.model, known.repeats = route, ask.model, None
                known.meter_for = snapshot.lanes[route.upstream].upstream.meter_for(head)
            lane = snapshot.lanes[route.upstream]
            tally.goes_to(route.label, route.upstream, ask)
            if route.native:
                exchange = Exchange(down, known, body, ask, route, snapshot, tally, slot)
                del body  # whoever serves it lets it go
                return await self.gemini.serve(exchange)
            credential = lane.source.cached or await lane.source.current()
            body = asking.cleaned(body, head, snapshot, slot)
            outbound = known.outbound(lane.upstream, head, body, credential, route.rename)
            known.repeats = route if asking.can_repeat(known, route, lane, head) else None
            tally.sent(self.clock.monotonic())
            repeats = lane.retry_stale and (body is not None or head.length == 0)
            opening: Awaitable[Answer] = (
                repeated(outbound, lane, down, tally, self.clock, slot.release)
                if repeats
                else lane.pool.open(outbound, down, slot.to_be_released)
            )
            del body, outbound  # from here on only the connection holds them, until written
            passes = _Passing(self, down, tally, lane, credential, known, slot)
            passing = passes.passes(await opening)
            goes_on = passing is not None
            return _COMPLETE if passing is None else partial(passes.goes_on, passing)
        finally:
            if not goes_on:
                slot.leave()


class _Passing(msgspec.Struct):
    """An exchange whose request is sent, and whose answer is to be passed on.

    The coroutine calls :meth:`passes`, and when it has ended :meth:`goes_on`. Without one, of an
    exchange like the one before it on its connection, the callbacks of the upstream's
    connection call ``fire`` or ``fail`` once. Both ways ``throw`` comes if the client leaves.

    Attributes:
        pipeline: Which serves it.
        down: The client's side.
        tally: Its record.
        lane: Where it went.
        credential: What the upstream was shown.
        known: What is known of its head; the same until it is over.
        slot: What it holds, or None where it holds nothing but its place.
        ear: Hears what an error says of a Gemini key, or None.
    """

    pipeline: Pipeline
    down: Downstream
    tally: Tally
    lane: Lane
    credential: Credential
    known: Known
    slot: Slot | None = None
    ear: Ear | None = None

    def passes(self, answer: Answer) -> Coming[Ending] | None:
        """Pass *answer* on to the client; return how that ends, or None where it is done."""
        pipeline, tally, credential, head = self.pipeline, self.tally, self.credential, answer.head
        now_s = pipeline.clock.monotonic()
        tally.answered(head, now_s, credential.secret)
        reply_head = self.lane.upstream.reply_head(head, credential)
        if self.lane.keys is not None and head.status >= _FIRST_ERROR:
            self.ear = pipeline.gemini.ear(self.lane.keys, self.known, head)
            return answer.splice(self.down, reply_head, self.ear)
        self.lane.judge(credential, head.status)
        body = answer.whole(self.down, reply_head)
        if body is not None:
            tally.metering = pipeline.meters.whole(self.known.meter_for, head, body, now_s)
            return None
        tally.metering = tap = pipeline.meters.meter(self.known.meter_for, head)
        return answer.splice(self.down, reply_head, tap)

    def fire(self, answer: Answer) -> None:
        """Pass *answer* on, whose head is there."""
        try:
            passing = self.passes(answer)
        except Exception as error:  # noqa: BLE001  as in the coroutine
            self.throw(error)
            return
        if passing is None:
            self._ends(_COMPLETE, None)
        else:
            passing.add_done_callback(self._passed)

    def goes_on(self, passing: Coming[Ending], error: Exception | None) -> None:
        """Do what the coroutine left to be done, or end with what was thrown into it."""
        self.down.runs = self
        if error is None:
            passing.add_done_callback(self._passed)
        else:
            self.throw(error)

    def _passed(self, passing: Coming[Ending]) -> None:
        try:
            ending = passing.result()
        except Refused as refused:
            self.throw(refused)
        else:
            if self.ear is not None:
                self.ear.heard()
            self._ends(ending, None)

    def throw(self, error: Exception) -> None:
        """End it with *error*: no answer comes, or nobody is there to hear it."""
        self._ends(*self.pipeline.stopped(self.down, self.tally, error))

    fail = throw

    def _ends(self, ending: Ending, fault: Fault | None) -> None:
        pipeline, down = self.pipeline, self.down
        if self.slot is not None:
            self.slot.release()
        pipeline.admission.leave()
        pipeline.over(down, self.tally, ending, fault)
        down.ended(None)
