"""What the child says is what the library charges: it is the oracle, to the nano-USD."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from itertools import product

import genai_prices
import msgspec
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, TimeOfDateConstraint
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import pricing
from passgate.core.pricing import Counts, Key, Quote, Schedule
from passgate.edge import price_child
from passgate.edge.prices import COMMAND

PROVIDERS = (pricing.ANTHROPIC, pricing.GOOGLE)
SPEEDS, TIERS = ("", "fast"), ("", "batch", "flex", "priority")
COUNTS = (
    Counts(100, 700, 50_000, 1000, 2000),
    Counts(100_000, 1),
    Counts(100_001, 1),
    Counts(1, 333, 199_998, 1, 1),
    Counts(999_999, 128_000, 7, 5, 3, web_searches=3),
    Counts(web_searches=1),
)


def entries() -> Iterator[tuple[str, ModelInfo]]:
    """Return every model of the two vendors."""
    for provider in get_snapshot().providers:
        if provider.id in PROVIDERS:
            yield from ((provider.id, model) for model in provider.models)


@cache
def schedule(key: Key) -> Schedule:
    """Return the rates of *key*, by way of the child's own words."""
    said = price_child.quote(
        get_snapshot(), key.provider, pricing.plain_name(key.model), pricing.context_of(key)
    )
    return pricing.schedule_of(key, msgspec.json.decode(json.dumps(said), type=Quote))


def ours(key: Key, counts: Counts, day: date) -> int:
    """Return the cost in nano-USD as we compute it."""
    rates = pricing.rates_on(schedule(key), day.toordinal())
    return pricing.nano_usd(pricing.scaled_cost(counts, rates))


def theirs(key: Key, counts: Counts, at: datetime) -> int:
    """Return the cost in nano-USD as the library computes it, rounded once."""
    usage = genai_prices.Usage(
        input_tokens=sum(counts[:1]) + sum(counts[2:5]),
        output_tokens=counts.output_tokens,
        cache_read_tokens=counts.cache_read_tokens,
        cache_write_tokens=counts.cache_write_5m_tokens + counts.cache_write_1h_tokens,
        cache_write_5m_tokens=counts.cache_write_5m_tokens,
        cache_write_1h_tokens=counts.cache_write_1h_tokens,
        web_searches=counts.web_searches,
    )
    price = genai_prices.calc_price(
        usage,
        pricing.plain_name(key.model),
        provider_id=key.provider,
        genai_request_timestamp=at,
        price_context=pricing.context_of(key),
    )
    # Factors of our own are on tokens alone: what is in neither price is searches.
    tokens = price.input_price + price.output_price
    factor = pricing.rates_on(schedule(key), at.toordinal()).factor
    total = tokens * factor / 1_000_000 + (price.total_price - tokens)
    return int(total.scaleb(9).quantize(Decimal(1), ROUND_HALF_EVEN))


def moments(key: Key) -> Iterator[datetime]:
    """Return the moments around every change of a price, and two ordinary ones."""
    yield from (datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 11, 22, 12, tzinfo=UTC))
    for rates in schedule(key):
        if rates.since:
            midnight = datetime.combine(date.fromordinal(rates.since), time(), UTC)
            yield from (midnight - timedelta(seconds=1), midnight)


@pytest.mark.parametrize(
    ("provider", "model"),
    [pytest.param(provider, m, id=f"{provider} {m.id}") for provider, m in entries()],
)
def test_oracle(provider: str, model: ModelInfo) -> None:
    """Every model at every change of its price, in every context: what the library charges."""
    for speed, tier in product(SPEEDS, TIERS):
        key = Key(provider, model.id, speed, tier)
        for at, counts in product(moments(key), COUNTS):
            assert theirs(key, counts, at) == ours(key, counts, at.date()), (key, at, counts)


_TOKENS = st.integers(0, 2_000_000)


@given(
    st.sampled_from([(provider, model.id) for provider, model in entries()]),
    st.builds(Counts, _TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS, st.integers(0, 50)),
    st.dates(date(2024, 1, 1), date(2028, 1, 1)),
    st.sampled_from(SPEEDS),
    st.sampled_from(TIERS),
)
def test_any_counts(
    named: tuple[str, str], counts: Counts, day: date, speed: str, tier: str
) -> None:
    """Whatever is consumed, whenever: what the library charges."""
    key = Key(*named, speed, tier)

    assert theirs(key, counts, datetime.combine(day, time(12), UTC)) == ours(key, counts, day)


def test_prices_change_at_midnight_alone() -> None:
    """No price of the two vendors hangs on the time of day: a day has one."""
    constraints = [
        each.constraint
        for _, model in entries()
        for each in (
            *(model.prices if isinstance(model.prices, list) else ()),
            *(model.price_variants or ()),
        )
    ]

    assert not [each for each in constraints if isinstance(each, TimeOfDateConstraint)]


