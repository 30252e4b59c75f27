"""What the simulated Gemini refuses, in the words that the real one uses.

Pure functions from a request's JSON to nothing, or to a :class:`Rejected`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from passgate.demo.content import Json, objects
from passgate.demo.gemini_models import Model
from passgate.demo.gemini_schemas import check_json_schema, check_schema
from passgate.demo.gemini_signatures import Owner, Verdict, judge

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Rejected(Exception):
    """The request is refused with a ``google.rpc.Status``."""

    def __init__(self, code: int, message: str, *details: Json, status: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.error: Json = {
            "code": code,
            "message": message,
            "status": status or _STATUS.get(code, "UNKNOWN"),
            **({"details": list(details)} if details else {}),
        }


def bad(message: str) -> Rejected:
    """Return what refuses a body."""
    return Rejected(400, message)


def detail(kind: str, **members: object) -> Json:
    """Return one entry of an error's ``details``."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **members}


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


# The members of each message, as the proto has them; what is free JSON is not looked into.
_FREE = None
_PART: Mapping[str, object] = {
    "text": _FREE,
    "inlineData": {"mimeType": _FREE, "data": _FREE, "displayName": _FREE},
    "fileData": {"mimeType": _FREE, "fileUri": _FREE, "displayName": _FREE},
    "functionCall": {"id": _FREE, "name": _FREE, "args": _FREE},
    "functionResponse": {
        "id": _FREE,
        "name": _FREE,
        "response": _FREE,
        "parts": _FREE,
        "willContinue": _FREE,
        "scheduling": _FREE,
    },
    "executableCode": _FREE,
    "codeExecutionResult": _FREE,
    "toolCall": _FREE,
    "toolResponse": _FREE,
    "thought": _FREE,
    "thoughtSignature": _FREE,
    "mediaResolution": _FREE,
    "videoMetadata": _FREE,
    "partMetadata": _FREE,
}
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
_CONTENT: Mapping[str, object] = {"role": _FREE, "parts": _PART}
_GENERATION = (
    "maxOutputTokens",
    "stopSequences",
    "temperature",
    "topP",
    "topK",
    "seed",
    "candidateCount",
    "presencePenalty",
    "frequencyPenalty",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseFormat",
    "responseModalities",
    "mediaResolution",
    "thinkingConfig",
    "speechConfig",
    "imageConfig",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
)
REQUEST: Mapping[str, object] = {
    "model": _FREE,
    "contents": _CONTENT,
    "systemInstruction": _CONTENT,
    "tools": {
        "functionDeclarations": {
            "name": _FREE,
            "description": _FREE,
            "parameters": _FREE,
            "parametersJsonSchema": _FREE,
            "response": _FREE,
            "responseJsonSchema": _FREE,
            "behavior": _FREE,
        },
        "googleSearch": _FREE,
        "googleSearchRetrieval": _FREE,
        "codeExecution": _FREE,
        "urlContext": _FREE,
        "googleMaps": _FREE,
        "computerUse": _FREE,
        "fileSearch": _FREE,
    },
    "toolConfig": {
        "functionCallingConfig": {"mode": _FREE, "allowedFunctionNames": _FREE},
        "retrievalConfig": _FREE,
    },
    "safetySettings": {"category": _FREE, "threshold": _FREE},
    "generationConfig": {
        **dict.fromkeys(_GENERATION, _FREE),
        "thinkingConfig": {
            "thinkingLevel": _FREE,
            "thinkingBudget": _FREE,
            "includeThoughts": _FREE,
        },
    },
    "cachedContent": _FREE,
    "labels": _FREE,
    "store": _FREE,
    "serviceTier": _FREE,
    "continuationToken": _FREE,
}
CACHE: Mapping[str, object] = {
    **{name: REQUEST[name] for name in ("model", "contents", "systemInstruction", "tools")},
    "toolConfig": REQUEST["toolConfig"],
    **dict.fromkeys(("displayName", "ttl", "expireTime", "name"), _FREE),
}
COUNT: Mapping[str, object] = {
    "contents": _CONTENT,
    "generateContentRequest": REQUEST,
    "model": _FREE,
}

_SNAKE = re.compile(r"_([a-z])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MIME_TYPES = re.compile(
    r"image/(?:png|jpeg|webp|heic|heif)|application/(?:pdf|json|rtf)|text/[a-z.+-]+|audio/[a-z0-9.+-]+"
    r"|video/[a-z0-9.+-]+"
)
_MOST_LEVELS = 100
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
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


def spelled(value: object, known: Mapping[str, object], at: str = "") -> dict[str, object]:
    """Return *value* with its members' names in camel case, as the proto's parser reads them.

    Raises:
        Rejected: A member is none of *known*, or a message is no object.
    """
    if not isinstance(value, dict):
        raise bad(f"Invalid value at {at or 'the body'!r}: expected an object.")
    read: dict[str, object] = {}
    for key, member in value.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), key)
        place = f"{at}.{key}" if at else key
        if name not in known:
            where = f" at '{at}'" if at else ""
            raise bad(
                f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.'
            )
        inner = known[name]
        if not isinstance(inner, Mapping):
            read[name] = member
        elif isinstance(member, list):
            read[name] = [spelled(each, inner, f"{place}[{n}]") for n, each in enumerate(member)]
        else:
            read[name] = spelled(member, inner, place)
    return read


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


