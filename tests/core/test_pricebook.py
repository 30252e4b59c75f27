"""Every metered record gets its price, at once or as soon as it is known."""

from __future__ import annotations

from collections import ChainMap
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import pricebook, pricing
from passgate.core.exchange import Record
from passgate.core.pricebook import PriceBook
from passgate.core.pricing import Key, Override, Price, Quote, Span

PRICES = {"input_mtok": [(-1, "1")], "output_mtok": [(-1, "2")], "input_audio_mtok": [(-1, "9")]}
OURS = {"claude": "anthropic", "gemini": "google"}
NEON = Override("google", "Gemini-9-Neon", Decimal(1), Decimal(6))


def record(model: str = "claude-a-5", **fields: Any) -> Record:
    """Return a record of an exchange that was metered."""
    given: dict[str, Any] = {
        "model": model,
        "upstream": "claude",
        "usage": "final",
        "input_tokens": 10,
        "output_tokens": 20,
    } | fields
    id_ = given.pop("id", "1")
    return Record(datetime(2026, 11, 22, tzinfo=UTC), id_, **given)


def schedule(key: Key, model: str = "claude-a-5") -> pricing.Schedule:
    """Return the rates of a model that costs 1 and 2 USD."""
    return pricing.schedule_of(key, Quote(model, named=True, spans=(Span(None, PRICES),)))


def book(*known: Key, notices: list[str] | None = None) -> PriceBook:
    """Return a book that knows the price of *known*."""
    made = PriceBook((list[str]() if notices is None else notices).append)
    made.goes_by(OURS, [NEON])
    for key in known:
        made.learn(key, schedule(key))
    return made


def learnt_by(made: PriceBook, key: Key, found: pricing.Schedule) -> dict[str, Price]:
    """Return the prices that are told when *made* learns of *key*, all pieces together."""
    return dict(ChainMap(*made.learn(key, found)))


A, B = Key("anthropic", "claude-a-5"), Key("anthropic", "claude-b-5")


def compaction(model: str | None = None) -> str:
    """Return iterations that add the same counts once more."""
    usage = {"input_tokens": 10, "output_tokens": 20}
    entry = {"type": "advisor_message", "model": model, "usage": usage}
    return msgspec.json.encode([entry]).decode()


PRICED = [
    pytest.param(record(), Price(50_000, "exact"), id="known"),
    pytest.param(record(iterations=compaction()), Price(100_000, "exact"), id="with an extra"),
    pytest.param(record(iterations="?"), Price(None, "unknown"), id="unreadable extras"),
    pytest.param(record(iterations='[{"type":"unbilled"}]'), Price(0, "exact"), id="not billed"),
    pytest.param(record(output_tokens=None), Price(10_000, "approximate"), id="not all told"),
    pytest.param(record(inference_geo="us"), Price(55_000, "exact"), id="in the US"),
    pytest.param(record(service_tier="batch"), Price(None, "pending"), id="not asked for yet"),
    pytest.param(record(upstream="other"), Price(None, "unknown"), id="an upstream that is gone"),
    pytest.param(record(upstream=None), Price(None, "unknown"), id="no upstream"),
    pytest.param(
        record(iterations=compaction("claude-b-5")), Price(None, "pending"), id="a part pending"
    ),
    pytest.param(
        record("gemini-9-neon", upstream="gemini"), Price(130_000, "override"), id="override"
    ),
    pytest.param(
        record("models/gemini-9-neon", upstream="gemini", output_tokens=None),
        Price(10_000, "approximate"),
        id="override, not all told",
    ),
    pytest.param(record(route="native"), Price(50_000, "approximate"), id="perhaps sound"),
]


@pytest.mark.parametrize(("given", "expected"), PRICED)
def test_price(given: Record, expected: Price) -> None:
    """A price is the sum of its parts, and as sure as the least sure of them."""
    assert expected == book(A).price(given)


def test_call() -> None:
    """Records get cost and status; those that were not metered keep none."""
    records = [record(), record(usage="none"), record("claude-b-5", usage="partial")]
    book(A)(records)

    assert [(50_000, "exact"), (None, None), (None, "pending")] == [
        (each.cost_nusd, each.price_status) for each in records
    ]


