"""What of a conversation the simulated Gemini refuses, in Google's words: contents and signatures.

Pure functions from a request's JSON to nothing, or to a ``Rejected``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from passgate.demo.content import Json, objects
from passgate.demo.gemini_models import Model
from passgate.demo.gemini_proto import bad
from passgate.demo.gemini_signatures import Owner, Verdict, judge


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the signature of one part that came back.

    Attributes:
        turn: Which of the contents the part is in, neighbours of one role being one.
        part: Which of that content's parts it is.
    """

    turn: int
    part: int
    verdict: Verdict


_DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_MIME_TYPES = re.compile(
    r"image/(?:png|jpeg|webp|heic|heif)|application/(?:pdf|json|rtf)|text/[a-z.+-]+|audio/[a-z0-9.+-]+"
    r"|video/[a-z0-9.+-]+"
)
_UNSIGNED = (
    "Function call is missing a thought_signature in functionCall parts. This is required for "
    "tools to work correctly, and missing thought_signature may lead to degraded model "
    "performance. Additional data, function call `default_api:{name}` , position {position}. "
    "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)
_UNEQUAL = (
    "Please ensure that the number of function response parts is equal to the number of "
    "function call parts of the function call turn."
)
_LATE_CALL = (
    "Please ensure that function call turn comes immediately after a user turn or after a "
    "function response turn."
)
_LATE_RESPONSE = (
    "Please ensure that function response turn comes immediately after a function call turn."
)


def merged(contents: object) -> list[Json]:
    """Return *contents* with neighbours of one role made one."""
    turns: list[dict[str, object]] = []
    for content in objects(contents):
        role = content.get("role", "user")
        parts = objects(content.get("parts"))
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] = [*objects(turns[-1]["parts"]), *parts]
        else:
            turns.append({"role": role, "parts": parts})
    return list(turns)


def with_member(turn: Json, member: str) -> list[Json]:
    """Return the parts of *turn* that hold *member*."""
    return [part for part in objects(turn.get("parts")) if member in part]


def check_contents(ask: Json, model: Model) -> None:
    """Refuse contents that are no conversation."""
    contents = ask.get("contents")
    if not isinstance(contents, list) or not contents:
        raise bad("* GenerateContentRequest.contents: contents is not specified\n")
    for n, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model"):
            raise bad("Please use a valid role: user, model.")
        check_parts(content.get("parts"), f"contents[{n}]")
    if (system := ask.get("systemInstruction")) is not None:
        check_parts(system.get("parts") if isinstance(system, dict) else None, "systemInstruction")
    turns = merged(contents)
    _check_end(turns[-1], model)
    _check_order(turns)


