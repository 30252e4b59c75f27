"""The body of a generateContent request as values, and its bytes.

Field order is the order of the bytes: the same request gives the same bytes, which is what
Gemini's implicit cache finds a prefix by.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw


class Blob(msgspec.Struct, rename="camel", gc=False):
    """Media, base64."""

    mime_type: str
    data: str


class Link(msgspec.Struct, rename="camel", gc=False):
    """Media that Google fetches."""

    file_uri: str
    mime_type: str


class Media(msgspec.Struct, rename="camel", gc=False):
    """Media within a function's response."""

    inline_data: Blob


class FunctionCall(msgspec.Struct, omit_defaults=True):
    """A call that the model made."""

    id: str | None = None
    name: str = ""
    args: Raw | dict[str, Raw] | None = None


class FunctionResponse(msgspec.Struct, omit_defaults=True):
    """What a call gave; ``response`` is always an object of strings.

    Never structured: Google would resolve a member named ``$ref`` inside it.
    """

    id: str | None = None
    name: str = ""
    response: dict[str, str] | None = None
    parts: list[Media] | None = None


class Part(msgspec.Struct, rename="camel", omit_defaults=True):
    """One part of a content: exactly one of the first five, and what goes with it."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: Link | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought: bool = False
    thought_signature: str | None = None


class Content(msgspec.Struct):
    """One turn."""

    role: str
    parts: list[Part]


class Instruction(msgspec.Struct):
    """What the model is told before the conversation."""

    parts: list[Part]


class Declaration(msgspec.Struct, rename="camel", omit_defaults=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters_json_schema: dict[str, Any] | None = None


class Declarations(msgspec.Struct, rename="camel"):
    """All functions that the model may call."""

    function_declarations: list[Declaration]


class CallingConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """Whether the model has to call a function, and which."""

    mode: str
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    """How functions are called."""

    function_calling_config: CallingConfig


class ThinkingConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """How much the model thinks; level and budget exclude each other."""

    include_thoughts: bool = False
    thinking_level: str | None = None
    thinking_budget: int | None = None


class GenerationConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """How the answer is made."""

    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    response_mime_type: str | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: ThinkingConfig | None = None


class Generate(msgspec.Struct, rename="camel", omit_defaults=True):
    """The body of generateContent; within countTokens it names its model."""

    model: str | None = None
    system_instruction: Instruction | None = None
    tools: list[Declarations] | None = None
    tool_config: ToolConfig | None = None
    contents: list[Content] = msgspec.field(default_factory=list)
    generation_config: GenerationConfig | None = None


class Count(msgspec.Struct, rename="camel"):
    """The body of countTokens."""

    generate_content_request: Generate


encode = msgspec.json.Encoder().encode
