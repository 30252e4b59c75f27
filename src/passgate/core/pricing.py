"""What an exchange cost: counts times rates, all of it in integers.

A rate is in nano-USD per million units, which holds any price of up to nine decimals. All
that belongs to an exchange is summed unrounded; the sum is rounded once, half to even.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from passgate.core import iterations
from passgate.core.exchange import Record
from passgate.core.usage import Usage

ANTHROPIC, GOOGLE = "anthropic", "google"

EXACT = "exact"
APPROXIMATE = "approximate"
UNKNOWN = "unknown"
OVERRIDE = "override"
PENDING = "pending"

_MILLION = 1_000_000
# A sum is in units of 1e-12 nano-USD: per million tokens, times a factor in millionths.
_SCALE = _MILLION * _MILLION
_NANO = 1_000_000_000


class Counts(NamedTuple):
    """What one model consumed. ``input_tokens`` is what no cache had a part in."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0


class Tier(NamedTuple):
    """The rates of requests whose whole input is above a number of tokens.

    Attributes:
        above_tokens: That number; the lowest tier's is -1. The whole request is at these
            rates, not only what is above.
    """

    above_tokens: int
    input_rate: int
    output_rate: int
    cache_read_rate: int
    cache_write_5m_rate: int
    cache_write_1h_rate: int


class Rates(msgspec.Struct, frozen=True):
    """What a model costs, from a day on.

    Attributes:
        since: First day (UTC) of these rates, as a proleptic ordinal.
        tiers: Ascending.
        web_search: For a million searches.
        factor: What tokens are multiplied by, in millionths.
        us_factor: The same where inference was kept in the US.
        status: ``exact``, ``approximate`` or ``override``.
        modal: Whether sound, images or video have rates of their own, which are not here.
    """

    since: int
    tiers: tuple[Tier, ...]
    web_search: int = 0
    factor: int = _MILLION
    us_factor: int = _MILLION
    status: str = EXACT
    modal: bool = False


Schedule = tuple[Rates, ...]
"""The rates of one key, the newest first. Empty: there is no price."""


class Key(NamedTuple):
    """What rates hang on, besides the day and the length of the input.

    Attributes:
        provider: ``anthropic`` or ``google``.
        model: As the upstream named it, else as the client did.
        speed: ``fast``, or empty.
        tier: ``batch``, ``flex``, ``priority``, or empty.
    """

    provider: str
    model: str
    speed: str = ""
    tier: str = ""


class Price(NamedTuple):
    """What an exchange cost, or None where that is not known; and how sure that is."""

    cost_nusd: int | None
    status: str


class Override(NamedTuple):
    """An operator's own price, in USD per million tokens and per thousand searches.

    ``None``: a read costs what input does, a write as well, an hour's write what any does.
    """

    provider: str
    model: str
    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    cache_write_1h_usd: Decimal | None = None
    web_search_usd: Decimal = Decimal(0)


# What a price list says.


class Span(msgspec.Struct, frozen=True):
    """The prices from a day on.

    Attributes:
        since: That day, or None for all time before the next span.
        prices: Price key -> steps ``[above, USD]``, the lowest step's above is -1.
        knows: What of the context these prices took into account.
    """

    since: date | None
    prices: dict[str, list[tuple[int, str]]]
    knows: tuple[str, ...] = ()


class Quote(msgspec.Struct, frozen=True):
    """What the list has for a model name.

    Attributes:
        model: The entry that matched, or None.
        named: Whether the entry has this very name, as its own or as an alias.
        spans: Oldest first.
    """

    model: str | None = None
    named: bool = False
    spans: tuple[Span, ...] = ()


# Service tiers that the list does not know for every model: millionths of the usual price.
# Google: half, and 1.75 times (75 to 100 % more). A batch is half price with both.
_OWN_FACTORS = {
    (ANTHROPIC, "batch"): 500_000,
    (ANTHROPIC, "priority"): _MILLION,  # bought in advance: the usual price is the best guess
    (GOOGLE, "batch"): 500_000,
    (GOOGLE, "flex"): 500_000,
    (GOOGLE, "priority"): 1_750_000,
}
# Inference kept in the US costs a tenth more on Claude 4.6 and later, searches do not.
_US_FACTOR_PERCENT = 110
_US_SINCE = (4, 6)
_CLAUDE = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d+))?")

