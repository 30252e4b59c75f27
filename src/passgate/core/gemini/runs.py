"""Who speaks when: neighbours of one role become one run, system messages find their place."""

from __future__ import annotations

import msgspec

from passgate.core.gemini.body import Block, Message, Placed, refused, shown
from passgate.core.gemini.content import TOOL_CHANGES, text_of
from passgate.core.gemini.tools import Change, changes_in

USER, MODEL = "user", "model"

# Claude Code's; the Messages API cuts it, to any other model it is noise that breaks the cache.
_ATTRIBUTION = "x-anthropic-billing-header:"
REMINDER = "<system-reminder>"

# Clients match this sentence. Source: Claude docs, errors of models without prefill.
PREFILL = (
    "This model does not support assistant message prefill. "
    "The conversation must end with a user message."
)


class Run(msgspec.Struct, frozen=True):
    """Messages of one role in a row.

    Attributes:
        role: In Gemini's words.
        place: Of the first of them, such as ``messages.2``.
        messages: The blocks of each.
    """

    role: str
    place: str
    messages: list[list[Placed]]


class Runs(msgspec.Struct):
    """A conversation in order.

    Attributes:
        instruction: What the model is told before it.
        runs: Who speaks, in turn.
        changes: What it does to the tools.
        effort: What a system message asks for in the turn that runs, or None.
        opening: Text of the first user message.
    """

    instruction: list[str]
    runs: list[Run] = msgspec.field(default_factory=list)
    changes: list[Change] = msgspec.field(default_factory=list)
    effort: str | None = None
    opening: str | None = None

    def says(self, role: str, place: str, placed: list[Placed]) -> None:
        """Enter one message."""
        if self.runs and self.runs[-1].role == role:
            self.runs[-1].messages.append(placed)
        else:
            self.runs.append(Run(role, place, [placed]))


def runs_of(system: str | list[Block] | None, messages: list[Message]) -> Runs:
    """Return *messages* in order.

    Raises:
        Refused: There are none, a role is unknown, or the last is the assistant's.
    """
    if not messages:
        raise refused("messages", "at least one message is required", verbatim=True)
    if messages[-1].role == "assistant":
        raise refused("", PREFILL, verbatim=True)
    made = Runs(_instructed(_placed(system, "system")))
    last_user = max((i for i, each in enumerate(messages) if each.role == "user"), default=-1)
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        placed = _placed(message.content, f"{place}.content")
        for each in placed:
            made.changes += changes_in(each.block, each.place)
        if message.role == "user":
            _user(made, place, placed)
        elif message.role == "assistant":
            made.says(MODEL, place, placed)
        elif message.role == "system":
            gone = message.clear_at == "next_user_message" and index < last_user
            _system(made, message, place, [] if gone else placed)
        else:
            raise refused(
                f"{place}.role", f"{shown(message.role)} is not one of user, assistant, system"
            )
    return made


def _placed(content: str | list[Block] | None, place: str) -> list[Placed]:
    """Return the blocks of a content in either form."""
    if isinstance(content, str):
        return [Placed(place, Block("text", content))]
    return [Placed(f"{place}.{index}", block) for index, block in enumerate(content or ())]


def _instructed(placed: list[Placed]) -> list[str]:
    """Return the texts of *placed*, without empty ones and the client's attribution."""
    texts = []
    for each in placed:
        if each.block.type != "text":
            raise refused(f"{each.place}.type", f"{shown(each.block.type)}: text is needed here")
        texts.append(text_of(each.block, each.place))
    return [text for text in texts if text and not text.lstrip().startswith(_ATTRIBUTION)]


def _user(made: Runs, place: str, placed: list[Placed]) -> None:
    if made.opening is None:
        made.opening = "\n".join(each.block.text or "" for each in placed)
    answers = any(each.block.type == "tool_result" for each in placed)
    if made.runs and made.runs[-1].role == MODEL and not answers:
        made.effort = None  # it was for the turn before
    made.says(USER, place, placed)


def _system(made: Runs, message: Message, place: str, placed: list[Placed]) -> None:
    """Enter a system message: before every user message it instructs, else it reminds."""
    if message.output_config is not None and message.output_config.effort is not None:
        made.effort = message.output_config.effort
    placed = [each for each in placed if each.block.type not in TOOL_CHANGES]
    if made.opening is None:
        made.instruction += _instructed(placed)
        return
    texts = _instructed([each for each in placed if each.block.type == "text"])
    others = [each for each in placed if each.block.type != "text"]
    if texts:
        text = "\n\n".join(texts)
        block = Block("text", f"{REMINDER}\n{text}\n</system-reminder>")
        others.insert(0, Placed(place, block))
    if others:
        made.says(USER, place, others)
