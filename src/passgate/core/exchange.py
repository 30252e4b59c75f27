"""The values of one exchange, from its request head to its record.

The values made for every request are ``msgspec.Struct``: as frozen and slotted as a
dataclass, at a tenth of its cost to make.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec

from passgate.core.faults import Fault


class Ending(Enum):
    """How an exchange stopped."""

    COMPLETE = "complete"
    REFUSED = "refused"
    CLIENT_LEFT = "client_left"
    UPSTREAM_BROKE = "upstream_broke"
    TIMED_OUT = "timed_out"
    DRAINED = "drained"
    FAILED = "failed"

    __hash__ = object.__hash__  # that of an Enum is a call of Python's


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A request head that was accepted, or the fault for which it was not.

    Attributes:
        method: As received, such as ``POST``.
        target: Path and query as received.
        path: The target up to its query.
        query: What follows the ``?``, or None without one.
        raw_fields: The field lines as received, each with its CRLF in front.
        fields: What of them may go on to an upstream.
        said: The fields we look at: lower-case name -> value; repeated ones joined by LF.
        length: Declared body bytes; None for a chunked body, 0 without a body.
        keep_alive: Whether the client lets us use the connection again.
        http10: Whether the client speaks HTTP/1.0.
        fault: Why the head is refused; all else is then empty or best effort.
    """

    method: str = ""
    target: bytes = b""
    path: str = ""
    query: bytes | None = None
    raw_fields: bytes = b""
    fields: bytes = b""
    said: dict[bytes, bytes] = {}
    length: int | None = 0
    keep_alive: bool = False
    http10: bool = False
    fault: Fault | None = None

    def field(self, name: bytes) -> bytes:
        """Return a field that is not in ``said``, by its name in small letters.

        Empty where it was not sent; repeated ones are joined by commas. For requests that
        are answered here: it looks at every line.
        """
        size = len(name) + 1
        lines = self.raw_fields.split(b"\r\n")
        found = (line[size:].strip() for line in lines if line[:size].lower() == name + b":")
        return b",".join(found)

    def __repr__(self) -> str:
        return f"RequestHead({self.method} {self.path})"  # the rest may hold a key


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """An upstream's response head that was accepted.

    Attributes:
        status: HTTP status.
        fields: Status line and what of the field lines may go on to a client.
        said: The fields that decide over framing, coding and reuse: lower-case name -> value.
        length: Body bytes; None where the body is chunked or ends with the connection.
        chunked: Whether the body is chunked.
        keep_alive: Whether the upstream lets us use the connection again.
        request_id: The upstream's name for the exchange, where it gave it one.
        limits: Whether *fields* may tell something of rate limits.
    """

    status: int
    fields: bytes
    said: dict[bytes, bytes]
    length: int | None
    chunked: bool
    keep_alive: bool
    request_id: bytes | None = None
    limits: bool = False

    def __repr__(self) -> str:
        return f"AnswerHead({self.status})"  # the rest may echo a credential


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What we need to know of a request body, and no more.

    Attributes:
        model: The model asked for, or None where the body names none we can read.
        stream: Whether server-sent events were asked for.
    """

    model: str | None = None
    stream: bool = False


NO_ASK = Ask()


class Outbound(msgspec.Struct, frozen=True, gc=False):
    """A request as an upstream will see it.

    Attributes:
        head: Request line and end-to-end fields, without the CRLF that ends the last
            line: framing of the body is added where it is written.
        body: The whole body, or None where it is passed on as it arrives.
        secret: The credential in *head*; a field of the answer that echoes it is cut.
    """

    head: bytes
    body: bytes | bytearray | None
    secret: bytes

    def __repr__(self) -> str:
        return "Outbound(...)"  # all of it is secret


class Record(msgspec.Struct, gc=False):
    """What one exchange was. Field order is the order of the log line.

    Made when the exchange has ended; from then on nobody changes it but who prices it.
    Times are milliseconds, sizes are body bytes without their framing; None is "not known",
    which is not 0.
    """

    ts: datetime
    id: str
    client: str | None = None
    method: str = ""
    path: str = ""
    route: str | None = None
    upstream: str | None = None
    model: str | None = None
    model_served: str | None = None
    stream: bool = False
    status: int | None = None
    ending: Ending = Ending.CLIENT_LEFT
    error: str | None = None
    queued_ms: float | None = None
    ttfb_ms: float | None = None
    first_token_ms: float | None = None
    duration_ms: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    cost_nusd: int | None = None
    usage: str = "none"
    stop_reason: str | None = None
    session: str | None = None
    agent: str | None = None
    parent_agent: str | None = None
    upstream_request_id: str | None = None
    peer: str = ""
    attempts: int = 0
    web_searches: int | None = None
    speed: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    price_status: str | None = None
    iterations: str | None = None
