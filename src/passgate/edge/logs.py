"""One line per exchange on a file descriptor, written by a thread of its own.

The loop appends to a list and, 20 times a second, encodes the list in one call. The
thread only writes: were it to encode, it would take the interpreter from the loop for
milliseconds at a time. A reader that stalls costs lines, which are counted, never time.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from enum import Enum

import msgspec

from passgate.core.exchange import Record

_FLUSH_S = 0.05
_MAX_BATCHES = 64
_MAX_BATCH = 20_000
_STRANGERS_PER_S = 10
_TEXT_FIELDS = ("status", "ending", "duration_ms", "client", "method", "path", "model", "upstream")

_encoder = msgspec.json.Encoder()


def as_json(records: list[Record]) -> bytes:
    """Return the lines of *records* for programs."""
    return _encoder.encode_lines(records)


def as_text(records: list[Record]) -> bytes:
    """Return the lines of *records* for people."""
    return b"".join(_text(record) for record in records)


def _text(record: Record) -> bytes:
    said = (f"{name}={_plain(getattr(record, name))}" for name in _TEXT_FIELDS)
    error = f" error={record.error}" if record.error else ""
    return f"{record.ts:%Y-%m-%dT%H:%M:%SZ} {' '.join(said)}{error} id={record.id}\n".encode()


def _plain(value: object) -> str:
    """Return *value* without anything that a terminal would obey."""
    if isinstance(value, Enum):
        value = value.value
    return "-" if value is None else ascii(value)[1:-1] if isinstance(value, str) else str(value)


FORMATS: dict[str, Callable[[list[Record]], bytes]] = {"json": as_json, "text": as_text}


class LogLines:
    """A watcher that writes a line per record.

    Refusals of unknown callers are at most ten lines a second; the rest is summed.

    Attributes:
        dropped: Lines that were not written, because the reader stalled.
    """

    def __init__(self, fd: int, format_: str, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = fd
        self._format = FORMATS[format_]
        self._loop = loop
        self._batch: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._strangers = Strangers()
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def __call__(self, record: Record) -> None:
        """Take note of *record*; its line is written soon."""
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self._flush)
        if record.client is None and not self._strangers.admits(record):
            return
        if len(self._batch) < _MAX_BATCH:
            self._batch.append(record)
        else:
            self.dropped += 1

    def _flush(self) -> None:
        self._timer = None
        batch, self._batch = self._batch, []
        if self._queue.qsize() >= _MAX_BATCHES:
            self.dropped += len(batch)
        elif batch:
            self._queue.put(self._format(batch))
        if self._strangers.unsaid:
            self._timer = self._loop.call_later(1.0, self._sum_up)

    def _sum_up(self) -> None:
        self._queue.put(self._strangers.summed())
        self._flush()

    def close(self, wait_s: float = 2.0) -> None:
        """Write what is left, but wait no longer than *wait_s* for a stalled reader."""
        if self._timer is not None:
            self._timer.cancel()
        if self._batch:
            self._queue.put(self._format(self._batch))
        self._queue.put(self._strangers.summed())
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
        unsaid: Records without a line, of which no sum was written yet.
    """

    def __init__(self) -> None:
        self._second: datetime | None = None
        self._count = 0
        self.unsaid = 0

    def admits(self, record: Record) -> bool:
        """Return whether *record*, of an unknown caller, gets a line of its own."""
        second = record.ts.replace(microsecond=0)
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if self._count <= _STRANGERS_PER_S:
            return True
        self.unsaid += 1
        return False

    def summed(self) -> bytes:
        """Return the line that stands for the unsaid ones; empty if there are none."""
        unsaid, self.unsaid = self.unsaid, 0
        if not unsaid:
            return b""
        return _encoder.encode({"ts": self._second, "refused_unknown_callers": unsaid}) + b"\n"
