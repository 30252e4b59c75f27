"""Numbers and names as a terminal shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import shown

COUNTS = {
    None: "-",
    0: "0",
    7.4: "7",
    999: "999",
    999.6: "1.0k",
    1000: "1.0k",
    99_949: "99.9k",
    123_456: "123k",
    999_400: "999k",
    999_600: "1.0M",
    2_399_000: "2.4M",
    5e15: "5000T",
}


@pytest.mark.parametrize(("value", "expected"), COUNTS.items())
def test_count(value: float | None, expected: str) -> None:
    """A number is short, and its size is right."""
    assert expected == shown.count(value)


SPANS = {
    None: "-",
    0: "0ms",
    0.34: "340ms",
    1: "1.0s",
    59.94: "59.9s",
    61: "1m01s",
    3600: "1h00m",
    7260: "2h01m",
    90_000: "1d01h",
}


@pytest.mark.parametrize(("seconds", "expected"), SPANS.items())
def test_span(seconds: float | None, expected: str) -> None:
    """A span is told in the units that people would use."""
    assert expected == shown.span(seconds)


AMOUNTS = {
    None: "-",
    0: "$0",
    99_999: "<$.0001",
    100_000: "$0.0001",
    12_345_678: "$0.0123",
    1_500_000_000: "$1.50",
    1_234_500_000_000: "$1,234.50",
}


@pytest.mark.parametrize(("nusd", "expected"), AMOUNTS.items())
def test_dollars(nusd: int | None, expected: str) -> None:
    """Not known, nothing and very little are three different things."""
    assert expected == shown.dollars(nusd)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "-"), (0.04, "0.0"), (9.94, "9.9"), (84.2, "84")]
)
def test_rate(value: float | None, expected: str) -> None:
    """A slow stream shows its tenths."""
    assert expected == shown.rate(value)


@given(st.text(), st.integers(0, 12))
def test_name(text: str, width: int) -> None:
    """No name moves a cursor, changes a colour or is wider than its place."""
    got = shown.cut(shown.name(text), width)

    assert got.isascii()
    assert got.isprintable() or not got
    assert len(got) <= width


@given(st.floats(0, 9.99e14))
def test_widths(value: float) -> None:
    """What is told in a column fits it."""
    assert len(shown.count(value)) <= 5
    assert len(shown.rate(value)) <= 5
