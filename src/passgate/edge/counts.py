"""A watcher that counts: plain integers, added to once per record after its exchange has ended.

What is counted is for who asks, over ``/metrics`` or the live feed. Nothing that a client
sends becomes a key: clients, upstreams and routes are those the operator named.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter

from passgate.core.exchange import Record
from passgate.core.pricing import PENDING, Price
from passgate.core.vitals import Totals

# Who gave cause, by the code of the fault; an upstream's own error has its status as code.
_SOURCES = {
    "key": "client",
    "scope": "client",
    "route": "client",
    "request": "client",
    "size": "client",
    "http": "client",
    "limit": "client",
    "budget": "client",
    "busy": "gateway",
    "credential": "gateway",
    "internal": "gateway",
    "upstream": "upstream",
    "timeout": "upstream",
}
_TOLD_STATUSES = frozenset(
    {400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504, 529}
)
_FIRST_ERROR = 400
_NO_STATUS = 600
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

# What a model takes: from a cached hello to half an hour of thinking.
_DURATION_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_FIRST_S = (0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600)
# What passgate itself may take, before it asks upstream.
_QUEUED_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 10)

_MOST_PENDING = 10_000
_MS = 1000


# What is the same in records that are counted together, and what is summed up in them.
_kind_of = attrgetter(
    *("client", "upstream", "route", "status", "ending", "error", "usage", "stream", "attempts")
)
_numbers_of = attrgetter(
    *("bytes_up", "bytes_down"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens"),
    *("cache_write_1h_tokens", "thinking_tokens", "cost_nusd"),
)
_spans_of = attrgetter("queued_ms", "ttfb_ms", "first_token_ms", "duration_ms")


class Sums:
    """What was counted of one client on one route; bytes, tokens, nano-USD, and how often.

    Attributes:
        requests: By status class and ending.
        usage: By how sure it is; empty where nothing was metered.
        unpriced: Those with usage whose model has no price.
    """

    __slots__ = (
        "bytes_down",
        "bytes_up",
        "cache_read",
        "cache_write_1h",
        "cache_write_5m",
        "cost_nusd",
        "errors",
        "input",
        "output",
        "requests",
        "thinking",
        "unpriced",
        "usage",
    )

    def __init__(self) -> None:
        self.bytes_up = self.bytes_down = self.cost_nusd = self.unpriced = self.thinking = 0
        self.input = self.output = 0
        self.cache_read = self.cache_write_5m = self.cache_write_1h = 0
        self.errors = 0
        self.requests: dict[tuple[str, str], int] = {}
        self.usage: dict[str, int] = {}

    def buckets(self) -> dict[str, int]:
        """Return tokens by bucket; each is in one."""
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": self.cache_read,
            "cache_write_5m": self.cache_write_5m,
            "cache_write_1h": self.cache_write_1h,
        }


class Spans:
    """A histogram: how many were within each bound, and their sum.

    Attributes:
        bounds: In seconds.
        total_ms: The sum.
    """

    __slots__ = ("_counts", "_place_of", "bounds", "total_ms")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._place_of = partial(bisect_left, [bound * _MS for bound in bounds])
        self._counts = [0] * (len(bounds) + 1)
        self.total_ms = 0.0

    def add(self, spans_ms: Sequence[float | None]) -> None:
        """Count *spans_ms*, of which some may not be known."""
        known = [span for span in spans_ms if span is not None] if None in spans_ms else spans_ms
        self.total_ms += sum(known)  # type: ignore[arg-type]  # None is taken out
        places = list(map(self._place_of, known))
        for place in set(places):
            self._counts[place] += places.count(place)

    def buckets(self) -> list[tuple[str, float]]:
        """Return every bound with how many were within it, ``+Inf`` last."""
        found, within = [], 0
        for bound, count in zip(
            (*map(str, map(float, self.bounds)), "+Inf"), self._counts, strict=True
        ):
            within += count
            found.append((bound, float(within)))
        return found


class Times:
    """The histograms of one upstream, for streams or for the rest."""

    __slots__ = ("duration", "first_token", "queued", "ttfb")

    def __init__(self) -> None:
        self.queued = Spans(_QUEUED_S)
        self.ttfb = Spans(_FIRST_S)
        self.first_token = Spans(_FIRST_S)
        self.duration = Spans(_DURATION_S)


class RecordCounts:
    """Count every record.

    Attributes:
        sums: What was counted, by client, upstream and route.
        times: How long it took, by upstream and whether it was a stream.
        errors: How often, by who gave cause, code and upstream.
        unknown: Refusals of unknown callers, by code.
        repeats: Requests that were sent again, by upstream.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str], Sums] = {}
        self.times: dict[tuple[str, bool], Times] = {}
        self.errors: dict[tuple[str, str, str], int] = {}
        self.unknown: dict[str, int] = {}
        self.repeats: dict[str, int] = {}
        self._pending: dict[str, Sums] = {}  # by record, what its price will be added to

    def __call__(self, records: Sequence[Record]) -> None:
        """Count *records*, those that are alike together: what they sum up to is one call each."""
        alike: defaultdict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in records:
            alike[_kind_of(record)].append(record)
        for group in alike.values():
            client = group[0].client
            if client is None:
                code = _code(group[0])
                self.unknown[code] = self.unknown.get(code, 0) + len(group)
            else:
                self._count(group, client)

    def _count(self, group: Sequence[Record], client: str) -> None:
        """Count records of one kind."""
        first, times = group[0], len(group)
        upstream, status = first.upstream or "", first.status or 0
        key = (client, upstream, first.route or "")
        sums = self.sums.get(key)
        if sums is None:
            sums = self.sums[key] = Sums()
        seen = (_class(status), first.ending.value)
        sums.requests[seen] = sums.requests.get(seen, 0) + times
        up, down, *consumed, costs = zip(*map(_numbers_of, group), strict=True)
        sums.bytes_up += sum(up)
        sums.bytes_down += sum(down)
        if first.usage != "none":
            sums.usage[first.usage] = sums.usage.get(first.usage, 0) + times
            _count_tokens(consumed, sums)
            sums.cost_nusd += sum(filter(None, costs))
            if None in costs:
                self._count_unpriced(group, sums)
        if first.attempts:
            self._time(group, upstream)
            if first.attempts > 1:
                repeats = (first.attempts - 1) * times
                self.repeats[upstream] = self.repeats.get(upstream, 0) + repeats
        if first.error is not None or status >= _FIRST_ERROR:
            code = _code(first)
            error = (_SOURCES.get(code, "upstream"), code, upstream)
            sums.errors += times
            self.errors[error] = self.errors.get(error, 0) + times

    def _count_unpriced(self, group: Sequence[Record], sums: Sums) -> None:
        for record in group:
            if record.price_status == PENDING and len(self._pending) < _MOST_PENDING:
                self._pending[record.id] = sums
            elif record.price_status != PENDING and record.cost_nusd is None:
                sums.unpriced += 1

    def _time(self, group: Sequence[Record], upstream: str) -> None:
        key = (upstream, group[0].stream)
        times = self.times.get(key)
        if times is None:
            times = self.times[key] = Times()
        queued, ttfb, first_token, duration = zip(*map(_spans_of, group), strict=True)
        times.queued.add(queued)
        times.ttfb.add(ttfb)
        times.first_token.add(first_token)
        times.duration.add(duration)

    def late(self, prices: Mapping[str, Price]) -> None:
        """Count prices that were found after their record was counted, by its id."""
        for id_, price in prices.items():
            sums = self._pending.pop(id_, None)
            if sums is not None:
                _count_cost(price.cost_nusd, price.status, sums)

    def totals(self) -> tuple[Totals, ...]:
        """Return what each client did, by name."""
        found: dict[str, Totals] = {}
        for (client, _, _), sums in sorted(self.sums.items()):
            so_far = found.get(client, Totals(client))
            found[client] = Totals(
                client,
                so_far.requests + sum(sums.requests.values()),
                so_far.errors + sums.errors,
                so_far.input_tokens + sum(sums.buckets().values()) - sums.output,
                so_far.output_tokens + sums.output,
                so_far.cost_nusd + sums.cost_nusd,
                so_far.unpriced + sums.unpriced,
            )
        return tuple(found.values())


def _count_tokens(consumed: Sequence[Sequence[int | None]], sums: Sums) -> None:
    input_, output, cache_read, cache_write_5m, cache_write_1h, thinking = (
        sum(filter(None, counts)) for counts in consumed
    )
    sums.input += input_
    sums.output += output
    sums.cache_read += cache_read
    sums.cache_write_5m += cache_write_5m
    sums.cache_write_1h += cache_write_1h
    sums.thinking += thinking


def _count_cost(cost_nusd: int | None, status: str | None, sums: Sums) -> None:
    if cost_nusd is not None:
        sums.cost_nusd += cost_nusd
    elif status != PENDING:
        sums.unpriced += 1


def _class(status: int) -> str:
    return _CLASSES[status // 100] if status < _NO_STATUS else "none"


def _code(record: Record) -> str:
    """Return why it failed: our own code, or the upstream's status, from a closed set."""
    if record.error is not None:
        return record.error if record.error in _SOURCES else "other"
    status = record.status or 0
    return str(status) if status in _TOLD_STATUSES else _class(status)
