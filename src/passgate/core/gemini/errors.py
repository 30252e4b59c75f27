"""What a Messages client is told of Google's errors, and of answers that are none.

What an error says of the key that was shown is decided in ``status.py`` and ``keys.py``.
Clients match wordings (Claude Code compacts on "prompt is too long"), so that Google's own
words pass without anything in front of them.
"""

from __future__ import annotations

import math
import re

from passgate.core.faults import Fault, Source
from passgate.core.gemini.status import GoogleError, Outcome

# Longer than a client waits for anyway; it asks again and is told anew.
MOST_RETRY_AFTER_S = 3600

_TOO_LONG = re.compile(
    r"input token count \(?([0-9]+)\)?.{0,40} exceeds .{0,60}?\(?([0-9]+)\)?\.?\s*$"
)
_SIGNATURE = re.compile(r"thought.?signature", re.IGNORECASE)
_DECLARATION = re.compile(r"function_?declarations\[([0-9]{1,4})\]", re.IGNORECASE)
_KINDS = {
    400: "invalid_request_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_BAD, _TOO_MANY, _INTERNAL, _UNAVAILABLE, _SILENT, _OVERLOADED = 400, 429, 500, 503, 504, 529


def _of_upstream(status: int, message: str, *, verbatim: bool = False) -> Fault:
    return Fault(Source.UPSTREAM, status, _KINDS[status], "upstream", message, verbatim=verbatim)


ENDED_EARLY = _of_upstream(_INTERNAL, "upstream stream ended early", verbatim=True)
EMPTY = _of_upstream(_OVERLOADED, "the model gave an empty answer; try again")
NO_ANSWER = _of_upstream(_INTERNAL, "the model API sent what is no answer")
TOO_LARGE = _of_upstream(_INTERNAL, "the model API sent more in one event than can be held")
NO_KEY = Fault(
    Source.UPSTREAM,
    502,
    "api_error",
    "credential",
    # Not a 401: the client's own key is fine.
    "no usable Gemini key",
    final=True,
    verbatim=True,
)


def malformed(explained: str) -> Fault:
    """Return the fault for an answer that ended as *explained*, a finish reason."""
    return _of_upstream(_INTERNAL, f"the model's answer broke off: {explained}")


def fault_of(error: GoogleError, until_reset_s: float = MOST_RETRY_AFTER_S) -> Fault:
    """Return what a client is told of *error*; see :func:`resting` for several keys.

    Args:
        error: What Google said. That it refused a key is the operator's business.
        until_reset_s: Until quotas of the day come back, see ``keys.until_reset_s``.
    """
    if error.outcome in (Outcome.INVALID, Outcome.DENIED):
        return NO_KEY
    status = _status(error.code)
    said = error.message or f"the model API answered {error.code}"
    if status == _BAD and (found := _TOO_LONG.search(said)):
        said = f"prompt is too long: {found[1]} tokens > {found[2]} maximum"
    return Fault(
        Source.UPSTREAM,
        status,
        _KINDS[status],
        "timeout" if status == _SILENT else "upstream",
        said,
        retry_after_s=_seconds(until_reset_s if error.daily else error.retry_s)
        if status == _TOO_MANY
        else None,
        final=status == _TOO_MANY and error.daily,
        verbatim=bool(error.message),
        google=error.status or None,
    )


def _status(code: int) -> int:
    if code in _KINDS:
        return code
    if code == _UNAVAILABLE:
        return _OVERLOADED
    return _BAD if _BAD <= code < _INTERNAL else _INTERNAL


def resting(error: GoogleError | None, wait_s: float, *, daily: bool) -> Fault:
    """Return the fault where every key rests.

    Args:
        error: The last one that Google gave for this request, None where no key was left
            to ask with.
        wait_s: Until the first key is ready again.
        daily: Whether that is a new day's quota, so that clients need not try again soon.
    """
    said = None if error is None else error.message or None
    return Fault(
        Source.UPSTREAM,
        _TOO_MANY,
        _KINDS[_TOO_MANY],
        "upstream",
        said or "every Gemini key is at its limit for this model; try again later",
        retry_after_s=_seconds(wait_s),
        final=daily,
        verbatim=said is not None,
        google="RESOURCE_EXHAUSTED",
    )


def _seconds(wait_s: float | None) -> int | None:
    return None if wait_s is None else max(1, min(math.ceil(wait_s), MOST_RETRY_AFTER_S))


def on_signatures(error: GoogleError) -> bool:
    """Return whether *error* is about thought signatures: dummies repair that, once."""
    return error.code == _BAD and _SIGNATURE.search(error.message) is not None


def on_declaration(error: GoogleError) -> int | None:
    """Return which tool's schema *error* is about, counted from 0, or None."""
    found = _DECLARATION.search(error.message) if error.code == _BAD else None
    return int(found[1]) if found else None
