"""Runs of blocks as Gemini's turns: calls with their results, thoughts with what was signed.

What a turn holds depends on the conversation alone. Which signatures go with it depends on
the key that the request is sent with, and is decided where the bytes are made.
"""

from __future__ import annotations

import msgspec

from passgate.core.gemini import content
from passgate.core.gemini.body import Block, Placed, refused
from passgate.core.gemini.models import Model
from passgate.core.gemini.names import NameMap
from passgate.core.gemini.parts import FunctionCall, Part
from passgate.core.gemini.results import Call, answer, matched
from passgate.core.gemini.runs import MODEL, REMINDER, USER, Run
from passgate.core.gemini.signatures import PREFIX, Envelope, Kind, decode, tool_id_up

_SERVER_CALLS = ("server_tool_use", "mcp_tool_use")
_EMPTY = "all messages must have non-empty content except for the optional final assistant message"


class Thought(msgspec.Struct, frozen=True):
    """A thought that was signed itself; without its signature it is not sent back."""

    text: str
    envelope: Envelope


class Spoken(msgspec.Struct, frozen=True):
    """The end of a message of the model's that holds *text*, which may have been signed."""

    text: str


Item = Part | Call | Thought | Spoken


class Turn(msgspec.Struct, frozen=True):
    """One content before its signatures; a user's holds parts alone."""

    role: str
    items: list[Item]


class Turns(msgspec.Struct):
    """The turns of a conversation as they are made.

    Attributes:
        model: Which is asked.
        names: What it calls the tools; names of the history are entered.
        made: The turns so far.
        dropped: What was left out.
        server: The call that Anthropic's server made last and whose result is not here yet.
    """

    model: Model
    names: NameMap
    made: list[Turn] = msgspec.field(default_factory=list)
    dropped: dict[str, None] = msgspec.field(default_factory=dict)
    server: Part | None = None

    def of(self, runs: list[Run]) -> list[Turn]:
        """Return the turns of *runs*, which end with the user's.

        Raises:
            Refused: Calls and results do not match, a block cannot be told to Gemini, or
                nothing is left to answer; in the Messages API's words where clients match them.
        """
        calls: list[Call] = []
        for index, run in enumerate(runs):
            if run.role == MODEL:
                calls = self._model(run)
            else:
                self._user(run, calls, last=index == len(runs) - 1)
                calls = []
        if calls:
            matched([], calls)
        if not self.made or self.made[-1].role == MODEL:
            raise refused(runs[-1].place if runs else "messages", _EMPTY, verbatim=True)
        if self.made[0].role == MODEL:
            # Gemini wants the user first. A word would be read; a space is not.
            self.made.insert(0, Turn(USER, [Part(text=" ")]))
        return self.made

    def _enter(self, role: str, items: list[Item]) -> None:
        """Enter what a run became; where that is nothing, its neighbours are one turn."""
        if not items:
            return
        if self.made and self.made[-1].role == role:
            self.made[-1].items.extend(items)
        else:
            self.made.append(Turn(role, items))

    def _parts(self, each: Placed, *, last: bool = False) -> list[Part]:
        return content.parts_of(each, names=self.names, last=last, dropped=self.dropped)

    def _model(self, run: Run) -> list[Call]:
        """Enter a run of the model's; return its calls."""
        envelopes: dict[str, Envelope] = {}
        items: list[Item] = []
        calls: dict[str, Call] = {}
        for message in run.messages:
            said = ""
            for each in message:
                if each.block.type == "tool_use":
                    call = self._call(each, envelopes)
                    if call.tool_id in calls:
                        text = "`tool_use` ids must be unique"
                        raise refused(each.place, text, verbatim=True)
                    calls[call.tool_id] = call
                    items.append(call)
                elif each.block.type == "thinking":
                    self._thought(each.block, envelopes, items)
                else:
                    items += self._said(each)
                    said += each.block.text or "" if each.block.type == "text" else ""
            if said:
                items.append(Spoken(said))
        if any(isinstance(item, Part | Call) for item in items):
            self._enter(MODEL, items)
        return list(calls.values())

    def _call(self, each: Placed, envelopes: dict[str, Envelope]) -> Call:
        block, place = each.block, each.place
        if not block.id:
            raise refused(f"{place}.tool_use.id", "Field required")
        if not block.name:
            raise refused(f"{place}.tool_use.name", "Field required")
        name, args = self.names.up(block.name), content.arguments(block, place)
        call = FunctionCall(tool_id_up(block.id), name, args)
        return Call(call, block.id, place, envelopes.get(block.id))

    def _thought(self, block: Block, envelopes: dict[str, Envelope], items: list[Item]) -> None:
        """Enter what a thinking block carries; what Claude thought never reaches Google."""
        signature = block.signature or ""
        envelope = decode(signature)
        if envelope is None:
            kind = "broken signatures" if signature.startswith(PREFIX) else "thinking of others"
            self.dropped[kind] = None
        elif envelope.kind is Kind.CALL and envelope.tool_id is not None:
            envelopes[envelope.tool_id] = envelope
        elif envelope.kind is Kind.THOUGHT and envelope.signature is not None:
            items.append(Thought(block.thinking or "", envelope))

    def _said(self, each: Placed) -> list[Part]:
        """Return the parts of any other block of the model's."""
        block = each.block
        if block.type == "tool_result":
            text = "`tool_result` blocks can only be in `user` messages"
            raise refused(each.place, text, verbatim=True)
        if block.type in _SERVER_CALLS:
            self.server = Part(text=content.server_call(block, each.place))
            return [self.server]
        if block.type.endswith("_tool_result"):
            result, call = content.server_result(block), self.server
            self.server = None
            if call is not None:
                call.text = f"{call.text}\n{result}"
            return [Part(text=result)] if result and call is None else []
        return [part for part in self._parts(each) if part.text != ""]

    def _user(self, run: Run, calls: list[Call], *, last: bool) -> None:
        """Enter a run of the user's, which answers *calls*."""
        results: list[Placed] = []
        reminders: list[str] = []
        rest: list[Item] = []
        for each in (each for message in run.messages for each in message):
            kind = each.block.type
            if kind == "tool_use":
                text = "`tool_use` blocks can only be in `assistant` messages"
                raise refused(each.place, text, verbatim=True)
            if kind == "tool_result":
                results.append(each)
            elif calls and kind == "text" and (each.block.text or "").startswith(REMINDER):
                reminders.append(each.block.text or "")
            else:
                rest += [part for part in self._parts(each, last=last) if part.text != ""]
        answers = [
            answer(
                call.call,
                self._result(result, last=last),
                failed=bool(result.block.is_error),
                within=self.model.current,
            )
            for call, result in zip(calls, matched(results, calls), strict=True)
        ]
        if answers:
            answers[-1] = answers[-1].reminded(reminders)
        items: list[Item] = [told.part for told in answers]
        for told in answers:
            items += told.beside
        self._enter(USER, items + rest)

    def _result(self, result: Placed, *, last: bool) -> list[Part]:
        """Return the parts of a result's content, empty texts included."""
        held = result.block.content
        if isinstance(held, str):
            return [Part(text=held)]
        found = [held] if isinstance(held, Block) else held or []
        parts: list[Part] = []
        for index, block in enumerate(found):
            parts += self._parts(Placed(f"{result.place}.content.{index}", block), last=last)
        return parts
