"""What a client is told of Google's errors: one row for each, and the words clients match."""

from __future__ import annotations

import json

import pytest

from passgate.core.faults import envelope
from passgate.core.gemini import errors
from passgate.core.gemini.status import GoogleError

TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
SAID_TOO_LONG = "prompt is too long: 1200000 tokens > 1048576 maximum"

ROWS: dict[str, tuple[GoogleError, tuple[int, str, str]]] = {
    "too-long": (
        GoogleError(400, "INVALID_ARGUMENT", TOO_LONG),
        (400, "invalid_request_error", SAID_TOO_LONG),
    ),
    "too-long-plain": (
        GoogleError(400, "INVALID_ARGUMENT", TOO_LONG.replace("(", "").replace(")", "")),
        (400, "invalid_request_error", SAID_TOO_LONG),
    ),
    "bad-body": (
        GoogleError(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        (400, "invalid_request_error", "Request contains an invalid argument."),
    ),
    "bad-key": (
        GoogleError(400, "INVALID_ARGUMENT", "API key not valid.", "API_KEY_INVALID"),
        (502, "api_error", "no usable Gemini key"),
    ),
    "precondition": (
        GoogleError(400, "FAILED_PRECONDITION", "User location is not supported."),
        (502, "api_error", "no usable Gemini key"),
    ),
    "unauthenticated": (
        GoogleError(401, "UNAUTHENTICATED", "No."),
        (502, "api_error", "no usable Gemini key"),
    ),
    "denied": (
        GoogleError(403, "PERMISSION_DENIED", "No."),
        (502, "api_error", "no usable Gemini key"),
    ),
    "not-found": (
        GoogleError(404, "NOT_FOUND", "models/x is not found."),
        (404, "not_found_error", "models/x is not found."),
    ),
    "too-large": (
        GoogleError(413, "", "Too large."),
        (413, "request_too_large", "Too large."),
    ),
    "other-4xx": (
        GoogleError(409, "ALREADY_EXISTS", "There."),
        (400, "invalid_request_error", "There."),
    ),
    "quota": (
        GoogleError(429, "RESOURCE_EXHAUSTED", "Exhausted."),
        (429, "rate_limit_error", "Exhausted."),
    ),
    "cancelled": (
        GoogleError(499, "CANCELLED", "Left."),
        (400, "invalid_request_error", "Left."),
    ),
    "internal": (GoogleError(500, "INTERNAL", "Oh."), (500, "api_error", "Oh.")),
    "unimplemented": (GoogleError(501, "UNIMPLEMENTED", "No."), (500, "api_error", "No.")),
    "bad-gateway": (
        GoogleError(502),
        (500, "api_error", "passgate: the model API answered 502"),
    ),
    "unavailable": (
        GoogleError(503, "UNAVAILABLE", "The model is overloaded."),
        (529, "overloaded_error", "The model is overloaded."),
    ),
    "deadline": (GoogleError(504, "DEADLINE_EXCEEDED", "Late."), (504, "timeout_error", "Late.")),
    "no-error": (GoogleError(200), (500, "api_error", "passgate: the model API answered 200")),
}


@pytest.mark.parametrize(("error", "expected"), ROWS.values(), ids=ROWS)
def test_fault_of(error: GoogleError, expected: tuple[int, str, str]) -> None:
    """Status, type and words; Google's own have nothing in front of them."""
    fault = errors.fault_of(error)

    assert expected == (fault.status, fault.kind, fault.said)


def test_envelope() -> None:
    """The envelope names Google's word for it, where it is Google's error."""
    told = json.loads(envelope(errors.fault_of(GoogleError(503, "UNAVAILABLE", "No.")), "req_1"))
    ours = json.loads(envelope(errors.EMPTY, "req_1"))

    assert {
        "type": "error",
        "error": {
            "type": "overloaded_error",
            "message": "No.",
            "details": {"gemini_status": "UNAVAILABLE"},
        },
        "request_id": "req_1",
    } == told
    assert "details" not in ours["error"]


def test_a_key_is_not_the_clients_fault() -> None:
    """Without a usable key nothing is to be tried again, and no login is to be doubted."""
    assert (502, True, "credential") == (
        errors.NO_KEY.status,
        errors.NO_KEY.final,
        errors.NO_KEY.code,
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GoogleError(429, retry_s=2.5), (3, False)),
        (GoogleError(429, retry_s=0.0), (1, False)),
        (GoogleError(429, retry_s=90_000.0), (3600, False)),
        (GoogleError(429), (None, False)),
        (GoogleError(429, retry_s=7.0, daily=True), (3600, True)),
        (GoogleError(503, retry_s=7.0), (None, False)),
    ],
    ids=["seconds", "at-once", "capped", "untold", "day", "no-quota"],
)
def test_when_to_try_again(error: GoogleError, expected: tuple[int | None, bool]) -> None:
    """A quota says when it is back; one of the day is not worth a client's own retries."""
    fault = errors.fault_of(error)

    assert expected == (fault.retry_after_s, fault.final)


def test_resting() -> None:
    """Where every key rests, the client is told when the first is back."""
    asked = errors.resting(GoogleError(429, message="Exhausted."), 12.2, daily=False)
    unasked = errors.resting(None, 30_000.0, daily=True)

    assert (429, 13, False, "Exhausted.") == (
        asked.status,
        asked.retry_after_s,
        asked.final,
        asked.said,
    )
    assert (429, 3600, True) == (unasked.status, unasked.retry_after_s, unasked.final)
    assert unasked.said.startswith("passgate: every Gemini key")


def test_a_quota_of_the_day() -> None:
    """A quota of the day is back at midnight, whatever else Google says of waiting."""
    error = GoogleError(429, message="Exhausted.", retry_s=7.0, daily=True)

    assert 600 == errors.fault_of(error, 599.5).retry_after_s
    assert 3600 == errors.fault_of(error, 40_000.0).retry_after_s


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (400, "Function call is missing a thought_signature in functionCall parts.", True),
        (400, "function call `X` in the 2. content block is missing a `thought_signature`.", True),
        (400, "Corrupted thought signature.", True),
        (400, "Invalid thought signature.", True),
        (400, "thoughtSignature: Base64 decoding failed", True),
        (400, "Request contains an invalid argument.", False),
        (500, "Corrupted thought signature.", False),
    ],
)
def test_on_signatures(code: int, message: str, expected: bool) -> None:  # noqa: FBT001  a row
    """What dummies repair is told from what they do not."""
    assert expected == errors.on_signatures(GoogleError(code, message=message))


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (400, "* GenerateContentRequest.tools[0].function_declarations[12].name: Invalid.", 12),
        (400, "Invalid value at 'tools[0].functionDeclarations[0].parameters'", 0),
        (400, "Request contains an invalid argument.", None),
        (500, "function_declarations[1]", None),
    ],
)
def test_on_declaration(code: int, message: str, expected: int | None) -> None:
    """The tool whose schema Google refuses is named by its place."""
    assert expected == errors.on_declaration(GoogleError(code, message=message))
