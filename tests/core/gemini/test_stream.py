"""From Gemini's chunks to Messages events: the answers' half of the edge cases, as playbooks."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import faults
from passgate.core.gemini import errors
from passgate.core.gemini.signatures import Place, TextSignature, decode, text_key, tool_id_up
from passgate.core.gemini.stream import Learnt, Translation, Verdict
from passgate.core.usage import NO_USAGE, Usage
from tests.core.gemini.google import (
    MODEL,
    NONE,
    SCOPE,
    call,
    chunk,
    envelope,
    sse,
    stop,
    streamed,
    text,
    thought,
    wanted,
    whole,
)
from tests.core.gemini.grammar import events_of, told_by


def story(stream: bytes) -> list[str]:
    """Return a stream in short: a word for each event, and what it says."""
    return [_word(event) for event in events_of(stream)]


def _word(event: dict[str, Any]) -> str:
    match event:
        case {"type": "message_start"}:
            return "message"
        case {
            "type": "content_block_start",
            "index": at,
            "content_block": {"type": "tool_use"} as b,
        }:
            return f"use {at} {b['id']} {b['name']}"
        case {"type": "content_block_start", "index": at, "content_block": {"type": kind}}:
            return f"{kind} {at}"
        case {"type": "content_block_delta", "delta": delta}:
            [said] = [value for key, value in delta.items() if key != "type"]
            return f"  {said}"
        case {"type": "content_block_stop", "index": at}:
            return f"stop {at}"
        case {"type": "message_delta", "delta": delta}:
            return f"end {delta['stop_reason']}"
        case {"type": "error", "error": error}:
            return f"error {error['type']}: {error['message']}"
        case _:
            return str(event["type"])


def used(at: int, tool_id: str, args: str = "{}", name: str = "Read") -> list[str]:
    """Return the story of a call."""
    return [f"use {at} {tool_id} {name}", f"  {args}", f"stop {at}"]


def carried(at: int, tool_id: str, signature: str = "EsoB") -> list[str]:
    """Return the story of a block that does nothing but carry a signature."""
    return [f"thinking {at}", f"  {envelope('f', tool_id, signature)}", f"stop {at}"]


def said(at: int, *pieces: str) -> list[str]:
    """Return the story of a text."""
    return [f"text {at}", *(f"  {piece}" for piece in pieces), f"stop {at}"]


def ended(reason: str) -> list[str]:
    """Return the story of a good end."""
    return [f"end {reason}", "message_stop"]


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
OVERLOADED = "error overloaded_error: The model is overloaded."

Playbook = tuple[tuple[object, ...], dict[str, Any], list[str]]
PLAYBOOKS: dict[str, Playbook] = {
    "text": (
        (chunk(text("One, ")), chunk(text("two.")), stop()),
        {},
        ["message", *said(0, "One, ", "two."), *ended("end_turn")],
    ),
    "whitespace-text": (
        (chunk(text(" ")), stop()),
        {},
        ["message", *said(0, " "), *ended("end_turn")],
    ),
    "parts-of-one-chunk": (
        (chunk(thought("Hm."), text("One, "), text("two."), finish="STOP"),),
        {},
        ["message", "thinking 0", "  Hm.", f"  {NONE}", "stop 0", *said(1, "One, ", "two."),
         *ended("end_turn")],
    ),
    "first-delta-after-a-change": (
        (chunk(thought("a")), chunk(text("b")), chunk(thought("c")), chunk(text("d")), stop()),
        {},
        ["message", "thinking 0", "  a", f"  {NONE}", "stop 0", *said(1, "b"),
         "thinking 2", "  c", f"  {NONE}", "stop 2", *said(3, "d"), *ended("end_turn")],
    ),
    "tool-args-empty": (
        (chunk(call("k1", signature="EsoB")), stop()),
        {},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "tool-args-missing": (
        (chunk({"functionCall": {"id": "k1", "name": "Read"}}), stop()),
        {},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "tool-args-null": (
        (chunk({"functionCall": {"id": "k1", "name": "Read", "args": None}}), stop()),
        {},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "parallel-two": (
        (chunk(call("k1", signature="EsoB", path="a"), call("k2", path="b")), stop()),
        {},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1", '{"path": "a"}'),
         *used(2, "toolu_g_k2", '{"path": "b"}'), *ended("tool_use")],
    ),
    "parallel-in-two-chunks": (
        (chunk(call("k1", signature="EsoB")), chunk(call("k2")), stop()),
        {},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1"), *used(2, "toolu_g_k2"),
         *ended("tool_use")],
    ),
    "text-and-call": (
        (chunk(text("Look.")), chunk(call("k1", signature="EsoB")), stop()),
        {},
        ["message", *said(0, "Look."), *carried(1, "toolu_g_k1"), *used(2, "toolu_g_k1"),
         *ended("tool_use")],
    ),
    "text-and-unsigned-call": (
        (chunk(text("Look.")), chunk(call("k1")), chunk(text("Done.")), stop()),
        {},
        ["message", *said(0, "Look."), *used(1, "toolu_g_k1"), *said(2, "Done."),
         *ended("tool_use")],
    ),
    "thought-and-signed-call": (
        (chunk(thought("Hm.")), chunk(call("k1", signature="EsoB")), stop()),
        {},
        ["message", "thinking 0", "  Hm.", f"  {envelope('f', 'toolu_g_k1', 'EsoB')}", "stop 0",
         *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "thought-and-unsigned-call": (
        (chunk(thought("Hm.")), chunk(call("k1")), stop()),
        {},
        ["message", "thinking 0", "  Hm.", f"  {NONE}", "stop 0", *used(1, "toolu_g_k1"),
         *ended("tool_use")],
    ),
    "finish-later": (
        (chunk(call("k1")), chunk(finish="STOP")),
        {},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "finish-earlier": (
        (chunk(text("Look."), finish="STOP"), chunk(call("k1"))),
        {},
        ["message", *said(0, "Look."), *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "finish-with-the-call": (
        (chunk(call("k1"), finish="STOP"),),
        {},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "dup-call-chunk": (
        (chunk(call("k1", signature="EsoB")), chunk(call("k1", signature="EsoB")), stop()),
        {},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "no-parallel": (
        (chunk(call("k1", signature="EsoB"), call("k2")), chunk(call("k3")), stop()),
        {"one_call": True},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "name-mapped": (
        (chunk(call("k1", name="_0")), chunk(call("k2", name="default_api:Read")), stop()),
        {"name_down": {"_0": "0", "default_api:Read": "Read"}.__getitem__},
        ["message", *used(0, "toolu_g_k1", name="0"), *used(1, "toolu_g_k2"), *ended("tool_use")],
    ),
    "sig-on-thought": (
        (chunk(thought("Hm.", "ThSi")), chunk(text("So.")), stop()),
        {},
        ["message", "thinking 0", "  Hm.", f"  {envelope('h', signature='ThSi')}", "stop 0",
         *said(1, "So."), *ended("end_turn")],
    ),
    "sig-on-thought-alone": (
        (chunk(thought("Hm.")), chunk(thought("", "ThSi")), chunk(call("k1")), stop()),
        {},
        ["message", "thinking 0", "  Hm.", f"  {envelope('h', signature='ThSi')}", "stop 0",
         *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "sig-on-thought-and-call": (
        (chunk(thought("Hm.", "ThSi")), chunk(call("k1", signature="EsoB")),
         chunk(thought("Ah.")), chunk(text("So.")), stop()),
        {},
        ["message", "thinking 0", "  Hm.", f"  {envelope('f', 'toolu_g_k1', 'EsoB')}", "stop 0",
         *used(1, "toolu_g_k1"), "thinking 2", "  Ah.", f"  {NONE}", "stop 2", *said(3, "So."),
         *ended("tool_use")],
    ),
    "sig-trailing-empty": (
        (chunk(text("So.")), chunk(text("", "TeSi"), finish="STOP")),
        {},
        ["message", *said(0, "So."), *ended("end_turn")],
    ),
    "sig-trailing-without-text": (
        (chunk(text("So.")), stop(), chunk({"thoughtSignature": "TeSi"})),
        {},
        ["message", *said(0, "So."), *ended("end_turn")],
    ),
    "sig-on-text": (
        (chunk(text("One, ", "TeSi")), chunk(text("two.")), stop()),
        {},
        ["message", *said(0, "One, ", "two."), *ended("end_turn")],
    ),
    "thinking-disabled": (
        (chunk(thought("Hm.")), chunk(call("k1", signature="EsoB")), stop()),
        {"shows_thoughts": False, "carries": False},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "thinking-omitted": (
        (chunk(thought("Hm.", "ThSi")), chunk(call("k1", signature="EsoB")), stop()),
        {"shows_thoughts": False},
        ["message", *carried(0, "toolu_g_k1"), *used(1, "toolu_g_k1"), *ended("tool_use")],
    ),
    "max-thoughts-only": (
        (chunk(thought("Hm.")), stop("MAX_TOKENS")),
        {"shows_thoughts": False},
        ["message", *ended("max_tokens")],
    ),
    "max-thoughts-only-shown": (
        (chunk(thought("Hm.")), stop("MAX_TOKENS")),
        {},
        ["message", "thinking 0", "  Hm.", f"  {NONE}", "stop 0", *ended("max_tokens")],
    ),
    "max-text": (
        (chunk(text("One, ")), stop("MAX_TOKENS")),
        {},
        ["message", *said(0, "One, "), *ended("max_tokens")],
    ),
    "max-after-call": (
        (chunk(call("k1")), stop("MAX_TOKENS")),
        {},
        ["message", *used(0, "toolu_g_k1"), *ended("tool_use")],
    ),
    "safety-mid": (
        (chunk(text("One, ")), stop("SAFETY")),
        {},
        ["message", *said(0, "One, "), *ended("refusal")],
    ),
    "safety-after-thought": (
        (chunk(thought("Hm.")), stop("PROHIBITED_CONTENT")),
        {},
        ["message", "thinking 0", "  Hm.", f"  {NONE}", "stop 0", *ended("refusal")],
    ),
    "prompt-blocked": (
        ({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1"},),
        {},
        ["message", *ended("refusal")],
    ),
    "prompt-not-blocked": (
        ({"promptFeedback": {"safetyRatings": []}}, chunk(text("So.")), stop()),
        {},
        ["message", *said(0, "So."), *ended("end_turn")],
    ),
    "malformed-call": (
        (stop("MALFORMED_FUNCTION_CALL"),),
        {},
        ["error api_error: passgate: the model's answer broke off: MALFORMED_FUNCTION_CALL"],
    ),
    "malformed-call-after-text": (
        (chunk(text("One, ")), stop("MALFORMED_FUNCTION_CALL")),
        {},
        ["message", "text 0", "  One, ",
         "error api_error: passgate: the model's answer broke off: MALFORMED_FUNCTION_CALL"],
    ),
    "no-later-stop-hides-it": (
        (chunk(text("One, ")), stop("SAFETY"), stop("STOP")),
        {},
        ["message", *said(0, "One, "), *ended("refusal")],
    ),
    "a-later-reason-counts": (
        (chunk(text("One, ")), stop("STOP"), stop("SAFETY")),
        {},
        ["message", *said(0, "One, "), *ended("refusal")],
    ),
    "finish-unknown": (
        (chunk(text("One, ")), stop("SOMETHING_NEW")),
        {},
        ["message", "text 0", "  One, ",
         "error api_error: passgate: the model's answer broke off: SOMETHING_NEW"],
    ),
    "empty-stop": (
        (chunk(text("")), stop()),
        {},
        ["error overloaded_error: passgate: the model gave an empty answer; try again"],
    ),
    "thoughts-and-nothing": (
        (chunk(thought("Hm.")), stop()),
        {},
        ["message", "thinking 0", "  Hm.",
         "error overloaded_error: passgate: the model gave an empty answer; try again"],
    ),
    "eof-no-finish": (
        (chunk(text("One, ")),),
        {},
        ["message", "text 0", "  One, ", "error api_error: upstream stream ended early"],
    ),
    "eof-at-once": ((), {}, ["error api_error: upstream stream ended early"]),
    "error-mid-stream-event": (
        (chunk(text("One, ")), ERROR, chunk(text("never")), stop()),
        {},
        ["message", "text 0", "  One, ", OVERLOADED],
    ),
    "error-first": ((ERROR,), {}, [OVERLOADED]),
    "error-odd": (
        ({"error": "no"},),
        {},
        ["error api_error: passgate: the model API answered 200"],
    ),
    "image": (
        (chunk(text("See: "), {"inlineData": {"mimeType": "image/png", "data": ""}}), stop()),
        {},
        ["message", *said(0, "See: ", "[image omitted]"), *ended("end_turn")],
    ),
    "server-parts": (
        (chunk({"executableCode": {"code": "1"}}, {"codeExecutionResult": {}}, text("So.")),
         chunk(finish="STOP", candidate={"groundingMetadata": {"x": [1]}, "index": 0})),
        {},
        ["message", *said(0, "So."), *ended("end_turn")],
    ),
    "nulls": (
        ({"candidates": [{"content": {"parts": None}}, {"content": None}], "usageMetadata": None},
         {"candidates": [], "promptFeedback": None}, {}, chunk(text("So.")), stop()),
        {},
        ["message", *said(0, "So."), *ended("end_turn")],
    ),
    "call-without-name": (
        (chunk({"functionCall": {"args": {}}}), stop()),
        {},
        ["error api_error: passgate: the model API sent what is no answer"],
    ),
    "no-answer": (
        (chunk(text("One, ")), {"candidates": 1}, chunk(text("never"))),
        {},
        ["message", "text 0", "  One, ",
         "error api_error: passgate: the model API sent what is no answer"],
    ),
    "continued-but-full": (
        (chunk(text("One, ")), stop("CONTINUATION", candidate={"continuationToken": "t"},
                                    usageMetadata={"candidatesTokenCount": 100})),
        {"max_tokens": 100},
        ["message", *said(0, "One, "), *ended("max_tokens")],
    ),
    "continued-without-token": (
        (chunk(text("One, ")), stop("CONTINUATION")),
        {},
        ["message", *said(0, "One, "), *ended("max_tokens")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chunks", "more", "expected"), PLAYBOOKS.values(), ids=PLAYBOOKS)
def test_playbook(chunks: tuple[object, ...], more: dict[str, Any], expected: list[str]) -> None:
    """Chunk in, events out; and the events are a legal stream."""
    got, _ = streamed(sse(*chunks), **more)

    assert expected == story(got)
    assert told_by(got).ended == ("error" if expected[-1].startswith("error") else "message_stop")


@pytest.mark.parametrize(("chunks", "more", "_"), PLAYBOOKS.values(), ids=PLAYBOOKS)
def test_whole_says_what_the_stream_says(
    chunks: tuple[object, ...], more: dict[str, Any], _: object
) -> None:
    """Without streaming a client gets the same message, or none."""
    got, _translation = streamed(sse(*chunks), **more)
    told, body = told_by(got), whole(sse(*chunks), **more)
    tier = {"service_tier": "standard"}

    if told.ended == "error":
        assert b"" == body
    else:
        assert told.message | {"usage": told.message["usage"] | tier} == json.loads(body)


WORKED = rb"""data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Need the file.","thought":true}]}}],"usageMetadata":{"promptTokenCount":5200,"cachedContentTokenCount":4096,"thoughtsTokenCount":40,"totalTokenCount":5240},"modelVersion":"gemini-3.8-flash","responseId":"r1"}

