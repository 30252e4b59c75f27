"""The content blocks of one Messages stream: which may be opened, and what closes them.

One block is open at a time, and a thinking block ends with a signature. What the parts of an
answer are is read in ``stream.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import ClassVar

import msgspec

from passgate.core.gemini.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Event,
    InputDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolBlock,
)
from passgate.core.gemini.signatures import Envelope, Kind

# What an SDK parses anew with each piece should not be cut smaller.
_MAX_PIECE = 16 << 10


class Open(Enum):
    """Which block is open."""

    NOTHING = "nothing"
    THINKING = "thinking"
    TEXT = "text"


class Step(Enum):
    """What comes next in an answer."""

    THOUGHT = "thought"
    TEXT = "text"
    CALL = "call"
    SIGNED_CALL = "signed call"
    END = "end"


class Do(Enum):
    """One thing to be done about it."""

    START_THINKING = "start thinking"
    START_TEXT = "start text"
    THINK = "think"
    SAY = "say"
    MARK = "close a thought with a signature of its own, or with none of Gemini's"
    SIGN = "close a thought with the signature of the call that follows"
    STOP = "stop"
    USE = "use a tool"


MOVES: dict[tuple[Open, Step], tuple[tuple[Do, ...], Open]] = {
    (Open.NOTHING, Step.THOUGHT): ((Do.START_THINKING, Do.THINK), Open.THINKING),
    (Open.THINKING, Step.THOUGHT): ((Do.THINK,), Open.THINKING),
    (Open.TEXT, Step.THOUGHT): ((Do.STOP, Do.START_THINKING, Do.THINK), Open.THINKING),
    (Open.NOTHING, Step.TEXT): ((Do.START_TEXT, Do.SAY), Open.TEXT),
    (Open.THINKING, Step.TEXT): ((Do.MARK, Do.STOP, Do.START_TEXT, Do.SAY), Open.TEXT),
    (Open.TEXT, Step.TEXT): ((Do.SAY,), Open.TEXT),
    (Open.NOTHING, Step.CALL): ((Do.USE,), Open.NOTHING),
    (Open.THINKING, Step.CALL): ((Do.MARK, Do.STOP, Do.USE), Open.NOTHING),
    (Open.TEXT, Step.CALL): ((Do.STOP, Do.USE), Open.NOTHING),
    # The carrier comes before the call: behind the text it would be the last block, which
    # Claude refuses as input and which clients take for the answer.
    (Open.NOTHING, Step.SIGNED_CALL): (
        (Do.START_THINKING, Do.SIGN, Do.STOP, Do.USE),
        Open.NOTHING,
    ),
    (Open.THINKING, Step.SIGNED_CALL): ((Do.SIGN, Do.STOP, Do.USE), Open.NOTHING),
    (Open.TEXT, Step.SIGNED_CALL): (
        (Do.STOP, Do.START_THINKING, Do.SIGN, Do.STOP, Do.USE),
        Open.NOTHING,
    ),
    (Open.NOTHING, Step.END): ((), Open.NOTHING),
    (Open.THINKING, Step.END): ((Do.MARK, Do.STOP), Open.NOTHING),
    (Open.TEXT, Step.END): ((Do.STOP,), Open.NOTHING),
}


class Said(msgspec.Struct, frozen=True):
    """What a step says.

    Attributes:
        text: A text, a thought, or a call's arguments as JSON.
        signature: The envelope that a call's thinking block carries.
        tool_id: The client's id of a call.
        tool: The client's name of what is called.
    """

    text: str = ""
    signature: str = ""
    tool_id: str = ""
    tool: str = ""


class Blocks:
    """The blocks of one message.

    Args:
        model: Id of the Gemini model.
        scope: Of the key in use.

    Attributes:
        open: Which block is open.
        thought_signature: What Gemini signed the open thought with, or None.
    """

    __slots__ = ("_index", "_model", "_scope", "open", "thought_signature")

    def __init__(self, model: str, scope: str) -> None:
        self.open = Open.NOTHING
        self.thought_signature: str | None = None
        self._index = 0
        self._model = model
        self._scope = scope

    def move(self, step: Step, said: Said, events: list[Event]) -> None:
        """Do what the table says for *step*, and add the events of that."""
        todo, self.open = MOVES[self.open, step]
        for do in todo:
            events += self._doing[do](self, said)

    def _say(self, said: Said) -> tuple[Event]:
        return (BlockDelta(self._index, TextDelta(said.text)),)

    def _think(self, said: Said) -> tuple[Event]:
        return (BlockDelta(self._index, ThinkingDelta(said.text)),)

    def _start_text(self, _: Said) -> tuple[Event]:
        return (BlockStart(self._index, TextBlock()),)

    def _start_thinking(self, _: Said) -> tuple[Event]:
        return (BlockStart(self._index, ThinkingBlock()),)

    def _sign(self, said: Said) -> tuple[Event]:
        self.thought_signature = None  # a call's signature counts more
        return (BlockDelta(self._index, SignatureDelta(said.signature)),)

    def _mark(self, _: Said) -> tuple[Event]:
        signature, self.thought_signature = self.thought_signature, None
        kind = Kind.THOUGHT if signature else Kind.NOTHING
        mark = Envelope(kind, self._model, self._scope, None, signature).encode()
        return (BlockDelta(self._index, SignatureDelta(mark)),)

    def _stop(self, _: Said) -> tuple[Event]:
        self._index += 1
        return (BlockStop(self._index - 1),)

    def _use(self, said: Said) -> Iterator[Event]:
        index, args = self._index, said.text
        self._index += 1
        yield BlockStart(index, ToolBlock(said.tool_id, said.tool))
        for at in range(0, len(args), _MAX_PIECE):
            yield BlockDelta(index, InputDelta(args[at : at + _MAX_PIECE]))
        yield BlockStop(index)

    _doing: ClassVar[dict[Do, Callable[[Blocks, Said], Iterable[Event]]]] = {
        Do.START_THINKING: _start_thinking,
        Do.START_TEXT: _start_text,
        Do.THINK: _think,
        Do.SAY: _say,
        Do.MARK: _mark,
        Do.SIGN: _sign,
        Do.STOP: _stop,
        Do.USE: _use,
    }
