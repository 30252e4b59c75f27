"""Money is exact: counts times rates, summed unrounded and rounded once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import pricing
from passgate.core.exchange import Record
from passgate.core.pricing import Counts, Key, Override, Quote, Rates, Span, Tier

OPUS = {
    "input_mtok": [(-1, "4")],
    "output_mtok": [(-1, "20")],
    "cache_read_mtok": [(-1, "0.2")],
    "cache_write_mtok": [(-1, "5")],
    "cache_write_1h_mtok": [(-1, "8")],
    "web_searches_kcount": [(-1, "10")],
}


def quote(
    prices: Mapping[str, list[tuple[int, str]]] = OPUS,
    model: str = "claude-opus-5-5",
    knows: tuple[str, ...] = (),
    **more: Any,
) -> Quote:
    """Return what a list says of one model, the same at any time."""
    return Quote(model, spans=(Span(None, dict(prices), knows),), **more)


def rates(quoted: Quote, key: Key) -> Rates:
    """Return the rates of the only span."""
    [only] = pricing.schedule_of(key, quoted)
    return only


def usd(counts: Counts, quoted: Quote, key: Key, *, us: bool = False) -> Decimal:
    """Return the cost in USD."""
    scaled = pricing.scaled_cost(counts, rates(quoted, key), us=us)
    return Decimal(pricing.nano_usd(scaled)).scaleb(-9)


def record(**fields: Any) -> Record:
    """Return a record with *fields*."""
    return Record(datetime(2026, 11, 22, tzinfo=UTC), "1", **fields)


def opus(**context: str) -> Key:
    """Return a key of this model."""
    return Key(pricing.ANTHROPIC, "claude-opus-5-5", **context)


# Sums.

HEAVY = Counts(100, 700, 50_000, 1000, 2000)

WORKED = [
    pytest.param(HEAVY, opus(), False, "0.0454", id="cache heavy"),
    pytest.param(HEAVY._replace(web_searches=2), opus(), False, "0.0654", id="searches"),
    pytest.param(Counts(53_100, 700), opus(), False, "0.2264", id="without a cache"),
    pytest.param(HEAVY, opus(), True, "0.04994", id="in the US"),
    pytest.param(HEAVY._replace(web_searches=2), opus(), True, "0.06994", id="searches in the US"),
    pytest.param(HEAVY, opus(tier="batch"), False, "0.0227", id="a batch"),
    pytest.param(HEAVY, opus(tier="batch"), True, "0.02497", id="a batch in the US"),
    pytest.param(HEAVY, opus(tier="priority"), False, "0.0454", id="bought in advance"),
    pytest.param(Counts(), opus(), False, "0", id="nothing"),
]


@pytest.mark.parametrize(("counts", "key", "us", "expected"), WORKED)
def test_worked(counts: Counts, key: Key, us: bool, expected: str) -> None:  # noqa: FBT001
    """Each count has its rate; a factor is on tokens, not on searches."""
    assert Decimal(expected) == usd(counts, quote(), key, us=us)


TIERS = {
    "input_mtok": [(-1, "2"), (200_000, "4")],
    "output_mtok": [(-1, "12"), (300_000, "18")],
}
ABOVE = [
    pytest.param(Counts(200_000, 1000), "0.412", id="at the border"),
    pytest.param(Counts(200_001, 1000), "0.812004", id="one above: the whole request"),
    pytest.param(Counts(100_001, 1000, 100_000), "0.812004", id="reads are input"),
    pytest.param(Counts(100_001, 1000, 0, 50_000, 50_000), "0.812004", id="writes are input"),
    pytest.param(Counts(300_001, 1000), "1.218004", id="above both"),
]


@pytest.mark.parametrize(("counts", "expected"), ABOVE)
def test_tiers(counts: Counts, expected: str) -> None:
    """The length of the whole input decides on every rate, each with its own border."""
    quoted = quote(TIERS, "gemini-3.1-pro-preview")

    assert Decimal(expected) == usd(counts, quoted, Key(pricing.GOOGLE, "gemini-3.1-pro-preview"))


def test_missing_rates() -> None:
    """What has no rate of its own costs what the kind of token it is costs."""
    [bare] = rates(quote({"input_mtok": [(-1, "1")], "output_mtok": [(-1, "2")]}), opus()).tiers
    written = {"input_mtok": [(-1, "1")], "cache_write_mtok": [(-1, "3")]}
    [writes] = rates(quote(written), opus()).tiers
    [five] = rates(quote(written | {"cache_write_5m_mtok": [(-1, "4")]}), opus()).tiers

    assert Tier(-1, *(10**9 * n for n in (1, 2, 1, 1, 1))) == bare
    assert Tier(-1, *(10**9 * n for n in (1, 0, 1, 3, 3))) == writes
    assert Tier(-1, *(10**9 * n for n in (1, 0, 1, 4, 3))) == five


@pytest.mark.parametrize(
    ("scaled", "expected"),
    [
        (0, 0),
        (5 * 10**11 - 1, 0),
        (5 * 10**11, 0),
        (5 * 10**11 + 1, 1),
        (15 * 10**11, 2),
        (25 * 10**11, 2),
        (10**12, 1),
    ],
)
def test_rounding(scaled: int, expected: int) -> None:
    """A half goes to the even nano-USD."""
    assert expected == pricing.nano_usd(scaled)


@given(st.integers(0, 10**24))
def test_rounding_is_decimals(scaled: int) -> None:
    """The integers round as Decimal does."""
    expected = Decimal(scaled).scaleb(-12).quantize(Decimal(1), ROUND_HALF_EVEN)

    assert int(expected) == pricing.nano_usd(scaled)


# Rates.


def test_days() -> None:
    """The rates of a day are those that began last, and an empty list has none."""
    prices = {"input_mtok": [(-1, "1")]}
    quoted = Quote("m", named=True, spans=(Span(None, prices), Span(date(2026, 12, 1), prices)))
    schedule = pricing.schedule_of(opus(), quoted)
    change = date(2026, 12, 1).toordinal()
    got = [pricing.rates_on(schedule, day).since for day in (1, change - 1, change, change + 1)]

    assert [0, 0, change, change] == got
    assert () == pricing.schedule_of(opus(), Quote())


FACTORS = [
    pytest.param(opus(), (), 10**6, "exact", id="none"),
    pytest.param(opus(tier="batch"), (), 500_000, "approximate", id="batch by our own factor"),
    pytest.param(opus(tier="batch"), ("processing",), 10**6, "exact", id="batch of the list"),
    pytest.param(opus(tier="flex"), (), 10**6, "exact", id="no such tier"),
    pytest.param(opus(speed="fast"), (), 10**6, "exact", id="fast costs what the list says"),
    pytest.param(Key("google", "claude-opus-5-5", "", "flex"), (), 500_000, "approximate", id="f"),
    pytest.param(
        Key("google", "claude-opus-5-5", "", "priority"), (), 1_750_000, "approximate", id="p"
    ),
    pytest.param(
        Key("google", "claude-opus-5-5", "", "flex"), ("service_tier",), 10**6, "exact", id="own"
    ),
]


@pytest.mark.parametrize(("key", "knows", "factor", "status"), FACTORS)
def test_factors(key: Key, knows: tuple[str, ...], factor: int, status: str) -> None:
    """A tier that the list does not know has a factor of ours, and is then a guess."""
    got = rates(quote(knows=knows), key)

    assert (factor, factor * 110 // 100, status) == (got.factor, got.us_factor, got.status)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-5", False),
        ("claude-opus-4-6", True),
        ("claude-sonnet-5", True),
        ("claude-fable-5-1", True),
        ("claude-opus-4-0", False),
        ("claude-3-5-haiku-latest", False),
        ("claude-2", False),
        ("gemini-4-argon", False),
    ],
)
def test_us(model: str, expected: bool) -> None:  # noqa: FBT001
    """Inference kept in the US costs more on Claude 4.6 and later."""
    got = rates(quote(model=model), Key("anthropic", model))

    assert (1_100_000 if expected else 1_000_000) == got.us_factor


NAMES = [
    ("claude-opus-5-5", "claude-opus-5-5", "exact"),
    ("claude-opus-5-5-20261015", "claude-opus-5-5", "exact"),
    ("CLAUDE-OPUS-5-5", "claude-opus-5-5", "exact"),
    ("anthropic/claude-opus-5-5", "claude-opus-5-5", "exact"),
    ("claude-opus-5-5[1m]", "claude-opus-5-5", "exact"),
    ("claude-opus-5.5@20261015", "claude-opus-5-5", "exact"),
    ("claude-3-5-haiku-20241022", "claude-3-5-haiku-latest", "exact"),
    ("claude-sonnet-4-20250514", "claude-sonnet-4-0", "exact"),
    ("models/gemini-4-argon-001", "gemini-4-argon", "exact"),
    ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro", "exact"),
    ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash", "exact"),
    ("gemini-3-pro-preview-11-2025", "gemini-3-pro-preview", "exact"),
    ("gemini-3.5-flash-latest", "gemini-3.5-flash", "exact"),
    ("gemini-3.8-flash-lite", "gemini-3.8-flash", "approximate"),
    ("gemini-3.8-flashy", "gemini-3.8-flash", "approximate"),
    ("claude-5-5-opus", "claude-opus-5-5", "approximate"),
    ("gemini-pro-latest", "gemini-3.1-pro-preview", "approximate"),
]


@pytest.mark.parametrize(("name", "entry", "expected"), NAMES)
def test_names(name: str, entry: str, expected: str) -> None:
    """A dated name is the same model; what the list matched by its beginning may be another."""
    assert expected == rates(quote(model=entry), Key("google", name)).status


def test_alias() -> None:
    """A name that the list has word for word is that entry, however different it looks."""
    named = quote(model="gemini-3.1-pro-preview", named=True)

    assert "exact" == rates(named, Key("google", "gemini-pro-latest")).status


def test_modal() -> None:
    """Rates for sound, images and video are noted: counts do not tell them apart."""
    sound = OPUS | {"input_audio_mtok": [(-1, "1")]}

    assert [False, True] == [rates(quote(each), opus()).modal for each in (OPUS, sound)]


def test_override() -> None:
    """The operator's prices hold at any time, and fill each other in."""
    bare = Override("google", "gemini-9-neon", Decimal("1.00"), Decimal("6.00"))
    full = bare._replace(
        cache_read_usd=Decimal("0.1"),
        cache_write_usd=Decimal(2),
        cache_write_1h_usd=Decimal(3),
        web_search_usd=Decimal(14),
    )
    [some], [every] = map(pricing.schedule_of_override, (bare, full))

    assert (Tier(-1, *(10**9 * n for n in (1, 6, 1, 1, 1))),) == some.tiers
    assert (Tier(-1, 10**9, 6 * 10**9, 10**8, 2 * 10**9, 3 * 10**9),) == every.tiers
    assert (0, 14 * 10**12) == (some.web_search, every.web_search)
    assert {"override"} == {some.status, every.status}