# What may follow a model's name without making it another model: a date, a version.
_SAME_MODEL = re.compile(
    r"(?:[-@](?:\d{8}|\d{4}-\d\d-\d\d|\d\d-\d{4}|\d\d-\d\d|\d{3}|latest|preview(?:-.*)?))*"
)
_BRACKETS = re.compile(r"\[[^\]]*\]\Z")

_TOKEN_KEYS = frozenset(
    [
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_5m_mtok",
        "cache_write_1h_mtok",
        "web_searches_kcount",
    ]
)


def plain_name(model: str) -> str:
    """Return the name that price lists know: no ``models/``, no ``[1m]``, lower case."""
    return _BRACKETS.sub("", model.rpartition("/")[2]).lower()


def context_of(key: Key) -> dict[str, str]:
    """Return what a price list has to be told besides the model."""
    context = {"speed": key.speed} if key.speed else {}
    if key.tier == "batch":
        context["processing"] = "batch"
    elif key.tier and key.provider == GOOGLE:
        context["service_tier"] = key.tier
    return context


def schedule_of(key: Key, quote: Quote) -> Schedule:
    """Return the rates that *quote* means for *key*.

    Raises:
        ValueError: A price is none, or has more than nine decimals.
    """
    if quote.model is None:
        return ()
    same = quote.named or _is_same(plain_name(key.model), quote.model)
    made = [_rates(key, quote.model, span, same=same) for span in quote.spans]
    return tuple(reversed(made))


def schedule_of_override(override: Override) -> Schedule:
    """Return the rates that the operator set: at any time, in any context.

    Raises:
        ValueError: A price has more than nine decimals.
    """
    input_, output = _nano(override.input_usd), _nano(override.output_usd)
    read = input_ if override.cache_read_usd is None else _nano(override.cache_read_usd)
    write = input_ if override.cache_write_usd is None else _nano(override.cache_write_usd)
    hour = write if override.cache_write_1h_usd is None else _nano(override.cache_write_1h_usd)
    tier = Tier(-1, input_, output, read, write, hour)
    return (Rates(0, (tier,), _nano(override.web_search_usd) * 1000, status=OVERRIDE),)


def rates_on(schedule: Schedule, day: int) -> Rates:
    """Return the rates of a day (an ordinal) by a schedule that is not empty."""
    return next(rates for rates in schedule if rates.since <= day)


def scaled_cost(counts: Counts, rates: Rates, *, us: bool = False) -> int:
    """Return what *counts* cost, in units that :func:`nano_usd` rounds; they may be summed."""
    whole_input = (
        counts.input_tokens
        + counts.cache_read_tokens
        + counts.cache_write_5m_tokens
        + counts.cache_write_1h_tokens
    )
    tier = rates.tiers[0]
    for higher in rates.tiers[1:]:
        if whole_input > higher.above_tokens:
            tier = higher
    tokens = (
        counts.input_tokens * tier.input_rate
        + counts.output_tokens * tier.output_rate
        + counts.cache_read_tokens * tier.cache_read_rate
        + counts.cache_write_5m_tokens * tier.cache_write_5m_rate
        + counts.cache_write_1h_tokens * tier.cache_write_1h_rate
    )
    factor = rates.us_factor if us else rates.factor
    return tokens * factor + counts.web_searches * rates.web_search * _MILLION


def nano_usd(scaled: int) -> int:
    """Return a sum of scaled costs in whole nano-USD, rounded half to even."""
    whole, rest = divmod(scaled, _SCALE)
    return whole + (2 * rest > _SCALE or (2 * rest == _SCALE and whole & 1))


def in_nano_usd(rate: int) -> int | None:
    """Return a scaled rate in nano-USD for each token, or None where that is no whole number."""
    whole, rest = divmod(rate, _SCALE)
    return None if rest else whole


# What of a record is priced.


def key_of(provider: str, record: Record) -> Key:
    """Return what the rates of *record* hang on."""
    return Key(
        provider,
        record.model_served or record.model or "",
        "fast" if record.speed == "fast" else "",
        _tier(record.service_tier),
    )


def parts_of(key: Key, record: Record) -> list[tuple[Key, Counts]]:
    """Return what *record* says was consumed, and at whose rates.

    What a record has in ``iterations`` comes on top of its own counts, unless it says
    that these are not billed.

    Raises:
        ValueError: ``iterations`` cannot be read.
    """
    own = [(key, _counts(record))]
    if record.iterations is None:
        return own
    extras = iterations.read(record.iterations)
    if any(extra.type == iterations.UNBILLED for extra in extras):
        own = []
    return own + [
        (_key_of_extra(key, extra.model), _counts(extra.usage))
        for extra in extras
        if extra.type != iterations.UNBILLED
    ]


