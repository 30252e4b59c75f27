"""What can go wrong with an exchange, as values, and how each API words it."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

import msgspec


class Source(Enum):
    """Who caused a fault."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    OURSELVES = "ourselves"


class Fault(msgspec.Struct, frozen=True):
    """Why an exchange was not served, in the terms of the Messages API.

    Attributes:
        source: Who caused it: downstream, upstream or ourselves.
        status: HTTP status of our answer.
        kind: An error ``type`` the API documents, such as ``rate_limit_error``.
        code: Our own word for it, shown in ``x-passgate-error`` and the record.
        message: What happened and what to do; names no address, file or key.
        retry_after_s: Whole seconds to wait, or None where waiting won't help.
        final: Whether clients are told not to try again.
        closes: Whether the connection cannot be used any further.
        verbatim: Whether clients match the wording, so that nothing is put in front of it.
        google: Google's own word for it where it is Google's error, else None.
    """

    source: Source
    status: int
    kind: str
    code: str
    message: str
    retry_after_s: int | None = None
    final: bool = False
    closes: bool = False
    verbatim: bool = False
    google: str | None = None

    @property
    def said(self) -> str:
        """The message as a client gets it."""
        return self.message if self.verbatim else f"passgate: {self.message}"


class Refused(Exception):
    """A stage will not go on; the pipeline answers with *fault*."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class UpstreamStale(Refused):
    """A reused connection ended without one byte of an answer."""


class Told(Refused):
    """A stream that we author failed after its head was sent, and its last event says so."""


class DownstreamLeft(Exception):
    """The client is gone; nobody waits for the answer."""


class Drained(Exception):
    """The gateway is stopping and the time for running exchanges is over."""


KEY = Fault(
    Source.DOWNSTREAM,
    401,
    "authentication_error",
    "key",
    "this gateway does not know the key, or none was sent; "
    "send it in x-api-key or as Authorization: Bearer",
    final=True,
)
KEY_IN_QUERY = Fault(
    Source.DOWNSTREAM,
    401,
    "authentication_error",
    "key",
    "a key was sent in the query; send it in x-api-key or as Authorization: Bearer",
    final=True,
)
TWO_KEYS = Fault(
    Source.DOWNSTREAM,
    401,
    "authentication_error",
    "key",
    "the request carries two different keys; send one",
    final=True,
)
CREDENTIAL = Fault(
    Source.OURSELVES,
    502,
    "api_error",
    "credential",
    "no usable credential for the model API; the operator has to mend it",
    final=True,
)
NOT_FOUND = Fault(
    Source.DOWNSTREAM, 404, "not_found_error", "route", "nothing is served at this path"
)
OWN_CREDENTIAL = Fault(
    Source.DOWNSTREAM,
    401,
    "authentication_error",
    "key",
    "this route takes your own credential; send the gateway's key in x-passgate-key beside it",
    final=True,
)
INTERNAL = Fault(
    Source.OURSELVES, 500, "api_error", "internal", "a fault of the gateway itself; see its log"
)
BUSY = Fault(
    Source.OURSELVES,
    529,
    "overloaded_error",
    "busy",
    "the gateway is full; try again shortly",
    retry_after_s=1,
)
UNRECORDED = Fault(
    Source.OURSELVES,
    529,
    "overloaded_error",
    "busy",
    "the gateway cannot record now what a request would use; try again shortly",
    retry_after_s=2,
)
UNREACHABLE = Fault(
    Source.UPSTREAM, 502, "api_error", "upstream", "the model API could not be reached"
)
UPSTREAM_LOST = Fault(
    Source.UPSTREAM,
    502,
    "api_error",
    "upstream",
    "the model API closed the connection before it answered",
)
UPSTREAM_MALFORMED = Fault(
    Source.UPSTREAM, 502, "api_error", "upstream", "the model API's answer was not valid HTTP"
)
CONNECT_TIMEOUT = Fault(
    Source.UPSTREAM,
    504,
    "timeout_error",
    "timeout",
    "the model API did not accept the connection in time",
)
ANSWER_TIMEOUT = Fault(
    Source.UPSTREAM, 504, "timeout_error", "timeout", "the model API did not answer in time"
)


def scope(what: str) -> Fault:
    """Return the fault for a model or path that is not open to this client."""
    message = f"{what} is not open to this key"
    return Fault(Source.DOWNSTREAM, 403, "permission_error", "scope", message, final=True)


def request(message: str, *, verbatim: bool = False) -> Fault:
    """Return the fault for a body that cannot be served as it is."""
    kind = "invalid_request_error"
    return Fault(Source.DOWNSTREAM, 400, kind, "request", message, verbatim=verbatim)


def too_large(limit_bytes: int) -> Fault:
    """Return the fault for a held body over *limit_bytes*."""
    message = f"the body is larger than {limit_bytes} bytes"
    return Fault(Source.DOWNSTREAM, 413, "request_too_large", "size", message)


def no_route(model: str) -> Fault:
    """Return the fault for a model that no route matches."""
    message = f"no route for model {model!r}"
    return Fault(Source.DOWNSTREAM, 404, "not_found_error", "route", message)


def http(status: int, message: str) -> Fault:
    """Return the fault for a message that is not HTTP as we accept it."""
    return Fault(Source.DOWNSTREAM, status, "invalid_request_error", "http", message, closes=True)


def local_answer(
    status: int, body: bytes, more: bytes = b"", media_type: bytes = b"application/json"
) -> bytes:
    """Return the head of an answer that we author, without framing for the connection.

    Args:
        status: HTTP status.
        body: The body that will follow.
        more: Further field lines, each with its CRLF in front.
        media_type: What the body is.
    """
    return b"%s\r\ncontent-type: %s\r\ncontent-length: %d%s" % (
        status_line(status),
        media_type,
        len(body),
        more,
    )


def status_line(status: int) -> bytes:
    """Return the status line of an answer that we author."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded"  # 529, which has no registered phrase
    return f"HTTP/1.1 {status} {phrase}".encode()


def answer(fault: Fault, request_id: str, *, google: bool) -> tuple[bytes, bytes]:
    """Return head and body of the answer to an exchange refused for *fault*.

    Args:
        fault: Why.
        request_id: The record's id.
        google: Word it as ``google.rpc.Status`` instead of the Messages envelope.
    """
    body = _google(fault) if google else envelope(fault, request_id)
    more = f"\r\nrequest-id: {request_id}\r\nx-passgate-error: {fault.code}"
    if fault.retry_after_s is not None:
        more += f"\r\nretry-after: {fault.retry_after_s}"
    if fault.final:
        more += "\r\nx-should-retry: false"
    if fault.status == HTTPStatus.METHOD_NOT_ALLOWED:
        more += "\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    return local_answer(fault.status, body, more.encode()), body


def envelope(fault: Fault, request_id: str) -> bytes:
    """Return *fault* as the Messages API words it, in a body or in an event of a stream."""
    error: dict[str, object] = {"type": fault.kind, "message": fault.said}
    if fault.google is not None:
        error["details"] = {"gemini_status": fault.google}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


# Source: google.rpc.Code and its mapping to HTTP.
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}


def _google(fault: Fault) -> bytes:
    status = _GOOGLE_STATUS.get(fault.status, "INVALID_ARGUMENT")
    error = {"code": fault.status, "message": fault.said, "status": status}
    return msgspec.json.encode({"error": error})


BAD_CHUNK = http(400, "the chunked body is malformed")
HEAD_STALLED = http(400, "the request head did not arrive in time")
BODY_STALLED = http(400, "the request body stopped arriving")
CLIENT_STALLED = http(408, "the client took no byte of its response")
