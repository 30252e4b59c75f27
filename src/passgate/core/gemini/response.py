"""What a Messages client gets of an answer: its events as they come, or all of it at the end.

Both are made from the same events, so that a client is told the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from passgate.core.gemini import errors
from passgate.core.gemini.events import (
    Block,
    BlockDelta,
    BlockStart,
    Delta,
    Details,
    End,
    EndUsage,
    Event,
    InputDelta,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    StartUsage,
    StopDetails,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolBlock,
    encode,
)
from passgate.core.gemini.stream import Translation, Verdict

# The longest answer is half a megabyte of text, each word in an event of half a kilobyte.
_MAX_WHOLE_BYTES = 64 << 20


class Streamed:
    """An answer as server-sent events.

    Attributes:
        translation: What makes the events, and knows what became of the answer.
    """

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, translation: Translation, request_id: str) -> None:
        self.translation = translation
        self._request_id = request_id

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of Google's body; return what goes to the client."""
        return encode(self.translation.feed(data))

    def close(self) -> bytes:
        """Take the end of Google's body; return what goes to the client."""
        return encode(self.translation.close())


class Whole:
    """An answer in one piece.

    Attributes:
        translation: As of :class:`Streamed`.
    """

    content_type = b"application/json"

    def __init__(self, translation: Translation) -> None:
        self.translation = translation
        self._events: list[Event] = []
        self._fed_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of Google's body; return nothing yet."""
        self._fed_bytes += len(data)
        if self._fed_bytes > _MAX_WHOLE_BYTES:
            self.translation.fail(errors.TOO_LARGE)
            self._events.clear()
        self._events += self.translation.feed(data)
        return b""

    def close(self) -> bytes:
        """Take the end of Google's body; return the message, if it is complete."""
        self._events += self.translation.close()
        return folded(self._events) if self.translation.verdict is Verdict.COMPLETE else b""


class Usage(msgspec.Struct, frozen=True):
    """The usage of a message in one piece."""

    input_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens: int
    output_tokens_details: Details
    service_tier: str


class Complete(msgspec.Struct, frozen=True):
    """A message in one piece."""

    id: str
    type: str
    role: str
    model: str
    content: list[Block]
    stop_reason: str
    stop_sequence: None
    stop_details: StopDetails | msgspec.UnsetType
    usage: Usage


class _Fold(msgspec.Struct):
    """A message while its events are put together."""

    message: Message | None = None
    opened: list[Block] = msgspec.field(default_factory=list)
    pieces: list[list[str]] = msgspec.field(default_factory=list)
    signatures: dict[int, str] = msgspec.field(default_factory=dict)
    end: MessageDelta | None = None

    def take(self, event: Event) -> None:
        match event:
            case MessageStart():
                self.message = event.message
            case BlockStart():
                self.opened.append(event.content_block)
                self.pieces.append([])
            case BlockDelta():
                self._delta(event.index, event.delta)
            case MessageDelta():
                self.end = event
            case _:
                pass

    def _delta(self, index: int, delta: Delta) -> None:
        match delta:
            case TextDelta():
                self.pieces[index].append(delta.text)
            case ThinkingDelta():
                self.pieces[index].append(delta.thinking)
            case InputDelta():
                self.pieces[index].append(delta.partial_json)
            case _:
                self.signatures[index] = delta.signature

    def blocks(self) -> list[Block]:
        return [
            _whole(block, "".join(pieces), self.signatures.get(index, ""))
            for index, (block, pieces) in enumerate(zip(self.opened, self.pieces, strict=True))
        ]


def _whole(block: Block, said: str, signature: str) -> Block:
    match block:
        case TextBlock():
            return TextBlock(said)
        case ThinkingBlock():
            return ThinkingBlock(said, signature)
        case _:
            return ToolBlock(block.id, block.name, msgspec.Raw(said.encode()))


def folded(events: Iterable[Event]) -> bytes:
    """Return the message that the *events* of a complete stream tell, as JSON."""
    fold = _Fold()
    for event in events:
        fold.take(event)
    message, end = fold.message, fold.end
    if message is None or end is None:
        raise ValueError("the stream is not complete")
    usage = end.usage
    return msgspec.json.encode(
        Complete(
            message.id,
            message.type,
            message.role,
            message.model,
            fold.blocks(),
            end.delta.stop_reason,
            None,
            end.delta.stop_details,
            Usage(
                usage.input_tokens,
                usage.cache_read_input_tokens,
                usage.cache_creation_input_tokens,
                usage.output_tokens,
                usage.output_tokens_details,
                message.usage.service_tier,
            ),
        )
    )


def nothing(model: str, message_id: str) -> list[Event]:
    """Return the events of an answer to who wants no token: there is nothing to ask Google."""
    start = StartUsage(0, 0, 0, 0)
    message = Message(message_id, "message", "assistant", (), model, None, None, start)
    end = MessageDelta(End("max_tokens"), EndUsage(0, 0, 0, 0, Details(0)))
    return [MessageStart(message), end, MessageStop()]


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int


def counted(body: bytes) -> bytes | None:
    """Return the count in an answer to ``countTokens`` as Messages JSON, None where it has none."""
    try:
        count = msgspec.json.decode(body, type=_Count)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.json.encode({"input_tokens": count.total_tokens})
