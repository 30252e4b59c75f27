"""The simulated Gemini: its answers, what it refuses, and what it tells of its callers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from passgate.demo import gemini_scenes
from passgate.demo.gemini import Gemini
from passgate.demo.gemini_models import MODELS
from passgate.demo.gemini_signatures import Owner, Verdict, judge, sign
from tests.demo.test_upstream import Answer, ask, end, request, until

MODEL = "gemini-3.8-flash"
OLD = "gemini-2.5-flash"
READ: dict[str, Any] = {
    "name": "Read",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
TOOLS = [{"functionDeclarations": [READ]}]
DUMMY = "skip_thought_signature_validator"


@pytest.fixture
async def gemini() -> AsyncIterator[Gemini]:
    """A simulated Gemini with two keys of two projects."""
    server = Gemini(keys={"one": "first", "two": "second"})
    await server.start()
    yield server
    await server.close()


@contextlib.asynccontextmanager
async def client(gemini: Gemini, key: str = "one") -> AsyncIterator[Any]:
    """Yield the official SDK's asynchronous client."""
    whole = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=gemini.url))
    async with whole.aio as half:
        yield half
    whole.close()


def user(*parts: object) -> dict[str, Any]:
    """Return a user's turn; a text is a part of its own."""
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "parts": said}


def model(*parts: object) -> dict[str, Any]:
    """Return the model's turn."""
    return {**user(*parts), "role": "model"}


def result(call: dict[str, Any], **response: object) -> dict[str, Any]:
    """Return the response to *call*."""
    said = call["functionCall"]
    ids = {"id": said["id"]} if "id" in said else {}
    return {
        "functionResponse": {**ids, "name": said["name"], "response": response or {"output": "ok"}}
    }


def called(call_id: str = "k1", name: str = "Read", signature: str = DUMMY) -> dict[str, Any]:
    """Return a call as it comes back."""
    signed = {"thoughtSignature": signature} if signature else {}
    return {"functionCall": {"id": call_id, "name": name, "args": {}}, **signed}


def generate(
    *contents: object,
    method: str = "generateContent",
    name: str = MODEL,
    fields: Sequence[str] = ("x-goog-api-key: one",),
    version: str = "v1beta",
    **more: object,
) -> bytes:
    """Return a request for an answer; a text is a user's turn."""
    turns = [user(each) if isinstance(each, str) else each for each in contents]
    body = json.dumps({"contents": turns, **more}).encode()
    return request("POST", f"/{version}/models/{name}:{method}", body, *fields)


def sse(*contents: object, **more: Any) -> bytes:
    """Return a request for a streamed answer."""
    return generate(*contents, method="streamGenerateContent?alt=sse", **more)


