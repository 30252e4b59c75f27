"""The simulated Gemini: its answers, what it refuses, and what it tells of its callers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from passgate.demo.gemini import Gemini

MODEL = "gemini-3.8-flash"
READ = types.FunctionDeclaration(
    name="Read",
    parameters_json_schema={
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
)
MANUAL = types.AutomaticFunctionCallingConfig(disable=True)
TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[READ])], automatic_function_calling=MANUAL
)


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


def result(call: types.FunctionCall) -> types.Part:
    """Return the response to *call*."""
    said = types.FunctionResponse(id=call.id, name=call.name, response={"output": "ok"})
    return types.Part(function_response=said)


async def test_generate(gemini: Gemini) -> None:
    """A text in one piece, with its usage."""
    async with client(gemini) as google:
        answer = await google.models.generate_content(model=MODEL, contents="Hello")

    assert answer.text.startswith("Hello! 👋 Your last message is 5 characters long.")
    assert 11 == answer.usage_metadata.prompt_token_count


async def test_steps_keep_their_signatures(gemini: Gemini) -> None:
    """Each step's call comes back with what was issued on it."""
    async with client(gemini) as google:
        chat = google.chats.create(model=MODEL, config=TOOLS)
        answer = await chat.send_message("demo:steps:3")
        while answer.function_calls:
            answer = await chat.send_message([result(call) for call in answer.function_calls])

    assert 4 == len(gemini.asked)
    assert ["issued"] * 3 == [each.verdict.value for each in gemini.asked[-1].signatures]


async def test_wrong_key(gemini: Gemini) -> None:
    """A wrong key is a 400, not a 401."""
    async with client(gemini, "wrong") as google:
        with pytest.raises(errors.ClientError, match="API_KEY_INVALID") as refused:
            await google.models.generate_content(model=MODEL, contents="Hello")

    assert 400 == refused.value.code