def is_told(record: Record) -> bool:
    """Return whether *record* has every count that its price needs."""
    split = record.cache_write_1h_tokens is not None or not record.cache_write_5m_tokens
    return split and record.input_tokens is not None and record.output_tokens is not None


def _key_of_extra(key: Key, model: str | None) -> Key:
    """Return the key of another model that worked for the same request."""
    if model is None or model == key.model:
        return key
    return Key(key.provider, model, "", key.tier)


def _counts(said: Record | Usage) -> Counts:
    """Return counts in which what was not told is nothing."""
    return Counts(
        said.input_tokens or 0,
        said.output_tokens or 0,
        said.cache_read_tokens or 0,
        said.cache_write_5m_tokens or 0,
        said.cache_write_1h_tokens or 0,
        said.web_searches or 0,
    )


_TIERS: Mapping[str, str] = {"batch": "batch", "flex": "flex", "priority": "priority"}


def _tier(said: str | None) -> str:
    return "" if said is None else _TIERS.get(said.lower(), "")


def _is_same(name: str, entry: str) -> bool:
    """Return whether *name* is a dated or versioned name of *entry*, not of a sibling."""
    name, entry = name.replace(".", "-"), entry.lower().replace(".", "-")
    stems = (entry, entry.removesuffix("-latest"), entry.removesuffix("-0"))
    return any(
        name.startswith(stem) and _SAME_MODEL.fullmatch(name, len(stem)) is not None
        for stem in stems
    )


def _rates(key: Key, entry: str, span: Span, *, same: bool) -> Rates:
    own = None if _is_known(key, span) else _OWN_FACTORS.get((key.provider, key.tier))
    factor = _MILLION if own is None else own
    us_factor = factor * _US_FACTOR_PERCENT // 100 if _costs_more_in_the_us(entry) else factor
    return Rates(
        0 if span.since is None else span.since.toordinal(),
        _tiers(span.prices),
        _steps(span.prices, "web_searches_kcount")[-1][1] * 1000,
        factor,
        us_factor,
        EXACT if same and own is None else APPROXIMATE,
        any(each not in _TOKEN_KEYS for each in span.prices),
    )


def _is_known(key: Key, span: Span) -> bool:
    """Return whether the list's own prices are those of the key's tier."""
    return not key.tier or "processing" in span.knows or "service_tier" in span.knows


def _costs_more_in_the_us(entry: str) -> bool:
    found = _CLAUDE.match(entry)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _US_SINCE


def _tiers(prices: Mapping[str, Sequence[tuple[int, str]]]) -> tuple[Tier, ...]:
    """Return the tiers of a price list; what has no price of its own costs what holds it."""
    input_ = _steps(prices, "input_mtok")
    output = _steps(prices, "output_mtok")
    read = _steps(prices, "cache_read_mtok", input_)
    write = _steps(prices, "cache_write_mtok", input_)
    columns = (
        input_,
        output,
        read,
        _steps(prices, "cache_write_5m_mtok", write),
        _steps(prices, "cache_write_1h_mtok", write),
    )
    borders = sorted({above for column in columns for above, _ in column})
    return tuple(Tier(border, *(_at(column, border) for column in columns)) for border in borders)


_Steps = list[tuple[int, int]]
_NOTHING: _Steps = [(-1, 0)]


def _steps(
    prices: Mapping[str, Sequence[tuple[int, str]]], name: str, missing: _Steps | None = None
) -> _Steps:
    said = prices.get(name)
    if said is None:
        return _NOTHING if missing is None else missing
    return [(above, _nano(Decimal(usd))) for above, usd in said]


def _at(column: _Steps, border: int) -> int:
    return [rate for above, rate in column if above <= border][-1]


def _nano(usd: Decimal) -> int:
    """Return a price in nano-USD.

    Raises:
        ValueError: It is not a number from 0, or has more than nine decimals.
    """
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{usd} is no price")
    nano = int(usd * _NANO)
    if nano != usd * _NANO:
        raise ValueError(f"{usd} has more than nine decimals")
    return nano
