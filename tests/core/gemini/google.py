"""Chunks as Gemini sends them, for the tests of what is made of them."""

from __future__ import annotations

import json
from typing import Any

from passgate.core.gemini.events import error_event
from passgate.core.gemini.response import Streamed, Whole
from passgate.core.gemini.stream import Translation, Wanted

MODEL = "gemini-3.8-flash"
SCOPE = "9f2c01aa"
NONE = f"pg1:n:{MODEL}:{SCOPE}:-:-"


def wanted(**more: Any) -> Wanted:
    """Return what an ordinary request with shown thoughts says of its answer."""
    given: dict[str, Any] = {"shows_thoughts": True, "request_id": "req_1"} | more
    return Wanted(MODEL, MODEL, SCOPE, given.pop("name_down", lambda name: name), **given)


def sse(*chunks: object, end: str = "\r\n\r\n") -> bytes:
    """Return *chunks* as Google's server-sent events."""
    return "".join(f"data: {json.dumps(each)}{end}" for each in chunks).encode()


def chunk(*parts: object, finish: str = "", **more: Any) -> dict[str, Any]:
    """Return one chunk with *parts*, its content left out where there are none."""
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"role": "model", "parts": list(parts)}
    if finish:
        candidate["finishReason"] = finish
    candidate |= more.pop("candidate", {})
    return {"candidates": [candidate], "modelVersion": MODEL, "responseId": "r1", **more}


def text(said: str, signature: str = "") -> dict[str, Any]:
    """Return a text part."""
    return {"text": said} | ({"thoughtSignature": signature} if signature else {})


def thought(said: str, signature: str = "") -> dict[str, Any]:
    """Return a part that is a thought."""
    return {"thought": True, **text(said, signature)}


def call(
    call_id: str | None = None, name: str = "Read", signature: str = "", **args: Any
) -> dict[str, Any]:
    """Return a function call."""
    ids = {} if call_id is None else {"id": call_id}
    signed = {"thoughtSignature": signature} if signature else {}
    return {"functionCall": {**ids, "name": name, "args": args}, **signed}


def stop(reason: str = "STOP", **more: Any) -> dict[str, Any]:
    """Return a chunk with nothing but the end."""
    return chunk(finish=reason, **more)


def streamed(*pieces: bytes, **more: Any) -> tuple[bytes, Translation]:
    """Return what a streaming client gets of *pieces*, and how it ended."""
    answer = Streamed(Translation(wanted(**more)), "req_1")
    got = b"".join(answer.feed(piece) for piece in pieces) + answer.close()
    if (fault := answer.translation.fault) is not None:
        got += error_event(fault, "req_1")
    return got, answer.translation


def whole(*pieces: bytes, **more: Any) -> bytes:
    """Return what a client without streaming gets of *pieces*."""
    answer = Whole(Translation(wanted(**more)))
    return b"".join(answer.feed(piece) for piece in pieces) + answer.close()


def envelope(kind: str, tool_id: str = "-", signature: str = "-") -> str:
    """Return the envelope that a client carries."""
    return f"pg1:{kind}:{MODEL}:{SCOPE}:{tool_id}:{signature}"
