"""What each fault says, in the words of both APIs."""

from __future__ import annotations

import json
import re

import pytest

from passgate.core import faults
from passgate.core.faults import Fault, Refused, Source, UpstreamStale, answer

DOWN, UP, OURS = Source.DOWNSTREAM, Source.UPSTREAM, Source.OURSELVES
GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "INVALID_ARGUMENT",
    413: "INVALID_ARGUMENT",
    405: "INVALID_ARGUMENT",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}

# Fault; who caused it, status, type, code; seconds to wait; whether clients must not retry.
Row = tuple[Fault, Source, int, str, str, int | None, bool]
TABLE: dict[str, Row] = {
    "key": (faults.KEY, DOWN, 401, "authentication_error", "key", None, True),
    "query": (faults.KEY_IN_QUERY, DOWN, 401, "authentication_error", "key", None, True),
    "two keys": (faults.TWO_KEYS, DOWN, 401, "authentication_error", "key", None, True),
    "own": (faults.OWN_CREDENTIAL, DOWN, 401, "authentication_error", "key", None, True),
    "scope": (faults.scope("this"), DOWN, 403, "permission_error", "scope", None, True),
    "path": (faults.NOT_FOUND, DOWN, 404, "not_found_error", "route", None, False),
    "route": (faults.no_route("m"), DOWN, 404, "not_found_error", "route", None, False),
    "request": (faults.request("m"), DOWN, 400, "invalid_request_error", "request", None, False),
    "size": (faults.too_large(5), DOWN, 413, "request_too_large", "size", None, False),
    "http": (faults.http(431, "m"), DOWN, 431, "invalid_request_error", "http", None, False),
    "method": (faults.http(405, "m"), DOWN, 405, "invalid_request_error", "http", None, False),
    "chunk": (faults.BAD_CHUNK, DOWN, 400, "invalid_request_error", "http", None, False),
    "head": (faults.HEAD_STALLED, DOWN, 400, "invalid_request_error", "http", None, False),
    "body": (faults.BODY_STALLED, DOWN, 400, "invalid_request_error", "http", None, False),
    "stalled": (faults.CLIENT_STALLED, DOWN, 408, "invalid_request_error", "http", None, False),
    "busy": (faults.BUSY, OURS, 529, "overloaded_error", "busy", 1, False),
    "unrecorded": (faults.UNRECORDED, OURS, 529, "overloaded_error", "busy", 2, False),
    "unreachable": (faults.UNREACHABLE, UP, 502, "api_error", "upstream", None, False),
    "lost": (faults.UPSTREAM_LOST, UP, 502, "api_error", "upstream", None, False),
    "malformed": (faults.UPSTREAM_MALFORMED, UP, 502, "api_error", "upstream", None, False),
    "connect": (faults.CONNECT_TIMEOUT, UP, 504, "timeout_error", "timeout", None, False),
    "silent": (faults.ANSWER_TIMEOUT, UP, 504, "timeout_error", "timeout", None, False),
    "credential": (faults.CREDENTIAL, OURS, 502, "api_error", "credential", None, True),
    "internal": (faults.INTERNAL, OURS, 500, "api_error", "internal", None, False),
}
each = pytest.mark.parametrize("row", TABLE.values(), ids=list(TABLE))


