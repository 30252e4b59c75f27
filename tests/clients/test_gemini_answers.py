"""What is made of Gemini's answers, read by the official SDK: it accepts every stream.

Nothing is between the translation and the SDK but bytes: how the gateway carries them is
tested where it is.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

from passgate.core.gemini.response import counted
from passgate.core.gemini.signatures import decode
from tests.core.gemini.google import call, chunk, sse, stop, streamed, text, whole
from tests.core.gemini.grammar import told_by
from tests.core.gemini.test_stream import PLAYBOOKS, WORKED, Playbook

BIG: Playbook = (
    (chunk(call("k1", signature="EsoB", text='é"\\\n' * 50_000)), stop()),
    {},
    ["message_stop"],
)
ROWS = {**PLAYBOOKS, "tool-args-big": BIG}


def reading(body: bytes, status: int = 200, kind: str = "text/event-stream") -> anthropic.Anthropic:
    """Return the SDK before an API that answers with *body*."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    return anthropic.Anthropic(
        api_key="k",
        base_url="http://api.invalid",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer), trust_env=False),
    )


ASK: Any = {
    "model": "gemini-3.8-flash",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
}


def plain(message: Any) -> dict[str, Any]:
    """Return the SDK's message as what the stream said, its own additions left out."""
    return dict(json.loads(message.model_dump_json(exclude_unset=True)))


@pytest.mark.parametrize(("chunks", "more", "_"), ROWS.values(), ids=ROWS)
def test_sdk_folds_every_stream(
    chunks: tuple[object, ...], more: dict[str, Any], _: object
) -> None:
    """The accumulator makes of each stream the message that it tells, or raises its error."""
    stream, _translation = streamed(sse(*chunks), **more)
    told = told_by(stream)
    with reading(stream) as client:
        if told.ended == "error":
            with (
                pytest.raises(anthropic.APIStatusError) as raised,
                client.messages.stream(**ASK) as got,
            ):
                got.until_done()
            assert told.error["type"] == raised.value.type
            return
        with client.messages.stream(**ASK) as got:
            message = plain(got.get_final_message())

    for block in message["content"]:
        block.pop("parsed_output", None)
        block.pop("citations", None)
    assert told.message["content"] == message["content"]
    assert told.message["stop_reason"] == message["stop_reason"]
    assert told.message["usage"]["output_tokens"] == message["usage"]["output_tokens"]


def test_sdk_reads_a_whole() -> None:
    """An answer in one piece is a message, its thinking blocks ready to be sent back."""
    body = whole(WORKED)
    with reading(body, kind="application/json") as client:
        message = client.messages.create(**ASK)
    first, said, carrier, *uses = message.content

    assert ("thinking", "text", "thinking") == (first.type, said.type, carrier.type)
    assert ["a.py", "b.py"] == [use.input["path"] for use in uses if use.type == "tool_use"]
    assert carrier.type == "thinking"
    assert decode(carrier.signature) is not None
    assert (1104, 4096, 106) == (
        message.usage.input_tokens,
        message.usage.cache_read_input_tokens,
        message.usage.output_tokens,
    )


def test_sdk_reads_a_refusal() -> None:
    """A refusal has its details."""
    stream, _ = streamed(sse(chunk(text("One, ")), stop("SAFETY")))
    with reading(stream) as client, client.messages.stream(**ASK) as got:
        message = got.get_final_message()

    assert message.stop_details is not None
    assert ("refusal", "SAFETY") == (message.stop_reason, message.stop_details.explanation)


def test_sdk_reads_a_count() -> None:
    """The count is what the SDK expects."""
    body = counted(b'{"totalTokens": 31}')
    assert body is not None
    with reading(body, kind="application/json") as client:
        count = client.messages.count_tokens(model=ASK["model"], messages=ASK["messages"])

    assert 31 == count.input_tokens