data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Let me look."}]}}],"usageMetadata":{}}

data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"k3x9","name":"Read","args":{"path":"a.py"}},"thoughtSignature":"EsoB"},{"functionCall":{"id":"k4y0","name":"Read","args":{"path":"b.py"}}}]}}],"usageMetadata":{}}

data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5200,"cachedContentTokenCount":4096,"candidatesTokenCount":45,"thoughtsTokenCount":61,"totalTokenCount":5306}}

"""  # noqa: E501  as they come
WORKED_OUT = rb"""event: message_start
data: {"type":"message_start","message":{"id":"msg_mKWMJ326PFpReCOJAMr0smdo","type":"message","role":"assistant","content":[],"model":"gemini-3.8-flash","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1104,"cache_read_input_tokens":4096,"cache_creation_input_tokens":0,"output_tokens":40,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Need the file."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"pg1:n:gemini-3.8-flash:9f2c01aa:-:-"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"signature_delta","signature":"pg1:f:gemini-3.8-flash:9f2c01aa:toolu_g_k3x9:EsoB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_g_k3x9","name":"Read","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"path\":\"a.py\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_g_k4y0","name":"Read","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\"path\":\"b.py\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":1104,"cache_read_input_tokens":4096,"cache_creation_input_tokens":0,"output_tokens":106,"output_tokens_details":{"thinking_tokens":61}}}

