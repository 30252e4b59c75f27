"""What an upstream says of its rate limits, read from the head of an answer.

Nothing is read while requests are served: the last head is kept as it came, and this is
called when somebody asks.

Source: Claude docs, "Rate limits", response headers. The fields of plans
(``-unified-``) are not documented: what is not as expected is left out, never guessed.
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

# A closed set: an upstream cannot make a name.
COUNTED = (b"requests", b"tokens", b"input-tokens", b"output-tokens")
WINDOWS = (b"5h", b"7d")

# What a head with such fields has in it, ``Ratelimit`` or ``ratelimit``: one search, and cheap.
MARK = b"atelimit-"

_FIELD = re.compile(
    rb"\r\nanthropic-ratelimit-("
    + b"|".join((*COUNTED, *(b"unified-" + window for window in WINDOWS)))
    + rb")-(limit|remaining|reset|utilization):[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
_NUMBER = re.compile(rb"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_MAX_RESET_S = 4_102_444_800  # the year 2100


class Headroom(msgspec.Struct, frozen=True):
    """How much of one limit is left.

    Attributes:
        kind: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens``, or a plan's
            window, ``5h`` or ``7d``.
        used: Share that is used up, 0 to 1 and sometimes above, or None.
        limit: The limit, or None where only a share is told.
        remaining: What is left of it, or None.
        resets_s: Wall clock at which all of it is there again, or None.
    """

    kind: str
    used: float | None
    limit: int | None = None
    remaining: int | None = None
    resets_s: float | None = None


def headroom(fields: bytes, now_s: float) -> tuple[Headroom, ...]:
    """Return what the head *fields* of an answer says of each limit, in a fixed order.

    A limit whose reset has passed is whole again.

    Args:
        fields: Status line and field lines.
        now_s: Wall clock.
    """
    told: dict[bytes, dict[bytes, bytes]] = {}
    for kind, what, value in _FIELD.findall(fields):
        told.setdefault(kind.lower(), {})[what.lower()] = value.strip()
    names = (*COUNTED, *(b"unified-" + window for window in WINDOWS))
    found = (_one(name, told[name], now_s) for name in names if name in told)
    return tuple(each for each in found if each.used is not None)


def _one(name: bytes, told: dict[bytes, bytes], now_s: float) -> Headroom:
    kind = name.removeprefix(b"unified-").replace(b"-", b"_").decode()
    limit, left = _whole(told.get(b"limit")), _whole(told.get(b"remaining"))
    resets_s = _instant(told.get(b"reset"))
    used = _number(told.get(b"utilization"))
    if used is None and limit and left is not None:
        used = max(0, limit - left) / limit
    if resets_s is not None and resets_s <= now_s and used is not None:
        used, left = 0.0, limit
    return Headroom(kind, used, limit, left, resets_s)


def _number(value: bytes | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value) else None


def _whole(value: bytes | None) -> int | None:
    return (
        int(value) if value is not None and value.isdigit() and _NUMBER.fullmatch(value) else None
    )


def _instant(value: bytes | None) -> float | None:
    """Return an RFC 3339 time, or seconds since 1970, as the latter."""
    seconds = _number(value)
    if seconds is None and value:
        try:
            at = datetime.fromisoformat(value.decode("ascii"))
            seconds = at.timestamp() if at.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None
    return seconds if seconds is not None and seconds < _MAX_RESET_S else None
