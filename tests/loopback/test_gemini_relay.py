"""A Messages client at a Gemini model: the official SDK against the simulated Gemini."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from msgspec.structs import replace

from passgate.core.gemini.signatures import DUMMY
from passgate.core.settings import Settings
from tests.loopback.gateway import WAIT_S
from tests.loopback.google import MODEL, Google


def sdk(google: Google, **more: Any) -> anthropic.Anthropic:
    """Return Anthropic's SDK, which speaks to the gateway and repeats nothing."""
    return anthropic.Anthropic(
        api_key=google.key, base_url=google.url, max_retries=0, timeout=WAIT_S, **more
    )


def ask(text: str, **more: Any) -> dict[str, Any]:
    """Return what is asked of the SDK."""
    user = {"role": "user", "content": text}
    return {"model": MODEL, "max_tokens": 8000, "messages": [user]} | more


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """A gateway with one key, for tests that leave nothing behind."""
    with Google(tmp_path_factory.mktemp("google")) as google:
        yield google


@pytest.fixture
def google(running: Google) -> Google:
    """The gateway, with nothing recorded and nothing seen."""
    running.forget()
    return running


@pytest.mark.parametrize("model", [MODEL, f"anthropic/{MODEL}", f"{MODEL}[1m]"])
def test_whole(google: Google, model: str) -> None:
    """An answer in one piece, under the name that the client used."""
    with sdk(google) as client:
        answer = client.messages.create(**ask("Hello") | {"model": model})
    [record] = google.recorded()

    assert ("message", "end_turn", model) == (answer.type, answer.stop_reason, answer.model)
    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith("Hello!")
    assert ("gemini", model, MODEL, 200, "complete", "final", 1) == (
        record.upstream,
        record.model,
        record.model_served,
        record.status,
        record.ending.value,
        record.usage,
        record.attempts,
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        record.input_tokens,
        record.output_tokens,
    )


def test_stream(google: Google) -> None:
    """An answer as it is made."""
    with (
        sdk(google) as client,
        client.messages.stream(**ask("demo:text:40", thinking={"type": "adaptive"})) as stream,
    ):
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
        response = stream.response
    [record] = google.recorded()

    assert 40 == len(text.split())
    assert "end_turn" == last.stop_reason
    assert ["thinking", "text"] == [block.type for block in last.content]
    assert record.stream
    assert record.first_token_ms is not None
    assert ("text/event-stream; charset=utf-8", "no-cache", "no", record.id) == tuple(
        response.headers[name]
        for name in ("content-type", "cache-control", "x-accel-buffering", "request-id")
    )


def test_nothing_of_the_client_goes_to_google(google: Google) -> None:
    """Google is shown the operator's key and told nothing about the client."""
    with sdk(google) as client:
        client.messages.create(**ask("Hello"))
    [seen] = google.gemini.seen
    names = [name.decode().lower() for name, _ in seen.fields]

    assert [
        "host",
        "accept-encoding",
        "content-type",
        "content-length",
        "x-goog-api-key",
    ] == names
    assert f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse" == seen.target
    assert google.key.encode() not in seen.head


def test_count(google: Google) -> None:
    """Tokens are counted by Google."""
    with sdk(google) as client:
        got = client.messages.count_tokens(model=MODEL, messages=ask("Hello")["messages"])
    [record] = google.recorded()

    assert got.input_tokens > 0
    assert (200, "complete", "none", None) == (
        record.status,
        record.ending.value,
        record.usage,
        record.input_tokens,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_no_token(google: Google, stream: bool) -> None:  # noqa: FBT001  a column
    """Who wants no token is answered here."""
    answer = google.ask(google.post(ask("Hello", max_tokens=0, stream=stream)))

    assert 200 == answer.status
    assert b'"stop_reason":"max_tokens"' in answer.body
    assert [] == google.gemini.seen


def _with(**more: Any) -> Callable[[Settings], Settings]:
    def change(settings: Settings) -> Settings:
        *others, gemini = settings.upstreams
        return replace(settings, upstreams=(*others, replace(gemini, **more)))

    return change


@pytest.mark.parametrize(("validates", "mode"), [(True, "VALIDATED"), (False, "AUTO")])
def test_strict_tools(tmp_path: Path, mode: str, *, validates: bool) -> None:
    """Google checks the calls of strict tools where the operator wants that."""
    tool = {"name": "Read", "input_schema": {"type": "object"}, "strict": True}
    with Google(tmp_path, change=_with(validates=validates)) as google:
        answer = google.ask(google.post(ask("x", tools=[tool], tool_choice={"type": "auto"})))
        [seen] = google.gemini.seen
        config = json.loads(seen.body)["toolConfig"]["functionCallingConfig"]

    assert (200, mode) == (answer.status, config["mode"])


@pytest.mark.parametrize("optimistic", [True, False])
def test_signatures_of_another_key(tmp_path: Path, *, optimistic: bool) -> None:
    """What another key was issued is tried only where the operator wants that."""
    with Google(tmp_path, change=_with(optimistic=optimistic)) as google:
        with sdk(google) as client:
            made = client.messages.create(**ask("demo:tool", thinking={"type": "adaptive"}))
        said = [block.model_dump(exclude_none=True) for block in made.content]
        for block in said:  # as if the key that made them had been another one
            if str(block.get("signature", "")).startswith("pg1:"):
                parts = block["signature"].split(":")
                block["signature"] = ":".join([*parts[:3], "0" * len(parts[3]), *parts[4:]])
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}
            for block in said
            if block["type"] == "tool_use"
        ]
        history = [
            {"role": "user", "content": "demo:tool"},
            {"role": "assistant", "content": said},
            {"role": "user", "content": results},
        ]
        google.restart()
        google.forget()
        answer = google.ask(google.post(ask("x", messages=history)))
        seen = [DUMMY.encode() in each.body for each in google.gemini.seen]

    assert 200 == answer.status
    assert [not optimistic] == seen  # the simulated Gemini knows it: it was its own