event: message_stop
data: {"type":"message_stop"}

"""  # noqa: E501  to the byte


def test_worked_example() -> None:
    """The example of the reference, byte for byte."""
    got, translation = streamed(WORKED)

    assert WORKED_OUT == got
    assert {"toolu_g_k3x9"} == translation.learnt.calls.keys()


@given(st.lists(st.integers(0, len(WORKED)), max_size=12).map(sorted))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """However the network slices an answer, the client gets the same bytes."""
    got, _ = streamed(*(WORKED[a:b] for a, b in pairwise([0, *cuts, len(WORKED)])))

    assert WORKED_OUT == got


@given(st.integers(0, len(WORKED) - 3))
def test_a_cut_answer_is_never_complete(length: int) -> None:
    """Wherever an answer is cut off, its client is told so."""
    got, translation = streamed(WORKED[:length])

    assert "error" == told_by(got).ended
    assert errors.ENDED_EARLY == translation.fault


@pytest.mark.parametrize("end", ["\r\n\r\n", "\n\n", "\r\r"])
def test_line_ends(end: str) -> None:
    """Lines may end in any of three ways."""
    got, _ = streamed(sse(chunk(text("So.")), stop(), end=end))

    assert "message_stop" == told_by(got).ended


def test_data_in_several_lines() -> None:
    """An event's data may be spread over lines."""
    lines = json.dumps(chunk(text("So."), finish="STOP"), indent=1).splitlines()
    got, _ = streamed("".join(f"data: {line}\n" for line in lines).encode() + b"\n")

    assert ["message", *said(0, "So."), *ended("end_turn")] == story(got)


