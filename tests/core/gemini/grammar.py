"""What a stream of the Messages API may look like, written from its documentation alone.

It shares nothing with what it checks: bytes in, and either the message that they tell or an
``AssertionError`` that says which rule they broke.

Source: Claude docs, "Streaming messages"; what the Python SDK's accumulator insists on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_OPENED: dict[str, dict[str, object]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_MEMBERS = {"text_delta": "text", "thinking_delta": "thinking"}
_FITTING = {
    "text": {"text_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}
_STOPS = {"end_turn", "max_tokens", "tool_use", "refusal"}
_ERRORS = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
}
_COUNTS = {
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
}


@dataclass
class Told:
    """What a stream told.

    Attributes:
        ended: ``message_stop``, ``error`` or ``cut``.
        message: The message as its reader has it at the end.
    """

    ended: str = "cut"
    message: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    pings: int = 0


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream, each two lines and an empty one, named as its type is."""
    assert not stream or stream.endswith(b"\n\n"), "an event is not complete"
    events = []
    for block in stream.split(b"\n\n")[:-1]:
        name, _, data = block.partition(b"\n")
        assert name.startswith(b"event: ") and data.startswith(b"data: "), block
        assert b"\n" not in data and b"\r" not in block, block
        event = json.loads(data[6:])
        assert name[7:].decode() == event["type"]
        events.append(event)
    return events


def told_by(stream: bytes) -> Told:
    """Return what a legal *stream*, whole or cut after an event, tells."""
    told, state = Told(), _State()
    for event in events_of(stream):
        assert told.ended == "cut", f"after the end: {event}"
        if event["type"] == "ping":
            told.pings += 1
        elif event["type"] == "error":
            assert event["error"]["type"] in _ERRORS, event
            assert event["error"]["message"]
            told.ended, told.error = "error", event["error"]
        else:
            state.take(event)
    if state.stopped:
        told.ended = "message_stop"
    told.message = state.message
    return told


@dataclass
class _State:
    message: dict[str, Any] = field(default_factory=dict)
    block: dict[str, Any] | None = None
    signed: bool = False
    pieces: list[str] = field(default_factory=list)
    ended: bool = False
    stopped: bool = False

    def take(self, event: dict[str, Any]) -> None:
        assert not self.stopped, f"after message_stop: {event}"
        if event["type"] == "message_start":
            assert not self.message, "a second message_start"
            self._start(event["message"])
            return
        assert self.message, f"before message_start: {event}"
        assert not self.ended or event["type"] in ("message_delta", "message_stop"), event
        getattr(self, f"_{event['type']}")(event)

    def _start(self, message: dict[str, Any]) -> None:
        assert message["id"].startswith("msg_")
        assert ("message", "assistant") == (message["type"], message["role"])
        assert [] == message["content"]
        assert message["stop_reason"] is message["stop_sequence"] is None
        self._counted(message["usage"])
        self.message = message

    def _counted(self, usage: dict[str, Any]) -> None:
        assert usage.keys() >= _COUNTS
        assert all(type(usage[name]) is int and usage[name] >= 0 for name in _COUNTS), usage

    def _content_block_start(self, event: dict[str, Any]) -> None:
        assert self.block is None, "two blocks open"
        assert len(self.message["content"]) == event["index"], "indices have no gaps"
        block = event["content_block"]
        if block["type"] == "tool_use":
            assert {"type", "id", "name", "input"} == block.keys()
            assert {} == block["input"] and block["id"] and block["name"]
        else:
            assert _OPENED[block["type"]] == block
        self.block, self.signed, self.pieces = block, False, []
        self.message["content"].append(block)

    def _content_block_delta(self, event: dict[str, Any]) -> None:
        assert self.block is not None, "a delta without a block"
        assert len(self.message["content"]) - 1 == event["index"]
        delta = event["delta"]
        kind = delta["type"]
        assert kind in _FITTING[self.block["type"]], f"{kind} in a {self.block['type']} block"
        assert not self.signed, "something follows a signature"
        if kind == "signature_delta":
            assert delta["signature"]
            self.signed, self.block["signature"] = True, delta["signature"]
        elif kind == "input_json_delta":
            self.pieces.append(delta["partial_json"])
        else:
            assert delta[_MEMBERS[kind]], "an empty delta"
            self.block[_MEMBERS[kind]] += delta[_MEMBERS[kind]]

    def _content_block_stop(self, event: dict[str, Any]) -> None:
        assert self.block is not None, "a stop without a block"
        assert len(self.message["content"]) - 1 == event["index"]
        if self.block["type"] == "thinking":
            assert self.signed, "a thinking block without a signature is discarded by clients"
        if self.block["type"] == "text":
            assert self.block["text"], "an empty text block"
        if self.block["type"] == "tool_use":
            made = json.loads("".join(self.pieces) or "{}")
            assert isinstance(made, dict)
            self.block["input"] = made
        self.block = None

    def _message_delta(self, event: dict[str, Any]) -> None:
        assert self.block is None, "the message ends within a block"
        delta = event["delta"]
        assert delta["stop_reason"] in _STOPS, delta
        uses = [block for block in self.message["content"] if block["type"] == "tool_use"]
        # A client that is told of a use and gets none waits for ever.
        assert uses or delta["stop_reason"] != "tool_use"
        assert not uses or delta["stop_reason"] in ("tool_use", "refusal")
        if delta["stop_reason"] == "end_turn":
            assert any(block["type"] == "text" for block in self.message["content"])
        self._counted(event["usage"])
        self.message |= delta
        self.message["usage"] |= event["usage"]
        self.ended = True

    def _message_stop(self, _: dict[str, Any]) -> None:
        assert self.ended, "message_stop without message_delta"
        self.stopped = True
