"""Numbers and names as people are shown them: short, of a known width, and harmless."""

from __future__ import annotations

_NUSD = 1_000_000_000
_THOUSAND = 1000
_UNITS = ("", "k", "M", "G", "T")
_NONE = "-"


def name(value: str | None) -> str:
    """Return *value* without anything that a terminal would obey; a client can choose it."""
    return _NONE if value is None else ascii(value)[1:-1]


def cut(text: str, width: int) -> str:
    """Return *text* in at most *width* columns; what is cut off shows as ``~``."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "~"[:width]


def count(value: float | None) -> str:
    """Return a number in at most five columns."""
    if value is None:
        return _NONE
    scaled, unit = float(value), 0
    # What would be rounded up to a thousand is one of the next unit.
    while scaled >= _THOUSAND - 0.5 and unit < len(_UNITS) - 1:
        scaled /= _THOUSAND
        unit += 1
    digits = 1 if unit and scaled < 100 else 0
    return f"{scaled:.{digits}f}{_UNITS[unit]}"


def rate(value: float | None) -> str:
    """Return a rate; small ones with a digit behind the point."""
    if value is None:
        return _NONE
    return f"{value:.1f}" if value < 10 else count(value)


def span(seconds: float | None) -> str:
    """Return a span of time in at most six columns."""
    if seconds is None:
        return _NONE
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def dollars(nusd: int | None) -> str:
    """Return an amount; what is not known is not nothing."""
    if nusd is None:
        return _NONE
    amount = nusd / _NUSD
    if not nusd:
        return "$0"
    if amount < 0.0001:
        return "<$.0001"
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"