def chunks(answer: Answer) -> list[dict[str, Any]]:
    """Return the chunks of a streamed answer."""
    blocks = answer.body.decode().split("\r\n\r\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block]


def parts_of(streamed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of all *streamed* chunks."""
    return [
        part
        for chunk in streamed
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]


def finish_of(streamed: Sequence[dict[str, Any]]) -> str:
    """Return the finish reason."""
    reasons = [each.get("finishReason", "") for c in streamed for each in c.get("candidates", [])]
    return next((reason for reason in reversed(reasons) if reason), "")


# Answers.


async def test_a_stream_says_what_the_whole_says(gemini: Gemini) -> None:
    """In events, in an array and in one piece: the same text, end and usage."""
    events = chunks(await ask(gemini, sse("demo:text:20")))
    array = json.loads(
        (await ask(gemini, generate("demo:text:20", method="streamGenerateContent"))).body
    )
    whole = (await ask(gemini, generate("demo:text:20"))).json

    assert events == array
    assert "".join(f"word{n} " for n in range(20)) == "".join(
        part["text"] for part in parts_of(events)
    )
    assert [part["text"] for part in parts_of([whole])] == [
        "".join(part["text"] for part in parts_of(events)),
        "",
    ]
    assert "STOP" == finish_of(events) == finish_of([whole])
    assert events[-1]["usageMetadata"] == whole["usageMetadata"]


async def test_usage_adds_up(gemini: Gemini) -> None:
    """The total is the sum; what stands before a second message is cached."""
    first = (await ask(gemini, generate("Hello", systemInstruction=user("Be brief.")))).json
    second = (
        await ask(
            gemini,
            generate("Hello", model("Hi."), user("Again"), systemInstruction=user("Be brief.")),
        )
    ).json
    usage = first["usageMetadata"]

    assert usage["totalTokenCount"] == sum(
        usage[f"{name}TokenCount"] for name in ("prompt", "candidates", "thoughts")
    )
    assert "cachedContentTokenCount" not in usage
    assert second["usageMetadata"]["cachedContentTokenCount"] > 0


async def test_equal_requests_get_equal_answers(gemini: Gemini) -> None:
    """Nothing in a body depends on time or chance."""
    first, second = [(await ask(gemini, sse("demo:tool", tools=TOOLS))).body for _ in range(2)]

    assert first == second


@pytest.mark.parametrize(
    ("config", "thoughts"),
    [
        ({}, 0),
        ({"includeThoughts": False, "thinkingLevel": "LOW"}, 0),
        ({"includeThoughts": True, "thinkingLevel": "high"}, 12),
    ],
)
async def test_thoughts(gemini: Gemini, config: dict[str, Any], thoughts: int) -> None:
    """Thoughts are shown to who asks for them, and counted in any case."""
    answer = chunks(
        await ask(gemini, sse("demo:thinking", generationConfig={"thinkingConfig": config}))
    )

    assert thoughts == sum(part.get("thought", False) for part in parts_of(answer))
    assert 12 == answer[-1]["usageMetadata"]["thoughtsTokenCount"]


async def test_an_old_model_need_not_think(gemini: Gemini) -> None:
    """A budget of nothing stops the thoughts of the models that can stop."""
    config = {"thinkingConfig": {"thinkingBudget": 0, "includeThoughts": True}}
    answer = (await ask(gemini, generate("Hello", name=OLD, generationConfig=config))).json

    assert "thoughtsTokenCount" not in answer["usageMetadata"]


@pytest.mark.parametrize(
    ("config", "text", "finish"),
    [
        ({"maxOutputTokens": 15}, "word0 word1 word2 ", "MAX_TOKENS"),
        ({"maxOutputTokens": 12}, "", "MAX_TOKENS"),
        ({"stopSequences": ["d3", "never"]}, "word0 word1 word2 wor", "STOP"),
        ({"maxOutputTokens": 1000}, "".join(f"word{n} " for n in range(10)), "STOP"),
    ],
    ids=["limit", "limit-in-thoughts", "stop-sequence", "enough"],
)
async def test_limits(gemini: Gemini, config: dict[str, Any], text: str, finish: str) -> None:
    """The limit counts thoughts; a stop sequence is not part of the text."""
    answer = chunks(await ask(gemini, sse("demo:text:10", generationConfig=config)))

    assert (text, finish) == (
        "".join(part.get("text", "") for part in parts_of(answer)),
        finish_of(answer),
    )


async def test_json(gemini: Gemini) -> None:
    """An answer that has to fit a schema fits it."""
    shape = READ["parametersJsonSchema"]
    config = {"responseMimeType": "application/json", "responseJsonSchema": shape}
    answer = (await ask(gemini, generate("Hello", generationConfig=config))).json

    assert {"path": "demo 0"} == json.loads(parts_of([answer])[0]["text"])


async def test_a_mismatch_is_answered_with_nothing(gemini: Gemini) -> None:
    """Ids that are not the call's make an empty answer instead of an error."""
    turns = (user("demo:text:3"), model(called("k1")), user(result(called("k2"))))
    answer = chunks(await ask(gemini, sse(*turns)))

    assert ([{"text": ""}], "STOP") == (parts_of(answer), finish_of(answer))


# Scenes: name -> (parts in short, finish).

_SHORT = {
    "text-signed": ("One, +S|two.", "STOP"),
    "text-signed-end": ("One, |two.+S", "STOP"),
    "trailing": ("It |ends |here.|+S", "STOP"),
    "thought-signed": ("(thought)+S|And |so |it |is.", "STOP"),
    "tool": ("Let |me |look |that |up.|Read+S|", "STOP"),
    "parallel:3": ("Read+S|Read|Read", "STOP"),
    "split:2": ("Read+S|Read", "STOP"),
    "late-finish": ("Read+S", "STOP"),
    "early-finish": ("One |moment. |Read+S", "STOP"),
    "id-less:3": ("Read+S|Read|Read", "STOP"),
    "odd-id": ("Read+S", "STOP"),
    "same-id": ("Read+S", "STOP"),
    "dup": ("Read+S|Read+S", "STOP"),
    "prefixed": ("default_api:Read+S", "STOP"),
    "unsigned": ("Read", "STOP"),
    "no-args": ("Read+S", "STOP"),
    "big-args:1000": ("Read+S", "STOP"),
    "max-tokens": ("This |answer |ends |in |the |middle |of |a", "MAX_TOKENS"),
    "max-thoughts": ("", "MAX_TOKENS"),
    "max-call": ("Read+S", "MAX_TOKENS"),
    "empty": ("", "STOP"),
    "finish:RECITATION": ("Some |text |first. ", "RECITATION"),
    "abort:MALFORMED_FUNCTION_CALL": ("", "MALFORMED_FUNCTION_CALL"),
    "blocked:OTHER": ("", ""),
    "continue:2": ("hop0 |is |here. ", "CONTINUATION"),
    "image": ("Look: |(image)", "STOP"),
    "grounded": ("Grounded. |(code)|+S", "STOP"),
    "end:2": ("One |two ", ""),
    "pause:1:1": ("One |And |on.|+S", "STOP"),
    "first-byte:1": ("Hello!", "STOP"),
    "slow:2:1000": ("word0 |word1 |+S", "STOP"),
    "sparse-usage": ("Hello!", "STOP"),
    "no-usage": ("Hello!", "STOP"),
    "unicode": ("Æther |é |你好 ", "STOP"),
    "unheard-of": ("Hello!", "STOP"),
}


def short(part: dict[str, Any]) -> str:
    """Return a part in short."""
    if "functionCall" in part:
        said = str(part["functionCall"]["name"])
    elif "inlineData" in part or "executableCode" in part:
        said = "(image)" if "inlineData" in part else "(code)"
    else:
        said = "(thought)" if part.get("thought") else str(part["text"])
    return said + ("+S" if "thoughtSignature" in part else "")


@pytest.mark.parametrize(("scene", "expected"), _SHORT.items(), ids=_SHORT)
async def test_scene(gemini: Gemini, scene: str, expected: tuple[str, str]) -> None:
    """What each scene says, and how it ends."""
    answer = chunks(await ask(gemini, sse(f"Please demo:{scene} now", tools=TOOLS)))
    said = "|".join(short(part) for part in parts_of(answer))

    assert expected[1] == finish_of(answer)
    assert (
        said.startswith(expected[0])
        if expected[0] in ("Hello!", "Æther |é |你好 ")
        else (expected[0] == said)
    )


def test_every_scene_is_told() -> None:
    """The list of scenes in the docstring is the list of scenes."""
    told = set(re.findall(r"[a-z-]+", gemini_scenes.__doc__ or ""))

    assert gemini_scenes._SCENES.keys() - told == {"text-signed-end"}


async def test_hops(gemini: Gemini) -> None:
    """A continued answer goes on where the token says."""
    first = chunks(await ask(gemini, sse("demo:continue:1")))
    token = first[-1]["candidates"][0]["continuationToken"]
    second = chunks(await ask(gemini, sse("demo:continue:1", continuationToken=token)))

    assert "hop1 " == parts_of(second)[0]["text"]
    assert "STOP" == finish_of(second)


async def test_times(gemini: Gemini) -> None:
    """A scene can be played a number of times, until it is forgotten that it was."""
    asked = sse("demo:times:2:error:503")
    statuses = [(await ask(gemini, asked)).status for _ in range(3)]
    gemini.reset()

    assert [503, 503, 200] == statuses
    assert 503 == (await ask(gemini, asked)).status


@pytest.mark.parametrize("scene", ["mid-error:1", "mid-error:1:raw"])
async def test_error_in_mid_stream(gemini: Gemini, scene: str) -> None:
    """An error comes as an event or as bare lines; in one piece it is a status."""
    streamed = await ask(gemini, sse(f"demo:{scene}"))
    array = await ask(gemini, generate(f"demo:{scene}", method="streamGenerateContent"))
    whole = await ask(gemini, generate(f"demo:{scene}"))
    error = whole.json["error"]

    assert (200, 503) == (streamed.status, whole.status)
    assert [{"error": error}] == json.loads(array.body)[1:]
    assert error == json.loads(streamed.body.split(b"\r\n\r\n")[1].removeprefix(b"data: "))["error"]
    assert scene.endswith("raw") == (b"data: {\n" not in streamed.body and b"\n{" in streamed.body)


@pytest.mark.parametrize("scene", ["cut:2", "reset:2"])
async def test_cut(gemini: Gemini, scene: str) -> None:
    """A body that is cut has no end."""
    for asked in (sse(f"demo:{scene}"), generate(f"demo:{scene}")):
        answer = await ask(gemini, asked)

        assert not answer.raw.endswith(b"0\r\n\r\n")
    assert b"two" in (await ask(gemini, sse(f"demo:{scene}"))).raw


@pytest.mark.parametrize("scene", ["silence:1", "hang"])
async def test_silence(gemini: Gemini, scene: str) -> None:
    """A caller who leaves is noticed, whatever is being waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gemini.port)
    writer.write(sse(f"demo:{scene}"))
    if scene == "silence:1":
        await reader.readuntil(b"One ")
    else:
        await until(lambda: bool(gemini.asked))
    await end(writer)
    await until(lambda: gemini.hang_ups == 1)


async def test_silence_in_one_piece(gemini: Gemini) -> None:
    """Without streaming, silence is before the head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gemini.port)
    writer.write(generate("demo:silence:1"))
    await until(lambda: bool(gemini.asked))
    writer.write_eof()

    assert b"" == await reader.read()
    await end(writer)


# Errors.


@pytest.mark.parametrize(
    ("scene", "status", "word", "more"),
    [
        ("error:429:retry", 429, "RESOURCE_EXHAUSTED", '"retryDelay": "2.5s"'),
        ("error:429:day", 429, "RESOURCE_EXHAUSTED", "PerDay"),
        ("error:429:bare", 429, "RESOURCE_EXHAUSTED", "check quota"),
        ("error:503", 503, "UNAVAILABLE", "overloaded"),
        ("error:500", 500, "INTERNAL", "internal"),
        ("error:504", 504, "DEADLINE_EXCEEDED", "504"),
        ("error:403", 403, "PERMISSION_DENIED", "403"),
        ("error:404", 404, "NOT_FOUND", "404"),
        ("error:418", 418, "UNKNOWN", "418"),
        ("error:400:too-long", 400, "INVALID_ARGUMENT", "exceeds the maximum"),
        ("error:400:key", 400, "INVALID_ARGUMENT", "API_KEY_INVALID"),
        ("error:400:precondition", 400, "FAILED_PRECONDITION", "location"),
        ("error:400:signature", 400, "INVALID_ARGUMENT", "Corrupted thought signature."),
        ("error:400:schema", 400, "INVALID_ARGUMENT", "function_declarations[0]"),
    ],
)
async def test_errors(gemini: Gemini, scene: str, status: int, word: str, more: str) -> None:
    """Each error has its status, Google's word for it, and its details."""
    answer = await ask(gemini, sse(f"demo:{scene}"))
    array = await ask(gemini, generate(f"demo:{scene}", method="streamGenerateContent"))
    counted = await ask(gemini, generate(f"demo:{scene}", method="countTokens"))

    assert (status, word) == (answer.status, answer.json["error"]["status"])
    assert more in answer.body.decode()
    assert [answer.json] == json.loads(array.body)
    assert status == counted.status
    assert status == gemini.asked[0].refused


@pytest.mark.parametrize(
    ("fields", "query", "status", "message"),
    [
        ((), "", 403, "unregistered callers"),
        (("x-goog-api-key: wrong",), "", 400, "API key not valid"),
        (("Authorization: Bearer one",), "", 401, "invalid authentication credentials"),
        (("x-goog-api-key: one", "Authorization: Bearer x"), "", 400, "Multiple authentication"),
        (("x-goog-api-key: one",), "?key=two", 400, "Multiple authentication"),
        (("x-goog-api-key: one",), "?key=one", 200, ""),
        ((), "?key=one", 200, ""),
    ],
)
async def test_keys(
    gemini: Gemini, fields: tuple[str, ...], query: str, status: int, message: str
) -> None:
    """One key, one way; anything else is refused in its own words."""
    answer = await ask(gemini, request("GET", f"/v1beta/models{query}", b"", *fields))

    assert status == answer.status
    assert message in answer.body.decode()


async def test_any_key() -> None:
    """Without a list of keys each key is a project of its own."""
    gemini = Gemini()
    await gemini.start()
    for key in ("a", "b"):
        await ask(gemini, generate("Hello", fields=[f"x-goog-api-key: {key}"]))
    await gemini.close()

    assert 2 == len({asked.project for asked in gemini.asked})


def tool(**function: object) -> dict[str, Any]:
    """Return a request's declaration of one function."""
    return {"tools": [{"functionDeclarations": [{"name": "F", **function}]}]}


def schema(value: object) -> dict[str, Any]:
    """Return a request with *value* as a function's free schema."""
    return tool(parametersJsonSchema=value)


def proto(value: object) -> dict[str, Any]:
    """Return a request with *value* as a function's proto schema."""
    return tool(parameters=value)


def deep(levels: int) -> dict[str, Any]:
    """Return a schema that is *levels* deep."""
    return {"type": "object", "properties": {"a": deep(levels - 1)}} if levels else {}


OBJECT = {"type": "object"}
ONE = "x-goog-api-key: one"
REFUSED: dict[str, tuple[tuple[object, ...], dict[str, Any], str]] = {
    "no-contents": ((), {}, "contents is not specified"),
    "unknown-name": (("Hi",), {"nope": 1}, 'Unknown name "nope": Cannot find field'),
    "unknown-inside": (
        ("Hi",),
        {"generationConfig": {"max_tokens": 1}},
        "\"max_tokens\" at 'generationConfig'",
    ),
    "message-is-no-object": (("Hi",), {"toolConfig": 1}, "expected an object"),
    "role": (({"role": "assistant", "parts": [{"text": "x"}]},), {}, "valid role"),
    "no-parts": (({"role": "user", "parts": []},), {}, "parts must not be empty"),
    "empty-part": ((user({}),), {}, "one initialized field"),
    "two-data": ((user({"text": "a", "fileData": {}}),), {}, "already set"),
    "empty-system": (("Hi",), {"systemInstruction": {"parts": []}}, "systemInstruction.parts"),
    "system-is-text": (("Hi",), {"systemInstruction": {"parts": "x"}}, "expected an object"),
    "prefill": (("Hi", model("So")), {}, "ending with a model turn"),
    "empty-last": ((user(""),), {}, "empty user turn"),
    "gif": ((user({"inlineData": {"mimeType": "image/gif", "data": ""}}),), {}, "image/gif"),
    "base64": (
        (user({"inlineData": {"mimeType": "image/png", "data": "?"}}),),
        {},
        "Base64 decoding failed",
    ),
    "http-file": ((user({"fileData": {"fileUri": "http://x/y"}}),), {}, "file uri"),
    "foreign-file": ((user({"fileData": {"fileUri": "files/abc"}}),), {}, "permission"),
    "foreign-cache": (("Hi",), {"cachedContent": "cachedContents/x"}, "permission"),
    "call-without-name": (
        (user("Hi"), model({"functionCall": {"name": ""}}), user("x")),
        {},
        "function_call.name",
    ),
    "args-are-a-list": (
        (user("Hi"), model({"functionCall": {"name": "F", "args": []}}), user("x")),
        {},
        "function_call.args",
    ),
    "response-without-name": (
        (user("Hi"), model(called()), user({"functionResponse": {"response": {}}})),
        {},
        "function_response.name",
    ),
    "response-is-a-list": (
        (user("Hi"), model(called()), user({"functionResponse": {"name": "F", "response": []}})),
        {},
        "function_response.response",
    ),
    "response-with-ref": (
        (user("Hi"), model(called()), user(result(called(), output=[{"$ref": "#/x"}]))),
        {},
        "referenced name `#/x`",
    ),
    "unequal-responses": (
        (user("Hi"), model(called(), called("k2")), user(result(called()))),
        {},
        "number of function response parts",
    ),
    "unanswered": ((user("Hi"), model(called()), user("x")), {}, "number of function response"),
    "orphan": ((user("Hi"), model("So"), user(result(called()))), {}, "after a function call turn"),
    "call-first": ((model(called()), user(result(called()))), {}, "after a user turn"),
    "no-declarations": (("Hi",), {"tools": [{"functionDeclarations": []}]}, "not be empty"),
    "name": (("Hi",), tool(name="0F"), "Invalid function name"),
    "name-129": (("Hi",), tool(name="F" * 129), "Invalid function name"),
    "twice": (
        ("Hi",),
        {"tools": [{"functionDeclarations": [{"name": "F"}] * 2}]},
        "Duplicate function declaration found: F",
    ),
    "513": (
        ("Hi",),
        {"tools": [{"functionDeclarations": [{"name": f"F{n}"} for n in range(513)]}]},
        "must not exceed 512",
    ),
    "both-schemas": (
        ("Hi",),
        tool(parameters=OBJECT, parametersJsonSchema=OBJECT),
        "mutually exclusive",
    ),
    "proto-unknown": (
        ("Hi",),
        proto({"type": "object", "properties": {"a": {"exclusiveMinimum": 1}}}),
        'Unknown name "exclusiveMinimum"',
    ),
    "proto-type-list": (("Hi",), proto({"type": ["object", "null"]}), "not repeating"),
    "proto-type": (("Hi",), proto({"type": "any"}), 'type\': "any"'),
    "proto-enum": (("Hi",), proto({"enum": [1]}), "TYPE_STRING"),
    "proto-no-object": (("Hi",), proto(1), "expected an object"),
    "proto-deep": (("Hi",), proto(deep(20)), "Message too deep"),
    "max-items": (
        ("Hi",),
        schema(
            {
                "type": "object",
                "properties": {
                    name: {"type": "array", "items": {}, "maxItems": 500} for name in "ab"
                },
            }
        ),
        "Request contains an invalid argument.",
    ),
    "schema-no-object": (("Hi",), schema(1), "invalid argument"),
    "boolean-schema": (
        ("Hi",),
        schema({"type": "object", "properties": {"a": True}}),
        "boolean schemas",
    ),
    "types-inside-items": (
        ("Hi",),
        schema({"type": "array", "items": {"type": ["string", "null"]}}),
        "single type",
    ),
    "undefined-ref": (("Hi",), schema({"$ref": "#/$defs/X"}), "undefined schema"),
    "ref-siblings": (
        ("Hi",),
        schema({"$defs": {"X": OBJECT}, "$ref": "#/$defs/X", "type": "object"}),
        "siblings",
    ),
    "boolean-enum": (("Hi",), schema({"enum": [True]}), "only strings and numbers"),
    "empty-enum": (("Hi",), schema({"enum": [""]}), "cannot be empty"),
    "properties-on-string": (
        ("Hi",),
        schema({"type": "string", "properties": {}}),
        "only allowed for OBJECT type",
    ),
    "required-boolean": (("Hi",), schema({"required": True}), "expected a list"),
    "required-undefined": (("Hi",), schema({"required": ["a"]}), "not defined"),
    "array-without-items": (("Hi",), schema({"type": "array"}), "missing field"),
    "schema-deep": (("Hi",), schema(deep(20)), "Message too deep"),
    "mode": (
        ("Hi",),
        {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
        "function_calling_config.mode",
    ),
    "any-without-tools": (
        ("Hi",),
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
        "without function_declarations",
    ),
    "allowed-with-auto": (
        ("Hi",),
        {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["F"]}}},
        "mode is ANY",
    ),
    "allowed-unknown": (
        ("Hi",),
        {
            "tools": TOOLS,
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["F"]}},
        },
        "not in function_declarations",
    ),
    "six-stops": (("Hi",), {"generationConfig": {"stopSequences": list("abcdef")}}, "at most 5"),
    "too-many-tokens": (
        ("Hi",),
        {"generationConfig": {"maxOutputTokens": 70_000}},
        "supported range",
    ),
    "penalty": (("Hi",), {"generationConfig": {"presencePenalty": 1}}, "Penalty is not enabled"),
    "candidates": (("Hi",), {"generationConfig": {"candidateCount": 2}}, "Multiple candidates"),
    "level-and-budget": (
        ("Hi",),
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
        "only one of thinking budget and thinking level",
    ),
    "minimal-38": (
        ("Hi",),
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}},
        "Thinking level MINIMAL is not supported",
    ),
    "level-on-25": (
        ("Hi",),
        {"name": OLD, "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
        "Thinking level is not supported",
    ),
    "budget-range": (
        ("Hi",),
        {"name": OLD, "generationConfig": {"thinkingConfig": {"thinkingBudget": 24_577}}},
        "thinking budget 24577 is invalid",
    ),
    "budget-0-pro": (
        ("Hi",),
        {
            "name": "gemini-2.5-pro",
            "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}},
        },
        "thinking budget 0 is invalid",
    ),
    "json-and-tools-25": (
        ("Hi",),
        {
            "name": OLD,
            "tools": TOOLS,
            "generationConfig": {"responseMimeType": "application/json"},
        },
        "'application/json' is unsupported",
    ),
    "schema-without-json": (
        ("Hi",),
        {"generationConfig": {"responseJsonSchema": {}}},
        "response mime type",
    ),
    "bad-response-schema": (
        ("Hi",),
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"const": 1},
                "responseJsonSchema": {},
            }
        },
        'Unknown name "const"',
    ),
    "bad-response-json-schema": (
        ("Hi",),
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "array"},
            }
        },
        "missing field",
    ),
    "cache-and-tools": (
        ("Hi",),
        {"cachedContent": "MINE", "tools": TOOLS},
        "CachedContent can not be used",
    ),
    "unsigned": (
        (user("Hi"), model(called(signature="")), user(result(called()))),
        {},
        "function call `default_api:Read` , position 2.",
    ),
    "broken-signature": (
        (user("Hi"), model(called(signature="EsoB")), user(result(called()))),
        {},
        "Corrupted thought signature.",
    ),
    "deep": ((user({"functionCall": {"name": "F", "args": {"a": deep(60)}}}),), {}, "too deep"),
}