def check_parts(parts: object, at: str) -> None:
    """Refuse a content without parts, and a part without data or with the wrong kind."""
    if not isinstance(parts, list) or not parts:
        raise bad(f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.\n")
    for n, part in enumerate(parts):
        held = [name for name in _DATA if name in part]
        place = f"* GenerateContentRequest.{at}.parts[{n}].data: "
        if not held:
            raise bad(f"{place}required oneof field 'data' must have one initialized field\n")
        if len(held) > 1:
            raise bad(
                f"Invalid value at '{at}.parts[{n}]' (oneof), oneof field 'data' is already set."
            )
        for check in _PART_CHECKS:
            check(part)


def _check_blob(part: Json) -> None:
    blob = part.get("inlineData")
    if isinstance(blob, dict):
        if not _MIME_TYPES.fullmatch(str(blob.get("mimeType"))):
            raise bad(f"Unsupported MIME type: {blob.get('mimeType')}")
        try:
            base64.b64decode(
                str(blob.get("data")).replace("-", "+").replace("_", "/"), validate=True
            )
        except (binascii.Error, ValueError):
            raise bad(
                "Invalid value at 'inline_data.data' (TYPE_BYTES), Base64 decoding failed"
            ) from None


def _check_call(part: Json) -> None:
    call = part.get("functionCall")
    if isinstance(call, dict):
        if not isinstance(call.get("name"), str) or not call["name"]:
            raise bad(
                "* GenerateContentRequest.contents.parts.function_call.name: "
                "Name cannot be empty.\n"
            )
        if not isinstance(call.get("args", {}), dict):
            raise bad(
                "Invalid value at 'function_call.args' (type.googleapis.com/google.protobuf.Struct)"
            )


def _check_response(part: Json) -> None:
    said = part.get("functionResponse")
    if isinstance(said, dict):
        if not isinstance(said.get("name"), str) or not said["name"]:
            raise bad(
                "* GenerateContentRequest.contents.parts.function_response.name: "
                "Name cannot be empty.\n"
            )
        if not isinstance(said.get("response"), dict):
            raise bad(
                "Invalid value at 'function_response.response' "
                "(type.googleapis.com/google.protobuf.Struct)"
            )
        for name in _references(said["response"]):
            raise bad(
                f"The referenced name `{name}` in function_response.response does not match "
                "to a display_name in the function_response.parts."
            )


def _references(value: object) -> list[object]:
    if isinstance(value, list):
        return [name for each in value for name in _references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return [*own, *(name for each in value.values() for name in _references(each))]


_PART_CHECKS = (_check_blob, _check_call, _check_response)


def _check_end(last: Json, model: Model) -> None:
    if not model.strict_end:
        return
    empty = all(part.get("text") == "" and len(part) == 1 for part in objects(last["parts"]))
    if last["role"] == "model":
        raise bad("Requests ending with a model turn are not supported.")
    if empty:
        raise bad("Requests ending with an empty user turn are not supported.")


def _check_order(turns: Sequence[Json]) -> None:
    """Refuse calls and responses that do not follow each other one to one."""
    before: Json = {"parts": []}
    for n, turn in enumerate(turns):
        calls, responses = with_member(turn, "functionCall"), with_member(turn, "functionResponse")
        due = with_member(before, "functionCall")
        if calls and (turn["role"] != "model" or n == 0):
            raise bad(_LATE_CALL)
        if responses and not due:
            raise bad(_LATE_RESPONSE)
        if len(responses) != len(due) and (responses or due):
            raise bad(_UNEQUAL)
        before = turn


def matches(turns: Sequence[Json]) -> bool:
    """Tell whether ids and names of responses are those of their calls.

    The real API does not refuse a mismatch: it answers with nothing at all. A response
    without an id is none: Google's own SDK sends such where it calls functions itself.
    """
    return all(
        response.get("name") == call.get("name")
        and response.get("id", call.get("id")) == call.get("id")
        for turn, after in pairwise(turns)
        for call, response in zip(
            _members(turn, "functionCall"), _members(after, "functionResponse"), strict=False
        )
    )


def _members(turn: Json, name: str) -> list[Json]:
    return objects([part[name] for part in with_member(turn, name)])


def judged(turns: Sequence[Json], owner: Owner) -> list[Judged]:
    """Return what each signature that came back is worth."""
    return [
        Judged(at, n, judge(str(part["thoughtSignature"]), owner, part, text_of(turn["parts"])))
        for at, turn in enumerate(turns)
        for n, part in enumerate(objects(turn["parts"]))
        if "thoughtSignature" in part
    ]


def text_of(parts: object) -> str:
    """Return all text of *parts* that is no thought."""
    return "".join(str(p.get("text", "")) for p in objects(parts) if not p.get("thought"))


def refuse_signatures(turns: Sequence[Json], found: Sequence[Judged], model: Model) -> None:
    """Refuse signatures that were not issued for their parts, and calls without one.

    Raises:
        Rejected: One is good for nothing, or a step of the current turn has none.
    """
    if not model.signs:
        return
    if any(each.verdict not in (Verdict.ISSUED, Verdict.DUMMY) for each in found):
        raise bad("Corrupted thought signature.")
    for at in range(current_turn(turns), len(turns)):
        for part in with_member(turns[at], "functionCall")[:1]:
            if "thoughtSignature" not in part:
                call = part["functionCall"]
                name = call.get("name") if isinstance(call, dict) else None
                raise bad(_UNSIGNED.format(name=name, position=at + 1))


def current_turn(turns: Sequence[Json]) -> int:
    """Return where the current turn starts: after the last that is not only responses."""
    for at in range(len(turns) - 1, -1, -1):
        parts = objects(turns[at]["parts"])
        said = [part for part in parts if "functionResponse" not in part]
        if turns[at]["role"] == "user" and said:
            return at + 1
    return 0
