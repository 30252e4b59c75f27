"""What Gemini streams, as values: chunks of an answer, as far as a Messages client gets any of it.

Members that no field names are skipped by the decoder, which also is what makes it fast.

Source: ai.google.dev, "GenerateContentResponse"; the types of the google-genai SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

_ABSENT = msgspec.Raw()


class Call(msgspec.Struct, gc=False):
    """A function call; its arguments stay JSON, so that they arrive as the model wrote them."""

    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = _ABSENT


class Part(msgspec.Struct, gc=False, rename="camel"):
    """A part of an answer; which fields it has says what it is."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Call | None = None
    inline_data: msgspec.Raw = _ABSENT


class Content(msgspec.Struct, gc=False):
    """The parts of a chunk."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    """One answer; there is never a second one, because none is asked for."""

    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    continuation_token: str | None = None


class Feedback(msgspec.Struct, gc=False, rename="camel"):
    """Why a prompt gets no answer."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Chunk(msgspec.Struct, gc=False, rename="camel"):
    """One event of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: msgspec.Raw = _ABSENT  # what cannot be counted harms no answer
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