A = Counts(100, 700, 50_000, 1000, 2000)
B = Counts(2050, 1100, 8000)
C = Counts(1104, 106, 4096)
OPUS, ARGON = Key("anthropic", "claude-opus-5-5"), Key("google", "gemini-4-argon")
NOVEMBER, DECEMBER, NEW_YEAR = date(2026, 11, 22), date(2026, 12, 1), date(2027, 1, 1)
WORKED = [
    pytest.param(OPUS, A, NOVEMBER, "0.0454", id="A"),
    pytest.param(OPUS, A._replace(web_searches=2), NOVEMBER, "0.0654", id="A, two searches"),
    pytest.param(OPUS, Counts(53_100, 700), NOVEMBER, "0.2264", id="A without a cache"),
    pytest.param(OPUS._replace(speed="fast"), A, NOVEMBER, "0.0908", id="A, fast"),
    pytest.param(OPUS._replace(tier="batch"), A, NOVEMBER, "0.0227", id="A, batch"),
    pytest.param(ARGON, B, NOVEMBER, "0.0159", id="B"),
    pytest.param(ARGON, B, DECEMBER - timedelta(1), "0.0159", id="B, the last day"),
    pytest.param(ARGON, B, DECEMBER, "0.0318", id="B, the first day"),
    pytest.param(Key("google", "gemini-3.8-flash"), C, NOVEMBER, "0.0015327", id="C"),
    pytest.param(Key("google", "gemini-3.8-flash"), C, NEW_YEAR, "0.0030654", id="C, later"),
    pytest.param(Key("anthropic", "claude-haiku-5-5"), Counts(100_000), NOVEMBER, "0.010", id="D"),
    pytest.param(
        Key("anthropic", "claude-haiku-5-5"), Counts(100_001), NOVEMBER, "0.0500005", id="D above"
    ),
    pytest.param(
        Key("google", "gemini-3.1-pro-preview"), Counts(200_000, 1000), NOVEMBER, "0.412", id="F"
    ),
    pytest.param(
        Key("google", "gemini-3.1-pro-preview"),
        Counts(200_001, 1000),
        NOVEMBER,
        "0.818004",
        id="F above",
    ),
]


@pytest.mark.parametrize(("key", "counts", "day", "expected"), WORKED)
def test_worked(key: Key, counts: Counts, day: date, expected: str) -> None:
    """The worked numbers of the vendors' own pages."""
    assert Decimal(expected) == Decimal(ours(key, counts, day)).scaleb(-9)


NAMES = [
    ("anthropic", "claude-opus-5-5-20261015", "exact"),
    ("anthropic", "CLAUDE-OPUS-5-5", "exact"),
    ("anthropic", "anthropic/claude-opus-5-5", "exact"),
    ("anthropic", "claude-opus-5-5[1m]", "exact"),
    ("anthropic", "claude-sonnet-4-20250514", "exact"),
    ("anthropic", "claude-opus-4-20250514", "exact"),
    ("anthropic", "claude-3-5-haiku-20241022", "exact"),
    ("google", "models/gemini-4-argon", "exact"),
    ("google", "gemini-4-argon-001", "exact"),
    ("google", "gemini-flash-latest", "exact"),
    ("google", "gemini-pro-latest", "exact"),
    ("google", "gemini-3.8-flash-lite", "approximate"),
    ("google", "gemini-9-neon", None),
    ("anthropic", "claude-mythos-5", None),
    ("anthropic", "gpt-5", None),
    ("anthropic", "gemini-4-argon", None),
    ("anthropic", "", None),
    ("google", "../../etc", None),
    ("anthropic", "claude-\x00\n", None),
]


@pytest.mark.parametrize(("provider", "model", "status"), NAMES)
def test_names(provider: str, model: str, status: str | None) -> None:
    """Names as they come: the same model, a sibling whose price is a guess, or none at all."""
    found = schedule(Key(provider, model))

    assert ([] if status is None else [status]) == sorted({rates.status for rates in found})


# The process.


def ask(*questions: Mapping[str, object]) -> list[Quote]:
    """Return what a child of its own answers, started as the gateway starts it."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run(  # noqa: S603  our own
        COMMAND, input=lines, capture_output=True, text=True, env={}, check=True, timeout=30
    )
    return [msgspec.json.decode(line, type=Quote) for line in done.stdout.splitlines()]


def test_process() -> None:
    """Without an environment or our packages: a line in, a line out, an end at the input's."""
    question = {"provider": "anthropic", "model": "claude-opus-5-5", "context": {"speed": "fast"}}
    known, unknown = ask(question, question | {"model": "x"})

    assert schedule(OPUS._replace(speed="fast")) == pricing.schedule_of(OPUS, known)
    assert Quote() == unknown


def test_no_socket() -> None:
    """The child cannot open a socket, and what it does would not open one."""
    with pytest.raises(RuntimeError, match="offline"):
        price_child.no_network("socket.connect", ())
    price_child.no_network("open", ())
    opened = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", lambda *_: opened.append("socket"))
        question = {"provider": "google", "model": "gemini-4-argon", "context": {}}
        answers = list(price_child.answers(iter([json.dumps(question)])))

    assert [] == opened
    assert 1 == len(answers)
