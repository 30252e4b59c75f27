"""A Messages request as a generateContent request.

:func:`read` does all that depends on the conversation, once; what it returns writes the
bytes for the key that is chosen, and again for another key or without signatures.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from passgate.core.gemini.body import Format, Request, refused, schema_in, shown
from passgate.core.gemini.body import read as read_body
from passgate.core.gemini.models import Model, model_of
from passgate.core.gemini.names import NameMap
from passgate.core.gemini.parts import (
    Content,
    Count,
    Declarations,
    Generate,
    GenerationConfig,
    Instruction,
    Part,
    encode,
)
from passgate.core.gemini.results import Call
from passgate.core.gemini.runs import Runs, runs_of
from passgate.core.gemini.schema import normalised
from passgate.core.gemini.signatures import (
    DUMMY,
    Envelope,
    Forgetful,
    Place,
    Signatures,
    taken_by,
    text_key,
)
from passgate.core.gemini.thinking import Wish, plan, wish_of
from passgate.core.gemini.tools import Offer, offer
from passgate.core.gemini.turns import Item, Spoken, Thought, Turn, Turns

_MAX_STOPS = 5
_FORGETFUL = Forgetful()


class Replay(msgspec.Struct, frozen=True):
    """Which signatures a request may carry.

    Attributes:
        scope: Of the key that it is sent with.
        signatures: What this process remembers.
        repair: Send none but dummies: Google refused what was sent.
        optimistic: Send also what was signed under another key; the repair mends it.
    """

    scope: str
    signatures: Signatures = _FORGETFUL
    repair: bool = False
    optimistic: bool = False

    def fits(self, scope: str) -> bool:
        """Return whether a signature of *scope* may be sent."""
        return not self.repair and (self.optimistic or scope == self.scope)


class Asked(msgspec.Struct, frozen=True):
    """What a client asks of a Gemini model; writes it as a body.

    Attributes:
        model: Which is asked.
        names: The tools' names on both sides.
        stream: Whether the client wants events.
        display: Whether thoughts are to be shown.
        thinking_disabled: Whether the client wants no thinking block at all.
        max_tokens: As the client set it, or None in a count. 0 is answered without asking
            Google: no content, ``max_tokens``, no usage.
        one_call: Whether the answer may hold no more than its first call.
        taken_ids: Ids that no new call may get, see ``signatures.tool_id_down``.
        schemas: Digest of each declaration's schema, in the order that Google counts them in.
        dropped: Kinds of what was left out, for the log.
        sticky: What stands for the conversation where the client names no session; it may
            be shared by two, so it picks a key and never a signature.
    """

    model: Model
    names: NameMap
    stream: bool
    display: bool
    thinking_disabled: bool
    max_tokens: int | None
    one_call: bool
    taken_ids: frozenset[str]
    schemas: tuple[str, ...]
    dropped: tuple[str, ...]
    sticky: bytes
    turns: tuple[Turn, ...]
    frame: Generate

    def __repr__(self) -> str:
        return f"Asked({self.model.id})"  # the rest is the conversation

    def body(self, replay: Replay) -> bytes:
        """Return the body of streamGenerateContent."""
        return encode(self._filled(replay))

    def count_body(self, replay: Replay) -> bytes:
        """Return the body of countTokens: the same without what counts no tokens."""
        filled = self._filled(replay)
        filled.model = f"models/{self.model.id}"
        filled.generation_config = None
        return encode(Count(filled))

    def scope(self, signatures: Signatures = _FORGETFUL) -> str | None:
        """Return whose key signed last in this conversation, or None where nobody did.

        That key is the one to send it with, where it is healthy.
        """
        for turn in reversed(self.turns):
            for item in reversed(turn.items):
                envelope = _carried(item, signatures)
                if envelope is not None and envelope.model == self.model.id:
                    return envelope.scope
        return None

    def _filled(self, replay: Replay) -> Generate:
        frame = self.frame
        contents = [_content(turn, self.model, replay) for turn in self.turns]
        return Generate(
            None,
            frame.system_instruction,
            frame.tools,
            frame.tool_config,
            contents,
            frame.generation_config,
        )


def _carried(item: Item, signatures: Signatures) -> Envelope | None:
    if isinstance(item, Call):
        return item.envelope or signatures.call(item.tool_id)
    return item.envelope if isinstance(item, Thought) else None


def _content(turn: Turn, model: Model, replay: Replay) -> Content:
    """Return *turn* with the signatures that go with it."""
    parts: list[Part] = []
    signed = False  # whether the first call was, which every step needs
    for item in turn.items:
        if isinstance(item, Part):
            parts.append(item)
        elif isinstance(item, Call):
            signature = _signature(item, model, replay)
            if signature is None and not signed and model.current:
                signature = DUMMY
            signed = True
            parts.append(Part(function_call=item.call, thought_signature=signature))
        elif isinstance(item, Thought):
            signature = _signature(item, model, replay)
            if signature is not None:
                parts.append(Part(text=item.text, thought=True, thought_signature=signature))
        else:
            _sign_text(parts, item, model, replay)
    return Content(turn.role, parts)


def _signature(item: Call | Thought, model: Model, replay: Replay) -> str | None:
    envelope = _carried(item, replay.signatures)
    if envelope is None or envelope.model != model.id or not replay.fits(envelope.scope):
        return None
    return envelope.signature


def _sign_text(parts: list[Part], said: Spoken, model: Model, replay: Replay) -> None:
    """Put the signature of a message's text, which no client ever saw, where it was."""
    found = replay.signatures.text(text_key(model.id, said.text))
    if found is None or not replay.fits(found.scope):
        return
    if found.place is Place.OWN_PART:
        parts.append(Part(text="", thought_signature=found.signature))
        return
    index = max(i for i, part in enumerate(parts) if _ends(said.text, part))
    parts[index] = Part(text=parts[index].text, thought_signature=found.signature)