def test_comments_are_skipped() -> None:
    """Comments and other fields are no answer, and no harm."""
    got, _ = streamed(b": hello\n\nretry: 1\n\n" + sse(chunk(text("So."), finish="STOP")))

    assert "message_stop" == told_by(got).ended


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ERROR, indent=2).encode(),
        json.dumps(ERROR, indent=2).encode() + b"\n",
        json.dumps([ERROR], indent=2).encode() + b"\n",
        json.dumps(ERROR).encode() + b"\n\n",
    ],
    ids=["lines", "lines-ended", "array", "block"],
)
@pytest.mark.parametrize("lead", [b"", sse(chunk(text("One, ")))], ids=["first", "after-text"])
def test_error_as_bare_json(lead: bytes, body: bytes) -> None:
    """An error may come without an event around it, in several lines."""
    got, translation = streamed(lead, body)

    assert OVERLOADED == story(got)[-1]
    assert "UNAVAILABLE" == told_by(got).error["details"]["gemini_status"]
    assert translation.error is not None
    assert (503, bool(lead)) == (translation.error.code, translation.started)


def test_finish_without_its_last_empty_line() -> None:
    """A last event that is whole counts, also if the line after it is missing."""
    got, _ = streamed(sse(chunk(text("So."), finish="STOP")).rstrip())

    assert "message_stop" == told_by(got).ended


