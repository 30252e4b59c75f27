"""What a scrape of ``/metrics`` says: what was counted, and how things stand.

The library only writes the text, and is loaded by the first scrape, in a thread: 35 ms that
nobody pays for who does not ask. docs/metrics.md describes every metric.

A series exists for what the operator named (clients, upstreams, routes) and for words of
our own. Nothing that a client sends becomes a label.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from passgate import __version__
from passgate.core.vitals import UpstreamState, Vitals
from passgate.edge.counts import RecordCounts, Spans

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_NUSD = 1_000_000_000
_MS = 1000
_K = TypeVar("_K", bound=tuple[str, ...])
_OPENMETRICS = "application/openmetrics-text"
_END, _TYPE = b"# EOF\n", b"# TYPE "
_PIECE_SAMPLES = 100


async def scrape(counts: RecordCounts, vitals: Vitals, accept: str) -> tuple[str, bytes]:
    """Return media type and text of all metrics.

    In pieces, with a turn of the loop in between: no exchange waits for all of it.

    Args:
        counts: What was counted.
        vitals: How things stand.
        accept: The asker's ``Accept``, which may prefer OpenMetrics.
    """
    encode, media_type = await asyncio.to_thread(_encoder, accept)
    texts = []
    for family in _families(counts, vitals):
        for piece in _pieces(family):
            text = encode(piece).removesuffix(_END)
            texts.append(text if piece.first else text.partition(_TYPE)[2].partition(b"\n")[2])
            await asyncio.sleep(0)
    if media_type.startswith(_OPENMETRICS):
        texts.append(_END)
    return media_type, b"".join(texts)


def _families(counts: RecordCounts, vitals: Vitals) -> Iterator[Metric]:
    yield from _traffic(counts)
    yield from _spans(counts)
    yield from _state(vitals)
    yield from _upstreams(vitals.upstreams, counts.repeats)
    yield from _process(vitals)


def _traffic(counts: RecordCounts) -> Iterator[Metric]:
    sums = counts.sums
    who = ("client", "upstream", "route")
    yield _counter(
        "passgate_requests_total",
        "Exchanges of known clients that have ended.",
        (*who, "status", "ending"),
        {(*k, *seen): n for k, t in sums.items() for seen, n in t.requests.items()},
    )
    yield _counter(
        "passgate_unknown_callers_total",
        "Requests refused before a client was known, by the code of the refusal.",
        ("code",),
        {(code,): n for code, n in counts.unknown.items()},
    )
    yield _counter(
        "passgate_errors_total",
        "Exchanges that failed, by who gave cause and a code.",
        ("source", "code", "upstream"),
        counts.errors,
    )
    yield _counter(
        "passgate_body_bytes_total",
        "Bytes of bodies: up is from clients, down is to clients.",
        (*who, "direction"),
        {(*k, "up"): t.bytes_up for k, t in sums.items()}
        | {(*k, "down"): t.bytes_down for k, t in sums.items()},
    )
    yield _counter(
        "passgate_tokens_total",
        "Tokens, as the upstream told them; each token is in one bucket.",
        (*who, "bucket"),
        {(*k, bucket): n for k, t in sums.items() if t.usage for bucket, n in t.buckets().items()},
    )
    metered = {k: t for k, t in sums.items() if t.usage}
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


def _spans(counts: RecordCounts) -> Iterator[Metric]:
    for name, told, attribute in _SPANS:
        yield _histogram(
            name,
            told,
            {key: getattr(times, attribute) for key, times in counts.times.items()},
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


def _histogram(name: str, told: str, values: Mapping[tuple[str, bool], Spans]) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, told, labels=("upstream", "stream"))
    for (upstream, stream), spans in values.items():
        family.add_metric(
            (upstream, "true" if stream else "false"), spans.buckets(), spans.total_ms / _MS
        )
    return family
