"""Counts mean what the API means by them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.usage import (
    Lifetimes,
    OutputDetails,
    Report,
    ServerTools,
    Usage,
    count,
    leniently,
    put_over,
    told_in,
    usage_of,
)


@pytest.mark.parametrize("value", [0, 7, (1 << 53) - 1])
def test_count(value: int) -> None:
    """A count is a whole number that every reader can hold."""
    expected = Report(input_tokens=value)

    assert expected == msgspec.json.decode(b'{"input_tokens":%d}' % value, type=Report)
    assert expected == leniently(Report, {"input_tokens": value})
    assert value == count(value)


@pytest.mark.parametrize("value", [1 << 53, -1, None, True, False, 1.5, "1", [1], {}])
def test_no_count(value: object) -> None:
    """All else was not told."""
    assert count(value) is None
    assert Report(speed="fast") == leniently(Report, {"input_tokens": value, "speed": "fast"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"input_tokens":1}', Report(input_tokens=1)),
        (b'{"input_tokens":1,"speed":5}', Report(input_tokens=1)),
        (b'{"input_tokens":1,"speed":5', None),
        (b'{"input_tokens":1', None),
        (b"[1]", None),
        (b"", None),
        (b'{"speed":5,"a":' + b"[" * 5000, None),
        (b'{"speed":"\xff"}', None),
    ],
)
def test_told_in(text: bytes, expected: Report | None) -> None:
    """What is JSON is read leniently, what is none tells nothing."""
    decode = msgspec.json.Decoder(Report).decode

    assert expected == told_in(text, Report, decode)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, Report(), id="nothing"),
        pytest.param({"speed": "x" * 32, "service_tier": "x" * 33}, Report(speed="x" * 32)),
        pytest.param({"speed": "", "inference_geo": 5}, Report(), id="no words"),
        pytest.param({"unknown": 5, "input_tokens": 1}, Report(input_tokens=1), id="unknown"),
        pytest.param(
            {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": "x"}},
            Report(cache_creation=Lifetimes(1)),
            id="within",
        ),
        pytest.param(
            {"cache_creation": 5, "server_tool_use": [], "output_tokens_details": "x"},
            Report(),
            id="no objects",
        ),
        pytest.param({"iterations": {"type": "message"}}, Report(), id="no list"),
    ],
)
def test_leniently(said: dict[str, Any], expected: Report) -> None:
    """What is not of its type was not told; all else stands."""
    assert expected == leniently(Report, said)


@pytest.mark.parametrize(
    ("said", "five", "hour"),
    [
        pytest.param({}, None, None, id="nothing"),
        pytest.param({"cache_creation_input_tokens": 0}, 0, None, id="zero"),
        pytest.param({"cache_creation_input_tokens": 9}, 9, None, id="no split"),
        pytest.param({"cache_creation": (5, 4)}, 5, 4, id="split alone"),
        pytest.param(
            {"cache_creation_input_tokens": 9, "cache_creation": (5, 4)}, 5, 4, id="agree"
        ),
        pytest.param(
            {"cache_creation_input_tokens": 12, "cache_creation": (5, 4)}, 8, 4, id="grew"
        ),
        pytest.param(
            {"cache_creation_input_tokens": 12, "cache_creation": (0, 4)}, 0, 12, id="grew, hour"
        ),
        pytest.param(
            {"cache_creation_input_tokens": 12, "cache_creation": (5, None)}, 12, None, id="five"
        ),
        pytest.param(
            {"cache_creation_input_tokens": 3, "cache_creation": (5, 4)}, 0, 3, id="fewer"
        ),
        pytest.param({"cache_creation_input_tokens": None, "cache_creation": ()}, None, None),
    ],
)
def test_cache_writes(said: dict[str, Any], five: int | None, hour: int | None) -> None:
    """What was written for 5 minutes and for an hour is told apart, and sums to the sum."""
    if "cache_creation" in said:
        said = said | {"cache_creation": Lifetimes(*said["cache_creation"])}
    usage = usage_of(Report(**said))

    assert (five, hour) == (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)


def test_usage_of() -> None:
    """Each count has its place."""
    told = Report(
        1, 2, 3, 9, Lifetimes(4, 5), OutputDetails(thinking_tokens=6), ServerTools(7), "fast"
    )

    assert Usage(1, 2, 3, 4, 5, 6, 7) == usage_of(told)
    assert Usage() == usage_of(Report())


_COUNTS = st.none() | st.integers(0, 9)
_REPORTS = st.builds(
    Report,
    input_tokens=_COUNTS,
    output_tokens=_COUNTS,
    cache_creation=st.none() | st.builds(Lifetimes, _COUNTS, _COUNTS),
    speed=st.sampled_from([None, "fast", "standard"]),
)


@given(st.lists(_REPORTS, max_size=5))
def test_the_last_told_wins(reports: list[Report]) -> None:
    """Reports may be merged as they come: the last explicit value wins, none is added."""

    def last(name: str, among: list[Any]) -> object:
        return next((v for r in reversed(among) if (v := getattr(r, name)) is not None), None)

    splits = [report.cache_creation for report in reports if report.cache_creation is not None]
    expected = [last(name, reports) for name in ("input_tokens", "output_tokens", "speed")]
    expected += [last(f"ephemeral_{name}_input_tokens", splits) for name in ("5m", "1h")]
    merged = Report(cache_creation=Lifetimes())
    for report in reports:
        put_over(merged, report)
    split = merged.cache_creation
    assert split is not None
    got = [merged.input_tokens, merged.output_tokens, merged.speed]

    assert expected == [*got, split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens]


def test_missing_keeps_and_zero_replaces() -> None:
    """What is missing or null keeps the value; 0 was told."""
    start = Report(input_tokens=5, output_tokens=1, cache_creation=Lifetimes(1, 2))
    later = Report(output_tokens=0, cache_creation=Lifetimes(None, 3), speed="fast")
    expected = Report(input_tokens=5, output_tokens=0, cache_creation=Lifetimes(1, 3), speed="fast")

    assert expected == put_over(start, later)


def test_short_as_json() -> None:
    """What was not told is not written where usage is kept as JSON."""
    assert {"input_tokens": 0} == json.loads(msgspec.json.encode(Usage(input_tokens=0)))