def test_body_breaks() -> None:
    """A body that broke fails the answer; what came of it later is nothing."""
    translation = Translation(wanted())
    translation.feed(sse(chunk(text("One, "))))
    translation.fail(faults.UPSTREAM_LOST)
    translation.fail(faults.UNREACHABLE)

    assert (Verdict.FAILED, faults.UPSTREAM_LOST) == (translation.verdict, translation.fault)
    assert [] == translation.feed(sse(stop())) + translation.close()


def test_event_that_is_too_large() -> None:
    """What cannot be held ends the answer, and is not taken for less."""
    got, translation = streamed(b"data: " + b"x" * (33 << 20))

    assert errors.TOO_LARGE == translation.fault
    assert "error" == told_by(got).ended


@pytest.mark.parametrize(
    ("chunks", "repeats", "started"),
    [
        ((stop("MALFORMED_FUNCTION_CALL"),), True, False),
        ((chunk(text("One, ")), stop("MALFORMED_FUNCTION_CALL")), True, True),
        ((chunk(text("")), stop()), True, False),
        ((chunk(thought("Hm.")), stop()), True, True),
        ((stop("MISSING_THOUGHT_SIGNATURE"),), True, False),
        ((), False, False),
        ((ERROR,), False, False),
        ((chunk(text("So.")), stop()), False, True),
    ],
    ids=[
        "malformed",
        "malformed-after-text",
        "empty",
        "thoughts-only",
        "unsigned",
        "cut",
        "error",
        "complete",
    ],
)
def test_what_is_worth_a_repeat(
    chunks: tuple[object, ...],
    repeats: bool,  # noqa: FBT001  a row
    started: bool,  # noqa: FBT001  a row
) -> None:
    """An answer that failed at Google's may be asked for again while the client has nothing."""
    _, translation = streamed(sse(*chunks))

    assert (repeats, started) == (translation.repeats, translation.started)
    assert (translation.finish == "MISSING_THOUGHT_SIGNATURE") == translation.misses_signature


def test_nothing_is_sent_before_something_is_said() -> None:
    """Hidden thoughts and empty texts leave the answer open to a repeat."""
    translation = Translation(wanted(shows_thoughts=False))
    got = translation.feed(sse(chunk(thought("Hm.")), chunk(text("")), stop()))

    assert ([], False) == (got, translation.started)


def test_refusal_says_why() -> None:
    """A withheld answer names the reason and Google's words for it."""
    safety, _ = streamed(sse(stop("SAFETY", candidate={"finishMessage": "Too hot."})))
    blocked, _ = streamed(sse({"promptFeedback": {"blockReason": "OTHER"}}))
    details = {"type": "refusal", "category": None}

    assert details | {"explanation": "SAFETY: Too hot."} == told_by(safety).message["stop_details"]
    assert details | {"explanation": "OTHER"} == told_by(blocked).message["stop_details"]
    assert [] == told_by(blocked).message["content"]