@pytest.mark.parametrize("price", ["1e-10", "-1", "nan", "inf", "0.1234567891"])
def test_no_price(price: str) -> None:
    """What cannot be held exactly is an error, not a slightly different price."""
    with pytest.raises(ValueError, match=r"price|decimals"):
        rates(quote({"input_mtok": [(-1, price)]}), opus())


# Keys, and what belongs to a record.

CONTEXTS = [
    (opus(), {}),
    (opus(speed="fast"), {"speed": "fast"}),
    (opus(tier="batch"), {"processing": "batch"}),
    (opus(speed="fast", tier="batch"), {"speed": "fast", "processing": "batch"}),
    (opus(tier="priority"), {}),
    (Key("google", "gemini-4-argon", "", "flex"), {"service_tier": "flex"}),
    (Key("google", "gemini-4-argon", "", "batch"), {"processing": "batch"}),
]


@pytest.mark.parametrize(("key", "expected"), CONTEXTS)
def test_context(key: Key, expected: dict[str, str]) -> None:
    """A list is told what it can tell prices apart by."""
    assert expected == pricing.context_of(key)


KEYS = [
    (record(model="a"), Key("anthropic", "a")),
    (record(model="a", model_served="b"), Key("anthropic", "b")),
    (record(), Key("anthropic", "")),
    (record(model="a", speed="fast", service_tier="FLEX"), Key("anthropic", "a", "fast", "flex")),
    (record(model="a", speed="standard", service_tier="standard"), Key("anthropic", "a")),
]


