"""Google's errors as values: what ``google.rpc.Status`` says, and what that means for a key.

Source: google.rpc.Status, RetryInfo, QuotaFailure, ErrorInfo; ai.google.dev, "Troubleshooting".
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec

_DELAY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")


class Outcome(Enum):
    """What an answer says of the key that was shown for it."""

    FINE = "fine"
    UNTOLD = "untold"  # nothing
    BUSY = "busy"  # its quota for the model is used up for a while
    DENIED = "denied"  # it may not do this now; somebody may change that at Google
    INVALID = "invalid"  # it is no key, or of the wrong kind


class GoogleError(msgspec.Struct, frozen=True):
    """An error of Google's.

    Attributes:
        code: HTTP status, which the body repeats.
        status: Google's word for it, such as ``RESOURCE_EXHAUSTED``; empty where untold.
        message: What people are told.
        reason: ``ErrorInfo``'s, such as ``API_KEY_INVALID``, or None.
        retry_s: ``RetryInfo``'s seconds to wait, or None.
        daily: Whether a quota of the day is used up, which comes back at midnight.
    """

    code: int
    status: str = ""
    message: str = ""
    reason: str | None = None
    retry_s: float | None = None
    daily: bool = False

    @property
    def outcome(self) -> Outcome:
        """What it says of the key."""
        if self.code == _TOO_MANY:
            return Outcome.BUSY
        if self.code == _UNAUTHENTICATED or self.reason in _NO_KEY:
            return Outcome.INVALID
        if self.code == _FORBIDDEN or self.status == "FAILED_PRECONDITION":
            return Outcome.DENIED
        return Outcome.UNTOLD


_UNAUTHENTICATED, _FORBIDDEN, _TOO_MANY = 401, 403, 429
_NO_KEY = frozenset({"API_KEY_INVALID", "ACCESS_TOKEN_TYPE_UNSUPPORTED"})

_decode = msgspec.json.Decoder().decode


def error_in(code: int, body: bytes) -> GoogleError:
    """Return the error in *body*, which on the array form of a stream is in a list.

    A body that is no such error tells nothing but its HTTP status *code*.
    """
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return GoogleError(code)
    if isinstance(found, list):
        found = found[0] if found else None
    error = _table(found).get("error")
    return error_of(code, error)


def error_of(code: int, error: object) -> GoogleError:
    """Return the error that the value of an ``error`` member is.

    Args:
        code: HTTP status, or that of the surrounding stream.
        error: The decoded value, whatever it is.
    """
    said = _table(error)
    own = said.get("code")
    details = said.get("details")
    reason, retry_s, daily = None, None, False
    for each in details if isinstance(details, list) else ():
        detail = _table(each)
        match _text(detail.get("@type")).rpartition("/")[2]:
            case "google.rpc.ErrorInfo":
                reason = _text(detail.get("reason")) or None
            case "google.rpc.RetryInfo":
                delay = _DELAY.fullmatch(_text(detail.get("retryDelay")))
                retry_s = float(delay[1]) if delay else None
            case "google.rpc.QuotaFailure":
                daily = daily or _of_the_day(detail.get("violations"))
            case _:
                pass
    return GoogleError(
        own if isinstance(own, int) and code < _FIRST_ERROR else code,
        _text(said.get("status")),
        _text(said.get("message")),
        reason,
        retry_s,
        daily,
    )


_FIRST_ERROR = 400


def _of_the_day(violations: object) -> bool:
    if not isinstance(violations, list):
        return False
    return any("PerDay" in _text(_table(each).get("quotaId")) for each in violations)


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
