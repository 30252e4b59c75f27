"""Whether a flat price is cheaper is said where the figures suffice, and else why not."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import flat
from passgate.core.flat import BreakEven, Verdict
from passgate.core.report import Sums

USD = 10**9
CASE_A = 45_400_000  # nano-USD of the average request


def day(
    cost_usd: float, *, hour_usd: float = 0, requests: int = 1, unpriced: int = 0, output: int = 100
) -> Sums:
    """Return a day's sums."""
    return Sums(
        requests=requests,
        metered=requests,
        output_tokens=output,
        cost_nusd=round(cost_usd * USD),
        hour_nusd=round(hour_usd * USD),
        unpriced=unpriced,
        unpriced_output_tokens=unpriced,
    )


STEADY = {number: day(10) for number in range(100, 130)}
VERDICTS = [
    pytest.param({}, 200, Verdict.NO_DATA, id="nothing"),
    pytest.param({100: Sums(requests=9)}, 200, Verdict.NO_DATA, id="nothing consumed"),
    pytest.param({130: day(10)}, 200, Verdict.TOO_LITTLE_DATA, id="only a day that is not over"),
    pytest.param(
        {number: day(10) for number in range(126, 130)},
        200,
        Verdict.TOO_LITTLE_DATA,
        id="four days",
    ),
    pytest.param(
        {number: day(10) for number in range(125, 130)}, 200, Verdict.FLAT, id="five days"
    ),
    pytest.param(STEADY, 200, Verdict.FLAT, id="the flat price is less"),
    pytest.param(STEADY, 400, Verdict.PER_TOKEN, id="the flat price is more"),
    pytest.param(STEADY, 304.4, Verdict.UNDECIDED, id="the same"),
    pytest.param(
        {number: day(10, hour_usd=5) for number in range(100, 130)},
        200,
        Verdict.UNDECIDED,
        id="the two variants differ on it",
    ),
    pytest.param(
        {number: day(20 * (number % 2)) for number in range(100, 130)},
        280,
        Verdict.UNDECIDED,
        id="days differ too much",
    ),
    pytest.param(STEADY | {129: day(10, unpriced=150, output=150)}, 200, Verdict.FLAT, id="5 %"),
    pytest.param(
        STEADY | {129: day(10, unpriced=160, output=160)}, 200, Verdict.UNPRICED, id="above 5 %"
    ),
    pytest.param(
        {number: day(0) for number in range(100, 130)}, 0, Verdict.UNDECIDED, id="both are free"
    ),
    pytest.param(STEADY, 0, Verdict.FLAT, id="for nothing"),
]


@pytest.mark.parametrize(("days", "usd", "expected"), VERDICTS)
def test_verdict(days: dict[int, Sums], usd: float, expected: Verdict) -> None:
    """Every assumption must say the same, and the figures must suffice."""
    if expected is Verdict.FLAT and any(sums.unpriced for sums in days.values()):
        total = sum(sums.output_tokens for sums in days.values())
        assert Fraction(150, total) <= flat.MOST_UNPRICED

    assert expected is flat.compare(days, 129, round(usd * USD)).verdict


def test_pace() -> None:
    """A day that is not over counts for nothing; an idle one counts."""
    days = {100: day(30, hour_usd=3), 102: day(60), 104: day(99)}
    got = flat.compare(days, 103, 100 * USD, period_days=10)

    assert (4, 2) == (got.days, got.active_days)
    assert (90 * USD, round(22.5 * USD), 225 * USD) == got.recorded[:3]
    assert (87 * USD, round(21.75 * USD), round(217.5 * USD)) == got.five_minutes[:3]


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40))
def test_doubt(costs: list[int]) -> None:
    """The doubt is two standard errors of the mean day, and never below nothing."""
    days = {number: Sums(metered=1, cost_nusd=cost) for number, cost in enumerate(costs)}
    got = flat.compare(days, len(costs) - 1, 1, period_days=1).recorded
    mean = statistics.fmean(costs)
    doubt = 2 * statistics.stdev(costs) / math.sqrt(len(costs))

    assert abs(got.low_nusd - max(0.0, mean - doubt)) <= 1
    assert abs(got.high_nusd - (mean + doubt)) <= 1


@pytest.mark.parametrize(("usd", "expected"), [(100, 2203), (200, 4406)])
def test_break_even_requests(usd: int, expected: int) -> None:
    """With the average request of the worked example: so many requests a month."""
    days = {number: Sums(requests=9, metered=7, cost_nusd=7 * CASE_A) for number in range(5)}

    assert expected == flat.compare(days, 4, usd * USD).break_even.requests


@pytest.mark.parametrize(("usd", "expected"), [(100, 8), (200, 16)])
def test_break_even_days(usd: int, expected: int) -> None:
    """At 13 USD an active day, idle days between them: so many active days."""
    days = {number: day(13) for number in range(0, 20, 2)}

    assert expected == flat.compare(days, 20, usd * USD).break_even.active_days


def test_break_even_of_what_has_a_price() -> None:
    """What has no price is neither in the cost nor in the volume."""
    days = {number: day(1, requests=10, unpriced=5) for number in range(5)}
    got = flat.compare(days, 4, 10 * USD).break_even

    assert BreakEven(requests=50, output_tokens=950, active_days=10) == got


def test_break_even_of_what_is_free() -> None:
    """What costs nothing never costs as much as the flat price."""
    got = flat.compare({1: day(0)}, 4, 10 * USD)

    assert BreakEven(None, None, None) == got.break_even
