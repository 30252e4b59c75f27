"""An answer of Gemini's, translated while it comes: its chunks in, Messages events out.

The events are values: ``response.py`` makes bytes of them, streamed or in one piece. What
cannot be told from the outside any more, once events were taken for an answer, is decided
here: an answer is complete only if Gemini said so.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from enum import Enum
from hashlib import sha256

import msgspec
from msgspec import UNSET

from passgate.core.faults import Fault
from passgate.core.gemini import errors
from passgate.core.gemini.blocks import Blocks, Open, Said, Step
from passgate.core.gemini.chunks import Candidate, Chunk, Part, decode
from passgate.core.gemini.events import (
    End,
    Event,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    StopDetails,
)
from passgate.core.gemini.signatures import (
    Envelope,
    Kind,
    Place,
    TextSignature,
    base62,
    tool_id_down,
)
from passgate.core.gemini.status import GoogleError, error_in, error_of
from passgate.core.gemini.tokens import Tokens
from passgate.core.sse import SSEDecoder, payload

# A call's arguments come in one event, and may hold a file.
_MAX_EVENT_BYTES = 32 << 20
_IMAGE = "[image omitted]"


class Finish(Enum):
    """What kind of end a finish reason is."""

    DONE = "done"
    LIMIT = "limit"
    MORE = "more"
    WITHHELD = "withheld"
    BROKEN = "broken"


# What is not in here, also a reason that is new, is broken: never a clean end by mistake.
FINISHES: dict[str, Finish] = {
    "STOP": Finish.DONE,
    "MAX_TOKENS": Finish.LIMIT,
    "CONTINUATION": Finish.MORE,
    **dict.fromkeys(
        (
            "SAFETY",
            "PROHIBITED_CONTENT",
            "BLOCKLIST",
            "SPII",
            "RECITATION",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "LANGUAGE",
            "MODEL_ARMOR",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
        ),
        Finish.WITHHELD,
    ),
}


class Verdict(Enum):
    """What became of an answer."""

    OPEN = "open"
    COMPLETE = "complete"
    CONTINUED = "continued"  # the next hop is to be asked for
    FAILED = "failed"


class Wanted(msgspec.Struct, frozen=True):
    """What a request says of the answer to it.

    Attributes:
        model: As the client named it.
        gemini_model: The id that Gemini knows it by.
        scope: Of the key in use, see ``signatures.scope_of``.
        name_down: From a function's name to the client's.
        shows_thoughts: Whether thoughts are shown to the client.
        carries: Whether there may be thinking blocks at all; a client that switched
            thinking off gets none, not even as carriers.
        one_call: Whether the client takes no more than one call.
        max_tokens: The client's limit.
        taken_ids: Ids of calls that its conversation has already.
        request_id: Ours, for ids where Gemini gives none.
    """

    model: str
    gemini_model: str
    scope: str
    name_down: Callable[[str], str]
    shows_thoughts: bool = False
    carries: bool = True
    one_call: bool = False
    max_tokens: int = 65_536
    taken_ids: Container[str] = frozenset()
    request_id: str = ""


class Learnt(msgspec.Struct):
    """What an answer showed that the client may not bring back.

    Attributes:
        calls: Signatures by the client's id of the call.
        text_key: As ``signatures.text_key`` makes it, of an answer without calls.
        text: The signature of that text.
    """

    calls: dict[str, Envelope] = msgspec.field(default_factory=dict)
    text_key: bytes = b""
    text: TextSignature | None = None


class Translation:
    """Translate one answer, of one hop or several.

    Attributes:
        verdict: What became of it so far.
        fault: Why it failed.
        error: Google's error where that is why, so that its key can be judged.
        repeats: Whether the same request is worth sending again, as long as the client
            has nothing.
        started: Whether there were any events.
        finish: Google's finish reason, empty while there is none.
        stop_reason: The client's.
        continuation: What the next hop has to show.
        model_served: The model that Google says it was.
        dropped_calls: How many calls a client of ``one_call`` did not get.
        learnt: Signatures to remember.
        tokens: What was consumed.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.verdict = Verdict.OPEN
        self.fault: Fault | None = None
        self.error: GoogleError | None = None
        self.repeats = False
        self.started = False
        self.finish = ""
        self.stop_reason = ""
        self.continuation = ""
        self.model_served = ""
        self.dropped_calls = 0
        self.learnt = Learnt()
        self.tokens = Tokens()
        self._wanted = wanted
        self._decoder = SSEDecoder(_MAX_EVENT_BYTES)
        self._blocks = Blocks(wanted.gemini_model, wanted.scope)
        self._calls = 0
        self._said = False
        self._call_ids: set[str] = set()
        self._response_id = ""
        self._hop = 0
        self._explained = ""
        self._blocked = ""
        self._text_signature: tuple[Place, str] | None = None
        # As signatures.text_key() does it, but without keeping the text.
        self._text = sha256(f"{wanted.gemini_model}\n".encode())

    @property
    def misses_signature(self) -> bool:
        """Whether Gemini stopped for want of a thought signature, which dummies repair."""
        return self.finish == "MISSING_THOUGHT_SIGNATURE"

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of Google's body; return the events they make."""
        if self.verdict is not Verdict.OPEN:
            return []
        events: list[Event] = []
        for block in self._decoder.feed(data):
            self._take(block, events)
        if self._decoder.skipped_bytes:
            self._fail(errors.TOO_LARGE)
        return events

    def close(self) -> list[Event]:
        """Take the end of the body; return the events that are left."""
        if self.verdict is not Verdict.OPEN:
            return []
        # One of Google's errors ends without an empty line; so does an event that was cut.
        events = self.feed(b"\n\n")
        if self.fault is errors.NO_ANSWER:
            self._fail(errors.ENDED_EARLY)
        elif self.verdict is Verdict.OPEN:
            self._conclude(events)
        return events

    def fail(self, fault: Fault) -> None:
        """Take note that the body broke."""
        if self.verdict is Verdict.OPEN:
            self._fail(fault)

    def next_hop(self) -> None:
        """Go on with the answer to the request that shows :attr:`continuation`."""
        self.verdict = Verdict.OPEN
        self.finish = self.continuation = ""
        self.tokens.next_hop()
        self._hop += 1
        self._decoder = SSEDecoder(_MAX_EVENT_BYTES)

    def _take(self, block: bytes, events: list[Event]) -> None:
        if self.verdict is not Verdict.OPEN:
            return
        carried = payload(block)
        if not carried:
            if block.startswith((b"{", b"[")):  # an error as bare JSON, without an event
                self._refused(error_in(_OK, block))
            return
        try:
            self._chunk(decode(carried), events)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._fail(errors.NO_ANSWER)

    def _chunk(self, chunk: Chunk, events: list[Event]) -> None:
        if chunk.error is not None:
            self._refused(error_of(_OK, chunk.error))
            return
        self.tokens.said(chunk.usage_metadata)
        self._response_id = chunk.response_id or self._response_id
        self.model_served = chunk.model_version or self.model_served
        if (feedback := chunk.prompt_feedback) is not None and feedback.block_reason:
            self._blocked = _explained(feedback.block_reason, feedback.block_reason_message)
        if chunk.candidates:
            self._candidate(chunk.candidates[0], events)

    def _candidate(self, candidate: Candidate, events: list[Event]) -> None:
        if (content := candidate.content) is not None and content.parts:
            for part in content.parts:
                self._part(part, events)
        reason = candidate.finish_reason
        if reason and self.finish in ("", "STOP"):  # no later STOP hides what went wrong
            self.finish = reason
            self._explained = _explained(reason, candidate.finish_message)
        self.continuation = candidate.continuation_token or self.continuation

    def _part(self, part: Part, events: list[Event]) -> None:
        if part.function_call is not None:
            self._call(part, events)
        elif part.thought:
            self._thought(part, events)
        else:
            self._text_part(part, events)

    def _thought(self, part: Part, events: list[Event]) -> None:
        if part.text and self._wanted.shows_thoughts:
            self._move(Step.THOUGHT, Said(part.text), events)
        if self._blocks.open is Open.THINKING and part.thought_signature:
            self._blocks.thought_signature = part.thought_signature

    def _text_part(self, part: Part, events: list[Event]) -> None:
        text = part.text or (_IMAGE if bytes(part.inline_data).startswith(b"{") else "")
        if text:
            self._said = True
            self._text.update(text.encode())
            self._move(Step.TEXT, Said(text), events)
        if part.thought_signature:
            place = Place.ON_TEXT if text else Place.OWN_PART
            self._text_signature = (place, part.thought_signature)

    def _call(self, part: Part, events: list[Event]) -> None:
        call, wanted, signature = part.function_call, self._wanted, part.thought_signature
        if call is None or not call.name:
            raise msgspec.ValidationError("a call without a name")
        if call.id:
            if call.id in self._call_ids:
                return  # the same call again; equal calls without ids are two
            self._call_ids.add(call.id)
        if wanted.one_call and self._calls:
            self.dropped_calls += 1
            return
        args = bytes(call.args).decode()
        args = args if args.startswith("{") else "{}"
        tool_id = tool_id_down(call.id, self._response_id, self._hop, self._calls, wanted.taken_ids)
        self._calls += 1
        step, carried = Step.CALL, ""
        if signature:
            envelope = Envelope(Kind.CALL, wanted.gemini_model, wanted.scope, tool_id, signature)
            self.learnt.calls[tool_id] = envelope
            if wanted.carries:
                step, carried = Step.SIGNED_CALL, envelope.encode()
        self._move(step, Said(args, carried, tool_id, wanted.name_down(call.name)), events)

    def _conclude(self, events: list[Event]) -> None:
        """Decide what the end of the body was the end of."""
        if not self.finish and not self._blocked:
            self._fail(errors.ENDED_EARLY)
            return
        kind = Finish.WITHHELD if self._blocked else FINISHES.get(self.finish, Finish.BROKEN)
        match kind:
            case Finish.DONE if self._calls or self._said:
                self._end("tool_use" if self._calls else "end_turn", events)
            case Finish.DONE:
                self._fail(errors.EMPTY, repeats=True)
            case Finish.MORE if self.continuation and self.tokens.output < self._wanted.max_tokens:
                self.verdict = Verdict.CONTINUED
            case Finish.MORE | Finish.LIMIT:
                self._end("tool_use" if self._calls else "max_tokens", events)
            case Finish.WITHHELD:
                self._end("refusal", events, self._blocked or self._explained)
            case _:
                self._fail(errors.malformed(self._explained), repeats=True)

    def _end(self, reason: str, events: list[Event], explained: str | None = None) -> None:
        self._move(Step.END, _NOTHING_SAID, events)
        self.verdict, self.stop_reason = Verdict.COMPLETE, reason
        details = UNSET if explained is None else StopDetails(None, explained)
        end = End(reason, stop_details=details)
        events += (MessageDelta(end, self.tokens.at_end()), MessageStop())
        if self._text_signature is not None and not self._calls:
            place, signature = self._text_signature
            self.learnt.text_key = self._text.digest()
            self.learnt.text = TextSignature(self._wanted.scope, place, signature)

    def _move(self, step: Step, said: Said, events: list[Event]) -> None:
        if not self.started:
            self.started = True
            events.append(self._start())
        self._blocks.move(step, said, events)

    def _start(self) -> MessageStart:
        wanted = self._wanted
        message_id = "msg_" + base62(self._response_id or wanted.request_id, 24)
        usage = self.tokens.at_start()
        return MessageStart(
            Message(message_id, "message", "assistant", (), wanted.model, None, None, usage)
        )

    def _refused(self, error: GoogleError) -> None:
        self.error = error
        self._fail(errors.fault_of(error))

    def _fail(self, fault: Fault, *, repeats: bool = False) -> None:
        self.verdict, self.fault, self.repeats = Verdict.FAILED, fault, repeats


_OK = 200
_NOTHING_SAID = Said()


def _explained(reason: str, message: str | None) -> str:
    return f"{reason}: {message}" if message else reason
