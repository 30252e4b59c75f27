"""The messages of Google's API as its parser reads them, and how it says that it cannot.

Names may be spelled in two ways, and one that is unknown fails the whole request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from passgate.demo.content import Json

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
_MOST_LEVELS = 100


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


def check_depth(value: object, levels: int = 0) -> None:
    """Refuse a body nested deeper than the proto's parser goes."""
    if levels > _MOST_LEVELS:
        raise bad("Message too deep. Max recursion depth reached for key")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            check_depth(each, levels + 1)
