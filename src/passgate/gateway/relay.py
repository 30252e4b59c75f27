"""A Messages request on a Gemini route: translated up, asked for, translated down.

Nothing here knows what a request or an answer means; ``core/gemini`` does. What is decided
here is when to wait, when to ask again, and when it is too late for that: nothing is
repeated once the client has a byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from passgate.core import faults, messages
from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, Ending
from passgate.core.faults import Fault, Refused, Told
from passgate.core.gemini import errors, request
from passgate.core.gemini.events import PING, encode, error_event
from passgate.core.gemini.keys import Key
from passgate.core.gemini.models import is_gemini
from passgate.core.gemini.request import Asked, Replay
from passgate.core.gemini.response import Streamed, Whole, counted, folded, nothing
from passgate.core.gemini.status import GoogleError, Outcome, error_in
from passgate.core.gemini.stream import Translation, Verdict, Wanted
from passgate.core.settings import CredentialKind
from passgate.gateway.authored import Authored
from passgate.gateway.interfaces import Call, Clock, Keys
from passgate.gateway.lanes import Exchange, Lane, Waits
from passgate.gateway.metering import Spent
from passgate.gateway.signatures import SignatureMemory

MOST_REPEATS = 2
_MOST_HOPS = 16  # each is tens of thousands of tokens
_MOST_ERROR_BYTES = 256 * 1024
_MOST_PLAIN = 1000
_OK = 200
_LONG_DECODE = (4, 0)  # the first generation whose answers may come in several hops
COUNT_PATH = "/v1/messages/count_tokens"


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt brought no answer.

    Attributes:
        fault: What the client is told, if that is the end of it.
        error: Google's error, where that is why.
        again: Whether the same request may well bring an answer.
        unsigned: Whether Gemini stopped for want of a signature.
    """

    fault: Fault
    error: GoogleError | None = None
    again: bool = False
    unsigned: bool = False


class Course(msgspec.Struct):
    """What one exchange has tried so far.

    Attributes:
        model: The id that Google knows the model by.
        asked: The request.
        body: As the client sent it, for a schema that has to be told in other words.
        scope: Of the signatures in the conversation, or None.
        conversation: What it is known by.
        authored: The client's side.
        spent: What all attempts consumed.
        key: To be shown next, None where one is to be chosen.
        tried: Keys that Google refused.
        repeats: How often more may be asked.
        repair: Whether dummies go instead of signatures.
    """

    model: str
    asked: Asked
    body: bytes | bytearray
    scope: str | None
    conversation: bytes
    authored: Authored
    spent: Spent
    key: Key | None = None
    tried: list[Key] = msgspec.field(default_factory=list)
    repeats: int = MOST_REPEATS
    repair: bool = False