def test_malformed_says_why() -> None:
    """A broken answer names the reason and Google's words for it."""
    _, translation = streamed(sse(stop("OTHER", candidate={"finishMessage": "No idea."})))

    assert translation.fault is not None
    assert "the model's answer broke off: OTHER: No idea." == translation.fault.message


# Ids of calls.


def uses(stream: bytes) -> list[dict[str, Any]]:
    """Return the calls that a stream tells."""
    return [each for each in told_by(stream).message["content"] if each["type"] == "tool_use"]


def test_no_id() -> None:
    """Equal calls without ids are two, each with an id that Gemini is not shown again."""
    got, _ = streamed(sse(chunk(call(), call()), stop()))
    ids = [each["id"] for each in uses(got)]

    assert 2 == len(set(ids))
    assert [None, None] == [tool_id_up(each) for each in ids]


def test_id_collision() -> None:
    """An id that the conversation has already is not given to a second call."""
    got, _ = streamed(sse(chunk(call("k1"), call("k2")), stop()), taken_ids={"toolu_g_k1"})
    first, second = uses(got)

    assert first["id"].startswith("toolu_p_")
    assert "toolu_g_k2" == second["id"]


def test_id_odd_chars() -> None:
    """An id that no client takes is replaced."""
    got, _ = streamed(sse(chunk(call("call:1/2"), call("x" * 41)), stop()))

    assert all(each["id"].startswith("toolu_p_") for each in uses(got))


def test_same_answer_same_ids() -> None:
    """The same answer has the same ids, another one has others."""
    first, again = (streamed(sse(chunk(call(), responseId="a"), stop()))[0] for _ in range(2))
    other, _ = streamed(sse(chunk(call(), responseId="b"), stop()))

    assert first == again
    assert told_by(first).message["id"] != told_by(other).message["id"]
    assert uses(first)[0]["id"] != uses(other)[0]["id"]


def test_without_response_id() -> None:
    """Where Gemini gives no id, the request's makes one."""
    nameless = {key: value for key, value in chunk(text("So.")).items() if key != "responseId"}
    one, two = (
        told_by(streamed(sse(nameless, {"candidates": [{"finishReason": "STOP"}]}), **more)[0])
        for more in ({"request_id": "a"}, {"request_id": "b"})
    )

    assert one.message["id"] != two.message["id"]


# Arguments.


def test_tool_args_unicode() -> None:
    """What the model wrote arrives, whatever it is."""
    args: dict[str, Any] = {
        "text": 'é 👍🏽 \u2028 \\ " \u0000 \x7f',
        "n": 12345678901234567890,
        "f": 1e-7,
    }
    got, _ = streamed(sse(chunk(call("k1", **args)), stop()))

    assert args == uses(got)[0]["input"]


def test_tool_args_big() -> None:
    """Large arguments come in pieces that no reader chokes on."""
    args = {"text": 'é"\\\n' * 200_000}
    body = sse(chunk(call("k1", **args)), stop())
    got, _ = streamed(*(body[at : at + 65_536] for at in range(0, len(body), 65_536)))
    deltas = [event["delta"] for event in events_of(got) if "index" in event and "delta" in event]
    pieces = [delta["partial_json"] for delta in deltas]

    assert args == uses(got)[0]["input"]
    assert {16 << 10} == {len(piece) for piece in pieces[:-1]}
    assert args == json.loads(whole(body))["content"][0]["input"]


def test_args_that_are_no_text() -> None:
    """Bytes that are no UTF-8 are no answer, and no crash."""
    got, translation = streamed(
        sse(chunk(call("k1", path="?"))).replace(b"?", b"\xff") + sse(stop())
    )

    assert errors.NO_ANSWER == translation.fault
    assert "error" == told_by(got).ended


def test_deep_args() -> None:
    """Arguments nested without measure are no crash."""
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    body = sse(chunk({"functionCall": {"name": "Read", "args": "?"}}), stop())
    _, translation = streamed(body.replace(b'"?"', deep))

    assert translation.verdict in (Verdict.FAILED, Verdict.COMPLETE)


# Signatures to remember.


def test_sig_roundtrip() -> None:
    """What a carrier holds is what Gemini gave, to the byte; so is what is remembered."""
    signature = "Es+/oB==" * 1000
    got, translation = streamed(sse(chunk(call("k1", signature=signature)), stop()))
    carrier = decode(told_by(got).message["content"][0]["signature"])

    assert carrier is not None
    assert (signature, "toolu_g_k1") == (carrier.signature, carrier.tool_id)
    assert {"toolu_g_k1": carrier} == translation.learnt.calls


