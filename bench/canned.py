"""What the fake upstream answers: bytes made once, so that an answer costs a look-up.

Pure. The load driver reads the same bytes here, so it knows each body before it arrives.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Final

MESSAGE_MODEL: Final = "bench-message"
"""A model that answers with one JSON message."""

EVENTS_MODEL: Final = "bench-events-{count}"
"""A model that answers with *count* events, as fast as they can be written."""

SLOW_MODEL: Final = "bench-slow-{per_s}-{count}"
"""A model that answers with *count* stamped events, *per_s* of them each second."""

GEMINI_MODEL: Final = "gemini-bench-slow-{per_s}-{count}"
"""The same of Google's API: a Gemini model, which a Messages request can name as well."""

GEMINI_MESSAGE_MODEL: Final = "gemini-bench-message"
GEMINI_EVENTS_MODEL: Final = "gemini-bench-events-{count}"

GEMINI_PATH: Final = "/v1beta/models/{model}:streamGenerateContent?alt=sse"
GEMINI_WHOLE_PATH: Final = "/v1beta/models/{model}:generateContent"

UPLOAD_PATH: Final = "/v1/files"
DOWNLOAD_PATH: Final = "/v1/files/bench_{size}/content"

PIECE: Final = bytes(range(256)) * 1024
"""What big bodies are made of, over and over: 256 KiB."""

LAST_CHUNK: Final = b"0\r\n\r\n"

STAMP: Final = re.compile(rb"sent at (\d{20}) ns")
"""Finds the CLOCK_MONOTONIC time at which a stamped event was written."""

STAMP_BYTES: Final = 31
"""The length of what :data:`STAMP` matches."""

_MESSAGE_BYTES: Final = 1_500
_WORDS: Final = "A gateway reads what it must, and lets the rest pass as it came. "
_DELTA: Final = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n'
)

# As many fields as a model API sends behind its content network, with its usual lengths: a
# gateway's work on a head grows with them.
_FIELDS: Final = (
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Connection: keep-alive\r\n"
    b"%b"
    b"anthropic-ratelimit-requests-limit: 4000\r\n"
    b"anthropic-ratelimit-requests-remaining: 3999\r\n"
    b"anthropic-ratelimit-requests-reset: 2026-01-01T00:00:00Z\r\n"
    b"anthropic-ratelimit-input-tokens-limit: 2000000\r\n"
    b"anthropic-ratelimit-input-tokens-remaining: 1999000\r\n"
    b"anthropic-ratelimit-input-tokens-reset: 2026-01-01T00:00:00Z\r\n"
    b"anthropic-ratelimit-output-tokens-limit: 400000\r\n"
    b"anthropic-ratelimit-output-tokens-remaining: 399000\r\n"
    b"anthropic-ratelimit-output-tokens-reset: 2026-01-01T00:00:00Z\r\n"
    b"request-id: req_bench0000000000000000000\r\n"
    b"anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"x-envoy-upstream-service-time: 812\r\n"
    b"X-Robots-Tag: none\r\n"
    b"Server: bench\r\n"
)


def counted(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole response around a JSON *body*."""
    return counted_head(len(body), b"application/json", status) + body


def counted_head(size: int, kind: bytes, status: bytes = b"200 OK") -> bytes:
    """Return the head of a response whose body of media type *kind* has *size* bytes."""
    framing = b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, size)
    return b"HTTP/1.1 %b\r\n%b\r\n" % (status, _FIELDS % framing)


STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\n%b\r\n" % (
    _FIELDS
    % (
        b"Content-Type: text/event-stream; charset=utf-8\r\n"
        b"Cache-Control: no-cache\r\n"
        b"Transfer-Encoding: chunked\r\n"
    )
)


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def text(size: int) -> str:
    """Return *size* characters of prose."""
    return (_WORDS * (size // len(_WORDS) + 1))[:size]


def _message(content: list[object], output_tokens: int) -> dict[str, object]:
    return {
        "id": "msg_bench000000000000000000",
        "type": "message",
        "role": "assistant",
        "model": "claude-bench",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 512,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    }


def _event(name: str, **more: object) -> bytes:
    data = json.dumps({"type": name} | more, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


@cache
def message_body() -> bytes:
    """Return the JSON message."""
    bare = json.dumps(_message([{"type": "text", "text": ""}], 300))
    block = {"type": "text", "text": text(_MESSAGE_BYTES - len(bare))}
    return json.dumps(_message([block], 300)).encode()


def opening() -> tuple[bytes, ...]:
    """Return the events before the first piece of text."""
    block = {"type": "text", "text": ""}
    return (
        _event("message_start", message=_message([], 1)),
        _event("content_block_start", index=0, content_block=block),
    )


def closing() -> tuple[bytes, ...]:
    """Return the events after the last piece of text."""
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return (
        _event("content_block_stop", index=0),
        _event("message_delta", delta=stop, usage={"output_tokens": 300}),
        _event("message_stop"),
    )


@cache
def events(count: int) -> tuple[bytes, ...]:
    """Return the *count* events of a streamed answer, at least the five around its text."""
    before, after = opening(), closing()
    deltas = [
        _DELTA % text(12 + at % 17).encode() for at in range(count - len(before) - len(after))
    ]
    return (*before, *deltas, *after)


def stamped(sent_ns: int) -> bytes:
    """Return an event that says when it was written."""
    return _DELTA % (b"sent at %020d ns" % sent_ns)


def gemini_stamped(sent_ns: int) -> bytes:
    """Return an event of Google's that says when it was written."""
    return _gemini(_gemini_text(f"sent at {sent_ns:020d} ns"))


def gemini_closing() -> bytes:
    """Return the last event of Google's."""
    return _gemini(_gemini_text("") | {"finishReason": "STOP"})


@cache
def gemini_body() -> bytes:
    """Return a whole answer of Google's, as long as the JSON message."""
    bare = len(_gemini_said(_gemini_text("")))
    return _gemini_said(_gemini_text(text(_MESSAGE_BYTES - bare))).encode()


@cache
def gemini_events(count: int) -> tuple[bytes, ...]:
    """Return the *count* events of a streamed answer of Google's."""
    pieces = (_gemini(_gemini_text(text(12 + at % 17))) for at in range(count - 1))
    return (*pieces, gemini_closing())


def _gemini_text(said: str) -> dict[str, object]:
    return {"content": {"role": "model", "parts": [{"text": said}]}, "index": 0}


def _gemini(candidate: dict[str, object]) -> bytes:
    return f"data: {_gemini_said(candidate)}\r\n\r\n".encode()


def _gemini_said(candidate: dict[str, object]) -> str:
    # As much beside the text as Google says with each piece.
    usage = {"promptTokenCount": 512, "candidatesTokenCount": 300, "totalTokenCount": 812}
    said = {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-bench",
        "responseId": "bench0000000000000000",
    }
    return json.dumps(said, separators=(",", ":"))


def upload_body(size: int) -> bytes:
    """Return what is answered to an upload of *size* bytes."""
    return b'{"type":"file","id":"file_bench","size_bytes":%d}' % size


def download_digest(size: int) -> str:
    """Return the SHA-256 of a download of *size* bytes, in hex."""
    digest = hashlib.sha256()
    for left in range(size, 0, -len(PIECE)):
        digest.update(PIECE[:left])
    return digest.hexdigest()
