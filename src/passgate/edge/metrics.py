"""A watcher that counts, and what a scrape of ``/metrics`` says.

Counting is plain integers, added to once per record after its exchange has ended. The
library only writes the text, and is loaded by the first scrape, in a thread: 35 ms that
nobody pays for who does not ask. docs/metrics.md describes every metric.

A series exists for what the operator named (clients, upstreams, routes) and for words of
our own. Nothing that a client sends becomes a label.
"""

from __future__ import annotations

import asyncio
import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeVar

from passgate import __version__
from passgate.core.exchange import Record
from passgate.core.pricing import PENDING, Price
from passgate.core.vitals import Totals, UpstreamState, Vitals

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

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
_NUSD = 1_000_000_000
_MS = 1000

_K = TypeVar("_K", bound=tuple[str, ...])
_OPENMETRICS = "application/openmetrics-text"
_END, _TYPE = b"# EOF\n", b"# TYPE "
_PIECE_SAMPLES = 100


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


class _Tally:
    """What was counted of one client on one route."""

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
        self.requests: dict[tuple[str, str], int] = {}  # by status class and ending
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


class _Spans:
    """A histogram: how many were within each bound, and their sum."""

    __slots__ = ("bounds", "counts", "place_of", "total_ms")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.place_of = partial(bisect_left, [bound * _MS for bound in bounds])
        self.counts = [0] * (len(bounds) + 1)
        self.total_ms = 0.0

    def add(self, spans_ms: Sequence[float | None]) -> None:
        """Count *spans_ms*, of which some may not be known."""
        known = [span for span in spans_ms if span is not None] if None in spans_ms else spans_ms
        self.total_ms += sum(known)  # type: ignore[arg-type]  # None is taken out
        places = list(map(self.place_of, known))
        for place in set(places):
            self.counts[place] += places.count(place)

    def buckets(self) -> list[tuple[str, float]]:
        """Return every bound with how many were within it, ``+Inf`` last."""
        found, within = [], 0
        for bound, count in zip(
            (*map(str, map(float, self.bounds)), "+Inf"), self.counts, strict=True
        ):
            within += count
            found.append((bound, float(within)))
        return found


class _Times:
    """The histograms of one upstream, for streams or for the rest."""

    __slots__ = ("duration", "first_token", "queued", "ttfb")

    def __init__(self) -> None:
        self.queued = _Spans(_QUEUED_S)
        self.ttfb = _Spans(_FIRST_S)
        self.first_token = _Spans(_FIRST_S)
        self.duration = _Spans(_DURATION_S)


