"""The meters of the Messages API: a message, or its events -> what it consumed.

An event that says nothing of the usage, as nearly every one does, costs two searches.

Source: Claude docs, "Messages"; "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from passgate.core import iterations
from passgate.core.meter import NOTHING, Meter, Metered
from passgate.core.sse import SSEDecoder, blocks, payload
from passgate.core.usage import count, merged, of_messages, word

_MAX_BODY_BYTES = 32 << 20
# The events that tell the usage are short; a longer one is none of them.
_MAX_EVENT_BYTES = 64 * 1024
# Stands in the type of every event that is read.
_MARK = b"message_"
_CONTENT, _OPENED = b"content_block_delta", b"content_block_start"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# The estimate, where the output was not told. Bytes rather than characters: what takes
# more bytes, as other alphabets do, takes more tokens, too.
_BYTES_PER_TOKEN = 4
_EVENT_BYTES = 118  # what stands around the text of one ``content_block_delta``
# A block that opens with more holds what a tool found, which nobody generated.
_MAX_OPENING_BYTES = 2000


class _Message(msgspec.Struct, gc=False):
    """What is read of a whole message. Nothing in it is trusted to be of any type."""

    usage: Any = None
    model: Any = None
    stop_reason: Any = None
    content: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, gc=False):
    """What is read of an event."""

    type: Any = None
    message: Any = None
    delta: Any = None
    usage: Any = None


_message_in = msgspec.json.Decoder(_Message).decode
_event_in = msgspec.json.Decoder(_Event).decode


def meter_for(first: bytes) -> Meter:
    """Return the meter of an answer to ``POST /v1/messages`` that begins with *first*.

    By what came, not by what was asked for: some servers know no streams.
    """
    return MessageMeter() if first == b"{" else EventsMeter()


class MessageMeter:
    """Reads a whole message; see ``meter.Meter``."""

    __slots__ = ("_body",)

    def __init__(self) -> None:
        self._body: bytes | bytearray = b""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; see ``meter.Meter``."""
        if not self._body:
            self._body = data  # nearly every message comes in one piece
            return False
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data
        return False

    def running(self) -> tuple[int | None, bool]:
        """Return what is told by a message that is not read yet: nothing."""
        return None, False

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; see ``meter.Meter``."""
        try:
            message = _message_in(self._body)
        except _UNREADABLE:
            return NOTHING  # cut short, or no message
        usage = message.usage
        if not isinstance(usage, dict):
            return NOTHING
        empty = message.stop_reason == "refusal" and bytes(message.content) == b"[]"
        return _metered("final", usage, message.model, message.stop_reason, refused_empty=empty)


class EventsMeter:
    """Reads a message that comes as events; see ``meter.Meter``."""

    __slots__ = (
        "_began",
        "_bytes",
        "_decoder",
        "_events",
        "_filled",
        "_model",
        "_ordinary",
        "_said",
        "_stop_reason",
        "_stopped",
        "_told",
    )

    def __init__(self) -> None:
        self._decoder = SSEDecoder(_MAX_EVENT_BYTES)
        self._ordinary = False  # whether the next piece is likely to be one event of content
        self._began = False  # whether the first of the content has come
        self._filled = False  # whether any content was opened
        self._bytes = self._events = 0  # of the content
        self._said: Mapping[str, Any] = {}
        self._model: object = None
        self._stop_reason: object = None
        self._told = False  # whether the output was told after its beginning
        self._stopped = False

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; see ``meter.Meter``."""
        if (
            self._ordinary
            and 0 < data.find(b"\n\n") == len(data) - 2 <= _MAX_OPENING_BYTES
            and _MARK not in data
        ):
            self._bytes += len(data)
            self._events += 1
            return False
        return self._look(data)

    def _look(self, data: bytes) -> bool:
        """Take the next bytes, whatever they are."""
        decoder = self._decoder
        self._bytes += len(data)
        whole = decoder.whole(data)
        large = len(whole) > _MAX_OPENING_BYTES and _OPENED in whole
        if self._began and not large and _MARK not in whole:
            self._events += whole.count(b"\n\n") or len(blocks(whole))
            self._ordinary = decoder.between
            return False
        began = self._began
        for block in blocks(whole):
            self._event(block)
        self._ordinary = self._began and decoder.between
        return self._began and not began

    def _event(self, block: bytes) -> None:
        """Look at one event."""
        if _MARK in block and self._read(block):
            self._bytes -= len(block)
            return
        self._events += 1
        if _OPENED in block:
            self._filled = True
            if len(block) > _MAX_OPENING_BYTES:
                self._bytes -= len(block) - _EVENT_BYTES
        elif _CONTENT in block:
            self._began = self._filled = True

    def _read(self, block: bytes) -> bool:
        """Read an event; return whether it was one about the message."""
        try:
            event = _event_in(payload(block))
        except _UNREADABLE:
            return False
        if event.type == "message_start" and isinstance(event.message, dict):
            self._model = event.message.get("model")
            self._state(event.message.get("usage"))
        elif event.type == "message_delta":
            if isinstance(event.delta, dict) and event.delta.get("stop_reason") is not None:
                self._stop_reason = event.delta["stop_reason"]
            self._state(event.usage)
            if isinstance(event.usage, dict):
                self._told |= count(event.usage.get("output_tokens")) is not None
        elif event.type == "message_stop":
            self._stopped = True
        else:
            return False
        return True

    def _state(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._said = merged(self._said, usage)

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""
        told = count(self._said.get("output_tokens"))
        if self._told or not self._said:
            return told, False
        text = self._bytes - self._decoder.skipped_bytes - self._events * _EVENT_BYTES
        return max(told or 0, text // _BYTES_PER_TOKEN), True

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; see ``meter.Meter``."""
        if not self._said:
            return NOTHING
        ended = self._stopped or complete or self._stop_reason is not None
        kind = "final" if self._told and ended else "partial"
        output, _ = self.running()
        said = merged(self._said, {"output_tokens": output})
        empty = self._stop_reason == "refusal" and not self._filled
        return _metered(kind, said, self._model, self._stop_reason, refused_empty=empty)


def _metered(
    kind: str, said: Mapping[str, Any], model: object, stop: object, *, refused_empty: bool
) -> Metered:
    entries = said.get("iterations")
    served = word(model)
    if entries is not None:
        served = iterations.model_of(entries) or served
    extra = None
    if entries is not None or refused_empty:
        extra = iterations.extras(entries, served, refused_empty=refused_empty)
    return Metered(
        kind,
        of_messages(said),
        served,
        word(stop),
        word(said.get("speed")),
        word(said.get("service_tier")),
        word(said.get("inference_geo")),
        extra,
    )
