"""The meters of the Messages API: a message, or its events -> what it consumed.

An event that says nothing of the usage, as nearly every one does, costs two searches.

Source: Claude docs, "Messages"; "Streaming messages".
"""

from __future__ import annotations

import re

import msgspec

from passgate.core import iterations
from passgate.core.meter import NOTHING, Meter, Metered
from passgate.core.skim import Held
from passgate.core.sse import SSEDecoder, blocks, payload
from passgate.core.usage import Name, Report, Word, put_over, told_in, usage_of

_REFUSAL = "refusal"
# The events that tell the usage are short; a longer one is none of them.
_MAX_EVENT_BYTES = 64 * 1024
_MESSAGE, _CONTENT, _OPENED = b"message_", b"content_block_delta", b"content_block_start"
# The first line of nearly every event.
_DELTA = b"event: content_block_delta\n"
_NAME = re.compile(rb'event: *(\w+)|[^\0]*?"type"\s*:\s*"(\w+)').match
# The last member of a delta, if it is a string: that is what was generated.
_TEXT = re.compile(rb':\s*"([^"\\]*(?:\\.[^"\\]*)*)"\s*\}').search
# The estimate, where the output was not told. Bytes rather than characters: what takes
# more bytes, as other alphabets do, takes more tokens, too.
_BYTES_PER_TOKEN = 4


class _Message(msgspec.Struct, gc=False):
    """What is read of a message."""

    usage: Report | None = None
    model: Name | None = None
    stop_reason: Word | None = None
    content: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct, gc=False):
    """What is read of an event's ``delta``."""

    stop_reason: Word | None = None


class _Event(msgspec.Struct, gc=False):
    """What is read of an event."""

    type: Word | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: Report | None = None


_message_in = msgspec.json.Decoder(_Message).decode
_event_in = msgspec.json.Decoder(_Event).decode


def meter_for(first: bytes) -> Meter:
    """Return the meter of an answer to ``POST /v1/messages`` that begins with *first*.

    By what came, not by what was asked for: some servers know no streams.
    """
    return MessageMeter() if first == b"{" else EventsMeter()


class MessageMeter:
    """Reads a whole message; see ``meter.Meter``."""

    __slots__ = ("_held", "_text")

    def __init__(self) -> None:
        self._text = b""  # nearly always all of it
        self._held: Held | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; see ``meter.Meter``."""
        if self._held is not None:
            self._held.feed(data)
        elif not self._text:
            self._text = data
        else:
            self._held = Held()
            self._held.feed(self._text)
            self._held.feed(data)
            self._text = b""
        return False

    def running(self) -> tuple[int | None, bool]:
        """Return what is told by a message that is not read yet: nothing."""
        return None, False

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; see ``meter.Meter``."""
        text = self._text if self._held is None else self._held.text
        message = told_in(text, _Message, _message_in)
        if message is None or message.usage is None:
            return NOTHING  # cut short, or no message
        reason = message.stop_reason
        # Not decoded: what stands there was only skipped so far, and may be no JSON within.
        empty = reason == _REFUSAL and b"".join(bytes(message.content).split()) == b"[]"
        return _metered("final", message.usage, message.model, reason, refused_empty=empty)


class EventsMeter:
    """Reads a message that comes as events; see ``meter.Meter``."""

    __slots__ = (
        "_around",
        "_began",
        "_decoder",
        "_fault",
        "_filled",
        "_model",
        "_ordinary",
        "_report",
        "_stop_reason",
        "_stopped",
        "_text_bytes",
        "_told",
    )

    def __init__(self) -> None:
        self._decoder = SSEDecoder(_MAX_EVENT_BYTES)
        self._around = 0  # bytes around the text of an event, in the block that is open
        self._ordinary = 0  # the same, where the next piece begins an event
        self._text_bytes = 0  # of all content
        self._began = False  # whether the first of the content has come
        self._filled = False  # whether any content was opened
        self._report: Report | None = None
        self._model: str | None = None
        self._stop_reason: str | None = None
        self._told = False  # whether the output was told after its beginning
        self._stopped = False
        self._fault: Exception | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; see ``meter.Meter``. Never raises: :meth:`close` will."""
        if self._ordinary and data[:27] == _DELTA and 0 < data.find(b"\n\n") == len(data) - 2:
            self._text_bytes += len(data) - self._ordinary  # one whole event of content
            return False
        try:
            return self._fault is None and self._look(data)
        except Exception as error:  # noqa: BLE001  metering never breaks the relay
            self._fault, self._ordinary = error, 0
            return False

    def _look(self, data: bytes) -> bool:
        """Take the next bytes, whatever they are."""
        began = self._began
        whole = self._decoder.whole(data)
        events = whole.count(_DELTA)
        if events and self._around and whole.count(b"\n\n") == events:  # nothing but content
            self._text_bytes += len(whole) - events * self._around
        else:
            for block in blocks(whole):
                if self._around and block.startswith(_DELTA):
                    self._text_bytes += len(block) + 2 - self._around  # with its line ends
                else:
                    self._event(block)
        self._ordinary = self._around if self._decoder.between else 0
        return self._began and not began

    def _event(self, block: bytes) -> None:
        """Look at one event."""
        found = _NAME(block)
        name = b"" if found is None else found[1] or found[2]
        if name == _CONTENT:
            size = len(block) + 2  # with the line ends behind it
            if not self._around:
                text = _TEXT(block)
                self._around = size - (0 if text is None else len(text[1]))
            self._text_bytes += size - self._around
            self._began = self._filled = True
        elif name == _OPENED:
            self._around = 0  # another kind of content
            self._filled = True
        elif name.startswith(_MESSAGE):
            self._read(block)

    def _read(self, block: bytes) -> None:
        """Read an event about the message."""
        event = told_in(payload(block), _Event, _event_in)
        if event is None:
            return
        if event.type == "message_start":
            if event.message is not None:
                self._model = event.message.model
                self._take(event.message.usage)
        elif event.type == "message_delta":
            self._take(event.usage)
            self._told |= event.usage is not None and event.usage.output_tokens is not None
            if event.delta is not None and event.delta.stop_reason is not None:
                self._stop_reason = event.delta.stop_reason
        elif event.type == "message_stop":
            self._stopped = True

    def _take(self, report: Report | None) -> None:
        if report is not None:
            self._report = report if self._report is None else put_over(self._report, report)

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""
        if self._report is None:
            return None, False
        told = self._report.output_tokens
        if self._told:
            return told, False
        return max(told or 0, self._text_bytes // _BYTES_PER_TOKEN), True

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; see ``meter.Meter``.

        Raises:
            Exception: What went wrong before.
        """
        if self._fault is not None:
            raise self._fault
        if self._report is None:
            return NOTHING
        ended = self._stopped or complete or self._stop_reason is not None
        kind = "final" if self._told and ended else "partial"
        report = msgspec.structs.replace(self._report, output_tokens=self.running()[0])
        empty = self._stop_reason == _REFUSAL and not self._filled
        return _metered(kind, report, self._model, self._stop_reason, refused_empty=empty)


def _metered(
    kind: str, report: Report, model: str | None, stop: str | None, *, refused_empty: bool
) -> Metered:
    extra = None
    if refused_empty or report.iterations is not None:
        entries = report.iterations or []
        model = iterations.model_of(entries) or model
        extra = iterations.extras(entries, model, refused_empty=refused_empty)
    return Metered(
        kind,
        usage_of(report),
        model,
        stop,
        report.speed,
        report.service_tier,
        report.inference_geo,
        extra,
    )