class Metrics:
    """Count every record; say what was counted, and how things stand."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, str], _Tally] = {}
        self._times: dict[tuple[str, bool], _Times] = {}
        self._errors: dict[tuple[str, str, str], int] = {}
        self._unknown: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._pending: dict[str, _Tally] = {}  # by record, what its price will be added to

    def __call__(self, records: Sequence[Record]) -> None:
        """Count *records*, those that are alike together: what they sum up to is one call each."""
        alike: defaultdict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in records:
            alike[_kind_of(record)].append(record)
        for group in alike.values():
            client = group[0].client
            if client is None:
                code = _code(group[0])
                self._unknown[code] = self._unknown.get(code, 0) + len(group)
            else:
                self._count(group, client)

    def _count(self, group: Sequence[Record], client: str) -> None:
        """Count records of one kind."""
        first, times = group[0], len(group)
        upstream, status = first.upstream or "", first.status or 0
        key = (client, upstream, first.route or "")
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally()
        seen = (_class(status), first.ending.value)
        tally.requests[seen] = tally.requests.get(seen, 0) + times
        up, down, *consumed, costs = zip(*map(_numbers_of, group), strict=True)
        tally.bytes_up += sum(up)
        tally.bytes_down += sum(down)
        if first.usage != "none":
            tally.usage[first.usage] = tally.usage.get(first.usage, 0) + times
            _count_tokens(consumed, tally)
            tally.cost_nusd += sum(filter(None, costs))
            if None in costs:
                self._count_unpriced(group, tally)
        if first.attempts:
            self._time(group, upstream)
            if first.attempts > 1:
                repeats = (first.attempts - 1) * times
                self._repeats[upstream] = self._repeats.get(upstream, 0) + repeats
        if first.error is not None or status >= _FIRST_ERROR:
            code = _code(first)
            error = (_SOURCES.get(code, "upstream"), code, upstream)
            tally.errors += times
            self._errors[error] = self._errors.get(error, 0) + times

    def _count_unpriced(self, group: Sequence[Record], tally: _Tally) -> None:
        for record in group:
            if record.price_status == PENDING and len(self._pending) < _MOST_PENDING:
                self._pending[record.id] = tally
            elif record.price_status != PENDING and record.cost_nusd is None:
                tally.unpriced += 1

    def _time(self, group: Sequence[Record], upstream: str) -> None:
        key = (upstream, group[0].stream)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = _Times()
        queued, ttfb, first_token, duration = zip(*map(_spans_of, group), strict=True)
        times.queued.add(queued)
        times.ttfb.add(ttfb)
        times.first_token.add(first_token)
        times.duration.add(duration)

    def late(self, prices: Mapping[str, Price]) -> None:
        """Count prices that were found after their record was counted, by its id."""
        for id_, price in prices.items():
            tally = self._pending.pop(id_, None)
            if tally is not None:
                _count_cost(price.cost_nusd, price.status, tally)

    def totals(self) -> tuple[Totals, ...]:
        """Return what each client did, by name."""
        found: dict[str, Totals] = {}
        for (client, _, _), tally in sorted(self._tallies.items()):
            so_far = found.get(client, Totals(client))
            found[client] = Totals(
                client,
                so_far.requests + sum(tally.requests.values()),
                so_far.errors + tally.errors,
                so_far.input_tokens + sum(tally.buckets().values()) - tally.output,
                so_far.output_tokens + tally.output,
                so_far.cost_nusd + tally.cost_nusd,
                so_far.unpriced + tally.unpriced,
            )
        return tuple(found.values())

    async def scrape(self, vitals: Vitals, accept: str) -> tuple[str, bytes]:
        """Return media type and text of all metrics.

        In pieces, with a turn of the loop in between: no exchange waits for all of it.

        Args:
            vitals: How things stand.
            accept: The asker's ``Accept``, which may prefer OpenMetrics.
        """
        encode, media_type = await asyncio.to_thread(_encoder, accept)
        texts = []
        for family in self._families(vitals):
            for piece in _pieces(family):
                text = encode(piece).removesuffix(_END)
                texts.append(text if piece.first else text.partition(_TYPE)[2].partition(b"\n")[2])
                await asyncio.sleep(0)
        if media_type.startswith(_OPENMETRICS):
            texts.append(_END)
        return media_type, b"".join(texts)

    def _families(self, vitals: Vitals) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._spans()
        yield from _state(vitals)
        yield from _upstreams(vitals.upstreams, self._repeats)
        yield from _process(vitals)

    def _traffic(self) -> Iterator[Metric]:
        tallies = self._tallies
        who = ("client", "upstream", "route")
        yield _counter(
            "passgate_requests_total",
            "Exchanges of known clients that have ended.",
            (*who, "status", "ending"),
            {(*k, *seen): n for k, t in tallies.items() for seen, n in t.requests.items()},
        )
        yield _counter(
            "passgate_unknown_callers_total",
            "Requests refused before a client was known, by the code of the refusal.",
            ("code",),
            {(code,): n for code, n in self._unknown.items()},
        )
        yield _counter(
            "passgate_errors_total",
            "Exchanges that failed, by who gave cause and a code.",
            ("source", "code", "upstream"),
            self._errors,
        )
        yield _counter(
            "passgate_body_bytes_total",
            "Bytes of bodies: up is from clients, down is to clients.",
            (*who, "direction"),
            {(*k, "up"): t.bytes_up for k, t in tallies.items()}
            | {(*k, "down"): t.bytes_down for k, t in tallies.items()},
        )
        yield _counter(
            "passgate_tokens_total",
            "Tokens, as the upstream told them; each token is in one bucket.",
            (*who, "bucket"),
            {
                (*k, bucket): n
                for k, t in tallies.items()
                if t.usage
                for bucket, n in t.buckets().items()
            },
        )
        metered = {k: t for k, t in tallies.items() if t.usage}
        yield _counter(
            "passgate_thinking_tokens_total",
            "Output tokens spent on thinking, where the upstream told them apart.",
            who,
            {k: t.thinking for k, t in metered.items()},
        )
        yield _counter(
            "passgate_metered_total",
            "Exchanges with usage: final is what the upstream told, partial was cut before.",
            (*who, "usage"),
            {(*k, usage): n for k, t in metered.items() for usage, n in t.usage.items()},
        )
        yield _counter(
            "passgate_cost_dollars_total",
            "Cost at list prices in US dollars, of exchanges whose price is known.",
            who,
            {k: t.cost_nusd / _NUSD for k, t in metered.items()},
        )
        yield _counter(
            "passgate_unpriced_total",
            "Exchanges with usage whose model has no price.",
            who,
            {k: t.unpriced for k, t in metered.items()},
        )

    def _spans(self) -> Iterator[Metric]:
        for name, told, attribute in _SPANS:
            yield _histogram(
                name,
                told,
                {key: getattr(times, attribute) for key, times in self._times.items()},
            )


_SPANS = (
    (
        "passgate_queued_seconds",
        "From the request's head to the first byte sent upstream: passgate's own share.",
        "queued",
    ),
    (
        "passgate_time_to_first_byte_seconds",
        "From the request's head to the head of the upstream's answer.",
        "ttfb",
    ),
    (
        "passgate_time_to_first_token_seconds",
        "From the request's head to the first token of a stream.",
        "first_token",
    ),
    ("passgate_duration_seconds", "From the request's head to the end of its answer.", "duration"),
)


def _state(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("passgate_in_flight", "Exchanges being served.", vitals.in_flight)
    yield _gauge("passgate_in_flight_limit", "Most exchanges served at once.", vitals.max_in_flight)
    yield _gauge("passgate_held_body_bytes", "Request bodies held.", vitals.held_bytes)
    yield _gauge(
        "passgate_client_connections", "Connections of clients, idle included.", vitals.connections
    )
    yield _gauge("passgate_draining", "1 while the gateway is stopping.", vitals.draining)
    if vitals.ledger is not None:
        ledger = vitals.ledger
        yield _gauge(
            "passgate_ledger_backlog_records", "Records waiting to be written.", ledger.backlog
        )
        yield _counter(
            "passgate_ledger_lost_records_total",
            "Records that never reached the ledger.",
            (),
            {(): ledger.lost},
        )
        yield _gauge(
            "passgate_ledger_working", "0 while the ledger cannot write.", ledger.problem is None
        )
    for name, told, count in (
        (
            "passgate_log_lines_dropped_total",
            "Log lines lost to a slow reader.",
            vitals.log_dropped,
        ),
        (
            "passgate_descriptor_shortages_total",
            "Times that no file descriptor was left.",
            vitals.descriptor_shortages,
        ),
        (
            "passgate_watcher_failures_total",
            "Times that a reader of records failed by a fault of its own.",
            vitals.watchers_failed,
        ),
        (
            "passgate_meter_failures_total",
            "Exchanges whose meter was switched off by a fault of its own.",
            vitals.meters_failed,
        ),
        (
            "passgate_live_messages_dropped_total",
            "Messages of the live feed lost to slow readers.",
            vitals.live_dropped,
        ),
        (
            "passgate_translation_signatures_refused_total",
            "Times that Google refused signatures, and dummies went instead.",
            vitals.signatures_refused,
        ),
    ):
        yield _counter(name, told, (), {(): count})
    yield _counter(
        "passgate_translation_left_out_total",
        "Requests to Gemini of which something was left out.",
        ("kind",),
        {(kind,): count for kind, count in vitals.left_out.items()},
    )
    yield _gauge("passgate_live_readers", "Who reads the live feed now.", vitals.live_watchers)


def _upstreams(upstreams: Sequence[UpstreamState], repeats: Mapping[str, int]) -> Iterator[Metric]:
    yield _gauges(
        "passgate_upstream_connections",
        "Connections to an upstream.",
        ("upstream", "state"),
        {(u.name, "idle"): u.pool.idle for u in upstreams}
        | {(u.name, "in_use"): u.pool.in_use for u in upstreams},
    )
    yield _counter(
        "passgate_upstream_dials_total",
        "Attempts to connect to an upstream.",
        ("upstream", "outcome"),
        {(u.name, "made"): u.pool.dials for u in upstreams}
        | {(u.name, "failed"): u.pool.failed_dials for u in upstreams},
    )
    yield _counter(
        "passgate_upstream_repeats_total",
        "Requests sent again, where that is allowed.",
        ("upstream",),
        {(u.name,): repeats.get(u.name, 0) for u in upstreams},
    )
    yield _gauges(
        "passgate_credential_usable",
        "1 where a credential could be shown to the upstream now.",
        ("upstream",),
        {(u.name,): u.usable for u in upstreams},
    )
    yield _gauges(
        "passgate_credential_problem",
        "1 while the last fetch of the credential failed, though an old one may serve.",
        ("upstream",),
        {(u.name,): u.problem is not None for u in upstreams},
    )
    yield _gauges(
        "passgate_credential_age_seconds",
        "Time since the credential was fetched.",
        ("upstream",),
        {(u.name,): u.credential_age_s for u in upstreams if u.credential_age_s is not None},
    )
    keys = {u.name: u.keys for u in upstreams if u.keys is not None}
    yield _gauges(
        "passgate_gemini_keys",
        "Keys of a Gemini upstream: ready, resting for some model, or refused by Google.",
        ("upstream", "state"),
        {(name, "ready"): each.usable - each.resting for name, each in keys.items()}
        | {(name, "resting"): each.resting for name, each in keys.items()}
        | {(name, "refused"): each.total - each.usable for name, each in keys.items()},
    )
    limits = {(u.name, limit.kind): limit for u in upstreams for limit in u.limits}
    yield _gauges(
        "passgate_upstream_limit_used_ratio",
        "Share of the upstream's rate limit that is used up, as last told.",
        ("upstream", "limit"),
        {key: limit.used for key, limit in limits.items() if limit.used is not None},
    )
    yield _gauges(
        "passgate_upstream_limit_remaining",
        "What is left of the upstream's rate limit, as last told.",
        ("upstream", "limit"),
        {key: limit.remaining for key, limit in limits.items() if limit.remaining is not None},
    )


def _process(vitals: Vitals) -> Iterator[Metric]:
    from prometheus_client.process_collector import ProcessCollector

    yield _gauges(
        "passgate_build_info",
        "Always 1; the labels say what runs.",
        ("version", "python"),
        {(__version__, platform.python_version()): 1},
    )
    yield _gauge(
        "passgate_start_time_seconds", "When the gateway started, since 1970.", vitals.started_s
    )
    yield from ProcessCollector(registry=None).collect()


def _count_tokens(consumed: Sequence[Sequence[int | None]], tally: _Tally) -> None:
    input_, output, cache_read, cache_write_5m, cache_write_1h, thinking = (
        sum(filter(None, counts)) for counts in consumed
    )
    tally.input += input_
    tally.output += output
    tally.cache_read += cache_read
    tally.cache_write_5m += cache_write_5m
    tally.cache_write_1h += cache_write_1h
    tally.thinking += thinking


def _count_cost(cost_nusd: int | None, status: str | None, tally: _Tally) -> None:
    if cost_nusd is not None:
        tally.cost_nusd += cost_nusd
    elif status != PENDING:
        tally.unpriced += 1


def _class(status: int) -> str:
    return _CLASSES[status // 100] if status < _NO_STATUS else "none"


def _code(record: Record) -> str:
    """Return why it failed: our own code, or the upstream's status, from a closed set."""
    if record.error is not None:
        return record.error if record.error in _SOURCES else "other"
    status = record.status or 0
    return str(status) if status in _TOLD_STATUSES else _class(status)


