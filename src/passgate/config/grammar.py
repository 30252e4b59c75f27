"""What names, hosts and spans of time may look like, and how that is said."""

from __future__ import annotations

import re
from ipaddress import ip_address

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_RULE = "must be 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`"
HOST = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?"
LISTEN_HOST = re.compile(rf"{HOST}|[0-9A-Fa-f:.]+")
LISTEN_HOST_RULE = "must be a host name or an address, without port or brackets"

SPAN = "must be a number of seconds above 0, at most 604800 (a week)"
SPAN_WITH_ZERO = "must be a number of seconds from 0 to 604800 (a week)"
_WEEK_S = 604_800


def is_span(value: float, *, zero: bool = False) -> bool:
    """Return whether *value* can be a span of time in seconds: finite, in range."""
    return (value >= 0 if zero else value > 0) and value <= _WEEK_S


def is_loopback(host: str) -> bool:
    """Return whether *host* can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