@pytest.mark.parametrize(("given", "expected"), KEYS)
def test_key(given: Record, expected: Key) -> None:
    """The model that served counts over the one asked for; only what changes a price is in."""
    assert expected == pricing.key_of("anthropic", given)


def test_counts() -> None:
    """What was not told counts as nothing; thinking is a part of the output."""
    every = record(
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=3,
        cache_write_5m_tokens=4,
        cache_write_1h_tokens=5,
        web_searches=6,
        thinking_tokens=7,
    )
    got = [pricing.parts_of(opus(), each) for each in (every, record())]

    assert [[(opus(), Counts(1, 2, 3, 4, 5, 6))], [(opus(), Counts())]] == got


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input_tokens": 1, "output_tokens": 1}, True),
        ({"input_tokens": None, "output_tokens": 1}, False),
        ({"input_tokens": 1, "output_tokens": None}, False),
        ({"input_tokens": 1, "output_tokens": 1, "cache_write_5m_tokens": 1}, False),
        ({"input_tokens": 1, "output_tokens": 1, "cache_write_5m_tokens": 0}, True),
        (
            {
                "input_tokens": 1,
                "output_tokens": 1,
                "cache_write_5m_tokens": 1,
                "cache_write_1h_tokens": 0,
            },
            True,
        ),
    ],
)
def test_told(fields: dict[str, int | None], expected: bool) -> None:  # noqa: FBT001
    """A price is a guess where a count is missing, or how long a cache entry lives."""
    assert expected == pricing.is_told(record(**fields))


