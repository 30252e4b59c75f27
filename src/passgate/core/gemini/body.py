"""A Messages request as values, decoded once: what is in it, not what it means for Gemini.

One ``Block`` serves for every type of content block, so that a block nobody knows yet is
still a block. What no field names here is skipped by the decoder.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from passgate.core import faults
from passgate.core.faults import Refused


class Source(msgspec.Struct, gc=False):
    """Where an image or a document is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Block] | None = None


class Block(msgspec.Struct):
    """A content block of any type; which fields it has depends on ``type``."""

    type: str
    text: str | None = None
    # tool_use, server_tool_use, mcp_tool_use
    id: str | None = None
    name: str | None = None
    arguments: Raw | UnsetType = msgspec.field(default=UNSET, name="input")
    # tool_result and the results of server tools
    tool_use_id: str | None = None
    content: str | list[Block] | Block | None = None
    is_error: bool | None = None
    tool_name: str | None = None
    tool_references: list[Block] | None = None
    url: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    error_code: str | None = None
    # thinking
    thinking: str | None = None
    signature: str | None = None
    # image, document, search_result
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    # tool_addition, tool_removal, compaction
    tool: ToolChange | None = None
    tool_changes: list[Block] | None = None


class Tool(msgspec.Struct):
    """An entry of ``tools``."""

    name: str | None = None
    description: str | None = None
    input_schema: Raw | UnsetType = UNSET
    type: str | None = None
    defer_loading: bool | None = None
    strict: bool | UnsetType | None = UNSET
    input_examples: Raw | UnsetType = UNSET
    eager_input_streaming: Raw | UnsetType = UNSET
    allowed_callers: Raw | UnsetType = UNSET


class ToolChange(msgspec.Struct):
    """The tool that a system message adds or removes: by name, or with its definition."""

    type: str
    name: str | None = None
    definition: Tool | None = None


class Format(msgspec.Struct):
    """How the answer's text has to look."""

    type: str
    schema: Raw | UnsetType = UNSET


class OutputConfig(msgspec.Struct):
    """How much effort goes into an answer, and its format."""

    effort: str | None = None
    format: Format | None = None


class Thinking(msgspec.Struct):
    """Whether and how much the model is to think."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class ToolChoice(msgspec.Struct):
    """Which tool the model has to call."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Message(msgspec.Struct):
    """One entry of ``messages``."""

    role: str
    content: str | list[Block] | None = None
    clear_at: str | None = None
    output_config: OutputConfig | None = None


class Request(msgspec.Struct):
    """A Messages request, as far as an answer depends on it."""

    messages: list[Message]
    system: str | list[Block] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    mcp_servers: list[Any] | None = None
    fallbacks: Any = None
    thread: Any = None


class Placed(msgspec.Struct, frozen=True):
    """A block, and where it stands, such as ``messages.2.content.0``."""

    place: str
    block: Block


_READ = frozenset((*Request.__struct_fields__, "model"))
# Keys without a meaning for the result. Only these are named to the operator: what else
# a client may write there is not for a log.
_KNOWN_DROPPED = frozenset(
    (
        "metadata",
        "container",
        "diagnostics",
        "inference_geo",
        "service_tier",
        "speed",
        "user_profile_id",
        "context_management",
        "betas",
    )
)
_UNKNOWN = "unknown fields"
# They stand at any depth, which is not searched for a line in the log.
_ANYWHERE = ("cache_control", "citations")

_decode = msgspec.json.Decoder(Request).decode
_keys = msgspec.json.Decoder(dict[str, Raw]).decode
_WHERE = re.compile(r" - at `\$\.?(.*)`$")


def read(body: bytes | bytearray) -> tuple[Request, tuple[str, ...]]:
    """Return the request in *body*, and what of it is not looked at.

    Raises:
        Refused: It is no JSON, or no Messages request; the message names the field.
    """
    try:
        request = _decode(body)
        names = _keys(body).keys() - _READ - {*_ANYWHERE}
    except msgspec.ValidationError as error:
        raise refused(*_placed(str(error))) from None
    except RecursionError:
        raise Refused(faults.request("the body is nested too deeply")) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(faults.request(f"the body is not valid JSON: {error}")) from None
    dropped = sorted(names & _KNOWN_DROPPED)
    dropped += [_UNKNOWN] if names - _KNOWN_DROPPED else []
    dropped += [name for name in _ANYWHERE if b'"%s"' % name.encode() in body]
    return request, tuple(dropped)


def _placed(error: str) -> tuple[str, str]:
    """Return place and text of a decoder's *error*, the place as the Messages API writes it."""
    found = _WHERE.search(error)
    place = "" if found is None else re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found[1]).lstrip(".")
    return place, _WHERE.sub("", error).replace("`", "'")


def refused(place: str, message: str, *, verbatim: bool = False) -> Refused:
    """Return the refusal of what stands at *place*.

    Args:
        place: Such as ``messages.2.content.0.source``, or empty.
        message: What is wrong with it, and the value that is.
        verbatim: Clients match the wording.
    """
    text = f"{place}: {message}" if place else message
    return Refused(faults.request(text, verbatim=verbatim))


_decode_any = msgspec.json.Decoder().decode


def schema_in(raw: Raw | UnsetType, place: str) -> dict[str, Any] | None:
    """Return the JSON schema that *raw* is, or None where there is none.

    Raises:
        Refused: It is no object, or not JSON all through.
    """
    if isinstance(raw, UnsetType):
        return None
    try:
        schema = _decode_any(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(place, f"not valid JSON: {error}") from None
    if schema is not None and not isinstance(schema, dict):
        raise refused(place, f"not an object: {shown(schema)}")
    return schema


_MAX_SHOWN = 80


def shown(value: object) -> str:
    """Return *value* for a message: quoted, and not longer than a line."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