def test_a_dropped_call_is_not_learnt() -> None:
    """Of calls that a client does not get nothing is remembered but how many."""
    _, translation = streamed(
        sse(chunk(call("k1", signature="a"), call("k2", signature="b")), stop()), one_call=True
    )

    assert {"toolu_g_k1"} == translation.learnt.calls.keys()
    assert 1 == translation.dropped_calls


def test_disabled_thinking_learns_all_the_same() -> None:
    """A client without thinking blocks has no carrier: memory alone has the signature."""
    _, translation = streamed(
        sse(chunk(call("k1", signature="EsoB")), stop()), shows_thoughts=False, carries=False
    )

    assert "EsoB" == translation.learnt.calls["toolu_g_k1"].signature


@pytest.mark.parametrize(
    ("chunks", "place"),
    [
        ((chunk(text("One, ")), chunk(text("two.", "S")), stop()), Place.ON_TEXT),
        ((chunk(text("One, ", "S")), chunk(text("two.")), stop()), Place.ON_TEXT),
        ((chunk(text("One, two.")), chunk(text("", "S"), finish="STOP")), Place.OWN_PART),
        ((chunk(text("One, two.")), stop(), chunk(text("", "S"))), Place.OWN_PART),
        ((chunk(thought("Hm."), text("One, two.")), stop(), chunk(text("", "S"))), Place.OWN_PART),
    ],
    ids=["on-the-last", "on-the-first", "trailing", "after-finish", "after-a-thought"],
)
def test_text_signature(chunks: tuple[object, ...], place: Place) -> None:
    """A text's signature is found again by the text, and knows its place."""
    _, translation = streamed(sse(*chunks))

    assert TextSignature(SCOPE, place, "S") == translation.learnt.text
    assert text_key(MODEL, "One, two.") == translation.learnt.text_key


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk(text("One.", "S")), chunk(call("k1")), stop()),
        (chunk(text("One.", "S")),),
        (chunk(text("One.")), stop()),
    ],
    ids=["with-calls", "cut", "none"],
)
def test_no_text_signature(chunks: tuple[object, ...]) -> None:
    """Nothing is remembered of a text beside calls, or of an answer that is not complete."""
    _, translation = streamed(sse(*chunks))

    assert Learnt() == Learnt({}, translation.learnt.text_key, translation.learnt.text)


# Usage.


def test_cache_usage() -> None:
    """Cached tokens are told apart from fresh ones, thoughts within the output."""
    counts = {"promptTokenCount": 5200, "cachedContentTokenCount": 4096, "thoughtsTokenCount": 7}
    got, translation = streamed(
        sse(
            chunk(text("So."), usageMetadata=counts),
            stop(usageMetadata={"candidatesTokenCount": 5, "toolUsePromptTokenCount": 3}),
        )
    )
    usage = told_by(got).message["usage"]

    assert (1107, 4096, 0) == (
        usage["input_tokens"],
        usage["cache_read_input_tokens"],
        usage["cache_creation_input_tokens"],
    )
    assert (12, {"thinking_tokens": 7}) == (usage["output_tokens"], usage["output_tokens_details"])
    assert Usage(1107, 12, 4096, thinking_tokens=7) == translation.tokens.all


def test_partial_usage() -> None:
    """Of a cut answer is known what was told."""
    _, translation = streamed(sse(chunk(text("So."), usageMetadata={"promptTokenCount": 9})))

    assert Usage(9) == translation.tokens.all


def test_no_usage() -> None:
    """Nothing told is nothing known; the client needs a number."""
    got, translation = streamed(sse(chunk(text("So.")), stop()))

    assert NO_USAGE == translation.tokens.all
    assert 0 == told_by(got).message["usage"]["input_tokens"]


# Answers in hops.


def hops(*bodies: bytes, **more: Any) -> tuple[list[Any], Translation]:
    """Return the events of an answer in several hops."""
    translation = Translation(wanted(**more))
    events: list[Any] = []
    for body in bodies:
        if translation.verdict is Verdict.CONTINUED:
            translation.next_hop()
        events += translation.feed(body) + translation.close()
    return events, translation