def _ends(said: str, part: Part) -> bool:
    return bool(part.text) and not part.thought and said.endswith(part.text or "")


def read(
    body: bytes | bytearray,
    model: str,
    *,
    counting: bool = False,
    plain: frozenset[str] = frozenset(),
    validated: bool = False,
) -> Asked:
    """Return what *body* asks of *model*.

    Args:
        body: A Messages request, without a content coding.
        model: Id of the model, see ``models.is_gemini``.
        counting: Whether only its tokens are to be counted: ``max_tokens`` may be missing.
        plain: Digests of schemas that Google refused, see ``Asked.schemas``.
        validated: Whether calls of strict tools are checked by Google.

    Raises:
        Refused: It cannot be told to Gemini; the message names the field and the value.
    """
    try:
        return _read(body, model_of(model), counting=counting, plain=plain, validated=validated)
    except RecursionError:
        raise refused("", "the body is nested too deeply") from None


def _read(
    body: bytes | bytearray,
    model: Model,
    *,
    counting: bool,
    plain: frozenset[str],
    validated: bool,
) -> Asked:
    request, dropped = read_body(body)
    _check(request, counting=counting)
    runs = runs_of(request.system, request.messages)
    offered = offer(request, runs.changes, model, plain=plain, validated=validated)
    turns = Turns(model, offered.names)
    made = turns.of(runs.runs)
    wish = wish_of(request.thinking, runs.effort or _effort(request))
    config, more = _generation(request, model, wish, offered)
    ids = (taken_by(item.tool_id) for turn in made for item in turn.items if isinstance(item, Call))
    return Asked(
        model=model,
        names=offered.names,
        stream=bool(request.stream),
        display=wish.shown,
        thinking_disabled=wish.kind == "disabled",
        max_tokens=request.max_tokens,
        one_call=offered.one_call,
        taken_ids=frozenset().union(*ids),
        schemas=offered.digests,
        dropped=(*dropped, *more, *offered.dropped, *turns.dropped),
        sticky=_sticky(runs),
        turns=tuple(made),
        frame=_frame(runs, offered, config),
    )


_REJECTED = {
    "mcp_servers": "MCP servers are called by Anthropic, not by Gemini models; leave it out",
    "fallbacks": "a fallback within Anthropic's API; leave it out",
    "thread": "the history of a thread is at Anthropic; send it in messages",
}


def _check(request: Request, *, counting: bool) -> None:
    """Refuse what a Gemini model cannot be asked, and what the answer would silently lack."""
    for name, why in _REJECTED.items():
        value = getattr(request, name)
        if value not in (None, []):
            raise refused(name, f"{shown(value)}: {why}")
    if request.max_tokens is None and not counting:
        raise refused("max_tokens", "Field required", verbatim=True)
    if request.max_tokens is not None and request.max_tokens < 0:
        raise refused("max_tokens", f"{request.max_tokens} is below 0")
    stops = request.stop_sequences or []
    if len(stops) > _MAX_STOPS:
        text = f"{len(stops)} sequences, {shown(stops[_MAX_STOPS])} is one too many"
        raise refused("stop_sequences", f"{text}: Gemini takes {_MAX_STOPS}")


def _effort(request: Request) -> str | None:
    return None if request.output_config is None else request.output_config.effort


def _generation(
    request: Request, model: Model, wish: Wish, offered: Offer
) -> tuple[GenerationConfig, list[str]]:
    """Return how the answer is made, and what of the client's wishes was left out."""
    planned = plan(model, wish, request.max_tokens)
    sampling = ("temperature", "top_p", "top_k")
    given = [name for name in sampling if getattr(request, name) is not None]
    config = GenerationConfig(
        max_output_tokens=planned.max_output_tokens,
        stop_sequences=request.stop_sequences or None,
        thinking_config=planned.config,
    )
    if not model.current:  # later models ignore it or fail
        config.temperature = request.temperature
        config.top_p = request.top_p
        config.top_k = request.top_k
        given = []
    answer_format = None if request.output_config is None else request.output_config.format
    if answer_format is not None:
        config.response_mime_type = "application/json"
        config.response_json_schema = _response_schema(answer_format, model, offered)
    return config, given


def _response_schema(wanted: Format, model: Model, offered: Offer) -> dict[str, object]:
    at = "output_config.format"
    if wanted.type != "json_schema":
        raise refused(f"{at}.type", f"{shown(wanted.type)} is not 'json_schema'")
    schema = schema_in(wanted.schema, f"{at}.schema")
    if schema is None:
        raise refused(f"{at}.schema", "Field required")
    if offered.declarations and not model.current:
        raise refused(at, f"'json_schema' beside tools: {model.id} takes one of both")
    return normalised(schema)


def _sticky(runs: Runs) -> bytes:
    words = "\n".join((*runs.instruction, runs.opening or ""))
    return sha256(words.encode("utf-8", "surrogatepass")).digest()


def _frame(runs: Runs, offered: Offer, config: GenerationConfig) -> Generate:
    instruction = [Part(text=text) for text in runs.instruction]
    declared = offered.declarations
    return Generate(
        system_instruction=Instruction(instruction) if instruction else None,
        tools=[Declarations(declared)] if declared else None,
        tool_config=offered.config,
        generation_config=config,
    )


def continued(body: bytes, token: str) -> bytes:
    """Return the request for the next hop of the answer to *body*: the same, and *token*."""
    return b'%s,"continuationToken":%s}' % (body[:-1], msgspec.json.encode(token))
