"""What the simulated model says: pure functions from a Messages request to a message.

Nothing here is random or depends on the time, so the same request always gets the same
bytes and the same token counts. How they travel is decided in ``scenes.py``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Json = Mapping[str, object]

# Scenes that change what is said, not how it is sent.
SPOKEN = ("default", "text", "thinking", "tool", "refusal", "max-tokens", "big")
# Scenes that speak a given number of words: which of their numbers it is.
_WORDS_AT = {"text": 0, "cut": 0, "reset": 0, "slow": 1}
# A mistyped number must not cost the memory of the machine.
_MOST_WORDS = 100_000
_BIG_PIECE = "0123456789abcdef" * 256
_NAME = re.compile(r"(?:claude-)?([a-z0-9-]*?[a-z0-9])((?:-[0-9]{1,12})*)")
_ASKS_FOR_TOOL = re.compile(r"\b(tools?|weather|forecast|temperature)\b", re.IGNORECASE)
_WORD = re.compile(r"\S+\s*")
_SAMPLES: Json = {"integer": 1, "number": 0.5, "boolean": True, "null": None, "array": []}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a request asks to be shown: a name, and the numbers after it."""

    name: str
    numbers: tuple[int, ...] = ()

    @classmethod
    def named(cls, name: object) -> Scene:
        """Read a scene's name; any other model's name makes a scene that nobody plays."""
        short = isinstance(name, str) and len(name) <= 64
        found = _NAME.fullmatch(str(name)) if short else None
        if found is None:
            return DEFAULT
        return cls(found[1], tuple(int(number) for number in found[2].split("-")[1:]))

    def number(self, index: int, default: int) -> int:
        """Return the number at *index*, or *default* where the name had fewer."""
        return self.numbers[index] if index < len(self.numbers) else default


DEFAULT = Scene("default")


@dataclass(frozen=True, slots=True)
class Block:
    """One content block, in the pieces it is streamed in.

    Attributes:
        opened: The block as ``content_block_start`` shows it, its piece still empty.
        key: Which member the pieces fill; ``input`` is filled with JSON text.
        signature: What a thinking block ends with, empty for every other block.
    """

    opened: Json
    key: str
    pieces: tuple[str, ...]
    signature: str = ""

    def whole(self) -> Json:
        """Return the finished block."""
        text = "".join(self.pieces)
        filled: object = json.loads(text) if self.key == "input" else text
        signed = {"signature": self.signature} if self.signature else {}
        return {**self.opened, self.key: filled, **signed}

    def deltas(self) -> Iterator[Json]:
        """Yield the ``delta`` of each of its events."""
        kind, member = {
            "text": ("text_delta", "text"),
            "thinking": ("thinking_delta", "thinking"),
            "input": ("input_json_delta", "partial_json"),
        }[self.key]
        for piece in self.pieces:
            yield {"type": kind, member: piece}
        if self.signature:
            yield {"type": "signature_delta", "signature": self.signature}


@dataclass(frozen=True, slots=True)
class Message:
    """The answer to a Messages request."""

    id: str
    model: str
    blocks: tuple[Block, ...]
    stop_reason: str
    stop_details: Json | None
    usage: Json

    def whole(self) -> Json:
        """Return the body of a response without streaming."""
        content = [block.whole() for block in self.blocks]
        return {**self._opened(), "content": content, **self._ended(), "usage": self.usage}

    def events(self) -> Iterator[tuple[str, Json]]:
        """Yield the events of a streamed response: names and payloads."""
        first = {k: v for k, v in self.usage.items() if k != "output_tokens_details"}
        # What was not said yet cannot be counted: the real API starts with a small number too.
        opened = {**self._opened(), "usage": {**first, "output_tokens": 1}}
        yield "message_start", {"message": opened}
        yield "ping", {}
        for index, block in enumerate(self.blocks):
            yield "content_block_start", {"index": index, "content_block": block.opened}
            for delta in block.deltas():
                yield "content_block_delta", {"index": index, "delta": delta}
            yield "content_block_stop", {"index": index}
        last = {k: v for k, v in self.usage.items() if k.endswith(("_tokens", "_details"))}
        yield "message_delta", {"delta": self._ended(), "usage": last}
        yield "message_stop", {}

    def _opened(self) -> Json:
        said: Json = {"id": self.id, "type": "message", "role": "assistant", "model": self.model}
        return {**said, "content": [], "stop_reason": None, "stop_sequence": None}

    def _ended(self) -> Json:
        details = {} if self.stop_details is None else {"stop_details": self.stop_details}
        return {"stop_reason": self.stop_reason, "stop_sequence": None, **details}


def encode(value: object) -> bytes:
    """Return *value* as compact JSON; half a surrogate pair becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def usage_for(body: Json, scene: Scene | None = None) -> Json:
    """Return the final ``usage`` of the answer to *body*, a Messages request's JSON.

    The counts follow from the request alone:

    - Input: a quarter of the bytes of ``messages``, ``system`` and ``tools`` as compact
      JSON, each rounded up. Where ``cache_control`` occurs in one of them, ``system`` and
      ``tools`` are the cached part: written by a request of one message (for an hour where
      a ``ttl`` says "1h", else for 5 minutes), read by a request of more.
    - Output: one token for each piece of text, thinking or tool input, streamed or not.

    *scene* is the one that the request's field named, None to go by its model.
    """
    return message_for(body, scene).usage


def message_for(body: Json, scene: Scene | None = None) -> Message:
    """Return the answer to *body*, a Messages request's JSON; *scene* as in usage_for."""
    model = body.get("model")
    blocks, stop_reason = _content(body, scene or Scene.named(model))
    refusal = {"type": "refusal", "category": None, "explanation": "It was asked to refuse."}
    return Message(
        id="msg_" + _digest(body),
        model=model if isinstance(model, str) else "claude-demo",
        blocks=blocks,
        stop_reason=stop_reason,
        stop_details=refusal if stop_reason == "refusal" else None,
        usage=_usage(body, blocks),
    )


