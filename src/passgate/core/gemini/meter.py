"""The meter of Gemini's own API: one response, an array of them, or events -> what it consumed.

All three are objects one after the other, and are read as such. Nearly every piece of a
stream is one event, and then nothing has to be looked for.

Source: Gemini API docs, "Generating content", GenerateContentResponse and UsageMetadata.
"""

from __future__ import annotations

import re

import msgspec

from passgate.core.meter import NOTHING, Meter, Metered
from passgate.core.skim import Skimmer
from passgate.core.usage import NOT_JSON, Count, Name, Usage, Word, put_over, told_in

_BYTES_PER_TOKEN = 4  # as for messages
_EVENT = b"data: {"
_WHOLE = (b"}", b"}\n")
_TEXT, _BACKSLASH = b'"text":"', 0x5C
_PASSED_OVER = b"0123456789\r\n"  # numbers, and what ends an event
# The data of one event may stand in many lines; within a string no line can end.
_NEXT_LINE = re.compile(rb"[\r\n]data:")


class UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    """Counts as Google tells them: cumulative, and not all of them each time.

    The prompt includes what was read from a cache; the candidates do not include thoughts.
    """

    prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    service_tier: Word | None = None
    traffic_type: Word | None = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Grounding(msgspec.Struct, gc=False, rename="camel"):
    web_search_queries: list[str] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: Word | None = None
    grounding_metadata: _Grounding | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    """What is read of a response."""

    candidates: list[_Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: Name | None = None


_response_in = msgspec.json.Decoder(_Response).decode


def usage_of(told: UsageMetadata, searches: int | None = None) -> Usage:
    """Return what *told* means in the terms of a record."""
    prompt, cached = told.prompt_token_count, told.cached_content_token_count
    if prompt is not None:
        prompt = max(0, prompt - (cached or 0)) + (told.tool_use_prompt_token_count or 0)
    seen, thought = told.candidates_token_count, told.thoughts_token_count
    output = None if seen is None and thought is None else (seen or 0) + (thought or 0)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_tokens=cached,
        thinking_tokens=thought,
        web_searches=searches,
    )


def meter_for(first: bytes) -> Meter:
    """Return the meter of an answer that begins with *first*: one response, or many."""
    return GeminiMeter(streams=first != b"{")


class GeminiMeter:
    """Reads a successful answer of ``generateContent`` or its stream; see ``meter.Meter``."""

    __slots__ = (
        "_after",
        "_before",
        "_fault",
        "_finish_reason",
        "_latest",
        "_model",
        "_searches",
        "_skimmer",
        "_started",
        "_streams",
        "_text_bytes",
        "_told",
    )

    def __init__(self, *, streams: bool) -> None:
        self._streams = streams
        self._skimmer = Skimmer()
        self._told: UsageMetadata | None = None
        self._model: str | None = None
        self._finish_reason: str | None = None
        self._searches: int | None = None
        self._text_bytes = 0
        self._started = False  # whether any content has come
        # Around the text of the last event that was read; numbers are left out behind it.
        self._before = self._after = b""
        self._latest = b""  # an event that differs from that one in text and numbers alone
        self._fault: Exception | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; see ``meter.Meter``."""
        if self._after and self._is_like_last(data):
            self._latest = data
            return False
        started = self._started
        try:
            if self._fault is None:
                self._take(data)
        except Exception as error:  # noqa: BLE001  kept for the end
            self._fault = error
        return self._streams and self._started and not started

    def _is_like_last(self, event: bytes) -> bool:
        """Return whether *event* tells all that the last one told, and no word but its text."""
        if not event.startswith(self._before):
            return False
        end = event.find(b'"', len(self._before))
        after = event[end:].translate(None, _PASSED_OVER)
        return after == self._after and event[end - 1] != _BACKSLASH

    def _take(self, data: bytes) -> None:
        if self._skimmer.between and data.startswith(_EVENT):
            border = b"\r\n\r\n" if b"\r" in data else b"\n\n"
            events = data.split(border)
            for at, event in enumerate(events):
                if event and not self._read_event(event):
                    data = border.join(events[at:])
                    break
            else:
                return
        self._catch_up()
        self._after = b""
        if self._is_whole(data):
            return
        for text in self._skimmer.feed(data):
            response = told_in(_NEXT_LINE.sub(b"\n", text), _Response, _response_in)
            if response is not None:
                self._read(response)

    def _is_whole(self, data: bytes) -> bool:
        """Read *data* and return True, where it is all of an answer that is no stream."""
        if self._streams or not self._skimmer.between or not data.endswith(_WHOLE):
            return False
        try:
            self._read(_response_in(data))
        except NOT_JSON:
            return False
        return True

    def _read_event(self, event: bytes) -> bool:
        """Read *event*, or put it off; return False where it is not one whole event."""
        if self._after and self._is_like_last(event):
            self._latest = event
            return True
        self._catch_up()
        try:
            response = _response_in(event[len(_EVENT) - 1 :]) if event.startswith(_EVENT) else None
        except NOT_JSON:
            response = None
        if response is not None:
            self._read(response)
            self._expect_more_like(event)
        return response is not None

    def _catch_up(self) -> None:
        """Read what was put off."""
        if self._latest:
            latest, self._latest = self._latest[len(_EVENT) - 1 :], b""
            response = told_in(latest, _Response, _response_in)
            if response is not None:
                self._read(response)

    def _expect_more_like(self, event: bytes) -> None:
        """Have events like *event* put off, unless their text has to be counted."""
        told, at = self._told, event.find(_TEXT) + 8
        counted = told is not None and told.candidates_token_count is not None
        end = event.find(b'"', at)
        plain = at >= 8 and event[end - 1] != _BACKSLASH
        self._before = event[:at]
        self._after = event[end:].translate(None, _PASSED_OVER) if counted and plain else b""

    def _read(self, response: _Response) -> None:
        """Take from a response what it says."""
        told = response.usage_metadata
        if told is not None:
            self._told = told if self._told is None else put_over(self._told, told)
        self._model = response.model_version or self._model
        for candidate in response.candidates or ():
            self._finish_reason = candidate.finish_reason or self._finish_reason
            found = candidate.grounding_metadata
            if found is not None and found.web_search_queries is not None:
                self._searches = len(found.web_search_queries)
            parts = candidate.content.parts if candidate.content is not None else None
            for part in parts or ():
                self._started = True
                self._text_bytes += len((part.text or "").encode())

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""
        self._catch_up()
        if self._told is None:
            return None, False
        return self._output(self._told, usage_of(self._told))

    def _output(self, told: UsageMetadata, usage: Usage) -> tuple[int | None, bool]:
        if told.candidates_token_count is None and self._text_bytes:
            return max(usage.output_tokens or 0, self._text_bytes // _BYTES_PER_TOKEN), True
        return usage.output_tokens, False

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; see ``meter.Meter``.

        Raises:
            Exception: What went wrong before.
        """
        if self._fault is not None:
            raise self._fault
        self._catch_up()
        told = self._told
        if told is None:
            return NOTHING
        final = complete and (self._finish_reason is not None or not self._started)
        usage = usage_of(told, self._searches)
        output, estimated = self._output(told, usage)
        if estimated:
            usage = msgspec.structs.replace(usage, output_tokens=output)
        return Metered(
            "final" if final else "partial",
            usage,
            self._model,
            self._finish_reason,
            service_tier=told.service_tier or told.traffic_type,
        )