def check_tools(ask: Json, model: Model) -> None:
    """Refuse declarations that the model cannot be given."""
    names: list[str] = []
    tools = ask.get("tools")
    for tool in objects(tools):
        if "functionDeclarations" not in tool:
            continue
        declared = objects(tool["functionDeclarations"])
        if not declared:
            raise bad(
                "* GenerateContentRequest.tools[0].function_declarations: must not be empty.\n"
            )
        for n, function in enumerate(declared):
            _check_function(function, f"tools[0].function_declarations[{n}]")
            names.append(str(function["name"]))
    if len(names) > 512:
        raise bad("The number of function declarations must not exceed 512.")
    for name in names:
        if names.count(name) > 1:
            raise bad(f"Duplicate function declaration found: {name}")
    _check_tool_config(ask, names)
    _check_json_mode(ask, names, model)


def _check_function(function: Json, at: str) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad(
            f"* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter "
            "or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), "
            "colons (:), or dashes (-), with a maximum length of 128.\n"
        )
    if "parameters" in function and "parametersJsonSchema" in function:
        raise bad(
            f"{at}.parameters and {at}.parameters_json_schema are mutually exclusive: "
            "set one of them."
        )
    if "parameters" in function:
        check_schema(function["parameters"], f"{at}.parameters")
    if "parametersJsonSchema" in function:
        check_json_schema(function["parametersJsonSchema"], f"{at}.parameters_json_schema")


def _check_tool_config(ask: Json, names: Sequence[str]) -> None:
    config = ask.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    if not isinstance(calling, dict):
        return
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in _MODES:
        raise bad(f"Invalid value at 'tool_config.function_calling_config.mode': \"{mode}\"")
    if mode in ("ANY", "VALIDATED") and not names:
        raise bad("Function calling config is set without function_declarations.")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise bad("Allowed function names should only be set when function calling mode is ANY.")
    for name in allowed if isinstance(allowed, list) else []:
        if name not in names:
            raise bad(f"Allowed function name {name} is not in function_declarations.")


def _check_json_mode(ask: Json, names: Sequence[str], model: Model) -> None:
    config = ask.get("generationConfig")
    given = config if isinstance(config, dict) else {}
    mime = given.get("responseMimeType")
    shaped = [key for key in ("responseSchema", "responseJsonSchema") if key in given]
    if shaped and mime not in ("application/json", "text/x.enum"):
        raise bad("The response schema is only supported with a JSON or enum response mime type.")
    if mime == "application/json" and names and not model.signs:
        raise bad("Function calling with a response mime type: 'application/json' is unsupported")
    if "responseSchema" in given:
        check_schema(given["responseSchema"], "generation_config.response_schema")
    if "responseJsonSchema" in given:
        check_json_schema(given["responseJsonSchema"], "generation_config.response_json_schema")


def check_generation(ask: Json, model: Model) -> None:
    """Refuse settings that the model does not have."""
    config = ask.get("generationConfig")
    if not isinstance(config, dict):
        return
    stops = config.get("stopSequences") or []
    if isinstance(stops, list) and len(stops) > 5:
        raise bad(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 are allowed.\n"
        )
    most = config.get("maxOutputTokens")
    if isinstance(most, int) and not 0 < most <= 65_536:
        raise bad(
            f"Unable to submit request because it has a maxOutputTokens value of {most} but the "
            "supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and "
            "try again."
        )
    if model.fixed_sampling and (config.get("presencePenalty") or config.get("frequencyPenalty")):
        raise bad(f"Penalty is not enabled for models/{model.id}")
    if model.signs and config.get("candidateCount", 1) != 1:
        raise bad("Multiple candidates is not enabled for this model")
    if isinstance(thinking := config.get("thinkingConfig"), dict):
        _check_thinking(thinking, model)


def _check_thinking(thinking: Json, model: Model) -> None:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and budget is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if level is not None and str(level).upper() not in model.levels:
        said = f"Thinking level {level} is not supported for this model."
        raise bad(said if model.levels else "Thinking level is not supported for this model.")
    if budget is None or model.budget is None:
        return  # some newer models still take a budget
    least, most = model.budget
    allowed = budget == -1 or (budget == 0 and model.can_stop)
    if not isinstance(budget, int) or not (allowed or least <= budget <= most):
        raise bad(
            f"The thinking budget {budget} is invalid. Please choose a value between {least} "
            f"and {most}."
        )


def check_depth(value: object, levels: int = 0) -> None:
    """Refuse a body nested deeper than the proto's parser goes."""
    if levels > _MOST_LEVELS:
        raise bad("Message too deep. Max recursion depth reached for key")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            check_depth(each, levels + 1)
