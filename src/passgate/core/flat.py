"""Whether a flat price would be cheaper than what the same traffic costs per token.

The answer is only as good as its figures: it says what it rests on, and where they do not
suffice it is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from passgate.core.report import Sums

PERIOD_DAYS = 30.44  # a month, on the average
LEAST_ACTIVE_DAYS = 5
MOST_UNPRICED = Fraction(1, 20)  # of the output tokens
_SURE = 2.0  # standard errors: the mean is within them about 19 times of 20


class Verdict(Enum):
    """What the figures say."""

    NO_DATA = "no_data"
    TOO_LITTLE_DATA = "too_little_data"
    UNPRICED = "unpriced"
    UNDECIDED = "undecided"
    FLAT = "flat"
    PER_TOKEN = "per_token"  # noqa: S105  no password


class Variant(NamedTuple):
    """What the traffic cost, and would cost in a period, under one assumption.

    Attributes:
        cost_nusd: Of the whole time.
        day_nusd: Of a day, on the average of all days, also idle ones.
        period_nusd: Of a period at that pace.
        low_nusd: Of a period, where days differ as they did: hardly less.
        high_nusd: Hardly more.
    """

    cost_nusd: int
    day_nusd: int
    period_nusd: int
    low_nusd: int
    high_nusd: int


class BreakEven(NamedTuple):
    """How much in a period costs as much per token as the flat price; None where nothing cost.

    Attributes:
        requests: Metered exchanges.
        output_tokens: Output, with the input that went with it.
        active_days: Days as the active ones were.
    """

    requests: int | None
    output_tokens: int | None
    active_days: int | None


class Comparison(NamedTuple):
    """A flat price beside the price per token.

    Attributes:
        flat_nusd: The flat price of a period.
        period_days: How long a period is.
        days: How many days the figures are of, also idle ones.
        active_days: How many of them had any consumption.
        recorded: With cache entries as they were recorded.
        five_minutes: As if all cache entries had been written for five minutes, as an API key
            does by default; a plan's client writes them for an hour.
        break_even: By what was recorded.
        unpriced_share: How much of the output has no price.
        verdict: Which is cheaper, or why that cannot be said.
    """

    flat_nusd: int
    period_days: float
    days: int
    active_days: int
    recorded: Variant
    five_minutes: Variant
    break_even: BreakEven
    unpriced_share: float
    verdict: Verdict


def compare(
    days: Mapping[int, Sums], last_day: int, flat_nusd: int, period_days: float = PERIOD_DAYS
) -> Comparison:
    """Return *flat_nusd* beside what *days* cost per token.

    Args:
        days: Day -> what it came to; idle days may be left out.
        last_day: The last whole day that the ledger covers; later ones count for nothing.
        flat_nusd: The flat price of a period.
        period_days: How long a period is.
    """
    whole = {day: sums for day, sums in days.items() if day <= last_day and sums.metered}
    count = last_day - min(whole) + 1 if whole else 0
    costs = [sums.cost_nusd for sums in whole.values()]
    fives = [sums.cost_nusd - sums.hour_nusd for sums in whole.values()]
    recorded = _variant(costs, count, period_days)
    five_minutes = _variant(fives, count, period_days)
    output = sum(sums.output_tokens for sums in whole.values())
    unpriced = sum(sums.unpriced_output_tokens for sums in whole.values())
    unpriced_share = Fraction(unpriced, output) if output else Fraction(0)
    if not any(sums.metered for sums in days.values()):
        verdict = Verdict.NO_DATA
    elif unpriced_share > MOST_UNPRICED:
        verdict = Verdict.UNPRICED
    elif len(whole) < LEAST_ACTIVE_DAYS:
        verdict = Verdict.TOO_LITTLE_DATA
    else:
        verdict = _verdict(flat_nusd, (recorded, five_minutes))
    requests = sum(sums.metered - sums.unpriced for sums in whole.values())
    return Comparison(
        flat_nusd,
        period_days,
        count,
        len(whole),
        recorded,
        five_minutes,
        BreakEven(
            _reached(flat_nusd, requests, recorded.cost_nusd),
            _reached(flat_nusd, output - unpriced, recorded.cost_nusd),
            _reached(flat_nusd, len(whole), recorded.cost_nusd),
        ),
        float(unpriced_share),
        verdict,
    )


def _variant(costs: list[int], days: int, period_days: float) -> Variant:
    """Return the pace of *costs*, one for each active day among *days*."""
    if not days:
        return Variant(0, 0, 0, 0, 0)
    period = Fraction(period_days)
    mean = Fraction(sum(costs), days)
    # Idle days cost nothing, and count.
    squares = sum((cost - mean) ** 2 for cost in costs) + (days - len(costs)) * mean**2
    error = math.sqrt(squares / (days - 1) / days) if days > 1 else 0.0
    doubt = Fraction(_SURE * error)
    return Variant(
        sum(costs),
        round(mean),
        round(mean * period),
        round(max(Fraction(0), mean - doubt) * period),
        round((mean + doubt) * period),
    )


def _verdict(flat_nusd: int, variants: tuple[Variant, ...]) -> Verdict:
    """Return which is cheaper, where every assumption says the same."""
    if all(flat_nusd < variant.low_nusd for variant in variants):
        return Verdict.FLAT
    if all(flat_nusd > variant.high_nusd for variant in variants):
        return Verdict.PER_TOKEN
    return Verdict.UNDECIDED


def _reached(flat_nusd: int, amount: int, cost_nusd: int) -> int | None:
    """Return how much of what *amount* of cost *cost_nusd* costs the flat price."""
    return math.ceil(Fraction(flat_nusd * amount, cost_nusd)) if cost_nusd > 0 else None