@pytest.mark.parametrize(("contents", "more", "message"), REFUSED.values(), ids=REFUSED)
async def test_refused(
    gemini: Gemini, contents: tuple[object, ...], more: dict[str, Any], message: str
) -> None:
    """What Google rejects is rejected, in words that a person can act on."""
    if more.get("cachedContent") == "MINE":
        body = json.dumps({"model": f"models/{MODEL}", "contents": [user("x" * 300)]}).encode()
        made = await ask(gemini, request("POST", "/v1beta/cachedContents", body, ONE))
        more = more | {"cachedContent": made.json["name"]}
    answer = await ask(gemini, sse(*contents, **more))

    assert message in answer.json["error"]["message"]
    assert answer.status in (400, 403)


@pytest.mark.parametrize(
    ("contents", "more"),
    [
        ((user("Hi"), model("So")), {"name": "gemini-3.5-flash"}),
        ((user("Hi"), user("again")), {}),
        ((user("Hi"), model(called(signature="")), user(result(called()))), {"name": OLD}),
        (
            (
                user("Hi"),
                model(called(signature="")),
                user(result(called())),
                model("x"),
                user("y"),
            ),
            {},
        ),
        ((user("Hi"),), schema({"$defs": {"X": OBJECT}, "$ref": "#/$defs/X"})),
        ((user("Hi"),), schema({"type": ["object", "null"], "additionalProperties": False})),
        ((user("Hi"),), schema({"prefixItems": [OBJECT], "anyOf": [{"type": "string"}]})),
        ((user("Hi"),), proto({"type": "OBJECT", "additionalProperties": True})),
        ((user("Hi"),), {"generation_config": {"max_output_tokens": 100}}),
        ((user("Hi"),), {"generationConfig": {"thinkingConfig": {"thinkingBudget": 99}}}),
        ((user("Hi"),), {"name": OLD, "generationConfig": {"presencePenalty": 1}}),
        ((user({"fileData": {"fileUri": "https://x/y.png", "mimeType": "image/png"}}),), {}),
        ((user("Hi"),), {"tools": [{"googleSearch": {}}], "toolConfig": {}}),
    ],
    ids=[
        "prefill-on-35",
        "neighbours",
        "unsigned-on-25",
        "unsigned-in-an-older-turn",
        "ref",
        "nullable",
        "tuple",
        "proto",
        "snake-case",
        "budget-on-3",
        "penalty-on-25",
        "https-file",
        "search",
    ],
)
async def test_taken(gemini: Gemini, contents: tuple[object, ...], more: dict[str, Any]) -> None:
    """What Google takes is taken."""
    assert 200 == (await ask(gemini, sse(*contents, **more))).status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/v1beta/models/gemini-9", b"", 404),
        ("POST", "/v1beta/models/gemini-9:generateContent", b"{}", 404),
        ("POST", f"/v1beta/models/{MODEL}:generateContent", b"[]", 400),
        ("POST", f"/v1beta/models/{MODEL}:generateContent", b"{", 400),
        ("POST", f"/v1beta/models/{MODEL}:countTokens", b"{}", 400),
        ("POST", "/v1beta/cachedContents", b'{"contents":[]}', 400),
        ("POST", "/v1beta/cachedContents", b'{"model":"models/gemini-3.8-flash"}', 400),
        ("GET", "/v1beta/models?pageToken=x", b"", 400),
        ("GET", "/v1beta/files/none", b"", 403),
        ("DELETE", "/v1beta/cachedContents/none", b"", 403),
        ("POST", "/upload/v1beta/files?upload_id=none", b"", 404),
    ],
)
async def test_refused_paths(
    gemini: Gemini, method: str, path: str, body: bytes, status: int
) -> None:
    """What is not there, and what is no request, is refused as well."""
    assert status == (await ask(gemini, request(method, path, body, ONE))).status


