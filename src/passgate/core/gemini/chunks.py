"""What Gemini streams, as values: chunks of an answer, as far as a Messages client gets any of it.

Members that no field names are skipped by the decoder, which also is what makes it fast.

Source: ai.google.dev, "GenerateContentResponse"; the types of the google-genai SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

from passgate.core.usage import Usage, count

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


class Counts(msgspec.Struct, gc=False, rename="camel"):
    """``usageMetadata``: cumulative within an answer. What is no number was not told.

    Zero is never sent, so that a count which is missing beside others is one.
    """

    prompt_token_count: Any = None
    cached_content_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    tool_use_prompt_token_count: Any = None

    def updated(self, later: Counts) -> Counts:
        """Return these counts with every count that *later* states put over them."""
        return Counts(
            _later(self.prompt_token_count, later.prompt_token_count),
            _later(self.cached_content_token_count, later.cached_content_token_count),
            _later(self.candidates_token_count, later.candidates_token_count),
            _later(self.thoughts_token_count, later.thoughts_token_count),
            _later(self.tool_use_prompt_token_count, later.tool_use_prompt_token_count),
        )

    def usage(self) -> Usage:
        """Return what they mean."""
        prompt, cached = self.prompt_token_count, self.cached_content_token_count or 0
        return Usage(
            None if prompt is None else _fresh(prompt, cached, self.tool_use_prompt_token_count),
            (self.candidates_token_count or 0) + (self.thoughts_token_count or 0),
            cached,
            thinking_tokens=self.thoughts_token_count or 0,
        )


class Chunk(msgspec.Struct, gc=False, rename="camel"):
    """One event of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Counts | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


def _later(known: Any, said: object) -> Any:  # noqa: ANN401  a count, or not told
    told = count(said)
    return known if told is None else told


def _fresh(prompt: int, cached: int, tools: int | None) -> int:
    # What the prompt's count includes is read from the cache, not from the prompt.
    return max(0, prompt - cached) + (tools or 0)


decode = msgspec.json.Decoder(Chunk).decode
