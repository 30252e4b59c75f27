"""Messages requests for the tests, and what Google would get of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from passgate.core.faults import Fault, Refused
from passgate.core.gemini.request import Asked, Replay, read
from passgate.core.gemini.signatures import Envelope, Forgetful, Kind, TextSignature, text_key

Json = dict[str, Any]

FLASH = "gemini-3.8-flash"
OLD = "gemini-2.5-flash"
SCOPE = "9f2c01aa"
OTHER_SCOPE = "00000000"

READ_TOOL: Json = {
    "name": "Read",
    "description": "Read a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
HI: Json = {"role": "user", "content": "hi"}


def ask(*messages: Json, **fields: Any) -> Json:
    """Return a request of these messages; a field that is None is left out."""
    made = {"model": FLASH, "max_tokens": 8192, "messages": list(messages) or [HI], **fields}
    return {key: value for key, value in made.items() if value is not None}


def body_of(request: Json) -> bytes:
    """Return a request as a client sends it."""
    return msgspec.json.encode(request)


def user(*blocks: Json | str) -> Json:
    """Return a user message; a string is a text block."""
    return {"role": "user", "content": [_block(each) for each in blocks]}


def assistant(*blocks: Json | str) -> Json:
    """Return an assistant message; a string is a text block."""
    return {"role": "assistant", "content": [_block(each) for each in blocks]}


def _block(block: Json | str) -> Json:
    return {"type": "text", "text": block} if isinstance(block, str) else block


def call(id_: str = "toolu_g_a", name: str = "Read", **arguments: Any) -> Json:
    """Return a tool_use."""
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def result(id_: str = "toolu_g_a", content: Any = "done", **more: Any) -> Json:
    """Return a tool_result; content None is left out."""
    made = {"type": "tool_result", "tool_use_id": id_, "content": content, **more}
    return {key: value for key, value in made.items() if value is not None}


def thinking(signature: str, text: str = "") -> Json:
    """Return a thinking block."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def signed(
    id_: str = "toolu_g_a", signature: str = "EsoB", *, model: str = FLASH, scope: str = SCOPE
) -> Json:
    """Return the thinking block that carries the signature of a call."""
    return thinking(Envelope(Kind.CALL, model, scope, id_, signature).encode())


class Remembering(Forgetful):
    """A process that remembers what it is told here."""

    def __init__(
        self, *calls: Envelope, texts: dict[str, TextSignature] | None = None, model: str = FLASH
    ) -> None:
        self._calls = {each.tool_id: each for each in calls}
        self._texts = {text_key(model, text): each for text, each in (texts or {}).items()}

    def call(self, tool_id: str) -> Envelope | None:
        """Return what is remembered of a call."""
        return self._calls.get(tool_id)

    def text(self, key: bytes) -> TextSignature | None:
        """Return what is remembered of a text."""
        return self._texts.get(key)


PLAIN = Replay(SCOPE)


def asked(request: Json, model: str = FLASH, **how: Any) -> Asked:
    """Return what is asked of a model."""
    return read(body_of(request), model, **how)


def sent(request: Json, model: str = FLASH, replay: Replay = PLAIN, **how: Any) -> Json:
    """Return the body that Google gets."""
    made: Json = json.loads(asked(request, model, **how).body(replay))
    return made


def fault(request: Json, model: str = FLASH, **how: Any) -> Fault:
    """Return why a request is refused."""
    try:
        asked(request, model, **how)
    except Refused as refused:
        return refused.fault
    raise AssertionError("not refused")


def at(made: Any, path: str) -> Any:
    """Return what stands at a path such as ``contents.0.parts``, or None where nothing does."""
    for step in path.split("."):
        if isinstance(made, list):
            made = made[int(step)] if int(step) < len(made) else None
        else:
            made = (made or {}).get(step)
    return made
