"""The meters of the Messages API, beside a full parse of the same answer."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import messages_meter
from passgate.core.messages_meter import EventsMeter, MessageMeter, meter_for
from passgate.core.meter import NOTHING, Metered
from passgate.core.usage import Usage
from tests.core import oracle

_LF = oracle.recorded("messages", "sse")
STREAMS = (
    _LF
    | {f"{name}-crlf": _LF[name].replace(b"\n", b"\r\n") for name in ("pings", "thinking")}
    | {f"{name}-cr": _LF[name].replace(b"\n", b"\r") for name in ("text", "multi-line")}
)
MESSAGES = oracle.recorded("messages", "json")
_streams = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
_messages = pytest.mark.parametrize("body", MESSAGES.values(), ids=MESSAGES)


def said(metered: Metered) -> dict[str, Any]:
    """Return what was metered in the form of the oracle."""
    fields = msgspec.structs.asdict(metered)
    counts = msgspec.structs.asdict(fields.pop("usage"))
    if fields["iterations"] is not None:
        fields["iterations"] = json.loads(fields["iterations"])
    return counts | fields


def metered(pieces: list[bytes], *, complete: bool = True) -> dict[str, Any]:
    """Return what the meter reads from events in *pieces*."""
    meter = EventsMeter()
    for piece in pieces:
        meter.feed(piece)
    return said(meter.close(complete=complete))


def events_of(stream: bytes) -> list[bytes]:
    """Return the pieces that a server writes: one for each event."""
    end = next(end for end in (b"\r\n\r\n", b"\n\n", b"\r\r") if end in stream)
    return [part + end for part in stream.split(end)[:-1]]


@_streams
def test_every_cut(stream: bytes) -> None:
    """Wherever the network cuts a stream, it says what it says in one piece."""
    expected = oracle.of_stream(stream, complete=True)
    for at in range(len(stream) + 1):
        assert expected == metered([stream[:at], stream[at:]]), at


@_streams
def test_event_by_event(stream: bytes) -> None:
    """So do the pieces in which it is sent, and single bytes."""
    expected = oracle.of_stream(stream, complete=True)

    assert expected == metered(events_of(stream))
    assert expected == metered([stream[at : at + 1] for at in range(len(stream))])


@_streams
def test_every_end(stream: bytes) -> None:
    """Wherever a stream is cut off, what was told stands, and the rest is an estimate."""
    meter = EventsMeter()
    for at in range(len(stream)):
        meter.feed(stream[at : at + 1])
        # A full parse at every byte would take a second: at each tenth, and at line ends.
        if at % 10 == 0 or stream[at] in b"\r\n":
            expected = oracle.of_stream(stream[: at + 1], complete=False)

            assert expected == said(meter.close(complete=False)), at


@given(st.data())
def test_cuts(data: st.DataObject) -> None:
    """Many cuts change nothing either, nor does how often it is asked."""
    stream = STREAMS[data.draw(st.sampled_from(list(STREAMS)))]
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    whole = oracle.of_stream(stream, complete=True)

    assert whole == metered(pieces)


@_messages
def test_message(body: bytes) -> None:
    """A whole message is read the same, in one piece and in any three."""
    expected = oracle.of_message(body)
    for at in range(len(body)):
        meter = MessageMeter()
        for piece in (body[:at], body[at : at + 5], body[at + 5 :]):
            assert not meter.feed(piece)
        assert (None, False) == meter.running()
        assert expected == said(meter.close(complete=True))


@_messages
def test_message_that_was_cut(body: bytes) -> None:
    """Half a message tells nothing: its usage is not read from the middle of an answer."""
    for at in range(len(body)):
        meter = MessageMeter()
        meter.feed(body[:at])

        assert NOTHING == meter.close(complete=False)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"usage":null}',
        b'{"usage":[1]}',
        b'{"usage":7,"model":{}}',
        b"[1]",
        b'"usage"',
        b"{" * 5000,
        b'{"a":' * 5000,
        b'{"usage":{"input_tokens":1}',
        b"not JSON",
        b'{"input_tokens":14}',
        b'{"id":"msgbatch_1","type":"message_batch","request_counts":{}}',
        b'{"custom_id":"a","result":{"message":{"usage":{"input_tokens":1}}}}\n{}',
        b'{"usage":{"input_tokens":1},"model":"\xff"}',
    ],
)
def test_unknown_shape(body: bytes) -> None:
    """What is no message breaks nothing and tells nothing."""
    meter = MessageMeter()
    meter.feed(body)

    assert NOTHING == meter.close(complete=True)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, Usage()),
        ({"input_tokens": "7", "output_tokens": 7.5}, Usage()),
        ({"input_tokens": -1, "output_tokens": True}, Usage()),
        ({"input_tokens": 1 << 70, "output_tokens": 1 << 53}, Usage()),
        ({"cache_creation": 5, "server_tool_use": [], "output_tokens_details": "x"}, Usage()),
        ({"input_tokens": 0, "cache_read_input_tokens": None}, Usage(input_tokens=0)),
        ({"iterations": 5, "speed": 7, "input_tokens": 1}, Usage(input_tokens=1)),
    ],
)
def test_counts_that_are_none(usage: dict[str, Any], expected: Usage) -> None:
    """What is no count was not told, which is not 0."""
    meter = MessageMeter()
    meter.feed(json.dumps({"usage": usage, "model": 5, "stop_reason": ""}).encode())
    got = meter.close(complete=True)

    assert Metered("final", expected) == got


def test_meter_for() -> None:
    """What came decides, not what was asked for."""
    assert isinstance(meter_for(b"{"), MessageMeter)
    assert isinstance(meter_for(b"e"), EventsMeter)
    assert isinstance(meter_for(b":"), EventsMeter)


def test_first_of_the_content() -> None:
    """It is told once, with the first delta of any block."""
    for name in ("text", "thinking", "tool-use", "lookalike-text"):
        pieces = events_of(STREAMS[name])
        meter = EventsMeter()
        told = [meter.feed(piece) for piece in pieces]
        first = next(n for n, piece in enumerate(pieces) if b"content_block_delta" in piece)

        assert [n == first for n in range(len(pieces))] == told


def test_large_message() -> None:
    """A message of megabytes is not held, and says what a short one says."""
    large = json.loads(MESSAGES["tools"])
    large["content"].append({"type": "text", "text": "usage: " * 500_000})
    text = json.dumps(large).encode()
    meter = MessageMeter()
    for at in range(0, len(text), 65536):
        meter.feed(text[at : at + 65536])

    assert oracle.of_message(MESSAGES["tools"]) == said(meter.close(complete=True))
    assert meter._held is not None
    assert len(meter._held.text) + len(meter._text) < 1000


def test_running() -> None:
    """While it runs, the output is an estimate that grows, until it is told."""
    meter = EventsMeter()
    seen = []
    for piece in events_of(STREAMS["thinking"]):
        meter.feed(piece)
        seen.append(meter.running())
    estimates = [tokens or 0 for tokens, estimated in seen if estimated]

    assert (None, False) == EventsMeter().running()
    assert 1 == estimates[0] < max(estimates) < 100
    assert [(188, False)] * 2 == seen[-2:]


def test_a_long_event_is_left_out() -> None:
    """An event that nobody could hold costs neither memory nor the usage of the others."""
    first, *rest = events_of(STREAMS["text"])
    result = b'event: content_block_start\ndata: {"type":"content_block_start","x":"%s"}\n\n'
    long = result % (b"y" * 200_000)
    pieces = [first, *(long[at : at + 10_000] for at in range(0, len(long), 10_000)), *rest]
    meter = EventsMeter()
    for piece in pieces[:25]:
        meter.feed(piece)
    estimate, _ = meter.running()
    for piece in pieces[25:]:
        meter.feed(piece)

    assert estimate is not None and estimate < 50
    assert oracle.of_stream(STREAMS["text"], complete=True) == said(meter.close(complete=True))


def test_a_fault_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the meter is kept for its end: in the midst of a stream it does not raise."""
    meter = EventsMeter()
    pieces = events_of(STREAMS["text"])
    for piece in pieces[:5]:
        meter.feed(piece)

    def fails(_: bytes) -> list[bytes]:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(messages_meter, "blocks", fails)
        assert not any(meter.feed(piece) for piece in pieces[5:])
    assert not any(meter.feed(piece) for piece in pieces)
    with pytest.raises(ZeroDivisionError):
        meter.close(complete=True)