def test_learn() -> None:
    """Who waited for a price is told it as soon as all of it is known."""
    made = book()
    both = record(id="both", iterations=compaction("claude-b-5"))
    made([record(id="one"), both, record("claude-b-5", id="other")])
    asked = list(made.asks)
    first = learnt_by(made, A, schedule(A))
    second = learnt_by(made, B, schedule(B, "claude-b-5"))

    assert [A, B] == asked
    assert {} == made.asks
    assert {"one": Price(50_000, "exact")} == first
    assert {"both": Price(100_000, "exact"), "other": Price(50_000, "exact")} == second


def test_learnt_in_pieces() -> None:
    """Of thousands that waited some are told at a time; none is told twice, or left out."""
    made = book()
    made([record(id=str(number)) for number in range(250)])
    pieces = list(made.learn(A, schedule(A)))

    assert [100, 100, 50] == list(map(len, pieces))
    assert {str(number) for number in range(250)} == set().union(*pieces)


def test_cost_now() -> None:
    """Who looks on is told what is known, and waits for nothing."""
    made = book()
    unknown, unmetered = made.cost_now(record()), made.cost_now(record(usage="none"))
    learnt = learnt_by(made, A, schedule(A))

    assert (None, None, {}) == (unknown, unmetered, learnt)
    assert 50_000 == made.cost_now(record(usage="partial"))


def test_put_off() -> None:
    """A question that got no answer lets the others go first; one that is none stays none."""
    made = book()
    made([record(), record("claude-b-5")])
    made.put_off(A)
    made.put_off(Key("anthropic", "never asked"))

    assert [B, A] == list(made.asks)


def test_unknown() -> None:
    """A model without a price has none, never 0; the operator is told once."""
    notices = list[str]()
    made = book(A, notices=notices)
    later = made.price(record("claude-b-5"))
    told = learnt_by(made, B, ())
    made.learn(B._replace(speed="fast"), ())
    part = made.price(record(iterations=compaction("claude-b-5")))

    assert Price(None, "pending") == later
    assert {"1": Price(None, "unknown")} == told
    assert Price(None, "unknown") == part
    assert 1 == len(notices)
    assert "'claude-b-5' of anthropic has no price" in notices[0]


