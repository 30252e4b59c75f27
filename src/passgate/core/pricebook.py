"""The prices that are known, and the records that wait for one: a machine without a clock.

Whoever drives it asks a price list for what stands in ``asks`` and tells it the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from passgate.core import pricing
from passgate.core.exchange import Record
from passgate.core.pricing import (
    APPROXIMATE,
    EXACT,
    OVERRIDE,
    PENDING,
    UNKNOWN,
    Key,
    Override,
    Price,
    Schedule,
)

_MOST_KEYS = 1000  # a model's name comes from outside; a thousand are more than there are
_MOST_ASKS = 256
_MOST_WAITING = 10_000  # rows that are not kept here are priced at the next start
_PIECE = 100  # a millisecond
_MOST_NOTICES = 50
_SURE = (EXACT, OVERRIDE, APPROXIMATE)  # of several parts the last one counts

SoFar = Callable[[], Record]
Prices = dict[str, Price]
"""Record id -> its price."""


_US, _NATIVE = "us", "native"
_NO_BORDER = 1 << 62


# What rates hang on, besides the day and the length of the input.
_context_of = attrgetter(
    *("upstream", "model_served", "model", "route", "speed", "service_tier", "inference_geo")
)
_counts_of = attrgetter(
    *("input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_write_5m_tokens", "cache_write_1h_tokens"),
)


class _Plain:
    """The rates of a context on one day, for an input of at most so many tokens.

    Nearly every record has the same few rates as one before.
    """

    __slots__ = ("_day", "_most_input_tokens", "_rates", "_status", "_whole")

    def __init__(
        self, day: int, status: str, factor: int, most_input_tokens: int, tier: pricing.Tier
    ) -> None:
        self._day = day
        self._status = status
        self._most_input_tokens = most_input_tokens
        scaled = (
            factor * tier.input_rate,
            factor * tier.output_rate,
            factor * tier.cache_read_rate,
            factor * tier.cache_write_5m_rate,
            factor * tier.cache_write_1h_rate,
        )
        whole = tuple(map(pricing.in_nano_usd, scaled))
        self._whole = None not in whole  # of nano-USD, as nearly all rates are
        self._rates = whole if self._whole else scaled

    def price(self, record: Record) -> tuple[int, str] | None:
        """Return the price of *record*, or None where these rates are not all that it takes."""
        fresh, output, read, write, hour = counts = _counts_of(record)
        if None in counts:
            if fresh is None or output is None or (hour is None and write):
                return None  # as ``pricing.is_told`` has it
            read, write, hour = read or 0, write or 0, hour or 0
        if (
            fresh + read + write + hour > self._most_input_tokens
            or record.web_searches
            or record.iterations is not None
            or record.ts.toordinal() != self._day
        ):
            return None
        rate, output_rate, read_rate, write_rate, hour_rate = self._rates
        cost = fresh * rate + output * output_rate + read * read_rate
        cost += write * write_rate + hour * hour_rate
        return cost if self._whole else pricing.nano_usd(cost), self._status


class PriceBook:
    """Price records by what is known; remember who waits for what is not.

    Args:
        notice: Told of each model that has no price, once.

    Attributes:
        asks: The keys that a price list has to be asked for, oldest first.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._known: dict[Key, Schedule] = {}
        self._waiting: dict[Key, list[Record]] = {}
        self._waits = 0
        self._providers: Mapping[str, str] = {}
        self._overrides: dict[tuple[str, str], Override] = {}
        self._noticed: set[tuple[str, str]] = set()
        self._foreseen: set[tuple[str | None, str | None]] = set()
        self._plain: dict[tuple[str | None, ...], _Plain] = {}
        self.asks: dict[Key, None] = {}

    def goes_by(self, providers: Mapping[str, str], overrides: Sequence[Override]) -> None:
        """Go by these settings from now on.

        Args:
            providers: Upstream's name -> whose price list counts.
            overrides: The operator's own prices.
        """
        before, self._providers = self._overrides, providers
        self._overrides = {(o.provider, pricing.plain_name(o.model)): o for o in overrides}
        changed = {
            each
            for each in before.keys() | self._overrides.keys()
            if before.get(each) != self._overrides.get(each)
        }
        for key in [key for key in self._known if _named(key) in changed]:
            del self._known[key]
        self._plain.clear()

    def __call__(self, records: Sequence[Record]) -> None:
        """Give every record of *records* that was metered its price, as far as it is known."""
        rates = self._plain
        for record in records:
            if record.usage != "none":
                plain = rates.get(_context_of(record))
                price = None if plain is None else plain.price(record)
                record.cost_nusd, record.price_status = price or self.price(record)

    def _remember(self, record: Record, key: Key) -> None:
        """Keep the rates of the context of *record*, those of the shortest inputs."""
        schedule, day = self._known.get(key), record.ts.toordinal()
        if not schedule:
            return  # it is not billed by that
        rates = pricing.rates_on(schedule, day)
        modal = record.route == _NATIVE and rates.modal
        factor = rates.us_factor if record.inference_geo == _US else rates.factor
        most = rates.tiers[1].above_tokens if len(rates.tiers) > 1 else _NO_BORDER
        if len(self._plain) >= _MOST_KEYS:
            self._plain.clear()
        self._plain[_context_of(record)] = _Plain(
            day, APPROXIMATE if modal else rates.status, factor, most, rates.tiers[0]
        )

    def cost_now(self, record: Record) -> int | None:
        """Return what *record* costs as it stands, where its price is known; nobody waits."""
        return None if record.usage == "none" else self._price(record)[0].cost_nusd

    def foresee(self, upstream: str | None, model: str | None, so_far: SoFar) -> bool:
        """Have the price asked for that a running exchange will need; return whether it looked.

        A model that was looked at once is not again.

        Args:
            upstream: Where the exchange went.
            model: As the client named it.
            so_far: Returns the record as it stands, which says what serves.
        """
        asked = (upstream, model)
        if asked in self._foreseen or upstream is None or model is None:
            return False
        record = so_far()
        if record.usage != "none":
            if len(self._foreseen) >= _MOST_KEYS:
                self._foreseen.clear()
            self._foreseen.add(asked)
            self._price(record)
        return True

    def price(self, record: Record) -> Price:
        """Return the price of a record that was metered; it waits where that is not known."""
        price, missing = self._price(record)
        if missing is not None:
            self._wait(missing, record)
        return price

    def _price(self, record: Record) -> tuple[Price, Key | None]:
        """Return the price of a record, and what must be known first, or None."""
        provider = self._providers.get(record.upstream or "")
        if provider is None:
            return Price(None, UNKNOWN), None
        key = pricing.key_of(provider, record)
        status = EXACT if pricing.is_told(record) else APPROXIMATE
        try:
            parts = pricing.parts_of(key, record)
        except ValueError:
            return Price(None, UNKNOWN), None
        found, missing = [], None
        for each, counts in parts:
            schedule = self._schedule(each)
            if schedule:
                found.append((counts, schedule))
            elif schedule is None:
                missing = missing or each
            else:
                return Price(None, UNKNOWN), None
        if missing is not None:
            return Price(None, PENDING), missing
        self._remember(record, key)
        return _sum(record, found, status), None

    def learn(self, key: Key, schedule: Schedule) -> Iterator[Prices]:
        """Take what a price list says of *key*; yield the prices of those that waited for it.

        A piece at a time: thousands may have waited, and others are to have their turn.
        """
        self.asks.pop(key, None)
        if len(self._known) >= _MOST_KEYS:
            self._known.clear()
        self._known[key] = schedule
        self._plain.clear()
        if not schedule:
            self._tell(key)
        waiting = self._waiting.pop(key, [])
        self._waits -= len(waiting)
        return self._priced(waiting)

    def _priced(self, waiting: Sequence[Record]) -> Iterator[Prices]:
        for at in range(0, len(waiting), _PIECE):
            prices = {record.id: self.price(record) for record in waiting[at : at + _PIECE]}
            yield {id_: price for id_, price in prices.items() if price.status != PENDING}

    def put_off(self, key: Key) -> None:
        """Ask for *key* after all others."""
        if key in self.asks:
            del self.asks[key]
            self.asks[key] = None

    def _schedule(self, key: Key) -> Schedule | None:
        """Return the rates of *key*, or None and have them asked for."""
        known = self._known.get(key)
        if known is None:
            override = self._overrides.get(_named(key))
            if override is not None:
                known = self._known[key] = pricing.schedule_of_override(override)
            elif len(self.asks) < _MOST_ASKS:
                self.asks[key] = None
        return known

    def _wait(self, key: Key, record: Record) -> None:
        if self._waits < _MOST_WAITING and key in self.asks:
            self._waiting.setdefault(key, []).append(record)
            self._waits += 1

    def _tell(self, key: Key) -> None:
        name = _named(key)
        if name in self._noticed or len(self._noticed) >= _MOST_NOTICES:
            return
        self._noticed.add(name)
        self._notice(
            f"model {name[1]!a} of {name[0]} has no price: its cost is not counted; "
            "[pricing.override] sets one"
        )


def _named(key: Key) -> tuple[str, str]:
    return key.provider, pricing.plain_name(key.model)


def _sum(record: Record, parts: Sequence[tuple[pricing.Counts, Schedule]], status: str) -> Price:
    """Return the price of all *parts* together; it is as sure as the least sure of them."""
    day, us, native = record.ts.toordinal(), record.inference_geo == _US, record.route == _NATIVE
    scaled = 0
    for counts, schedule in parts:
        rates = pricing.rates_on(schedule, day)
        scaled += pricing.scaled_cost(counts, rates, us=us)
        modal = APPROXIMATE if native and rates.modal else rates.status
        status = max(status, modal, key=_SURE.index)
    return Price(pricing.nano_usd(scaled), status)
