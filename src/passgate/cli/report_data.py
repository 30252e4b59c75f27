"""A report for programs: JSON, and one CSV row for each group. Money is in nano-USD."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from passgate.cli.report import Report, Timed
from passgate.core.flat import Comparison
from passgate.core.report import Percentiles, Sums

# A spreadsheet takes these for the beginning of a formula, and clients choose some texts.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_json(made: Report) -> str:
    """Return *made* as one object, on lines of its own."""
    said = {
        "by": made.by,
        "since": made.since.isoformat(),
        "until": made.until.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "times_sampled": made.sampled,
        "total": fields_of(made.total) | _times_of(made.timed),
        "groups": list(_groups(made)),
        "days": [{"day": day.isoformat()} | fields_of(sums) for day, sums in made.days.items()],
        "flat": None if made.comparison is None else _flat(made.comparison),
    }
    return json.dumps(said, indent=2) + "\n"


def as_csv(made: Report) -> str:
    """Return the groups of *made*, with a line of names above them."""
    named = {"session": None, "agent": None, "parent_agent": None, "depth": None}
    heads = named if made.by == "agent" else {made.by: None}
    times = _times_of(Timed()) if made.by in ("client", "model", "day") else {}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*heads, *fields_of(Sums()), *times])
    writer.writeheader()
    for group in _groups(made):
        writer.writerow({name: _cell(value) for name, value in group.items()})
    return text.getvalue()


def fields_of(sums: Sums) -> dict[str, Any]:
    """Return what is told of a group: what is not known is null, never 0."""
    share = sums.hit_share
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "metered": sums.metered,
        "partial": sums.partial,
        "input_tokens": sums.input_tokens,
        "cache_read_tokens": sums.cache_read_tokens,
        "cache_write_5m_tokens": sums.cache_write_5m_tokens,
        "cache_write_1h_tokens": sums.cache_write_1h_tokens,
        "output_tokens": sums.output_tokens,
        "thinking_tokens": sums.thinking_tokens,
        "web_searches": sums.web_searches,
        "cost_nusd": sums.known_cost_nusd,
        "approximate": sums.approximate,
        "unpriced": sums.unpriced,
        "unpriced_output_tokens": sums.unpriced_output_tokens,
        "cache_hit_share": None if share is None else round(share, 4),
        "saved_nusd": sums.known_saved_nusd,
    }


def _groups(made: Report) -> Iterator[dict[str, Any]]:
    for branch in made.branches:
        yield {
            "session": branch.session,
            "agent": branch.agent,
            "parent_agent": branch.parent,
            "depth": branch.depth,
        } | fields_of(branch.sums)
    for label, sums in made.groups.items():
        timed = made.timed_groups.get(label, Timed())
        times = _times_of(timed) if made.by in ("client", "model", "day") else {}
        yield {made.by: label or None} | fields_of(sums) | times


def _times_of(timed: Timed) -> dict[str, float | None]:
    return _percentiles("ttfb", timed.first) | _percentiles("duration", timed.whole)


def _percentiles(name: str, each: Percentiles) -> dict[str, float | None]:
    return {
        f"{name}_{which}_ms": None if value is None else round(value, 1)
        for which, value in each._asdict().items()
    }


def _flat(comparison: Comparison) -> dict[str, Any]:
    return comparison._asdict() | {
        "recorded": comparison.recorded._asdict(),
        "five_minutes": comparison.five_minutes._asdict(),
        "break_even": comparison.break_even._asdict(),
        "unpriced_share": round(comparison.unpriced_share, 4),
        "verdict": comparison.verdict.value,
    }


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
