"""One line per exchange on a file descriptor, written by a thread of its own.

The loop encodes many records in one call; the thread only writes: were it to encode, it
would take the interpreter from the loop for milliseconds at a time. A reader that stalls
costs lines, which are counted, never time.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from passgate.core.exchange import Record

_MAX_BATCHES = 64
_STRANGERS_PER_S = 10
_TEXT_FIELDS = ("status", "ending", "duration_ms", "client", "method", "path", "model", "upstream")
# Input from a cache costs a tenth, so it is told apart; what was written to one is input.
_WRITTEN = ("input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")

_encoder = msgspec.json.Encoder()


def as_json(records: Sequence[Record]) -> bytes:
    """Return the lines of *records* for programs."""
    return _encoder.encode_lines(records)


def as_text(records: Sequence[Record]) -> bytes:
    """Return the lines of *records* for people."""
    return b"".join(_text(record) for record in records)


def _text(record: Record) -> bytes:
    said = (f"{name}={_plain(getattr(record, name))}" for name in _TEXT_FIELDS)
    error = f" error={record.error}" if record.error else ""
    used = _tokens(record)
    return f"{record.ts:%Y-%m-%dT%H:%M:%SZ} {' '.join(said)}{used}{error} id={record.id}\n".encode()


def _tokens(record: Record) -> str:
    """Return what it used, where that was told; ``~`` marks what was not told to its end."""
    if record.usage == "none":
        return ""
    written = [n for name in _WRITTEN if (n := getattr(record, name)) is not None]
    used = f" in={sum(written) if written else '-'} cached={_plain(record.cache_read_tokens)}"
    about = "~" if record.usage == "partial" else ""
    return f"{used} out={about}{_plain(record.output_tokens)}"


def _plain(value: object) -> str:
    """Return *value* without anything that a terminal would obey."""
    if isinstance(value, Enum):
        value = value.value
    return "-" if value is None else ascii(value)[1:-1] if isinstance(value, str) else str(value)


FORMATS: dict[str, Callable[[Sequence[Record]], bytes]] = {"json": as_json, "text": as_text}


class LogLines:
    """A watcher that writes a line per record.

    Refusals of unknown callers are at most ten lines a second; the rest is summed.

    Attributes:
        dropped: Lines that were not written, because the reader stalled.
    """

    def __init__(self, fd: int, format_: str) -> None:
        self._fd = fd
        self.goes_by(format_)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._strangers = Strangers()
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def goes_by(self, format_: str) -> None:
        """Write lines as *format_* from now on."""
        self._format = FORMATS[format_]

    def __call__(self, records: Sequence[Record]) -> None:
        """Have the lines of *records* written; the last one ended last."""
        last = records[-1]
        second = (last.ts + timedelta(milliseconds=last.duration_ms)).replace(microsecond=0)
        summed = b"" if second == self._strangers.second else self._strangers.summed(second)
        batch = [r for r in records if r.client is not None or self._strangers.admits(r)]
        if self._queue.qsize() >= _MAX_BATCHES:
            self.dropped += len(batch) + bool(summed)
            return
        self._queue.put(summed + self._format(batch))

    def close(self, wait_s: float = 2.0) -> None:
        """Write what is left, but wait no longer than *wait_s* for a stalled reader."""
        self._queue.put(self._strangers.summed(None))
        self._queue.put(None)
        self._thread.join(wait_s)

    def _write(self) -> None:
        while (data := self._queue.get()) is not None:
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except OSError:
                    self.dropped += data.count(b"\n")
                    break


class Strangers:
    """Keep refusals of unknown callers from filling the disk.

    Attributes:
        second: The second that is counted, or None before the first.
    """

    def __init__(self) -> None:
        self.second: datetime | None = None
        self._count = 0

    def admits(self, record: Record) -> bool:
        """Return whether *record*, of an unknown caller, gets a line of its own."""
        self._count += 1
        return self._count <= _STRANGERS_PER_S

    def summed(self, now: datetime | None) -> bytes:
        """Return the line for what got none in the second that ends; *now* is the next."""
        ended, self.second = self.second, now
        unsaid, self._count = self._count - _STRANGERS_PER_S, 0
        if ended is None or unsaid <= 0:
            return b""
        return _encoder.encode({"ts": ended, "refused_unknown_callers": unsaid}) + b"\n"
