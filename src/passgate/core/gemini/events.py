"""The events of a Messages stream as values, and their bytes.

Members stand in the order in which they are declared, so that equal events are equal bytes.
What an answer says is decided in ``stream.py``.

Source: Claude docs, "Streaming messages", event types.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from passgate.core.faults import Fault, envelope


class StartUsage(msgspec.Struct, frozen=True, gc=False):
    """What is known of an answer's usage when it starts."""

    input_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens: int
    service_tier: str = "standard"


class Details(msgspec.Struct, frozen=True, gc=False):
    """What the output consisted of."""

    thinking_tokens: int


class EndUsage(msgspec.Struct, frozen=True, gc=False):
    """The usage of an answer: totals, which take the place of the first ones."""

    input_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens: int
    output_tokens_details: Details


class Message(msgspec.Struct, frozen=True):
    """A message before its first block."""

    id: str
    type: str
    role: str
    content: tuple[()]
    model: str
    stop_reason: None
    stop_sequence: None
    usage: StartUsage


class TextBlock(msgspec.Struct, frozen=True, gc=False, tag="text"):
    """A block of text."""

    text: str = ""


class ThinkingBlock(msgspec.Struct, frozen=True, gc=False, tag="thinking"):
    """A block of thought."""

    thinking: str = ""
    signature: str = ""


class ToolBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    args: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="input")


Block = TextBlock | ThinkingBlock | ToolBlock


class TextDelta(msgspec.Struct, frozen=True, gc=False, tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False, tag="thinking_delta"):
    """More thought."""

    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, gc=False, tag="signature_delta"):
    """What closes a thinking block."""

    signature: str


class InputDelta(msgspec.Struct, frozen=True, gc=False, tag="input_json_delta"):
    """More of a call's arguments, as JSON text."""

    partial_json: str


Delta = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class StopDetails(msgspec.Struct, frozen=True, gc=False, tag="refusal"):
    """Why an answer was withheld."""

    category: None
    explanation: str


class End(msgspec.Struct, frozen=True):
    """How a message ended."""

    stop_reason: str
    stop_sequence: None = None
    stop_details: StopDetails | msgspec.UnsetType = msgspec.UNSET


class MessageStart(msgspec.Struct, frozen=True, tag="message_start"):
    """A message begins."""

    message: Message


class BlockStart(msgspec.Struct, frozen=True, tag="content_block_start"):
    """The block at *index* begins."""

    index: int
    content_block: Block


class BlockDelta(msgspec.Struct, frozen=True, tag="content_block_delta"):
    """The block at *index* goes on."""

    index: int
    delta: Delta


class BlockStop(msgspec.Struct, frozen=True, gc=False, tag="content_block_stop"):
    """The block at *index* is complete."""

    index: int


class MessageDelta(msgspec.Struct, frozen=True, tag="message_delta"):
    """The message is complete but for its last event."""

    delta: End
    usage: EndUsage


class MessageStop(msgspec.Struct, frozen=True, gc=False, tag="message_stop"):
    """The message is complete."""


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_LEADS: dict[type, bytes] = {
    MessageStart: b"event: message_start\ndata: ",
    BlockStart: b"event: content_block_start\ndata: ",
    BlockDelta: b"event: content_block_delta\ndata: ",
    BlockStop: b"event: content_block_stop\ndata: ",
    MessageDelta: b"event: message_delta\ndata: ",
    MessageStop: b"event: message_stop\ndata: ",
}
_encode = msgspec.json.Encoder().encode


def encode(events: Iterable[Event]) -> bytes:
    """Return *events* as server-sent events."""
    pieces: list[bytes] = []
    for event in events:
        pieces += (_LEADS[type(event)], _encode(event), b"\n\n")
    return b"".join(pieces)


def error_event(fault: Fault, request_id: str) -> bytes:
    """Return the event that ends a stream which failed after its head was sent."""
    return b"event: error\ndata: %s\n\n" % envelope(fault, request_id)
