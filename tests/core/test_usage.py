"""Counts mean what the API means by them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.usage import Usage, count, merged, of_messages, word


@pytest.mark.parametrize("value", [0, 7, (1 << 53) - 1])
def test_count(value: int) -> None:
    """A count is a whole number that every reader can hold."""
    assert value == count(value)


@pytest.mark.parametrize("value", [1 << 53, -1, None, True, False, 1.0, "1", [1], {}])
def test_no_count(value: object) -> None:
    """All else was not told."""
    assert count(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("fast", "fast"), ("", None), ("x" * 200, "x" * 200), ("x" * 201, None), (5, None)],
)
def test_word(value: object, expected: str | None) -> None:
    """A word has a sensible length, or it is none."""
    assert expected == word(value)


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
        names = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
        said = said | {"cache_creation": dict(zip(names, said["cache_creation"], strict=False))}
    usage = of_messages(said)

    assert (five, hour) == (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)


_NUMBERS = st.none() | st.integers(0, 9)
_JSON = _NUMBERS | st.dictionaries(st.sampled_from("abc"), _NUMBERS)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), _JSON), max_size=4))
def test_merging_is_associative(reports: list[dict[str, Any]]) -> None:
    """Reports may be merged as they come: the last explicit value wins, none is added."""
    one_by_one: dict[str, Any] = {}
    for report in reports:
        one_by_one = merged(one_by_one, report)
    for name, value in one_by_one.items():
        last = [r[name] for r in reports if r.get(name) is not None][-1]

        assert isinstance(last, dict) or last == value


def test_missing_keeps_and_zero_replaces() -> None:
    """What is missing or null keeps the value; 0 was stated."""
    start = {"input_tokens": 5, "output_tokens": 1, "cache_creation": {"a": 1, "b": 2}}
    later = {"input_tokens": None, "output_tokens": 0, "cache_creation": {"b": 3}, "speed": "fast"}
    expected = {
        "input_tokens": 5,
        "output_tokens": 0,
        "cache_creation": {"a": 1, "b": 3},
        "speed": "fast",
    }

    assert expected == merged(start, later)
    assert {"a": {"b": 1}} == merged({"a": 5}, {"a": {"b": 1}})


def test_short_as_json() -> None:
    """What was not told is not written where usage is kept as JSON."""
    assert {"input_tokens": 0} == json.loads(msgspec.json.encode(Usage(input_tokens=0)))
