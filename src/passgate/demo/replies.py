"""Answers as values: how one is made of JSON, and what some scenes make of the ordinary one."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import chain, islice

from passgate.demo.content import Json, Message, Scene, encode, message_for
from passgate.demo.wire import Head, Reply

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# What the API takes for a Messages request: more is refused, and never held.
HELD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was read.

    Attributes:
        body: As received, at most HELD_BYTES of it.
        body_bytes: How long the whole body was.
        ask: The body as a JSON object, None where it is none.
        scheme: ``http`` or ``https``, as the peer sees it.
    """

    head: Head
    body: bytes
    body_bytes: int
    ask: Json | None
    scene: Scene
    request_id: str
    scheme: str

    def refused(self, status: int, message: str) -> Reply:
        """Return an error in the API's envelope."""
        kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else ERROR_TYPES[400])
        error = {"type": kind, "message": message}
        envelope = {"type": "error", "error": error, "request_id": self.request_id}
        return json_reply(envelope, status)


def json_reply(value: object, status: int = 200) -> Reply:
    """Return *value* as an answer."""
    body = encode(value)
    return Reply(status, [body], len(body))


def stream_reply(message: Message) -> Reply:
    """Return *message* as server-sent events."""
    parts = (event(name, payload) for name, payload in message.events())
    fields = [(b"Cache-Control", b"no-cache")]
    return Reply(200, parts, None, b"text/event-stream; charset=utf-8", fields)


def event(name: str, payload: Json) -> bytes:
    """Return one server-sent event; its type is its name, as everywhere in this API."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode({"type": name, **payload}))


def reason_of(status: int) -> str:
    """Return the words that go with *status*, none where it has none."""
    return next((known.phrase for known in HTTPStatus if known == status), "")


def credentials_of(head: Head) -> list[bytes]:
    """Return every credential that a request shows, without its scheme."""
    shown = {b"x-api-key": b"", b"authorization": b"Bearer "}
    return [
        value.removeprefix(shown[name.lower()])
        for name, value in head.fields
        if name.lower() in shown
    ]


def _error(call: Call, _reply: Reply) -> Reply:
    status = call.scene.number(0, 500)
    refused = call.refused(status, f"The demo was asked for a {status}.")
    return replace(refused, fields=[(b"Retry-After", b"1")]) if status == 429 else refused


def _error_html(call: Call, _reply: Reply) -> Reply:
    """Return what a CDN in front of the API says: no envelope, no JSON."""
    status = call.scene.number(0, 502)
    title = f"{status} {reason_of(status)}"
    page = f"<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body>\n</html>\n"
    fields = [(b"CF-RAY", b"0123456789abcdef-OSL")]
    return Reply(status, [page.encode()], len(page), b"text/html; charset=UTF-8", fields)


def _mid_error(call: Call, reply: Reply) -> Reply:
    """Return a stream that ends in an error; the status said 200 long before."""
    if not reply.is_stream:
        return call.refused(529, "Overloaded")
    error = {"type": "overloaded_error", "message": "Overloaded"}
    last = event("error", {"error": error, "request_id": call.request_id})
    return replace(reply, parts=chain(islice(reply.parts, call.scene.number(0, 5)), [last]))


def _pings(_call: Call, reply: Reply) -> Reply:
    """Return a stream with all that may stand between two events."""
    between = (
        event("ping", {}),
        b": a comment, which every reader skips\n\n",
        event("demo_unknown", {"why": "new event types may appear at any time"}),
    )
    if not reply.is_stream:
        return reply
    first, *rest = reply.parts
    return replace(reply, parts=[first, *chain.from_iterable((*between, part) for part in rest)])


def _compressed(_call: Call, reply: Reply, *, coding: bytes, wbits: int) -> Reply:
    packed = _deflate(reply.parts, wbits)
    fields = [*reply.fields, (b"Content-Encoding", coding)]
    if reply.length is None:
        return replace(reply, parts=packed, fields=fields)
    whole = b"".join(packed)
    return replace(reply, parts=[whole], length=len(whole), fields=fields)


def _deflate(parts: Iterable[bytes], wbits: int) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=wbits)
    for part in parts:
        # Flushed, so that an event can be read when it arrives and not only at the end.
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _echo(call: Call, _reply: Reply) -> Reply:
    message = message_for(call.ask or {}, call.scene)
    return json_reply({**message.whole(), "echo": base64.b64encode(call.head.raw).decode()})


def _echo_credential(call: Call, reply: Reply) -> Reply:
    shown = b", ".join(credentials_of(call.head))
    return replace(reply, fields=[*reply.fields, (b"X-Echo", shown)])


def _head_dup(_call: Call, reply: Reply) -> Reply:
    fields = [
        (b"X-Twice", b"one"),
        (b"x-TWICE", b"two"),
        (b"X-Empty", b""),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; Path=/"),
        (b"Connection", b"keep-alive, x-hop"),
        (b"X-Hop", b"for this connection only"),
        (b"Keep-Alive", b"timeout=5"),
    ]
    return replace(reply, fields=[*reply.fields, *fields])


# Scenes that change what is said; all of them send it in the ordinary way.
ALTERED: Mapping[str, Callable[[Call, Reply], Reply]] = {
    "error": _error,
    "error-html": _error_html,
    "mid-error": _mid_error,
    "pings": _pings,
    "gzip": partial(_compressed, coding=b"gzip", wbits=31),
    "deflate": partial(_compressed, coding=b"deflate", wbits=15),
    "echo": _echo,
    "echo-credential": _echo_credential,
    "head-dup": _head_dup,
}