def extra(type_: str, model: str | None = None) -> dict[str, Any]:
    """Return one entry of a record's ``iterations``."""
    return {"type": type_, "model": model, "usage": {"input_tokens": 5, "web_searches": 1}}


FAST = opus(speed="fast", tier="batch")
OWN, MORE = (FAST, Counts(3)), Counts(5, web_searches=1)
EXTRAS = [
    pytest.param([], [OWN], id="none"),
    pytest.param([extra("compaction")], [OWN, (FAST, MORE)], id="the same model"),
    pytest.param(
        [extra("advisor_message", "x"), extra("message", FAST.model)],
        [OWN, (Key("anthropic", "x", "", "batch"), MORE), (FAST, MORE)],
        id="an advisor is not fast because its client is",
    ),
    pytest.param([{"type": "unbilled"}], [], id="nothing is billed"),
    pytest.param(
        [{"type": "unbilled"}, extra("compaction")], [(FAST, MORE)], id="only what came on top"
    ),
]


@pytest.mark.parametrize(("iterations", "expected"), EXTRAS)
def test_extras(iterations: list[dict[str, Any]], expected: list[tuple[Key, Counts]]) -> None:
    """What the sums of an upstream leave out is added once, at its own model's rates."""
    given = record(input_tokens=3, iterations=msgspec.json.encode(iterations).decode())

    assert expected == pricing.parts_of(FAST, given)


@pytest.mark.parametrize("text", ["", "{}", '[{"type": 1}]', "[{}]"])
def test_extras_that_cannot_be_read(text: str) -> None:
    """What is no list of iterations is an error: a part of the price is not known."""
    with pytest.raises(msgspec.DecodeError) as raised:
        pricing.parts_of(opus(), record(iterations=text))

    assert isinstance(raised.value, ValueError)