async def test_nested_without_measure(gemini: Gemini) -> None:
    """A body nested deeper than any reader goes is refused, and nothing breaks."""
    body = b'{"contents":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    path = f"/v1beta/models/{MODEL}:generateContent"

    assert 400 == (await ask(gemini, request("POST", path, body, ONE))).status


# Signatures.


PART = {"functionCall": {"id": "k1", "name": "Read", "args": {"a": 1, "b": [2]}}}
OWNER = Owner(MODEL, "first")


@pytest.mark.parametrize(
    ("part", "owner", "expected"),
    [
        (PART, OWNER, Verdict.ISSUED),
        (
            {"functionCall": {"args": {"b": [2], "a": 1}, "name": "default_api:Read", "id": "k1"}},
            OWNER,
            Verdict.ISSUED,
        ),
        ({"functionCall": {**PART["functionCall"], "id": "k2"}}, OWNER, Verdict.OTHER_PART),
        ({"functionCall": {**PART["functionCall"], "args": {}}}, OWNER, Verdict.OTHER_PART),
        ({"text": ""}, OWNER, Verdict.OTHER_PART),
        (PART, Owner(OLD, "first"), Verdict.OTHER_MODEL),
        (PART, Owner(MODEL, "second"), Verdict.OTHER_PROJECT),
    ],
    ids=["same", "same-in-other-words", "id", "args", "text", "model", "project"],
)
def test_signature(part: dict[str, Any], owner: Owner, expected: Verdict) -> None:
    """A signature is good on its part, from its model and project, and nowhere else."""
    signature = sign(OWNER, PART, nonce="r1")

    assert expected == judge(signature, owner, part)
    assert expected == judge(signature.replace("+", "-").replace("/", "_"), owner, part)


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (DUMMY, Verdict.DUMMY),
        (base64.b64encode(DUMMY.encode()).decode(), Verdict.DUMMY),
        ("context_engineering_is_the_way_to_go", Verdict.DUMMY),
        ("", Verdict.BROKEN),
        ("EsoB", Verdict.BROKEN),
        ("no base64!", Verdict.BROKEN),
        (base64.b64encode(bytes(59)).decode(), Verdict.BROKEN),
    ],
)
def test_other_signatures(signature: str, expected: Verdict) -> None:
    """The documented words are taken, and nothing else that was not issued."""
    assert expected == judge(signature, OWNER, PART)


