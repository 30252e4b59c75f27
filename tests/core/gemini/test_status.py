"""Google's errors: what is read of them, and what they say of a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.status import GoogleError, Outcome, error_in, error_of

RPC = "type.googleapis.com/google.rpc."


def said(code: int, status: str, message: str = "", *details: dict[str, Any]) -> bytes:
    """Return an error as Google words it."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}).encode()


def quota(*ids: str) -> dict[str, Any]:
    """Return the detail that names the quotas which are used up."""
    return {"@type": RPC + "QuotaFailure", "violations": [{"quotaId": each} for each in ids]}


def retry(delay: object) -> dict[str, Any]:
    """Return the detail that says when to come back."""
    return {"@type": RPC + "RetryInfo", "retryDelay": delay}


def info(reason: str) -> dict[str, Any]:
    """Return the detail that gives a reason."""
    return {"@type": RPC + "ErrorInfo", "reason": reason, "domain": "googleapis.com"}


MINUTE, DAY = "GenerateRequestsPerMinutePerProject", "GenerateRequestsPerDayPerProject"


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        pytest.param(
            429,
            said(429, "RESOURCE_EXHAUSTED", "slow", quota(MINUTE), retry("34.07s")),
            GoogleError(429, "RESOURCE_EXHAUSTED", "slow", None, 34.07),
            id="quota of the minute",
        ),
        pytest.param(
            429,
            said(429, "RESOURCE_EXHAUSTED", "slow", quota(MINUTE, DAY), retry("34s")),
            GoogleError(429, "RESOURCE_EXHAUSTED", "slow", None, 34.0, daily=True),
            id="quota of the day",
        ),
        pytest.param(
            429,
            said(429, "RESOURCE_EXHAUSTED", "slow", retry("soon"), {"@type": 7}),
            GoogleError(429, "RESOURCE_EXHAUSTED", "slow"),
            id="a delay that is none",
        ),
        pytest.param(
            400,
            said(400, "INVALID_ARGUMENT", "not valid", info("API_KEY_INVALID")),
            GoogleError(400, "INVALID_ARGUMENT", "not valid", "API_KEY_INVALID"),
            id="no key",
        ),
        pytest.param(
            429, b"[" + said(429, "X") + b"]", GoogleError(429, "X"), id="in the array of a stream"
        ),
        pytest.param(500, b"[]", GoogleError(500), id="an empty array"),
        pytest.param(502, b"<html>", GoogleError(502), id="no JSON"),
        pytest.param(502, b"\xff", GoogleError(502), id="no text"),
        pytest.param(502, b'{"error":"broken"}', GoogleError(502), id="an error of text"),
        pytest.param(502, b'{"error":{"details":7}}', GoogleError(502), id="details of a number"),
        pytest.param(
            429,
            said(429, "", "", {"@type": RPC + "QuotaFailure", "violations": 7}),
            GoogleError(429),
            id="violations of a number",
        ),
    ],
)
def test_error_in(code: int, body: bytes, expected: GoogleError) -> None:
    """What Google says is read, and what is no error of Google's has its status alone."""
    assert expected == error_in(code, body)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GoogleError(429, "RESOURCE_EXHAUSTED"), Outcome.BUSY),
        (GoogleError(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID"), Outcome.INVALID),
        (GoogleError(401, "UNAUTHENTICATED"), Outcome.INVALID),
        (GoogleError(403, "PERMISSION_DENIED"), Outcome.DENIED),
        (GoogleError(400, "FAILED_PRECONDITION"), Outcome.DENIED),
        (GoogleError(400, "INVALID_ARGUMENT"), Outcome.UNTOLD),
        (GoogleError(404, "NOT_FOUND"), Outcome.UNTOLD),
        (GoogleError(503, "UNAVAILABLE"), Outcome.UNTOLD),
    ],
    ids=str,
)
def test_outcome(error: GoogleError, expected: Outcome) -> None:
    """Some errors are the key's, the others are the request's or Google's own."""
    assert expected == error.outcome


def test_error_within_a_stream() -> None:
    """Within a stream, whose status was 200, the error's own code counts; elsewhere HTTP's."""
    assert 503 == error_of(200, {"code": 503}).code
    assert 429 == error_of(429, {"code": 503}).code


@given(st.binary(max_size=64), st.integers(400, 599))
def test_anything_is_an_error(body: bytes, code: int) -> None:
    """Whatever comes as an error is one."""
    assert code == error_in(code, body).code