class Relay:
    """Serve translated exchanges.

    Args:
        clock: The time.
        memory: Signatures that were passed on.
        waits: How long clients hear nothing.
        notice: Told once of each kind of thing that is left out of requests.

    Attributes:
        dropped: How often each kind of thing was left out.
        repairs: How often Google refused signatures, and dummies went instead.
    """

    def __init__(
        self, clock: Clock, memory: SignatureMemory, waits: Waits, notice: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._waits = waits
        self._notice = notice
        self._plain: dict[str, None] = {}
        self.dropped: dict[str, int] = {}
        self.repairs = 0

    async def serve(self, exchange: Exchange, keys: Keys) -> Ending:
        """Serve one exchange; say how it ended, or raise why it was not served."""
        counting = exchange.down.head.path == COUNT_PATH
        course = self._course(exchange, counting=counting)
        self._note(course.asked)
        if course.asked.max_tokens == 0 and not counting:
            return self._nothing(exchange, course)
        exchange.tally.metering = None if counting else course.spent
        await keys.ready()
        attempt = self._count if counting else self._ask
        while True:
            key = course.key or keys.choose(
                course.model, course.conversation, course.scope, course.tried
            )
            if key is None:
                return self._told(exchange, course, self._no_key(keys, course, None))
            failure = await attempt(exchange, course, keys, key)
            if failure is None:
                keys.learn(key, course.model, None)
                return Ending.COMPLETE
            wait_s = self._next(course, keys, key, failure)
            if wait_s is None:
                return self._told(exchange, course, self._last(keys, course, failure))
            course.repeats -= 1
            await _pass(wait_s)

    def _course(self, exchange: Exchange, *, counting: bool) -> Course:
        """Return where an exchange begins.

        Raises:
            Refused: It cannot be told to Gemini.
        """
        body, exchange.body = exchange.body, None
        coding = exchange.down.head.said.get(b"content-encoding")
        if body is not None and coding is not None:
            body = messages.decoded(body, coding, messages.MAX_BODY_BYTES, exchange.slot.fits)
        if body is None:
            raise Refused(faults.request("content-encoding: this route reads gzip and deflate"))
        model = exchange.route.rename or is_gemini(exchange.ask.model or "")
        if model is None:
            raise Refused(faults.request("model: not the name of a Gemini model"))
        exchange.slot.hold(len(body))  # what it is translated to is as long, and held as well
        lane: Lane = exchange.snapshot.lanes[exchange.route.upstream]
        asked = request.read(
            body,
            model,
            counting=counting,
            plain=frozenset(self._plain),
            validated=lane.validates,
        )
        session = exchange.tally.session
        stream = asked.stream and not counting
        kind = Streamed if stream else Whole
        return Course(
            model,
            asked,
            body,
            asked.scope(self._memory),
            asked.sticky if session is None else session.encode(),
            Authored(exchange, kind.content_type, self._waits, self._clock, stream=stream),
            Spent(self._clock.monotonic),
        )

    def _note(self, asked: Asked) -> None:
        for kind in asked.dropped:
            if kind not in self.dropped:
                self._notice(f"left out of requests to Gemini, which has nothing like it: {kind}")
            self.dropped[kind] = self.dropped.get(kind, 0) + 1

    def _nothing(self, exchange: Exchange, course: Course) -> Ending:
        """Answer who wants no token."""
        events = nothing(exchange.ask.model or "", f"msg_{exchange.tally.id}")
        if course.asked.stream:
            course.authored.send(encode(events))
            course.authored.finish()
        else:
            course.authored.whole(folded(events))
        return Ending.COMPLETE

    # What to do after a failure.

    def _next(self, course: Course, keys: Keys, key: Key, failure: Failure) -> float | None:
        """Return in how many seconds to ask again, None where that is not to be done."""
        error, course.key = failure.error, key
        if error is not None:
            keys.learn(key, course.model, error)
        if course.authored.begun or course.repeats == 0:
            return None
        if error is not None and error.outcome is not Outcome.UNTOLD:
            return self._other_key(course, keys, key, error)
        if failure.unsigned or (error is not None and errors.on_signatures(error)):
            return self._repaired(course)
        if error is not None and (tool := errors.on_declaration(error)) is not None:
            return self._reworded(course, tool)
        return 0.0 if failure.again else None

    def _other_key(self, course: Course, keys: Keys, key: Key, error: GoogleError) -> float | None:
        """Wait for *key* where the conversation's signatures are its own, else leave it."""
        wait_s = error.retry_s
        several = keys.counts.total > 1
        if several and key.scope == course.scope and wait_s is not None and not error.daily:
            within_s = min(self._waits.key_s, course.authored.patience_s())
            if error.outcome is Outcome.BUSY and wait_s <= within_s:
                return wait_s
        course.tried.append(key)
        course.key = None
        left = keys.choose(course.model, course.conversation, course.scope, course.tried)
        return None if left is None else 0.0

    def _repaired(self, course: Course) -> float | None:
        if course.repair:
            return None
        course.repair = True
        self.repairs += 1
        return 0.0

    def _reworded(self, course: Course, tool: int) -> float | None:
        """Have the schema that Google refused told in words from now on."""
        schemas = course.asked.schemas
        if tool >= len(schemas) or schemas[tool] in self._plain:
            return None
        self._notice("Google refuses the schema of a tool; from now on it is told in words")
        self._plain[schemas[tool]] = None
        if len(self._plain) > _MOST_PLAIN:
            del self._plain[next(iter(self._plain))]
        counting = course.asked.max_tokens is None
        course.asked = request.read(
            course.body, course.model, counting=counting, plain=frozenset(self._plain)
        )
        return 0.0

    def _last(self, keys: Keys, course: Course, failure: Failure) -> Failure:
        """Return how *failure* is told, when nothing more is tried."""
        error = failure.error
        several = keys.counts.total > 1
        if error is None or not several or error.outcome is Outcome.UNTOLD:
            return failure
        return self._no_key(keys, course, error)

    def _no_key(self, keys: Keys, course: Course, error: GoogleError | None) -> Failure:
        """Return the failure for want of a key that is ready."""
        soonest = keys.soonest(course.model)
        if soonest is None:
            return Failure(errors.NO_KEY)
        wait_s, daily = soonest
        busy = error if error is not None and error.outcome is Outcome.BUSY else None
        fault = errors.resting(busy, wait_s, daily=daily)
        return Failure(fault, error or GoogleError(fault.status))

    def _told(self, exchange: Exchange, course: Course, failure: Failure) -> Ending:
        """Tell the client of the last failure.

        Raises:
            Told: Within its stream.
            Refused: It has nothing yet, and the fault is none of Google's answers.
        """
        fault, id_ = failure.fault, exchange.tally.id
        if course.authored.begun:
            course.authored.send(error_event(fault, id_))
            course.authored.finish()
            raise Told(fault)
        if failure.error is None or fault is errors.NO_KEY:
            raise Refused(fault)
        # As on every route: an error that the upstream answers with is an answer.
        exchange.commits(fault.status)
        exchange.down.answer(*faults.answer(fault, id_, google=False))
        return Ending.COMPLETE

    # One attempt.

    async def _ask(
        self, exchange: Exchange, course: Course, keys: Keys, key: Key
    ) -> Failure | None:
        """Ask once and bring the client the answer; return why that failed, or None."""
        asked = course.asked
        replay = self._replay(exchange, course, key)
        body: bytes | None = asked.body(replay)
        wanted = Wanted(
            model=exchange.ask.model or "",
            gemini_model=course.model,
            scope=key.scope,
            name_down=asked.names.down,
            shows_thoughts=asked.display,
            carries=not asked.thinking_disabled,
            one_call=asked.one_call,
            max_tokens=asked.max_tokens or 0,
            taken_ids=asked.taken_ids,
            request_id=exchange.tally.id,
        )
        translation = course.spent.begins(Translation(wanted))
        voice: Streamed | Whole = (
            Streamed(translation, wanted.request_id) if asked.stream else Whole(translation)
        )
        hops = _MOST_HOPS if asked.model.generation >= _LONG_DECODE else 0
        del asked  # a conversation is large, and goes when the client has a byte
        target = f"/v1beta/models/{course.model}:streamGenerateContent?alt=sse"
        try:
            while True:
                call = self._call(exchange, keys, key, target, body or b"")
                if not hops:
                    body = None
                failure = await self._hear(exchange, course, call, voice)
                if failure is not None or translation.verdict is not Verdict.CONTINUED:
                    return failure
                if not hops or body is None:
                    return Failure(errors.ENDED_EARLY)
                hops -= 1
                body = request.continued(body, translation.continuation)
                translation.next_hop()
        finally:
            self._remember(translation)

    def _replay(self, exchange: Exchange, course: Course, key: Key) -> Replay:
        """Return which signatures go to Google with *key*."""
        lane: Lane = exchange.snapshot.lanes[exchange.route.upstream]
        return Replay(key.scope, self._memory, course.repair, lane.optimistic)

    def _call(self, exchange: Exchange, keys: Keys, key: Key, target: str, body: bytes) -> Call:
        """Send a request; the client's slowness and its leaving reach it."""
        lane: Lane = exchange.snapshot.lanes[exchange.route.upstream]
        credential = _own(exchange, keys.shown(key))
        outbound = lane.upstream.asks("POST", target, body, credential)
        exchange.tally.sent(self._clock.monotonic())
        call = lane.pool.call(outbound, "POST")
        exchange.down.follow(call)
        return call

    async def _hear(
        self, exchange: Exchange, course: Course, call: Call, voice: Streamed | Whole
    ) -> Failure | None:
        """Bring the client one answer of Google's; return why that failed, or None."""
        try:
            head = await self._head(exchange, course, call)
            if head.status != _OK:
                return await self._refused(course, call, head)
            await self._pump(course, call, voice)
        except Refused as refused:  # of the connection's: unreachable, lost, silent
            return Failure(refused.fault)
        finally:
            call.close()
        translation = voice.translation
        if translation.verdict is not Verdict.FAILED or translation.fault is None:
            return None
        return Failure(
            translation.fault, translation.error, translation.repeats, translation.misses_signature
        )

    async def _head(self, exchange: Exchange, course: Course, call: Call) -> AnswerHead:
        while True:
            head = await call.answer_head(course.authored.patience_s())
            if head is not None:
                exchange.tally.answered(head, self._clock.monotonic(), b"")
                return head
            course.authored.idle(PING)

    async def _refused(self, course: Course, call: Call, head: AnswerHead) -> Failure:
        """Return the failure that an answer with an error is."""
        body = b""
        while len(body) < _MOST_ERROR_BYTES:
            data = await call.read(course.authored.patience_s())
            if data is None:
                course.authored.idle(PING)
            elif data:
                body += data
            else:
                break
        error = error_in(head.status, body)
        return Failure(errors.fault_of(error), error)

    async def _pump(self, course: Course, call: Call, voice: Streamed | Whole) -> None:
        """Translate the body as it comes, to its end or to where it goes wrong."""
        authored, translation = course.authored, voice.translation
        while translation.verdict is Verdict.OPEN:
            data = await call.read(authored.patience_s())
            if data is None:
                authored.idle(PING)
            elif data:
                if out := voice.feed(data):
                    course.spent.tells()
                    self._forward(course, out)
            else:
                break
        if translation.verdict is Verdict.OPEN:
            self._ended(course, call, voice)

    def _ended(self, course: Course, call: Call, voice: Streamed | Whole) -> None:
        """Take the end of the body."""
        if call.ending is not Ending.COMPLETE:
            silent = call.ending is Ending.TIMED_OUT
            voice.translation.fail(faults.ANSWER_TIMEOUT if silent else errors.ENDED_EARLY)
            return
        out = voice.close()
        if voice.translation.verdict is not Verdict.COMPLETE:
            if out:
                self._forward(course, out)
        elif isinstance(voice, Streamed):
            self._forward(course, out)
            course.authored.finish()
        else:
            course.authored.whole(out)

    def _forward(self, course: Course, events: bytes) -> None:
        if not course.authored.begun:
            del course.asked, course.body  # nothing will be asked anew
        course.authored.send(events)

    def _remember(self, translation: Translation) -> None:
        learnt = translation.learnt
        for tool_id, envelope in learnt.calls.items():
            self._memory.remember(tool_id, envelope)
        if learnt.text is not None:
            self._memory.remember(learnt.text_key, learnt.text)

    # Counting.

    async def _count(
        self, exchange: Exchange, course: Course, keys: Keys, key: Key
    ) -> Failure | None:
        """Have the tokens counted once; return why that failed, or None."""
        body = course.asked.count_body(self._replay(exchange, course, key))
        call = self._call(exchange, keys, key, f"/v1beta/models/{course.model}:countTokens", body)
        try:
            head = await self._head(exchange, course, call)
            if head.status != _OK:
                return await self._refused(course, call, head)
            said = b""
            while len(said) < _MOST_ERROR_BYTES and (data := await call.read(_AN_HOUR_S)):
                said += data
            answer = counted(said) if call.ending is Ending.COMPLETE else None
        except Refused as refused:
            return Failure(refused.fault)
        finally:
            call.close()
        if answer is None:
            return Failure(errors.NO_ANSWER)
        course.authored.whole(answer)
        return None


_AN_HOUR_S = 3600.0


def _own(exchange: Exchange, credential: Credential) -> Credential:
    """Return what is shown: where clients bring their own, the client's.

    Raises:
        Refused: It brought none.
    """
    if credential.kind is not CredentialKind.CLIENT:
        return credential
    said = exchange.down.head.said
    own = said.get(b"x-api-key", b"")
    if b"x-passgate-key" not in said or not own or b"\n" in own:
        raise Refused(faults.OWN_CREDENTIAL)
    return Credential(credential.name, CredentialKind.API_KEY, own)


async def _pass(seconds: float) -> None:
    """Return after *seconds*; whoever drives this coroutine may end it before."""
    if seconds <= 0:
        return
    running = asyncio.get_running_loop()
    over: asyncio.Future[None] = running.create_future()
    timer = running.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        timer.cancel()