@pytest.mark.parametrize("scene", ["trailing", "text-signed", "text-signed-end", "thought-signed"])
async def test_signed_texts_come_back(gemini: Gemini, scene: str) -> None:
    """A text's signature is good where it stood, also when the text was put together."""
    told = parts_of(chunks(await ask(gemini, sse(f"demo:{scene}"))))
    signed = next(part for part in told if "thoughtSignature" in part)
    whole = "".join(part["text"] for part in told if not part.get("thought"))
    joined = [signed, {"text": whole}] if "thought" in signed else [{**signed, "text": whole}]
    own = [{"text": whole}, signed] if not signed["text"] else joined
    for parts in (told, own):
        answer = await ask(gemini, sse(user(f"demo:{scene}"), model(*parts), user("Go on")))

        assert (200, [Verdict.ISSUED]) == (
            answer.status,
            [each.verdict for each in gemini.asked[-1].signatures],
        )


async def test_trailing_signature_elsewhere(gemini: Gemini) -> None:
    """The signature that ends one text is not good for another."""
    [*_, last] = parts_of(chunks(await ask(gemini, sse("demo:trailing"))))
    answer = await ask(gemini, sse(user("Hi"), model("Another text.", last), user("Go on")))

    assert "Corrupted thought signature." == answer.json["error"]["message"]