def test_long_decode() -> None:
    """An answer in two hops is one message, with all of the output and the input once."""
    counts = {"promptTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 1}
    more = {"promptTokenCount": 111, "cachedContentTokenCount": 100, "candidatesTokenCount": 20}
    first = sse(
        chunk(text("One, "), call(), usageMetadata=counts),
        stop("CONTINUATION", candidate={"continuationToken": "go-on"}),
    )
    events, translation = hops(
        first, sse(chunk(call(), responseId="r2", usageMetadata=more), stop())
    )
    end = events[-2]

    assert "go-on" == hops(first)[1].continuation
    assert Verdict.COMPLETE == translation.verdict
    assert 1 == sum(type(event).__name__ == "MessageStart" for event in events)
    assert (100, 31) == (end.usage.input_tokens, end.usage.output_tokens)
    assert Usage(111, 31, 100, thinking_tokens=1) == translation.tokens.all
    assert ("tool_use", MODEL) == (translation.stop_reason, translation.model_served)


def test_hop_without_usage() -> None:
    """A hop that told nothing adds nothing."""
    token = stop("CONTINUATION", candidate={"continuationToken": "t"})
    _, translation = hops(sse(chunk(text("One")), token), sse(chunk(text("two")), stop()))

    assert NO_USAGE == translation.tokens.all


# Any answer.

PARTS = st.one_of(
    st.builds(text, st.text(max_size=5), st.sampled_from(["", "S"])),
    st.builds(thought, st.text(max_size=5), st.sampled_from(["", "S"])),
    st.builds(
        call,
        st.sampled_from([None, "", "k1", "k2", "k:3"]),
        st.sampled_from(["Read", "default_api:Read", "Né"]),
        st.sampled_from(["", "S"]),
        arg=st.text(max_size=5),
    ),
    st.just({"inlineData": {}}),
    st.just({}),
)
FINISHES = st.sampled_from(["", "STOP", "MAX_TOKENS", "SAFETY", "OTHER", "CONTINUATION", "NEW"])
COUNT = st.one_of(st.none(), st.integers(0, 1000), st.just("12"))
USAGES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("promptTokenCount", "candidatesTokenCount", "x"), COUNT)
)
CHUNKS = st.one_of(
    st.builds(
        lambda parts, finish, usage: chunk(*parts, finish=finish, usageMetadata=usage),
        st.lists(PARTS, max_size=4),
        FINISHES,
        USAGES,
    ),
    st.just({"promptFeedback": {"blockReason": "OTHER"}}),
    st.just(ERROR),
    st.just({}),
)
MORE = st.fixed_dictionaries(
    {"shows_thoughts": st.booleans(), "carries": st.booleans(), "one_call": st.booleans()}
)


@given(st.lists(CHUNKS, max_size=8), MORE, st.data())
def test_any_answer_is_legal(chunks: list[Any], more: dict[str, Any], data: st.DataObject) -> None:
    """Any order of chunks, cut anywhere, makes a legal stream with an honest end."""
    body = sse(*chunks)
    at = data.draw(st.integers(0, len(body)))
    got, translation = streamed(body[:at], body[at:], **more)
    told = told_by(got)

    assert (translation.verdict is Verdict.COMPLETE) == (told.ended == "message_stop")
    assert (translation.fault is not None) == (told.ended == "error")
    if told.ended == "message_stop":
        usage = {"usage": told.message["usage"] | {"service_tier": "standard"}}
        assert told.message | usage == json.loads(whole(body, **more))


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_no_crash(junk: bytes, framed: bool) -> None:  # noqa: FBT001  drawn
    """Whatever comes in place of an answer, the client gets a legal stream that failed."""
    got, translation = streamed(b"data: " + junk + b"\n\n" if framed else junk)

    assert translation.verdict is Verdict.FAILED
    assert "error" == told_by(got).ended


EDITS = st.tuples(
    st.integers(0, len(WORKED)),
    st.integers(0, 30),
    st.one_of(st.binary(max_size=4), st.sampled_from([b"\n", b"\n\n", b'"', b"{", b"}", b"null"])),
)


@given(st.lists(EDITS, max_size=4))
def test_damaged_answers(edits: list[tuple[int, int, bytes]]) -> None:
    """However an answer is damaged, its client gets a legal stream with one end."""
    body = WORKED
    for at, length, new in edits:
        body = body[:at] + new + body[at + length :]
    got, translation = streamed(body)

    assert told_by(got).ended in ("message_stop", "error")
    assert translation.verdict in (Verdict.COMPLETE, Verdict.FAILED)


def test_order_of_events_is_the_order_of_parts() -> None:
    """Events are values that a reader may compare and keep."""
    translation = Translation(wanted())
    first, *_ = translation.feed(sse(chunk(text("So."))))

    assert first == msgspec.json.decode(msgspec.json.encode(first), type=type(first))