def test_estimate() -> None:
    """Where the output was not told, it is a token for each 4 bytes that were generated."""
    for name, text in (
        ("text", "Hello! How can I help you today? é世👍"),
        ("tool-use", 'Okay, let\'s check.{\\"location\\": \\"San Francisco, CA\\"}'),
        ("server-tools", 'I\'ll check.{\\"query\\":\\"weather NYC today\\"}Here is the weather.'),
    ):
        pieces = [piece for piece in events_of(STREAMS[name]) if b"message_delta" not in piece]
        got = metered(pieces, complete=False)

        assert (len(text.encode()) // 4, "partial") == (got["output_tokens"], got["kind"]), name


@_streams
def test_estimate_however_cut(stream: bytes) -> None:
    """The estimate is the same for events that come apart, together, and in any two pieces."""
    pieces = [piece for piece in events_of(stream) if b"message_delta" not in piece]
    whole = b"".join(pieces)
    expected = metered(pieces, complete=False)

    assert expected == metered([whole], complete=False)
    for at in range(0, len(whole), 7):
        assert expected == metered([whole[:at], whole[at:]], complete=False), at


def test_unreadable_events() -> None:
    """An event about the message that is none is passed over."""
    start, *rest = events_of(STREAMS["text"])
    strange = [
        b"event: message_delta\ndata: {\n\n",
        b'event: message_delta\ndata: "message_delta"\n\n',
        b'event: message_delta\ndata: {"type":"message_delta"}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":7,"usage":{}}\n\n',
        b'event: message_start\ndata: {"type":"message_start","message":[]}\n\n',
        b"event: message_delta\n\n",
    ]

    assert oracle.of_stream(STREAMS["text"], complete=True) == metered([start, *strange, *rest])


@pytest.mark.parametrize("content", ["", '"content":null,', '"content":"no",', '"content":[[],'])
def test_refusal_without_a_list(content: str) -> None:
    """A refusal whose content is missing or odd is metered like any other."""
    usage = '"usage":{"input_tokens":5,"output_tokens":0}'
    body = f'{{"model":"claude-a",{content}"stop_reason":"refusal",{usage}}}'.encode()
    meter = MessageMeter()
    meter.feed(body)
    told = said(meter.close(complete=True))

    assert told["input_tokens"] == (None if content.endswith("[[],") else 5)