def fields_of(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the status line and the fields of a head."""
    line, *lines = head.split(b"\r\n")
    fields = dict(each.split(b": ", 1) for each in lines)

    assert len(lines) == len(fields)
    return line, fields


def test_table_is_whole() -> None:
    """Every fault that has a name of its own stands in the table."""
    named = {value for value in vars(faults).values() if isinstance(value, Fault)}

    assert named <= {row[0] for row in TABLE.values()}


@each
def test_terms(row: Row) -> None:
    """Each fault has the status, the type and the code that the contract gives it."""
    fault, *expected = row
    waiting = (fault.retry_after_s, fault.final)

    assert expected == [fault.source, fault.status, fault.kind, fault.code, *waiting]


@each
def test_messages_envelope(row: Row) -> None:
    """On Messages paths: the Messages envelope, and the fields that say it was us."""
    fault = row[0]
    head, body = answer(fault, "req_1", google=False)
    line, fields = fields_of(head)
    expected: dict[str, object] = {
        "type": "error",
        "error": {"type": fault.kind, "message": f"passgate: {fault.message}"},
        "request_id": "req_1",
    }

    assert expected == json.loads(body)
    assert line.startswith(b"HTTP/1.1 %d " % fault.status)
    assert b"%d" % len(body) == fields.pop(b"content-length")
    assert b"application/json" == fields.pop(b"content-type")
    assert b"req_1" == fields.pop(b"request-id")
    assert fault.code.encode() == fields.pop(b"x-passgate-error")
    wait = None if fault.retry_after_s is None else b"%d" % fault.retry_after_s
    assert wait == fields.pop(b"retry-after", None)
    assert (b"false" if fault.final else None) == fields.pop(b"x-should-retry", None)
    assert (fault.status == 405) is (b"allow" in fields)
    assert set(fields) <= {b"allow"}


@each
def test_google_envelope(row: Row) -> None:
    """On Gemini's own paths: ``google.rpc.Status``, with the same fields."""
    fault = row[0]
    head, body = answer(fault, "req_1", google=True)
    other, _ = answer(fault, "req_1", google=False)
    expected = {
        "error": {
            "code": fault.status,
            "message": f"passgate: {fault.message}",
            "status": GOOGLE[fault.status],
        }
    }

    assert expected == json.loads(body)
    line, fields = fields_of(head)
    other_line, other_fields = fields_of(other)
    del fields[b"content-length"], other_fields[b"content-length"]

    assert (other_line, other_fields) == (line, fields)


@each
def test_nothing_of_the_inside(row: Row) -> None:
    """A message names no address, port, host, file or key, and holds one line."""
    message = row[0].message

    assert not re.search(r"[/\\\n\r]|\d+\.\d+|localhost|:\d|sk-|pg_", message)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, b"HTTP/1.1 200 OK"),
        (431, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (503, b"HTTP/1.1 503 Service Unavailable"),
        (529, b"HTTP/1.1 529 Overloaded"),
    ],
)
def test_status_line(status: int, expected: bytes) -> None:
    """Each status has its registered phrase; 529 has none, so it gets its API's."""
    assert expected == faults.status_line(status)


def test_local_answer() -> None:
    """What we answer ourselves is JSON of a known length."""
    got = faults.local_answer(200, b"{}", b"\r\na: b")
    expected = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\na: b"

    assert expected == got


def test_model_in_a_message_cannot_leave_it() -> None:
    """A model's name is shown as a literal: no line feed or control character of it is written."""
    _, body = answer(faults.no_route("a\r\nx: y\x1b[31m"), "req_1", google=False)

    assert b"passgate: no route for model 'a\\\\r\\\\nx: y\\\\x1b[31m'" in body


def test_refused_shows_its_code_alone() -> None:
    """A refusal in a traceback shows the fault's code; a stale connection is one, too."""
    assert ("size", faults.BUSY) == (str(Refused(TABLE["size"][0])), Refused(faults.BUSY).fault)
    assert isinstance(UpstreamStale(faults.UPSTREAM_LOST), Refused)


def test_what_closes() -> None:
    """After a message that is not HTTP as we accept it, the connection cannot be used again."""
    closing = {name for name, row in TABLE.items() if row[0].closes}

    assert {"http", "method", "chunk", "head", "body", "stalled"} == closing


def test_verbatim() -> None:
    """A message that clients match by its wording has nothing put in front of it."""
    fault = faults.request("word for word", verbatim=True)

    assert (
        "word for word" == json.loads(answer(fault, "req_1", google=False)[1])["error"]["message"]
    )
