"""What an upstream's answer says of its rate limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.ratelimits import COUNTED, MARK, WINDOWS, Headroom, headroom

NOW_S = 1_800_000_000.0
LATER, PAST = "2027-01-15T08:00:30Z", "2027-01-15T07:59:30Z"  # now is 08:00:00


def head(**fields: str) -> bytes:
    """Return an answer's head; ``_`` in a name is ``-``."""
    lines = [f"anthropic-ratelimit-{k.replace('_', '-')}: {v}" for k, v in fields.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", "Date: x", *lines, "request-id: y"]).encode()


ROWS = {
    "nothing": ({}, []),
    "counted": (
        {"requests_limit": "50", "requests_remaining": "40", "requests_reset": LATER},
        [Headroom("requests", 0.2, 50, 40, NOW_S + 30)],
    ),
    "without-reset": (
        {"input_tokens_limit": "4", "input_tokens_remaining": "1"},
        [Headroom("input_tokens", 0.75, 4, 1)],
    ),
    "more-than-all": (
        {"tokens_limit": "4", "tokens_remaining": "8"},
        [Headroom("tokens", 0.0, 4, 8)],
    ),
    "reset-has-passed": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": PAST},
        [Headroom("tokens", 0.0, 4, 4, NOW_S - 30)],
    ),
    "offset": (
        {
            "tokens_limit": "4",
            "tokens_remaining": "1",
            "tokens_reset": "2027-01-15T09:00:30+01:00",
        },
        [Headroom("tokens", 0.75, 4, 1, NOW_S + 30)],
    ),
    "plan": (
        {"unified_5h_utilization": "0.42", "unified_5h_reset": "1800000030"},
        [Headroom("5h", 0.42, None, None, NOW_S + 30)],
    ),
    "plan-reset-has-passed": (
        {"unified_7d_utilization": "1.01", "unified_7d_reset": "1799999999"},
        [Headroom("7d", 0.0, None, None, NOW_S - 1)],
    ),
    "limit-alone": ({"tokens_limit": "4"}, []),
    "remaining-alone": ({"tokens_remaining": "4", "tokens_reset": PAST}, []),
    "no-limit": ({"tokens_limit": "0", "tokens_remaining": "0"}, []),
    "no-number": ({"tokens_limit": "many", "tokens_remaining": "1"}, []),
    "endless-number": ({"tokens_limit": "9" * 400, "tokens_remaining": "1"}, []),
    "fraction": ({"tokens_limit": "1.5", "tokens_remaining": "1"}, []),
    "no-time": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": "soon"},
        [Headroom("tokens", 0.75, 4, 1)],
    ),
    "no-zone": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": "2020-01-15T08:00:30"},
        [Headroom("tokens", 0.75, 4, 1)],
    ),
    "far-away": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": "9" * 15},
        [Headroom("tokens", 0.75, 4, 1)],
    ),
    "not-ascii": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": "\xff"},
        [Headroom("tokens", 0.75, 4, 1)],
    ),
    "empty": (
        {"tokens_limit": "4", "tokens_remaining": "1", "tokens_reset": ""},
        [Headroom("tokens", 0.75, 4, 1)],
    ),
    "unknown-kind": ({"dreams_limit": "4", "dreams_remaining": "1"}, []),
    "unknown-window": ({"unified_9y_utilization": "0.1"}, []),
    "in-order": (
        {
            "unified_5h_utilization": "0.5",
            "output_tokens_limit": "2",
            "output_tokens_remaining": "1",
            "requests_limit": "2",
            "requests_remaining": "1",
        },
        [
            Headroom("requests", 0.5, 2, 1),
            Headroom("output_tokens", 0.5, 2, 1),
            Headroom("5h", 0.5),
        ],
    ),
}


@pytest.mark.parametrize(("fields", "expected"), ROWS.values(), ids=ROWS.keys())
def test_headroom(fields: dict[str, str], expected: list[Headroom]) -> None:
    """Each limit is told once, in a fixed order; what is not as expected is left out."""
    assert expected == list(headroom(head(**fields), NOW_S))


@pytest.mark.parametrize("spelt", [str.lower, str.title], ids=["small", "title"])
def test_spelling(spelt: type[str]) -> None:
    """The names are read as servers spell them, and such a head shows the mark."""
    raw = head(tokens_limit="4", tokens_remaining="1").decode()
    raw = spelt(raw).replace("Http", "HTTP")

    assert [Headroom("tokens", 0.75, 4, 1)] == list(headroom(raw.encode(), NOW_S))
    assert MARK in raw.encode()


@given(st.binary(max_size=200))
def test_anything(fields: bytes) -> None:
    """Whatever an upstream sends: no exception, and no kind but those that we know."""
    raw = b"HTTP/1.1 200 OK\r\nanthropic-ratelimit-tokens-reset:" + fields
    kinds = {name.replace(b"-", b"_").decode() for name in (*COUNTED, *WINDOWS)}

    assert {limit.kind for limit in headroom(raw, NOW_S)} <= kinds
