"""What an answer consumed: what was told, merged field by field, summed over hops."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.events import Details, EndUsage, StartUsage
from passgate.core.gemini.tokens import Tokens
from passgate.core.usage import NO_USAGE, Usage


def counts(**said: Any) -> msgspec.Raw:
    """Return counts as a chunk states them."""
    told = {f"{name}TokenCount": value for name, value in said.items()}
    return msgspec.Raw(msgspec.json.encode(told))


def counted(*hops: list[msgspec.Raw]) -> Tokens:
    """Return what an answer of these *hops* consumed."""
    tokens = Tokens()
    for number, hop in enumerate(hops):
        if number:
            tokens.next_hop()
        for each in hop:
            tokens.said(each)
    return tokens


ROWS: dict[str, tuple[list[list[msgspec.Raw]], Usage]] = {
    "nothing": ([[]], NO_USAGE),
    "all": (
        [[counts(prompt=9, cachedContent=4, candidates=3, thoughts=2, toolUsePrompt=1)]],
        Usage(6, 5, 4, thinking_tokens=2),
    ),
    "prompt-alone": ([[counts(prompt=9)]], Usage(9)),
    "prompt-untold": ([[counts(candidates=3)]], Usage(None, 3)),
    "later-replaces": (
        [[counts(prompt=9, thoughts=1), counts(prompt=9, thoughts=4)]],
        Usage(9, 4, thinking_tokens=4),
    ),
    "trailing-part-resets-nothing": (
        [[counts(prompt=9, cachedContent=4, candidates=3), counts(prompt=9), counts()]],
        Usage(5, 3, 4),
    ),
    "no-numbers": (
        [[counts(prompt=9, candidates=3), counts(prompt="9"), counts(candidates=-1)]],
        Usage(9, 3),
    ),
    "no-counts": ([[msgspec.Raw(b"null"), msgspec.Raw(b""), msgspec.Raw(b"7")]], NO_USAGE),
    "more-cached-than-sent": (
        [[counts(prompt=1, cachedContent=4)]],
        Usage(0, None, 4),
    ),
    "two-hops": (
        [[counts(prompt=9, candidates=3)], [counts(prompt=12, cachedContent=9, thoughts=1)]],
        Usage(12, 4, 9, thinking_tokens=1),
    ),
    "hop-untold": ([[counts(prompt=9)], []], Usage(9)),
    "both-untold": ([[], []], NO_USAGE),
}


@pytest.mark.parametrize(("hops", "expected"), ROWS.values(), ids=ROWS)
def test_all(hops: list[list[msgspec.Raw]], expected: Usage) -> None:
    """What the meter takes down."""
    assert expected == counted(*hops).all


def test_the_client_sees_its_input_once() -> None:
    """Input of the first hop, output of every hop."""
    tokens = counted([counts(prompt=9, candidates=3)], [counts(prompt=12, thoughts=1)])

    assert StartUsage(9, 0, 0, 4) == tokens.at_start()
    assert EndUsage(9, 0, 0, 4, Details(1)) == tokens.at_end()


def test_service_tier() -> None:
    """The tier is Google's word, whichever of its two members has it."""
    tokens = Tokens()
    tokens.said(msgspec.Raw(b'{"trafficType":"ON_DEMAND"}'))
    first = tokens.service_tier
    tokens.said(msgspec.Raw(b'{"serviceTier":"flex"}'))

    assert ("ON_DEMAND", "flex") == (first, tokens.service_tier)


@given(st.lists(st.fixed_dictionaries({}, optional={"candidates": st.integers(0, 99)})))
def test_cumulative(said: list[dict[str, int]]) -> None:
    """Whatever comes in between, the last count that was told counts."""
    told = [each["candidates"] for each in said if each]

    assert (told[-1] if told else 0) == counted([counts(**each) for each in said]).output
