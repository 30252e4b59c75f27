"""Points in time as a person gives them on the command line."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_SPAN = re.compile(r"([0-9]{1,5})([smhdw])")
_SPAN_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span(text: str) -> timedelta:
    """Return a span such as ``24h``; an argparse type."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a number and one of s, m, h, d and w, as 24h")
    return timedelta(seconds=int(found[1]) * _SPAN_UNITS[found[2]])


def span_or_moment(text: str) -> timedelta | datetime:
    """Return a span, or a date or time, in UTC where it does not say; an argparse type."""
    if _SPAN.fullmatch(text):
        return span(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be as 30d, 2027-01-31 or 2027-01-31T12:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(when: timedelta | datetime, now: datetime) -> datetime:
    """Return the moment that *when* names, a span before *now*."""
    return now - when if isinstance(when, timedelta) else when
