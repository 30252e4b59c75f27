"""An answer as a client gets it: streamed or whole, with its errors, pings and counts."""

from __future__ import annotations

import json

import pytest

from passgate.core.gemini import errors
from passgate.core.gemini.events import MessageStop, encode
from passgate.core.gemini.response import Streamed, Whole, counted, folded, nothing
from passgate.core.gemini.stream import Translation, Verdict
from tests.core.gemini.google import call, chunk, sse, stop, text, thought, wanted

ANSWER = sse(
    chunk(thought("Hm.", "ThSi")),
    chunk(text("One, ")),
    chunk(text("two.")),
    chunk(call("k1", signature="EsoB", path="é"), call("k2")),
    stop(usageMetadata={"promptTokenCount": 10, "candidatesTokenCount": 4}),
)


def test_events_at_once() -> None:
    """What a chunk tells goes down with that chunk."""
    answer = Streamed(Translation(wanted()), "req_1")

    assert b"One, " in answer.feed(sse(chunk(text("One, "))))
    assert b"two." in answer.feed(sse(chunk(text("two."))))
    assert answer.feed(sse(stop())) == b""
    assert answer.close().endswith(b'{"type":"message_stop"}\n\n')


def test_whole() -> None:
    """The message in one piece, its members in the order of the API."""
    answer = Whole(Translation(wanted()))
    fed = answer.feed(ANSWER)
    body = json.loads(answer.close())

    assert (b"", Verdict.COMPLETE) == (fed, answer.translation.verdict)
    assert ["thinking", "text", "thinking", "tool_use", "tool_use"] == [
        block["type"] for block in body["content"]
    ]
    assert ("One, two.", {"path": "é"}, {}) == (
        body["content"][1]["text"],
        body["content"][3]["input"],
        body["content"][4]["input"],
    )
    assert [
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
        "usage",
    ] == list(body)
    assert ("tool_use", 10, 4, "standard") == (
        body["stop_reason"],
        body["usage"]["input_tokens"],
        body["usage"]["output_tokens"],
        body["usage"]["service_tier"],
    )


def test_whole_that_failed() -> None:
    """What is not complete is no message."""
    answer = Whole(Translation(wanted()))
    answer.feed(sse(chunk(text("One, "))))

    assert answer.close() == b""


def test_whole_without_end() -> None:
    """An answer that never ends is not gathered for ever."""
    answer = Whole(Translation(wanted()))
    piece = b": " + b"x" * (1 << 20) + b"\n\n"
    for _ in range(70):
        answer.feed(piece)

    assert errors.TOO_LARGE == answer.translation.fault
    assert answer.close() == b""


def test_only_a_complete_stream_is_folded() -> None:
    """Half a message is a mistake of ours, not an answer."""
    with pytest.raises(ValueError, match="not complete"):
        folded([MessageStop()])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"totalTokens": 31, "promptTokensDetails": []}', b'{"input_tokens":31}'),
        (b"{}", None),
        (b'{"totalTokens": "many"}', None),
        (b"<html>", None),
        (b"\xff", None),
    ],
    ids=["count", "no-count", "no-number", "html", "no-text"],
)
def test_counted(body: bytes, expected: bytes | None) -> None:
    """The count, or None: never an estimate."""
    assert expected == counted(body)


def test_nothing() -> None:
    """Who wants no token gets a message without one, streamed or whole."""
    events = nothing("gemini-x", "msg_1")
    whole = json.loads(folded(events))

    assert ("msg_1", "gemini-x", [], "max_tokens", 0) == (
        whole["id"],
        whole["model"],
        whole["content"],
        whole["stop_reason"],
        whole["usage"]["output_tokens"],
    )
    assert encode(events).endswith(b'{"type":"message_stop"}\n\n')