# The text. Everything below runs while somebody scrapes.


class Encode(Protocol):
    """Writes what a collector collects."""

    def __call__(self, registry: _Piece) -> bytes:
        """Return the text."""


class _Piece:
    """A part of one family of metrics, as the library wants to be given it.

    Attributes:
        first: Whether it is the family's first, which alone says what the family is.
    """

    def __init__(self, family: Metric, *, first: bool) -> None:
        self._family = family
        self.first = first

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield self._family


def _pieces(family: Metric) -> Iterator[_Piece]:
    """Yield a family in pieces, each of which takes a millisecond or two."""
    samples = family.samples
    for start in range(0, len(samples) or 1, _PIECE_SAMPLES):
        family.samples = samples[start : start + _PIECE_SAMPLES]
        yield _Piece(family, first=start == 0)


def _encoder(accept: str) -> tuple[Encode, str]:
    """Return what writes the text that the asker prefers, and its media type."""
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    if _OPENMETRICS in accept:
        return openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest, exposition.CONTENT_TYPE_PLAIN_0_0_4


def _counter(name: str, told: str, labels: Sequence[str], values: Mapping[_K, float]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(name, told, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauges(name: str, told: str, labels: Sequence[str], values: Mapping[_K, float]) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(name, told, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _gauge(name: str, told: str, value: float) -> Metric:
    return _gauges(name, told, (), {(): value})


def _histogram(name: str, told: str, values: Mapping[tuple[str, bool], _Spans]) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, told, labels=("upstream", "stream"))
    for (upstream, stream), spans in values.items():
        family.add_metric(
            (upstream, "true" if stream else "false"), spans.buckets(), spans.total_ms / _MS
        )
    return family
