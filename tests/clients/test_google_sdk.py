"""Google's own Python SDK through the gateway: every call that it is used for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google import genai
from google.genai import errors, types

from tests.loopback.google import MODEL, Google

MANUAL = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """A gateway with two keys, for tests that leave nothing behind."""
    with Google(tmp_path_factory.mktemp("google"), ("one", "two")) as google:
        yield google


@pytest.fixture
def google(running: Google) -> Google:
    """The gateway, with nothing recorded and nothing seen."""
    running.forget()
    return running


@pytest.fixture(params=["v1", "v1beta"])
def sdk(google: Google, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    """The SDK, with its default version of the API and with the other one."""
    version = {} if request.param == "v1" else {"api_version": request.param}
    with google.genai(**version) as client:
        yield client


@pytest.fixture
def beta(google: Google) -> Iterator[genai.Client]:
    """The SDK with the version of the API that has files and caches."""
    with google.genai(api_version="v1beta") as client:
        yield client


WEATHER = types.FunctionDeclaration(
    name="get_weather",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}},
)
TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[WEATHER])], automatic_function_calling=MANUAL
)


def result(call: types.FunctionCall) -> types.Part:
    """Return the response to *call*."""
    said = types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
    return types.Part(function_response=said)


def test_generate(google: Google, sdk: genai.Client) -> None:
    """A text in one piece."""
    answer = sdk.models.generate_content(model=MODEL, contents="Hello")
    [record] = google.recorded()

    assert (answer.text or "").startswith("Hello!")
    assert (MODEL, "complete") == (record.model, record.ending.value)


def test_stream(google: Google, sdk: genai.Client) -> None:
    """A text as it is made."""
    pieces = list(sdk.models.generate_content_stream(model=MODEL, contents="demo:text:30"))
    [record] = google.recorded()

    assert len(pieces) > 3
    assert "".join(piece.text or "" for piece in pieces)
    assert record.stream


def test_chat_with_tools(google: Google, sdk: genai.Client) -> None:
    """A conversation with calls keeps its signatures, and its key."""
    chat = sdk.chats.create(model=MODEL, config=TOOLS)
    answer = chat.send_message("demo:steps:3")
    while answer.function_calls:
        answer = chat.send_message([result(call) for call in answer.function_calls])

    assert answer.text
    assert 4 == len(google.gemini.asked)
    assert ["issued"] * 3 == [each.verdict.value for each in google.gemini.asked[-1].signatures]
    assert ["one"] * 4 == google.shown()


def test_count(sdk: genai.Client) -> None:
    """Tokens are counted."""
    assert (sdk.models.count_tokens(model=MODEL, contents="Hello").total_tokens or 0) > 0


def test_models(sdk: genai.Client) -> None:
    """The list is Google's, and so is one model."""
    names = [model.name for model in sdk.models.list()]

    assert f"models/{MODEL}" in names
    assert f"models/{MODEL}" == sdk.models.get(model=MODEL).name


def test_errors(sdk: genai.Client) -> None:
    """Google's errors reach the SDK as they are."""
    with pytest.raises(errors.ClientError, match="INVALID_ARGUMENT") as refused:
        sdk.models.generate_content(model=MODEL, contents="demo:error:400")

    assert 400 == refused.value.code


def test_wrong_key(google: Google) -> None:
    """A key that the gateway does not know is refused in Google's words."""
    options = types.HttpOptions(base_url=google.url)
    with (
        genai.Client(api_key="wrong", http_options=options) as client,
        pytest.raises(errors.ClientError, match="UNAUTHENTICATED"),
    ):
        client.models.generate_content(model=MODEL, contents="Hello")

    assert [] == google.gemini.seen


def test_caches(google: Google, beta: genai.Client) -> None:
    """A cached content is made, used, listed and deleted."""
    config = types.CreateCachedContentConfig(contents="Long text. " * 5000)
    cache = beta.caches.create(model=MODEL, config=config)
    assert cache.name is not None
    using = types.GenerateContentConfig(cached_content=cache.name)
    answer = beta.models.generate_content(model=MODEL, contents="Hello", config=using)

    assert answer.text
    assert cache.name == google.gemini.asked[-1].body["cachedContent"]
    assert [cache.name] == [each.name for each in beta.caches.list()]
    beta.caches.delete(name=cache.name)
    assert [] == list(beta.caches.list())


def test_files(google: Google, beta: genai.Client, tmp_path: Path) -> None:
    """A file is announced through the gateway and its bytes go to the address Google names.

    That is how the SDK does it: the address is Google's own, it needs no key there, and it
    shows none. All that follows comes through the gateway again, with the same key.
    """
    path = tmp_path / "notes.txt"
    path.write_text("Some notes.")
    file = beta.files.upload(file=path)
    assert file.name is not None
    contents = ["Hello", file]
    answer = beta.models.generate_content(model=MODEL, contents=contents)
    listed = [each.name for each in beta.files.list()]
    beta.files.delete(name=file.name)
    through = [record.path for record in google.recorded(4)]
    alone = [seen for seen in google.gemini.seen if "upload_id=" in seen.target]

    assert answer.text
    assert [file.name] == listed
    assert ["/upload/v1beta/files", f"/v1beta/models/{MODEL}:generateContent"] == through[:2]
    assert [f"/v1beta/{file.name}"] == through[3:]
    assert 1 == len(alone)
    assert google.key.encode() not in b"".join(seen.head for seen in google.gemini.seen)


async def test_asynchronous(google: Google) -> None:
    """The SDK's other half."""
    client = google.genai()
    async with client.aio as half:
        stream = await half.models.generate_content_stream(model=MODEL, contents="Hello")
        text = "".join([piece.text or "" async for piece in stream])
    client.close()

    assert text.startswith("Hello!")