def input_tokens(body: Json) -> int:
    """Return what ``count_tokens`` answers: all of the input, cached or not."""
    return sum(_tokens(body.get(part)) for part in ("messages", "system", "tools"))


def _digest(body: Json) -> str:
    # Without "stream", so that an answer is the same with streaming and without.
    said = {key: value for key, value in body.items() if key != "stream"}
    return hashlib.sha256(encode(said)).hexdigest()[:24]


def _tokens(value: object) -> int:
    return 0 if value is None else -(-len(encode(value)) // 4)


def _usage(body: Json, blocks: Iterable[Block]) -> Json:
    said = encode([body.get(part) for part in ("messages", "system", "tools")])
    cacheable = _tokens(body.get("system")) + _tokens(body.get("tools"))
    cached = cacheable if b'"cache_control":' in said else 0
    written = cached if len(objects(body.get("messages"))) <= 1 else 0
    one_hour = written if b'"ttl":"1h"' in said else 0
    return {
        "input_tokens": input_tokens(body) - cached,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached - written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - one_hour,
            "ephemeral_1h_input_tokens": one_hour,
        },
        "output_tokens": sum(len(block.pieces) for block in blocks),
        "output_tokens_details": {
            "thinking_tokens": sum(len(block.pieces) for block in blocks if block.signature)
        },
        "service_tier": "standard",
        "inference_geo": "global",
    }


def _content(body: Json, scene: Scene) -> tuple[tuple[Block, ...], str]:
    if scene.name == "refusal":
        return (), "refusal"
    if scene.name == "max-tokens":
        return (_text("This answer ends in the middle of a"),), "max_tokens"
    thoughts = (_thinking(),) if scene.name == "thinking" or _thinks(body) else ()
    if scene.name in _WORDS_AT:
        count = min(scene.number(_WORDS_AT[scene.name], 10), _MOST_WORDS)
        return (*thoughts, _block_of(f"word{n} " for n in range(count))), "end_turn"
    if scene.name == "big":
        count = min(-(-scene.number(0, 1 << 20) // len(_BIG_PIECE)), _MOST_WORDS)
        return (_block_of((_BIG_PIECE,) * count),), "end_turn"
    if scene.name == "tool" or _wants_tool(body):
        return (*thoughts, _text("Let me look that up."), _tool_use(body)), "tool_use"
    return (*thoughts, _text(_reply_to(body))), "end_turn"


def _reply_to(body: Json) -> str:
    if _has_tool_result(body):
        return "Thank you, that is what the tool found. 👍 Is there anything else?"
    return (
        f"Hello! 👋 Your last message is {len(_last_text(body))} characters long. "
        "This is a simulated upstream: no model was asked."
    )


def _text(text: str) -> Block:
    return _block_of(_WORD.findall(text))


def _block_of(pieces: Iterable[str]) -> Block:
    return Block({"type": "text", "text": ""}, "text", tuple(pieces))


def _thinking() -> Block:
    thought = "They would like an answer, and a short one will do."
    opened = {"type": "thinking", "thinking": "", "signature": ""}
    return Block(opened, "thinking", tuple(_WORD.findall(thought)), "RGVtbyBzaWduYXR1cmUu" * 4)


def _thinks(body: Json) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _tool_use(body: Json) -> Block:
    tools = objects(body.get("tools"))
    tool = next((tool for tool in tools if isinstance(tool.get("name"), str)), {})
    sample = _sample(tool.get("input_schema", {"required": ["city"]}))
    text = json.dumps(sample if isinstance(sample, dict) else {})
    opened = {
        "type": "tool_use",
        "id": "toolu_" + _digest(body),
        "name": tool.get("name", "get_weather"),
        "input": {},
    }
    pieces = [text[at : at + 6] for at in range(0, len(text), 6)]
    return Block(opened, "input", ("", *pieces))  # the real API's first piece is empty too


def _sample(schema: object) -> object:
    """Return a value that *schema* allows, as far as that is simple to say."""
    if not isinstance(schema, dict):
        return "demo"
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if isinstance(schema.get("required"), list) or schema.get("type") == "object":
        members, names = schema.get("properties"), schema.get("required") or ()
        known = members if isinstance(members, dict) else {}
        return {name: _sample(known.get(name)) for name in names if isinstance(name, str)}
    return _SAMPLES.get(str(schema.get("type")), "demo")


def _wants_tool(body: Json) -> bool:
    asked = _ASKS_FOR_TOOL.search(_last_text(body)) is not None
    return asked and bool(objects(body.get("tools"))) and not _has_tool_result(body)


def _has_tool_result(body: Json) -> bool:
    return any(part.get("type") == "tool_result" for part in _last_user(body))


def _last_text(body: Json) -> str:
    # The last text alone: clients put what they remind the model of in texts before it.
    texts = [part.get("text") for part in _last_user(body)]
    return next((text for text in reversed(texts) if isinstance(text, str)), "")


def _last_user(body: Json) -> list[Json]:
    turns = [turn for turn in objects(body.get("messages")) if turn.get("role") == "user"]
    content = turns[-1].get("content") if turns else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return objects(content)


def objects(value: object) -> list[Json]:
    """Return the JSON objects of a list, none where *value* is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