async def test_a_signature_of_another_project(gemini: Gemini) -> None:
    """A signature does not move to another key's project; a restart does no harm to it."""
    [call] = [
        part
        for part in parts_of(chunks(await ask(gemini, sse("demo:tool", tools=TOOLS))))
        if "functionCall" in part
    ]
    turns = (user("demo:tool"), model(call), user(result(call)))
    anew = Gemini(keys={"one": "first", "two": "second"})
    await anew.start()
    own = await ask(anew, sse(*turns, tools=TOOLS))
    other = await ask(anew, sse(*turns, tools=TOOLS, fields=["x-goog-api-key: two"]))
    await anew.close()

    assert (200, 400) == (own.status, other.status)
    assert [Verdict.OTHER_PROJECT] == [each.verdict for each in anew.asked[-1].signatures]


# google-genai.


FUNCTION = types.FunctionDeclaration(
    name="Read", parameters_json_schema=READ["parametersJsonSchema"]
)
MANUAL = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[FUNCTION])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def response(call: types.FunctionCall) -> types.Part:
    """Return the response to *call*."""
    said = types.FunctionResponse(id=call.id, name=call.name, response={"output": "ok"})
    return types.Part(function_response=said)


async def test_sdk_generates(gemini: Gemini) -> None:
    """A text in one piece and in several, with its usage."""
    async with client(gemini) as google:
        answer = await google.models.generate_content(model=MODEL, contents="Hello")
        stream = await google.models.generate_content_stream(model=MODEL, contents="Hello")
        pieces = [chunk async for chunk in stream]

    assert answer.text.startswith("Hello! 👋 Your last message is 5 characters long.")
    assert 11 == answer.usage_metadata.prompt_token_count
    assert answer.text == "".join(piece.text or "" for piece in pieces)


