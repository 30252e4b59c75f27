"""The meter of Gemini's own API, beside a full parse of the same answer."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini import meter as gemini_meter
from passgate.core.gemini.meter import GeminiMeter, UsageMetadata, meter_for, usage_of
from passgate.core.meter import NOTHING, Metered
from passgate.core.usage import Usage
from tests.core import oracle

STREAMS = oracle.recorded("gemini", "sse") | {
    f"{name}-array": text for name, text in oracle.recorded("gemini", "array").items()
}
ONES = oracle.recorded("gemini", "json")
ANSWERS = STREAMS | {f"{name}-one": text for name, text in ONES.items()}
_answers = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


def said(metered: Metered) -> dict[str, Any]:
    """Return what was metered in the form of the oracle."""
    fields = msgspec.structs.asdict(metered)
    counts: dict[str, Any] = msgspec.structs.asdict(fields.pop("usage"))
    return counts | fields


def metered(pieces: list[bytes], *, complete: bool = True) -> dict[str, Any]:
    """Return what is read from *pieces*."""
    meter = meter_for(pieces[0][:1])
    for piece in pieces:
        meter.feed(piece)
    return said(meter.close(complete=complete))


@_answers
def test_every_cut(answer: bytes) -> None:
    """Wherever the network cuts an answer, it says what it says in one piece."""
    expected = oracle.of_gemini(answer, complete=True)
    for at in range(1, len(answer) + 1):
        assert expected == metered([answer[:at], answer[at:]]), at
    assert expected == metered([answer[at : at + 1] for at in range(len(answer))])


@_answers
def test_event_by_event(answer: bytes) -> None:
    """So do the pieces in which it is sent."""
    pieces = [piece for piece in answer.splitlines(keepends=True) if piece.strip()]

    assert oracle.of_gemini(answer, complete=True) == metered(pieces)


@_answers
def test_every_end(answer: bytes) -> None:
    """Wherever it is cut off, what was told stands, and what was not is an estimate."""
    meter = meter_for(answer[:1])
    for at in range(len(answer)):
        meter.feed(answer[at : at + 1])
        if at % 7 == 0 or answer[at] in b"}\r\n":
            expected = oracle.of_gemini(answer[: at + 1], complete=False)

            assert expected == said(meter.close(complete=False)), at


@given(st.data())
def test_cuts(data: st.DataObject) -> None:
    """Many cuts change nothing either."""
    answer = ANSWERS[data.draw(st.sampled_from(list(ANSWERS)))]
    cuts = data.draw(st.lists(st.integers(1, len(answer)), max_size=9).map(sorted))
    pieces = [answer[a:b] for a, b in pairwise([0, *cuts, len(answer)])]

    assert oracle.of_gemini(answer, complete=True) == metered(pieces)


_counts = st.one_of(st.none(), st.integers(0, 12), st.just("7"))
_texts = st.sampled_from(["", "a", "b 1", 'say "so"', "back\\slash", "\\", '"', "x\u00e9"])


@st.composite
def _events(draw: st.DrawFn) -> bytes:
    """Return an event that is like others but for a little, as a stream sends it."""
    part: dict[str, Any] = {"text": draw(_texts)}
    if draw(st.booleans()):
        part = draw(st.sampled_from([{"inlineData": {}}, {"text": 5}, {"thought": True} | part]))
    candidate: dict[str, Any] = {"content": {"parts": [part]}}
    if draw(st.booleans()):
        candidate["finishReason"] = draw(st.sampled_from(["STOP", "MAX_TOKENS", None]))
    usage = {"promptTokenCount": draw(_counts), "candidatesTokenCount": draw(_counts)}
    said = {
        "candidates": [candidate],
        "usageMetadata": {name: count for name, count in usage.items() if count is not None},
        "modelVersion": draw(st.sampled_from(["m-1", "m-2"])),
    }
    ends = draw(st.sampled_from(["\r\n\r\n", "\r\n\r\n", "\n\n", ""]))
    return f"data: {json.dumps(said, separators=(',', ':'))}{ends}".encode()


@given(st.lists(_events().flatmap(lambda event: st.lists(st.just(event), max_size=3))), st.data())
def test_events_that_are_alike(groups: list[list[bytes]], data: st.DataObject) -> None:
    """What is put off because it is like what was read is read: as if it came byte by byte."""
    events = [event for group in groups for event in group]
    looks = data.draw(st.sets(st.integers(0, len(events))))
    whole, slow = GeminiMeter(streams=True), GeminiMeter(streams=True)
    for number, event in enumerate(events):
        first = [slow.feed(event[at : at + 1]) for at in range(len(event))]

        assert whole.feed(event) == any(first)
        if number in looks:
            assert slow.running() == whole.running()
    assert slow.close(complete=True) == whole.close(complete=True)


@given(st.lists(_events().flatmap(lambda event: st.lists(st.just(event), max_size=3))), st.data())
def test_many_in_a_piece(groups: list[list[bytes]], data: st.DataObject) -> None:
    """A piece may hold many events, the last of which need not be whole."""
    stream = b"".join(event for group in groups for event in group)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=3).map(sorted))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]

    assert metered([stream[at : at + 1] for at in range(len(stream))] or [b""]) == metered(pieces)


def test_a_number_that_is_none() -> None:
    """What is put off because it looks like an event, and is none, tells nothing."""
    meter = GeminiMeter(streams=True)
    event = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}],'
        b'"usageMetadata":{"candidatesTokenCount":%s}}\r\n\r\n'
    )
    for number in (b"3", b"5", b"007"):
        meter.feed(event % number)

    assert (3, False) == meter.running()


def test_put_off() -> None:
    """An event that tells what the one before told is not read before somebody asks."""
    meter = GeminiMeter(streams=True)
    event = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"%s"}]}}],'
        b'"usageMetadata":{"candidatesTokenCount":%d}}\r\n\r\n'
    )
    for number, text in enumerate((b"a", b"b", b"c d")):
        meter.feed(event % (text, number))
    put_off, running = meter._latest, meter.running()
    meter.feed(b"".join(event % (b"e", number) for number in (3, 4)))
    last = meter._latest

    assert (event % (b"c d", 2), (2, False)) == (put_off, running)
    assert (event % (b"e", 4)).startswith(last)
    assert last
    assert (4, False) == meter.running()


def test_first_of_the_content() -> None:
    """It is told once, of a stream alone: one response comes as a whole."""
    for name, answer in ANSWERS.items():
        meter = meter_for(answer[:1])
        told = [meter.feed(answer[at : at + 40]) for at in range(0, len(answer), 40)]

        assert sum(told) == (name not in ("blocked",) and not name.endswith("-one")), name


def test_running() -> None:
    """While it runs, the output is what was told last, or an estimate."""
    meter = GeminiMeter(streams=True)
    seen = [meter.running()]
    for piece in (
        {"candidates": [{"content": {"parts": [{"text": "x" * 80}]}}], "usageMetadata": {}},
        {"usageMetadata": {"thoughtsTokenCount": 30}},
        {"usageMetadata": {"candidatesTokenCount": 5}},
    ):
        meter.feed(b"data: %s\r\n\r\n" % json.dumps(piece).encode())
        seen.append(meter.running())

    assert [(None, False), (20, True), (30, True), (35, False)] == seen


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"data: [1]\n\n",
        b"data: {nonsense}\n\n",
        b'data: {"usageMetadata":7}\n\n',
        b'{"usageMetadata":null,"candidates":{"a":1}}',
        b"data: {" * 2000,
        b'{"totalTokens":31}',
        b'[{"error":{"code":400}}]',
    ],
)
def test_unknown_shape(answer: bytes) -> None:
    """What tells no usage breaks nothing and tells nothing."""
    meter = meter_for(answer[:1])
    meter.feed(answer)

    assert NOTHING == meter.close(complete=True)


def test_strange_types() -> None:
    """What is not of its type was not told; all else stands."""
    strange = {
        "candidates": [{"content": {"parts": [{"text": 5}]}}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": "4"},
        "modelVersion": ["m"],
    }
    meter = GeminiMeter(streams=True)
    meter.feed(b"data: %s\n\ndata: [[{\n\ndata: 5\n\n" % json.dumps(strange).encode())

    assert Metered("final", Usage(input_tokens=3)) == meter.close(complete=True)


def test_large_image() -> None:
    """An image of megabytes is let go as it comes; the usage beside it is read."""
    image = json.loads(ONES["image"])
    image["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "x" * 3_000_000
    text = b"data: %s\r\n\r\n" % json.dumps(image).encode()
    got = metered([text[at : at + 65536] for at in range(0, len(text), 65536)])

    assert (3, 1290, "final") == (got["input_tokens"], got["output_tokens"], got["kind"])


def test_a_fault_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the meter is kept for its end: in the midst of a stream it does not raise."""
    meter = GeminiMeter(streams=True)

    def fails(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(gemini_meter, "_response_in", fails)

    assert not any(meter.feed(STREAMS["text"]) for _ in range(3))
    with pytest.raises(ZeroDivisionError):
        meter.close(complete=True)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (UsageMetadata(), Usage()),
        (UsageMetadata(10, 4), Usage(6, cache_read_tokens=4)),
        (UsageMetadata(10, 4, 5, 6, 7), Usage(13, 11, 4, thinking_tokens=6)),
        (UsageMetadata(3, 4), Usage(0, cache_read_tokens=4)),
        (UsageMetadata(thoughts_token_count=6), Usage(output_tokens=6, thinking_tokens=6)),
    ],
)
def test_usage_of(told: UsageMetadata, expected: Usage) -> None:
    """The cached part is in the prompt, and thoughts are not in the candidates."""
    assert expected == usage_of(told)
