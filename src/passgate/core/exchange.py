"""The values of one exchange, from its request head to its record.

The values made for every request are ``msgspec.Struct``: as frozen and slotted as a
dataclass, at a tenth of its cost to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import UTC, datetime
from enum import Enum

import msgspec

from passgate.core.faults import INTERNAL, Fault, Source
from passgate.core.meter import Consumption, Metered
from passgate.core.usage import MAX_WORD


class Ending(Enum):
    """How an exchange stopped."""

    COMPLETE = "complete"
    REFUSED = "refused"
    CLIENT_LEFT = "client_left"
    UPSTREAM_BROKE = "upstream_broke"
    TIMED_OUT = "timed_out"
    DRAINED = "drained"
    FAILED = "failed"


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
        said: The fields we look at: lower-case name -> value.
        length: Body bytes; None where the body is chunked or ends with the connection.
        chunked: Whether the body is chunked.
        keep_alive: Whether the upstream lets us use the connection again.
    """

    status: int
    fields: bytes
    said: dict[bytes, bytes]
    length: int | None
    chunked: bool
    keep_alive: bool

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

    The pipeline fills it as it learns, and hands it on when the exchange has ended; from
    then on nobody changes it. Times are milliseconds, sizes are body bytes without their
    framing; None is "not known", which is not 0.
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


class Tally:
    """The record of an exchange that still runs, and when it began.

    The only mutable thing of an exchange, written by the pipeline alone.

    Attributes:
        metering: What reads the answer's usage, or None where nothing does.
    """

    __slots__ = ("_secret", "metering", "opened_s", "opened_wall_s", "record")

    def __init__(
        self, id_: str, head: RequestHead, peer: str, opened_s: float, opened_wall_s: float
    ) -> None:
        self.opened_s = opened_s
        self.opened_wall_s = opened_wall_s
        self.metering: Consumption | None = None
        self._secret = b""
        self.record = record = Record(datetime.fromtimestamp(opened_wall_s, UTC), id_)
        record.method = head.method
        record.path = head.path[:_MAX_PATH]
        record.peer = peer

    def knows(self, client: str, said: Mapping[bytes, bytes], key: bytes) -> None:
        """Note who asks: the client, and the session and agent it says it is.

        A name that holds the *key* is none.
        """
        record = self.record
        record.client = client
        if b"x-claude-code-session-id" in said:
            record.session = _named(said, b"x-claude-code-session-id", key)
            record.agent = _named(said, b"x-claude-code-agent-id", key)
            record.parent_agent = _named(said, b"x-claude-code-parent-agent-id", key)

    def goes_to(self, route: str, upstream: str, ask: Ask) -> None:
        """Note what was asked for and where it goes."""
        record = self.record
        record.route = route
        record.upstream = upstream
        record.model = ask.model
        record.stream = ask.stream

    def sent(self, now_s: float) -> None:
        """Note that the request goes to the upstream now."""
        self.record.attempts += 1
        self.record.queued_ms = int((now_s - self.opened_s) * 1e6) / 1000

    def answered(self, head: AnswerHead, now_s: float, secret: bytes) -> None:
        """Note that the upstream's response head has come; an id that holds *secret* is none."""
        record = self.record
        # ``round`` would cost five times this.
        record.ttfb_ms = int((now_s - self.opened_s) * 1e6) / 1000
        record.status = head.status
        record.upstream_request_id = _named(head.said, b"request-id", secret)
        self._secret = secret

    def so_far(self) -> Record:
        """Return what the record would be if the exchange were cut now: for who looks on."""
        whole, self.record = self.record, copy(self.record)
        try:
            if self.metering is not None:
                self._metered(self.metering, complete=False)
            return self.record
        finally:
            self.record = whole

    def closed(self, ending: Ending, fault: Fault | None, now_s: float) -> Record:
        """Return the record of this exchange, which ended at *now_s* (monotonic)."""
        record = self.record
        if self.metering is not None:
            self._metered(self.metering, complete=ending is _COMPLETE)
        record.ending = ending
        record.duration_ms = int((now_s - self.opened_s) * 1e6) / 1000
        if ending is not _COMPLETE:
            record.error = fault.code if fault is not None else _ERRORS.get(ending)
        return record

    def _metered(self, metering: Consumption, *, complete: bool) -> None:
        """Note what the answer told of its usage; words that hold the credential are none."""
        record, first_s = self.record, metering.first_token_s
        if first_s is not None:
            record.first_token_ms = int((first_s - self.opened_s) * 1e6) / 1000
        metered = metering.close(complete=complete)
        if metered.kind == "none":
            return
        usage = metered.usage
        record.usage = metered.kind
        record.input_tokens = usage.input_tokens
        record.output_tokens = usage.output_tokens
        record.cache_read_tokens = usage.cache_read_tokens
        record.cache_write_5m_tokens = usage.cache_write_5m_tokens
        record.cache_write_1h_tokens = usage.cache_write_1h_tokens
        record.thinking_tokens = usage.thinking_tokens
        record.web_searches = usage.web_searches
        if self._secret == b"" or not _quotes(metered, self._secret):
            record.model_served = metered.model_served
            record.stop_reason = metered.stop_reason
            record.speed = metered.speed
            record.service_tier = metered.service_tier
            record.inference_geo = metered.inference_geo
            record.iterations = metered.iterations


_COMPLETE = Ending.COMPLETE
# A fault after the head was sent has no Fault to name it.
_ERRORS = {Ending.UPSTREAM_BROKE: "upstream", Ending.TIMED_OUT: "timeout"}


def ending_of(fault: Fault) -> Ending:
    """Return how an exchange ended that was not served for *fault*."""
    if fault is INTERNAL:
        return Ending.FAILED
    if fault.code == "timeout":
        return Ending.TIMED_OUT
    return Ending.UPSTREAM_BROKE if fault.source is Source.UPSTREAM else Ending.REFUSED


_MAX_NAME = 200
_MAX_PATH = 1024


def _quotes(m: Metered, secret: bytes) -> bool:
    """Return whether any word of *m* holds *secret*: an upstream may say what it was shown."""
    text = m.model_served or ""
    if len(secret) <= MAX_WORD or m.iterations is not None:  # a long one fits nowhere else
        text = f"{text} {m.stop_reason} {m.speed} {m.service_tier} {m.inference_geo} {m.iterations}"
    return secret in text.encode()


def _named(said: Mapping[bytes, bytes], field: bytes, secret: bytes) -> str | None:
    value = said.get(field)
    hidden = value is None or (secret != b"" and secret in value)
    return None if hidden or value is None else value[:_MAX_NAME].decode("latin-1")