def test_foresee(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price of what runs is asked for once, as soon as it is told what serves."""
    monkeypatch.setattr(pricebook, "_MOST_KEYS", 2)
    made, looks = book(), list[str]()

    def sees(model: str, usage: str = "partial") -> bool:
        def so_far() -> Record:
            looks.append(model)
            return record(model, model_served="claude-b-5", usage=usage)

        return made.foresee("claude", model, so_far)

    did = [sees("alias", "none"), sees("alias"), sees("alias"), sees("other"), sees("third")]
    nothing = [made.foresee(None, "alias", record), made.foresee("claude", None, record)]

    assert [True, True, False, True, True] == did
    assert ["alias", "alias", "other", "third"] == looks
    assert [False, False] == nothing
    assert [B] == list(made.asks)
    assert {} == learnt_by(made, B, schedule(B))


def test_overrides_change() -> None:
    """A new override holds from the next record on, and a removed one no longer."""
    made = book(A)
    neon = record("gemini-9-neon", upstream="gemini")
    ours = Override("anthropic", "claude-a-5", Decimal(3), Decimal(0))
    before = made.price(record()), made.price(neon)
    made.goes_by(OURS, [ours])
    after = made.price(record()), made.price(neon)
    made.goes_by(OURS, [ours])
    same = made.price(record())

    assert (Price(50_000, "exact"), Price(130_000, "override")) == before
    assert (Price(30_000, "override"), Price(None, "pending")) == after
    assert Price(30_000, "override") == same


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from outside: what is kept of them has an end, and so have the notices."""
    monkeypatch.setattr(pricebook, "_MOST_KEYS", 3)
    monkeypatch.setattr(pricebook, "_MOST_ASKS", 2)
    monkeypatch.setattr(pricebook, "_MOST_WAITING", 3)
    monkeypatch.setattr(pricebook, "_MOST_NOTICES", 2)
    notices = list[str]()
    made = book(notices=notices)
    made([record(f"m{number}", id=str(number)) for number in range(3)])
    made([record("m0", id=str(number)) for number in range(3, 9)])
    asked = list(made.asks)
    told = [learnt_by(made, key, ()) for key in asked]
    for number in range(5):
        made.learn(Key("anthropic", f"n{number}"), ())

    assert ["m0", "m1"] == [key.model for key in asked]
    assert [["0", "3"], ["1"]] == [list(each) for each in told]
    assert 2 == len(notices)
    assert Price(None, "unknown") == made.price(record("n4"))
    assert Price(None, "pending") == made.price(record("m0"))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "model": st.sampled_from(["claude-a-5", "claude-t-5"]),
                "route": st.sampled_from(["*", "native"]),
                "inference_geo": st.sampled_from([None, "us"]),
                "speed": st.sampled_from([None, "standard"]),
                "input_tokens": st.none() | st.integers(0, 1 << 40),
                "output_tokens": st.integers(0, 1 << 40),
                "cache_read_tokens": st.none() | st.integers(0, 1 << 40),
                "cache_write_5m_tokens": st.none() | st.integers(0, 1 << 40),
                "cache_write_1h_tokens": st.none() | st.integers(0, 1 << 40),
                "web_searches": st.sampled_from([None, 0, 3]),
                "day": st.sampled_from([22, 23]),
            }
        ),
        min_size=2,
        max_size=6,
    )
)
def test_at_once(given_fields: list[dict[str, Any]]) -> None:
    """A record that is priced by the rates of one before it costs what it would alone."""
    tiered = Key("anthropic", "claude-t-5")
    steps = PRICES | {"input_mtok": [(-1, "1"), (100, "3")]}
    rates = pricing.schedule_of(tiered, Quote("claude-t-5", named=True, spans=(Span(None, steps),)))
    alone: list[tuple[int | None, str | None]] = []
    together: list[tuple[int | None, str | None]] = []
    one = book(A)
    one.learn(tiered, rates)
    for fields in given_fields:
        day = fields["day"]
        plain = {name: value for name, value in fields.items() if name != "day"}
        for books in (alone, together):
            each = record(**plain)
            each.ts = each.ts.replace(day=day)
            fresh = book(A)
            fresh.learn(tiered, rates)
            (fresh if books is alone else one)([each])
            books.append((each.cost_nusd, each.price_status))

    assert alone == together


def test_not_billed_in_an_unknown_context() -> None:
    """What is not billed needs no rates, and leaves none behind."""
    made = book()

    assert Price(0, "exact") == made.price(record(iterations='[{"type":"unbilled"}]'))
    assert Price(None, "pending") == made.price(record())


def test_contexts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that invents tiers and models makes nothing grow without end."""
    monkeypatch.setattr(pricebook, "_MOST_KEYS", 3)
    made = book(A)
    for number in range(10):
        each = record(service_tier=f"standard{number}")
        made([each])

        assert 50_000 == each.cost_nusd
    assert len(made._plain) <= 3


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"input_tokens": 101}, id="longer than the first tier"),
        pytest.param({"output_tokens": None}, id="not all told"),
        pytest.param({"web_searches": 2}, id="with searches"),
        pytest.param({"iterations": compaction("claude-t-5")}, id="with an extra"),
        pytest.param({"ts": datetime(2026, 11, 23, tzinfo=UTC)}, id="another day"),
        pytest.param({"input_tokens": 7}, id="plain"),
    ],
)
def test_after_a_plain_one(other: dict[str, Any]) -> None:
    """What differs from the plain record before it costs what it would alone."""
    tiered = Key("anthropic", "claude-t-5")
    steps = PRICES | {"input_mtok": [(-1, "1"), (100, "3")]}
    rates = pricing.schedule_of(tiered, Quote("claude-t-5", named=True, spans=(Span(None, steps),)))
    prices = []
    for before in ([], [record("claude-t-5")]):
        made = book()
        made.learn(tiered, rates)
        asked = record("claude-t-5", **{k: v for k, v in other.items() if k != "ts"})
        asked.ts = other.get("ts", asked.ts)
        made([*before, asked])
        prices.append((asked.cost_nusd, asked.price_status))

    assert prices[0] == prices[1]
    assert prices[0][0] is not None
