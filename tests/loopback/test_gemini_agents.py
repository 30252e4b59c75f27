"""An agent at a Gemini model, by the official SDK: ten turns, and a restart in the middle."""

from __future__ import annotations

import base64
import secrets
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import pytest

from passgate.demo.gemini_rules import Judged
from tests.loopback.google import MODEL, Google
from tests.loopback.test_gemini_relay import sdk

TOOLS: list[dict[str, Any]] = [
    {
        "name": name,
        "description": f"{name} something.",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"path": {"type": "string", "minLength": 1}},
            "required": ["path"],
            "additionalProperties": False,
        },
    }
    for name in ("Read", "Grep", "Screenshot")
]
# Each opens a turn. The scene says which calls the model makes in it.
TURNS = [
    "demo:steps:3",
    "demo:parallel:3",
    "demo:split:2",
    "demo:thinking",
    "demo:late-finish",
    "demo:id-less:2",
    "demo:early-finish",
    "demo:thought-signed",
    "demo:trailing",
    "demo:steps:2",
]
RESTARTED_AFTER = 4
_MOST_STEPS = 6


def png() -> str:
    """Return a picture of one dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


def result(call: Any) -> dict[str, Any]:
    """Return the result of a call: a text, a picture, or an error."""
    picture = {"type": "base64", "media_type": "image/png", "data": png()}
    contents: dict[str, Any] = {
        "Read": "what it holds",
        "Grep": [{"type": "text", "text": "a:1"}, {"type": "text", "text": "b:2"}],
        "Screenshot": [
            {"type": "text", "text": "The screen."},
            {"type": "image", "source": picture},
        ],
    }
    return {"type": "tool_result", "tool_use_id": call.id, "content": contents[call.name]}


def reminded(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results as Claude Code sends them, with a reminder behind."""
    return [*results, {"type": "text", "text": "<system-reminder>\nGo on.\n</system-reminder>"}]


class Agent:
    """An agent that does what the model says, and keeps what it said as it came.

    Attributes:
        messages: The conversation.
        requests: How many requests it has made.
    """

    def __init__(self, google: Google, *, forgets: bool = False) -> None:
        self._google = google
        self._headers = {"x-claude-code-session-id": secrets.token_hex(8)}
        self._client: anthropic.Anthropic | None = None
        self._forgets = forgets
        self.messages: list[dict[str, Any]] = []
        self.requests = 0

    def turn(self, text: str) -> None:
        """Say *text*, and do what the model wants until it has nothing more to call."""
        self.messages.append({"role": "user", "content": text})
        for _ in range(_MOST_STEPS):
            answer = self._step()
            calls = [block for block in answer.content if block.type == "tool_use"]
            if not calls:
                assert answer.stop_reason == "end_turn"
                return
            assert answer.stop_reason == "tool_use"
            self.messages.append(
                {"role": "user", "content": reminded([result(call) for call in calls])}
            )
        raise AssertionError(f"{text} does not end")

    def close(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            self._client.close()

    def _step(self) -> anthropic.types.Message:
        if self._client is None or self._client.base_url.port != self._google.port:
            self.close()
            self._client = sdk(self._google, default_headers=self._headers)
        with self._client.messages.stream(
            model=MODEL,
            max_tokens=32_000,
            system="You are helpful.",
            messages=self.messages,  # type: ignore[arg-type]  # as an application has them
            tools=TOOLS,  # type: ignore[arg-type]
            thinking={"type": "adaptive"},
        ) as stream:
            answer = stream.get_final_message()
        self.requests += 1
        content = [block.model_dump(exclude_none=True) for block in answer.content]
        if self._forgets:
            content = [block for block in content if block["type"] != "thinking"]
        self.messages.append({"role": "assistant", "content": content})
        return answer


def last_seen(google: Google) -> list[Judged]:
    """Return what Gemini found of every signature in the last request."""
    return list(google.gemini.asked[-1].signatures)


@pytest.mark.parametrize("projects", [("one",), ("one", "two", "three")], ids=["one", "three"])
def test_ten_turns(tmp_path: Path, projects: tuple[str, ...]) -> None:
    """Gemini gets back what it signed, on the parts that it signed, also after a restart."""
    with Google(tmp_path, projects) as google, closing(Agent(google)) as agent:
        for number, text in enumerate(TURNS):
            if number == RESTARTED_AFTER:
                google.restart()
            agent.turn(text)
            verdicts = [each.verdict.value for each in last_seen(google)]

            assert {"issued"} >= set(verdicts), text
        asked = google.gemini.asked

        assert 10 < agent.requests == len(asked) == len(google.recorded(agent.requests))
        assert {0} == {each.refused for each in asked}
        assert 1 == len(set(google.shown()))
        assert len(last_seen(google)) >= 10
        assert {("complete", 200, 1, "final")} == {
            (r.ending.value, r.status, r.attempts, r.usage) for r in google.records
        }


def test_a_client_that_strips_thinking(tmp_path: Path) -> None:
    """What the client forgets is remembered here; after a restart there are dummies instead."""
    with Google(tmp_path) as google, closing(Agent(google, forgets=True)) as agent:
        agent.turn("demo:steps:2")
        agent.turn("demo:parallel:2")
        before = {each.verdict.value for each in last_seen(google)}
        google.restart()
        agent.turn("demo:steps:2")
        after = {each.verdict.value for each in last_seen(google)}

        assert {"issued"} == before
        assert {"dummy", "issued"} == after
        assert {0} == {each.refused for each in google.gemini.asked}
