"""A process of its own that looks prices up: one question a line in, one answer a line out.

The library and its list take a third of a second and 28 MB to load, which the gateway's own
process is spared. Runs alone, by its path: ``python -I price_child.py``. It imports nothing
of passgate, is given no environment, and may not open a socket.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseEquals,
    ClauseOr,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)


def no_network(event: str, _: object) -> None:
    """Refuse whatever needs a socket: an audit hook.

    Raises:
        RuntimeError: Always, for such an event.
    """
    if event.startswith("socket."):
        raise RuntimeError(f"{event}: prices are looked up offline")


def quote(snapshot: DataSnapshot, provider: str, model: str, context: Mapping[str, str]) -> object:
    """Return what the list has for *model*; see ``core.pricing.Quote``.

    Args:
        snapshot: The list.
        provider: ``anthropic`` or ``google``; a name alone could be another vendor's.
        model: Its plain name.
        context: What else the price hangs on.
    """
    try:
        owner, found = snapshot.find_provider_model(model, None, provider, None)
    except LookupError:
        return {"model": None}
    if not any(found is each for each in owner.models):
        context = {}  # an entry of another provider: the library prices it without
    days = [None, *_days(found)]
    spans = [_span(found, day, context) for day in days]
    return {"model": found.id, "named": _names(found.match, model), "spans": spans}


def _days(model: ModelInfo) -> list[date]:
    """Return every day on which a price of *model* begins."""
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [each.constraint for each in (*conditional, *(model.price_variants or ()))]
    return sorted(
        {each.start_date for each in constraints if isinstance(each, StartDateConstraint)}
    )


def _span(model: ModelInfo, day: date | None, context: Mapping[str, str]) -> dict[str, Any]:
    at = datetime.combine(day or date(1970, 1, 1), datetime.min.time(), UTC)
    variants = [
        each.when
        for each in model.price_variants or ()
        if (each.constraint is None or each.constraint.active(at))
        and all(context.get(key) == value for key, value in each.when.items())
    ]
    return {
        "since": None if day is None else day.isoformat(),
        "prices": _steps(model.get_prices(at, dict(context))),
        "knows": sorted({key for when in variants for key in when}),
    }


def _steps(prices: ModelPrice) -> dict[str, list[tuple[int, str]]]:
    steps = {}
    for name, price in vars(prices).items():
        if isinstance(price, TieredPrices):
            tiers = [(tier.start, str(tier.price)) for tier in price.tiers]
            steps[name] = [(-1, str(price.base)), *tiers]
        elif price is not None:
            steps[name] = [(-1, str(price))]
    return steps


def _names(clause: object, model: str) -> bool:
    """Return whether *clause* has this very name, not only its beginning."""
    if isinstance(clause, ClauseOr):
        return any(_names(each, model) for each in clause.or_)
    if isinstance(clause, ClauseAnd):
        return all(_names(each, model) for each in clause.and_)
    return isinstance(clause, ClauseEquals) and clause.is_match(model)


def answers(lines: Iterator[str]) -> Iterator[str]:
    """Return the answer to every question, as each comes."""
    snapshot = get_snapshot()
    for line in lines:
        asked = json.loads(line)
        yield json.dumps(quote(snapshot, asked["provider"], asked["model"], asked["context"]))


if __name__ == "__main__":
    sys.addaudithook(no_network)
    for answer in answers(iter(sys.stdin.readline, "")):
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
