"""What the client's tools gave: matched with the calls, one response for each."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from passgate.core.gemini.body import Placed, refused
from passgate.core.gemini.parts import FunctionCall, FunctionResponse, Media, Part
from passgate.core.gemini.signatures import Envelope


class Call(msgspec.Struct, frozen=True):
    """A call of the model's.

    Attributes:
        call: For the part.
        tool_id: The client's id of it.
        place: Where it stands.
        envelope: What the client brought back of its signature, or None.
    """

    call: FunctionCall
    tool_id: str
    place: str
    envelope: Envelope | None


def matched(results: list[Placed], calls: list[Call]) -> list[Placed]:
    """Return the results in the order of their *calls*, one for each.

    Raises:
        Refused: One is missing, too many, or of no call; clients mend it by the wording.
    """
    asked = {call.tool_id for call in calls}
    found: dict[str, Placed] = {}
    for each in results:
        id_ = each.block.tool_use_id
        if id_ is None or id_ not in asked:
            text = (
                f"unexpected `tool_use_id` found in `tool_result` blocks: {id_}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
            raise refused(each.place, text, verbatim=True)
        if id_ in found:
            text = (
                "each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {id_}"
            )
            raise refused(each.place, text, verbatim=True)
        found[id_] = each
    missing = [call for call in calls if call.tool_id not in found]
    if missing:
        ids = ", ".join(call.tool_id for call in missing)
        text = (
            f"`tool_use` ids were found without `tool_result` blocks immediately after: {ids}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )
        raise refused(message_of(missing[0].place), text, verbatim=True)
    return [found[call.tool_id] for call in calls]


def message_of(place: str) -> str:
    """Return the place of the message that holds a *place*, such as ``messages.2``."""
    return ".".join(place.split(".")[:2])


class Answer(msgspec.Struct, frozen=True):
    """What one call gave.

    Attributes:
        call: Which.
        failed: Whether it is told as an error.
        text: Always as it is: never read as JSON.
        within: Media that stand in the response.
        beside: Parts for behind all responses, where media cannot stand within.
    """

    call: FunctionCall
    failed: bool
    text: str
    within: list[Media]
    beside: list[Part]

    def reminded(self, reminders: list[str]) -> Answer:
        """Return it with *reminders* at the end of its text.

        Google asks for instructions there: a text beside a response makes answers worse.
        """
        return replace(self, text="\n\n".join((self.text, *reminders)))

    @property
    def part(self) -> Part:
        """The part that answers the call."""
        said = {"error" if self.failed else "output": self.text}
        name, media = self.call.name, self.within or None
        return Part(function_response=FunctionResponse(self.call.id, name, said, media))


def answer(call: FunctionCall, parts: list[Part], *, failed: bool, within: bool) -> Answer:
    """Return the answer to *call* that *parts* make.

    Args:
        call: Which.
        parts: What the result holds, in its order.
        failed: Whether the tool failed.
        within: Whether the model takes media within a response.
    """
    texts = [part.text for part in parts if part.text is not None]
    inside: list[Media] = []
    beside: list[Part] = []
    for part in parts:
        # A link cannot stand within.
        if within and part.inline_data is not None:
            inside.append(Media(part.inline_data))
        elif part.text is None:
            beside += (Part(text=f"Image from {call.name}:"), part)
    return Answer(call, failed, "\n".join(texts), inside, beside)