async def test_sdk_keeps_signatures(gemini: Gemini) -> None:
    """Each step's call comes back with what was issued on it."""
    async with client(gemini) as google:
        chat = google.chats.create(model=MODEL, config=MANUAL)
        answer = await chat.send_message("demo:steps:3")
        while answer.function_calls:
            answer = await chat.send_message([response(call) for call in answer.function_calls])

    assert 4 == len(gemini.asked)
    assert [Verdict.ISSUED] * 3 == [each.verdict for each in gemini.asked[-1].signatures]


async def test_sdk_calls_functions_itself(gemini: Gemini) -> None:
    """The SDK's own loop around a Python function runs."""

    def weather(city: str) -> str:
        """Say the weather."""
        return f"fine in {city}"

    async with client(gemini) as google:
        config = types.GenerateContentConfig(tools=[weather])
        chat = google.chats.create(model=MODEL, config=config)
        answer = await chat.send_message("Which weather is it?")

    assert answer.text.startswith("Thank you, that is what the function found.")


async def test_sdk_errors(gemini: Gemini) -> None:
    """A wrong key is a 400, not a 401; an error in mid-stream is an exception."""
    async with client(gemini, "wrong") as google:
        with pytest.raises(errors.ClientError, match="API_KEY_INVALID") as refused:
            await google.models.generate_content(model=MODEL, contents="Hello")
    async with client(gemini) as google:
        for scene in ("mid-error:1", "mid-error:1:raw"):
            stream = await google.models.generate_content_stream(
                model=MODEL, contents=f"demo:{scene}"
            )
            with pytest.raises(errors.ServerError, match="overloaded"):
                [chunk async for chunk in stream]

    assert 400 == refused.value.code


