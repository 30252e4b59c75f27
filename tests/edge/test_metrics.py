"""What is counted of records, and that a scrape says it, with no series of a client's making."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from passgate.core import faults
from passgate.core.exchange import Ending, Record
from passgate.core.faults import Fault
from passgate.core.gemini.keys import Counts
from passgate.core.pricing import Price
from passgate.core.ratelimits import Headroom
from passgate.core.vitals import LedgerState, PoolState, UpstreamState, Vitals
from passgate.edge import metrics
from passgate.edge.counts import RecordCounts

AT = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()

FULL = Vitals(
    started_s=5.0,
    in_flight=1,
    max_in_flight=9,
    upstreams=(
        UpstreamState(
            "anthropic",
            PoolState(idle=2, in_use=3, dials=4, failed_dials=5),
            usable=True,
            credential_age_s=6.0,
            limits=(Headroom("tokens", 0.5, 10, 5, None),),
            keys=Counts(total=5, usable=4, resting=1),
        ),
    ),
    ledger=LedgerState(7, 8, "the disk is full"),
)


def record(**said: Any) -> Record:
    """Return the record of an ordinary exchange, but for what is *said*."""
    ordinary: dict[str, Any] = {
        "client": "ci",
        "route": "*",
        "upstream": "anthropic",
        "status": 200,
        "ending": Ending.COMPLETE,
        "attempts": 1,
        "queued_ms": 0.2,
        "ttfb_ms": 80.0,
        "duration_ms": 2400.0,
    }
    return Record(AT, "req", **ordinary | said)


async def families(
    counts: RecordCounts, vitals: Vitals | None = None, accept: str = ""
) -> dict[str, Metric]:
    """Return what a scrape says, as the library's own parser reads it."""
    media_type, text = await metrics.scrape(counts, vitals or Vitals(), accept)
    parse = openmetrics if media_type.startswith("application/openmetrics") else prometheus
    return {family.name: family for family in parse(text.decode())}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    """Return every sample of a family that has no more labels, by the values of these."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if set(sample.labels) == set(labels)
    }


async def test_every_metric_is_documented() -> None:
    """Each metric stands in the page with its type and labels, and none that is not there."""
    counts = RecordCounts()
    counts([record(usage="final", input_tokens=1), record(client=None, error="key")])
    got = {}
    for family in (await families(counts, FULL)).values():
        counter = family.type == "counter"
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        got[family.name + "_total" * counter] = (family.type, labels)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|(.*)$", PAGE, re.MULTILINE)
    told = {name: kind for name, kind, _ in rows}

    assert told == {name: kind for name, (kind, _) in got.items()}
    for name, _, rest in rows:
        shared = (
            {"upstream", "stream"} if "seconds" in name and "histogram" in told[name] else set()
        )
        missing = got[name][1] - set(re.findall(r"`(\w+)`", rest)) - shared
        assert set() == missing, name


async def test_requests() -> None:
    """Exchanges are counted by client, upstream, route, class of status and ending."""
    counts = RecordCounts()
    counts([record(), record(status=429), record(client="dev", ending=Ending.CLIENT_LEFT)])
    counts([record(), record(upstream=None, route=None, status=403, ending=Ending.REFUSED)])
    got = values(
        (await families(counts))["passgate_requests"],
        *("client", "upstream", "route", "status", "ending"),
    )

    assert {
        ("ci", "anthropic", "*", "2xx", "complete"): 2,
        ("ci", "anthropic", "*", "4xx", "complete"): 1,
        ("ci", "", "", "4xx", "refused"): 1,
        ("dev", "anthropic", "*", "2xx", "client_left"): 1,
    } == got


ERRORS = {
    "fine": ({}, set()),
    "upstreams-limit": ({"status": 429}, {("upstream", "429", "anthropic")}),
    "upstreams-own": ({"status": 418}, {("upstream", "4xx", "anthropic")}),
    "upstreams-fault": ({"status": 529}, {("upstream", "529", "anthropic")}),
    "nonsense": ({"status": 999}, {("upstream", "none", "anthropic")}),
    "lost": ({"status": 502, "error": "upstream"}, {("upstream", "upstream", "anthropic")}),
    "broke": ({"error": "upstream"}, {("upstream", "upstream", "anthropic")}),
    "scope": ({"status": 403, "error": "scope", "upstream": None}, {("client", "scope", "")}),
    "busy": ({"status": 529, "error": "busy", "upstream": None}, {("gateway", "busy", "")}),
    "left": ({"ending": Ending.CLIENT_LEFT, "status": None}, set()),
}


@pytest.mark.parametrize(("said", "expected"), ERRORS.values(), ids=ERRORS.keys())
async def test_errors(said: dict[str, Any], expected: set[tuple[str, ...]]) -> None:
    """An error is counted once, by who gave cause and a code of a fixed list."""
    counts = RecordCounts()
    counts([record(**said)])
    got = values((await families(counts))["passgate_errors"], "source", "code", "upstream")

    assert dict.fromkeys(expected, 1.0) == got


def every_code() -> Iterator[str]:
    """Yield every code that a fault can have."""
    for thing in vars(faults).values():
        if isinstance(thing, Fault):
            yield thing.code
    yield from (faults.scope("").code, faults.request("").code, faults.too_large(1).code)
    yield from (faults.no_route("").code, faults.http(400, "").code)


async def test_every_fault_has_a_source() -> None:
    """No code of ours is a stranger to the metrics."""
    counts = RecordCounts()
    counts([record(error=code) for code in every_code()])
    got = values((await families(counts))["passgate_errors"], "source", "code", "upstream")

    assert "other" not in {code for _, code, _ in got}
    assert {code for _, code, _ in got} == set(every_code())


async def test_unknown_callers() -> None:
    """A request of nobody known is counted by its code alone."""
    counts = RecordCounts()
    counts([record(client=None, status=401, error="key", upstream=None)] * 3)
    got = await families(counts)

    assert {("key",): 3.0} == values(got["passgate_unknown_callers"], "code")
    assert [] == got["passgate_requests"].samples + got["passgate_errors"].samples


async def test_usage() -> None:
    """Tokens are counted each in one bucket, cost in dollars; no price is not a price of 0."""
    counts = RecordCounts()
    counts(
        [
            record(
                usage="final",
                input_tokens=10,
                output_tokens=20,
                cache_read_tokens=30,
                cache_write_5m_tokens=40,
                cache_write_1h_tokens=50,
                thinking_tokens=5,
                cost_nusd=1_500_000_000,
            ),
            record(usage="partial", input_tokens=1, cost_nusd=None),
            record(),
        ]
    )
    got, who = await families(counts), ("client", "upstream", "route")
    tokens = values(got["passgate_tokens"], *who, "bucket")
    here = ("ci", "anthropic", "*")

    assert {"input": 11, "output": 20, "cache_read": 30} | {
        "cache_write_5m": 40,
        "cache_write_1h": 50,
    } == {key[3]: value for key, value in tokens.items()}
    assert {here: 5.0} == values(got["passgate_thinking_tokens"], *who)
    assert {here: 1.5} == values(got["passgate_cost_dollars"], *who)
    assert {here: 1.0} == values(got["passgate_unpriced"], *who)
    assert {(*here, "final"): 1.0, (*here, "partial"): 1.0} == values(
        got["passgate_metered"], *who, "usage"
    )


async def test_late_prices() -> None:
    """A price that is found later is counted then, once; what has none is counted as such."""
    counts = RecordCounts()
    names = ("a", "b", "c")
    counts([pending(name) for name in names])
    before = await families(counts)
    for _ in range(2):
        counts.late({"a": Price(500_000_000, "exact"), "b": Price(None, "unknown")})
        counts.late({"nobody": Price(1, "exact")})
    after = await families(counts)

    for name, first, then in (("cost_dollars", 0.0, 0.5), ("unpriced", 0.0, 1.0)):
        family = f"passgate_{name}"
        assert [first] == [sample.value for sample in before[family].samples]
        assert [then] == [sample.value for sample in after[family].samples]


def pending(id_: str) -> Record:
    """Return the record of an exchange whose price is being looked up."""
    waits = record(usage="final", input_tokens=1, price_status="pending")
    waits.id = id_
    return waits


async def test_times() -> None:
    """Spans are counted in seconds for what reached an upstream; unknown ones are not."""
    counts = RecordCounts()
    counts([record(), record(stream=True, first_token_ms=900.0), record(attempts=0)])
    got = await families(counts)
    count = {
        (name, sample.labels["stream"]): sample.value
        for name, family in got.items()
        for sample in family.samples
        if sample.name.endswith("seconds_count")
    }
    total = [
        sample.value
        for sample in got["passgate_duration_seconds"].samples
        if sample.name.endswith("_sum")
    ]

    assert 1.0 == count["passgate_duration_seconds", "false"]
    assert 0.0 == count["passgate_time_to_first_token_seconds", "false"]
    assert 1.0 == count["passgate_time_to_first_token_seconds", "true"]
    assert [2.4, 2.4] == total


@given(st.lists(st.floats(0, 4e6), min_size=1, max_size=30))
async def test_buckets(spans_ms: list[float]) -> None:
    """A bucket holds what took at most its bound, for every bound."""
    counts = RecordCounts()
    counts([record(duration_ms=span) for span in spans_ms])
    family = (await families(counts))["passgate_duration_seconds"]
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            bound_s = float(sample.labels["le"])
            assert sum(span / 1000 <= bound_s for span in spans_ms) == sample.value


async def test_repeats() -> None:
    """What was sent twice is counted as one repeat."""
    counts = RecordCounts()
    counts([record(attempts=2), record(attempts=3), record()])
    got = await families(counts, FULL)

    assert {("anthropic",): 3.0} == values(got["passgate_upstream_repeats"], "upstream")


async def test_state() -> None:
    """How things stand is told as it is at the scrape."""
    got = await families(RecordCounts(), FULL)

    assert {(): 1.0} == values(got["passgate_in_flight"])
    assert {(): 8.0} == values(got["passgate_ledger_lost_records"])
    assert {(): 0.0} == values(got["passgate_ledger_working"])
    assert {("anthropic", "made"): 4.0, ("anthropic", "failed"): 5.0} == values(
        got["passgate_upstream_dials"], "upstream", "outcome"
    )
    assert {("ready",): 3.0, ("resting",): 1.0, ("refused",): 1.0} == {
        key[1:]: value
        for key, value in values(got["passgate_gemini_keys"], "upstream", "state").items()
    }
    assert {("anthropic", "tokens"): 0.5} == values(
        got["passgate_upstream_limit_used_ratio"], "upstream", "limit"
    )


async def test_no_ledger() -> None:
    """Where records are kept nowhere there is nothing to say of a ledger."""
    assert [] == [name for name in await families(RecordCounts()) if "ledger" in name]


OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
ACCEPTED = {
    "nothing": ("", "text/plain; version=0.0.4; charset=utf-8"),
    "anything": ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    "prometheus": (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    "nonsense": ("application/openmetrics-text;version=x", "application/openmetrics-text"),
    "browser": ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
}


@pytest.mark.parametrize(("accept", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_formats(accept: str, expected: str) -> None:
    """OpenMetrics is for who asks for it; both say the same, and each is whole."""
    counts = RecordCounts()
    counts([record(usage="final", input_tokens=1)])
    media_type, text = await metrics.scrape(counts, FULL, accept)
    plain, got = await families(counts, FULL), await families(counts, FULL, accept)

    assert media_type.startswith(expected)
    assert text.endswith(b"# EOF\n") == (b"# EOF" in text) == ("openmetrics" in media_type)
    assert {name for name in plain if name.startswith("passgate_")} == {
        name for name in got if name.startswith("passgate_")
    }


async def test_totals() -> None:
    """What each client did is summed over its routes."""
    counts = RecordCounts()
    counts([record(usage="final", input_tokens=2, cache_read_tokens=3, output_tokens=4)])
    counts([record(route="x", status=500), record(client="dev")])
    ci, dev = counts.totals()

    assert ("ci", 2, 1, 5, 4, 0, 1) == (
        *(ci.name, ci.requests, ci.errors, ci.input_tokens, ci.output_tokens),
        *(ci.cost_nusd, ci.unpriced),
    )
    assert ("dev", 1, 0) == (dev.name, dev.requests, dev.errors)