async def test_sdk_files(gemini: Gemini, tmp_path: Path) -> None:
    """Upload, list, use, get and delete; another project sees none of it."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"hello " * 1000)
    async with client(gemini) as google, client(gemini, "two") as other:
        file = await google.files.upload(file=path, config={"mime_type": "text/plain"})
        assert [file.name] == [each.name async for each in await google.files.list()]
        assert [] == [each.name async for each in await other.files.list()]
        assert file == await google.files.get(name=file.name)
        answer = await google.models.generate_content(model=MODEL, contents=["Hello", file])
        with pytest.raises(errors.ClientError, match="permission"):
            await other.models.generate_content(model=MODEL, contents=["Hello", file])
        with pytest.raises(errors.ClientError, match="permission"):
            await other.files.get(name=file.name)
        downloaded = await ask(gemini, request("GET", f"/v1beta/{file.name}:download", b"", ONE))
        await google.files.delete(name=file.name)
        assert [] == [each.name async for each in await google.files.list()]

    assert (6000, "text/plain") == (file.size_bytes, file.mime_type)
    assert answer.text
    assert path.read_bytes() == downloaded.body


async def test_upload_in_pieces(gemini: Gemini) -> None:
    """A resumable upload takes piece after piece, each where the last one ended."""
    start = ["X-Goog-Upload-Command: start", "X-Goog-Upload-Header-Content-Type: text/x"]
    named = json.dumps({"file": {"displayName": "pieces", "name": "mine"}}).encode()
    began = await ask(gemini, request("POST", "/upload/v1beta/files", named, ONE, *start))
    [address] = began.field("x-goog-upload-url")
    path = "/upload" + address.partition("/upload")[2]

    async def put(command: str, offset: int, data: bytes, *fields: str) -> Answer:
        said = [f"X-Goog-Upload-Command: {command}", f"X-Goog-Upload-Offset: {offset}", *fields]
        return await ask(gemini, request("POST", path, data, *said))

    first = await put("upload", 0, b"abc")
    asked = await put("query", 0, b"")
    wrong = await put("upload", 1, b"x")
    last = await put("upload, finalize", 3, b"def")
    again = await ask(gemini, request("POST", "/upload/v1beta/files", named, ONE, *start))
    [address] = again.field("x-goog-upload-url")
    path = "/upload" + address.partition("/upload")[2]

    assert ["active"] == first.field("x-goog-upload-status")
    assert ["3"] == asked.field("x-goog-upload-size-received")
    assert 400 == wrong.status
    assert ("6", "pieces", "files/mine", "text/x") == tuple(
        last.json["file"][key] for key in ("sizeBytes", "displayName", "name", "mimeType")
    )
    assert 409 == (await put("finalize", 0, b"")).status


async def test_plain_upload(gemini: Gemini) -> None:
    """A body alone is a file, too."""
    made = await ask(
        gemini,
        request("POST", "/upload/v1beta/files", b"abc", ONE, "Content-Type: text/x"),
    )

    assert ("3", "text/x") == (made.json["file"]["sizeBytes"], made.json["file"]["mimeType"])


async def test_sdk_caches(gemini: Gemini) -> None:
    """Make, use, list, change and delete a cached content, of one project alone."""
    config = types.CreateCachedContentConfig(contents="x" * 1000, ttl="60s")
    async with client(gemini) as google, client(gemini, "two") as other:
        cache = await google.caches.create(model=MODEL, config=config)
        use = types.GenerateContentConfig(cached_content=cache.name)
        answer = await google.models.generate_content(model=MODEL, contents="Hi", config=use)
        with pytest.raises(errors.ClientError, match="permission"):
            await other.models.generate_content(model=MODEL, contents="Hi", config=use)
        assert [cache.name] == [each.name async for each in await google.caches.list()]
        until_s = types.UpdateCachedContentConfig(expire_time=datetime(2026, 12, 1, tzinfo=UTC))
        changed = await google.caches.update(name=cache.name, config=until_s)
        await google.caches.delete(name=cache.name)
        with pytest.raises(errors.ClientError, match="permission"):
            await google.caches.get(name=cache.name)

    assert answer.text
    assert 12 == changed.expire_time.month


async def test_sdk_lists_models(gemini: Gemini) -> None:
    """Every page of the list, and one model."""
    async with client(gemini) as google:
        listed = [each.name async for each in await google.models.list(config={"page_size": 5})]
        one = await google.models.get(model=MODEL)

    assert [f"models/{name}" for name in MODELS] == listed
    assert (1_048_576, 65_536) == (one.input_token_limit, one.output_token_limit)


async def test_count(gemini: Gemini) -> None:
    """Contents alone, or a whole request with its system instruction and tools."""
    async with client(gemini) as google:
        alone = (await google.models.count_tokens(model=MODEL, contents="Hello")).total_tokens
    inner = {"model": f"models/{MODEL}", "contents": [user("Hello")], "tools": TOOLS}
    path = f"/v1beta/models/{MODEL}:countTokens"

    async def count(**body: object) -> Answer:
        return await ask(gemini, request("POST", path, json.dumps(body).encode(), ONE))

    whole = await count(generateContentRequest=inner)
    usage = (await ask(gemini, generate("Hello", tools=TOOLS))).json["usageMetadata"]

    assert usage["promptTokenCount"] == whole.json["totalTokens"] > alone
    assert 400 == (await count(generateContentRequest=inner, contents=[])).status
    assert 400 == (await count(generateContentRequest={**inner, "model": OLD})).status


async def test_embed(gemini: Gemini) -> None:
    """Text becomes numbers, the same for the same text."""
    path = f"/v1beta/models/{MODEL}:embedContent"
    body = json.dumps({"content": user("Hello")}).encode()

    assert 8 == len(
        (await ask(gemini, request("POST", path, body, ONE))).json["embedding"]["values"]
    )


# What it tells of its callers.


async def test_asked(gemini: Gemini) -> None:
    """Each request is remembered as it was understood, refused or not."""
    await ask(gemini, sse("demo:text:1", generation_config={"seed": 1}, version="v1alpha"))
    await ask(gemini, generate(version="v1"))
    await ask(gemini, generate("Hello", method="countTokens"))
    first, refused, counted = gemini.asked

    assert ("streamGenerateContent", MODEL, "first", "text", 0) == (
        first.method,
        first.model,
        first.project,
        first.scene,
        first.refused,
    )
    assert {"seed": 1} == first.body["generationConfig"]
    assert (400, "countTokens") == (refused.refused, counted.method)
    assert 3 == len(gemini.seen)
    gemini.reset()
    assert ([], []) == (gemini.asked, gemini.seen)


async def test_pace() -> None:
    """A stream can be slowed down for people to see it."""
    gemini = Gemini(pace_s=0.01)
    await gemini.start()
    began = asyncio.get_running_loop().time()
    await ask(gemini, sse("demo:text:5"))
    await gemini.close()

    assert asyncio.get_running_loop().time() - began >= 0.05


@pytest.mark.timeout(20)
async def test_by_itself() -> None:
    """It runs as a program of its own, until it is told to end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "passgate.demo.gemini", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    process.send_signal(signal.SIGTERM)

    assert line.startswith(b"http://127.0.0.1:")
    assert 0 == await process.wait()
