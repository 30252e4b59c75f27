"""A fake upstream that answers canned bytes: ``python -m bench.upstream``.

It reads the credential it wants from the first line of stdin, prints the port it listens on,
and ends when stdin does, so it cannot outlive whoever started it. What it answers is chosen
by path and model (see ``canned``). A request body needs a Content-Length.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, repeat
from typing import Final, cast

import uvloop

from bench import canned

_LINE: Final = re.compile(rb"(GET|POST) (/[^ ?]*)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_MODEL: Final = re.compile(rb'"model"\s*:\s*"bench-(message|events|slow)(?:-(\d+))?(?:-(\d+))?"')
_GEMINI: Final = re.compile(
    rb"/v1beta/models/gemini-bench-(message|events|slow)(?:-(\d+))?(?:-(\d+))?"
    rb":(g|streamG)enerateContent"
)
_DOWNLOAD: Final = re.compile(rb"/v1/files/bench_(\d+)/content")

# A model name stands at the front of the bodies that the load driver sends.
_LOOK_FOR_MODEL_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Ask:
    """What the head of a request asks for."""

    path: bytes
    body_bytes: int
    has_credential: bool


@lru_cache(maxsize=256)
def ask_of(head: bytes, credential: bytes) -> Ask | None:
    """Return what *head* asks for, else None; a load repeats its heads, so few are parsed."""
    line = _LINE.match(head)
    if line is None:
        return None
    length = _LENGTH.search(head)
    if length is None and line[1] == b"POST":
        return None
    return Ask(line[2], int(length[1]) if length else 0, credential in head)


class Carousel:
    """Writes the fast streams: each turn of the loop, one event of every stream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._streams: list[Connection] = []

    def add(self, stream: Connection) -> None:
        """Let *stream* have its turn until it says that it has no more."""
        self._streams.append(stream)
        if len(self._streams) == 1:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._streams = [stream for stream in self._streams if stream.write_next()]
        if self._streams:
            self._loop.call_soon(self._turn)


class Connection(asyncio.Protocol):
    """One connection from a gateway, answering one request after the other."""

    def __init__(self, credential: bytes, carousel: Carousel) -> None:
        self._credential = credential
        self._carousel = carousel
        self._held = b""
        self._front = b""  # of the request's body: what the model is looked for in
        self._left = 0
        self._ask: Ask | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._timer: asyncio.TimerHandle | None = None
        self._full = self._lost = False
        self._stamped, self._closing = canned.stamped, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; every write is tried at once, and what the socket refuses counts as full."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._fd: int = self._transport.get_extra_info("socket").fileno()
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was still to be sent."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """Note that the socket is full."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on where a full socket stopped a fast stream or a download."""
        self._full = False
        if self._timer is None:
            self._carousel.add(self)

    # The request.

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; answer when it is complete."""
        if self._ask is None:
            data = self._held + data if self._held else data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._held = data
                return
            self._held = b""
            self._ask = ask_of(data[:end], self._credential)
            if self._ask is None:
                self._refuse(b"400 Bad Request")
                return
            self._left = self._ask.body_bytes
            data = data[end:]
        if len(self._front) < _LOOK_FOR_MODEL_BYTES:
            self._front += data[:_LOOK_FOR_MODEL_BYTES]
        self._left -= len(data)
        if self._left <= 0:
            ask, front, self._ask, self._front = self._ask, self._front, None, b""
            self._answer(ask, front)

    def _refuse(self, status: bytes) -> None:
        self._transport.write(canned.counted(b"{}", status))
        self._transport.close()

    # The answer.

    def _answer(self, ask: Ask, front: bytes) -> None:
        if not ask.has_credential or self._left < 0:
            self._refuse(b"401 Unauthorized" if self._left >= 0 else b"400 Bad Request")
        elif found := _GEMINI.fullmatch(ask.path):
            self._answer_gemini(found)
        elif model := _MODEL.search(front):
            self._answer_model(model)
        elif found := _DOWNLOAD.fullmatch(ask.path):
            self._stream(_download(int(found[1])))
        elif ask.path == canned.UPLOAD_PATH.encode():
            self._transport.write(canned.counted(canned.upload_body(ask.body_bytes)))
        else:
            self._refuse(b"404 Not Found")

    def _answer_model(self, model: re.Match[bytes]) -> None:
        match model[1]:
            case b"message":
                self._transport.write(_message())
            case b"events":
                self._stream(_events(int(model[2])))
            case _:
                self._stamped, self._closing = canned.stamped, b"".join(canned.closing())
                self._begin_slowly(int(model[2]), int(model[3]), b"".join(canned.opening()))

    def _answer_gemini(self, asked: re.Match[bytes]) -> None:
        match asked[1], asked[4]:
            case b"message", b"g":
                self._transport.write(_gemini_message())
            case b"message", _:
                self._stream(iter((canned.STREAM_HEAD, _gemini_event(), canned.LAST_CHUNK)))
            case b"events", _:
                self._stream(iter(_gemini_chunked(int(asked[2]))))
            case _:
                self._stamped, self._closing = canned.gemini_stamped, canned.gemini_closing()
                self._begin_slowly(int(asked[2]), int(asked[3]))

    def _stream(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._carousel.add(self)

    def write_next(self) -> bool:
        """Write one piece; return whether there is another and the socket takes it."""
        if self._lost:
            return False
        piece = next(self._pieces, None)
        return piece is not None and self._write_apart(piece)

    def _begin_slowly(self, per_s: int, count: int, opening: bytes = b"") -> None:
        """Begin a stream of *count* stamped events, *per_s* of them each second."""
        self._write_apart(canned.STREAM_HEAD)
        if opening:
            self._write_apart(canned.chunk(opening))
        self._write_slowly(count, 1 / per_s, self._loop.time() + 1 / per_s)

    def _write_slowly(self, left: int, period_s: float, due_s: float) -> None:
        """Write *left* stamped events, the next one when *due_s* has come."""
        if left == 0:
            self._timer = None
            self._write_apart(canned.chunk(self._closing))
            self._write_apart(canned.LAST_CHUNK)
            return
        wait_s = max(0.0, due_s - self._loop.time())
        self._timer = self._loop.call_later(wait_s, self._write_stamped, left, period_s, due_s)

    def _write_stamped(self, left: int, period_s: float, due_s: float) -> None:
        self._write_apart(canned.chunk(self._stamped(time.monotonic_ns())))
        self._write_slowly(left - 1, period_s, due_s + period_s)

    def _write_apart(self, piece: bytes) -> bool:
        """Write *piece* by a system call of its own; return whether the socket takes more.

        The transport would gather what is written in one turn of the loop, and the gateway
        would be spared the very work that is measured here.
        """
        sent = 0
        if not self._full:
            try:
                sent = os.write(self._fd, piece)
            except BlockingIOError:
                pass
            except OSError:
                self._transport.abort()
                return False
        if sent < len(piece):
            self._transport.write(piece[sent:])
        return not self._full


@lru_cache(maxsize=1)
def _message() -> bytes:
    return canned.counted(canned.message_body())


@lru_cache(maxsize=1)
def _gemini_message() -> bytes:
    return canned.counted(canned.gemini_body())


@lru_cache(maxsize=1)
def _gemini_event() -> bytes:
    whole = canned.gemini_body().replace(b'"index":0', b'"index":0,"finishReason":"STOP"')
    return canned.chunk(b"data: %b\r\n\r\n" % whole)


@lru_cache(maxsize=8)
def _gemini_chunked(count: int) -> tuple[bytes, ...]:
    chunks = map(canned.chunk, canned.gemini_events(count))
    return (canned.STREAM_HEAD, *chunks, canned.LAST_CHUNK)


@lru_cache(maxsize=8)
def _chunked(count: int) -> tuple[bytes, ...]:
    chunks = (canned.chunk(event) for event in canned.events(count))
    return (canned.STREAM_HEAD, *chunks, canned.LAST_CHUNK)


def _events(count: int) -> Iterator[bytes]:
    return iter(_chunked(count))


def _download(size: int) -> Iterator[bytes]:
    yield canned.counted_head(size, b"application/octet-stream")
    whole, rest = divmod(size, len(canned.PIECE))
    yield from islice(repeat(canned.PIECE), whole)
    if rest:
        yield canned.PIECE[:rest]


async def serve(credential: bytes) -> None:
    """Answer on a free port of 127.0.0.1 until stdin ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    carousel = Carousel(loop)
    listener = await loop.create_server(
        lambda: Connection(credential, carousel), "127.0.0.1", 0, backlog=4096
    )
    loop.add_reader(sys.stdin.fileno(), ended.set)
    gc.freeze()
    sys.stdout.write(f"{listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.stdin.readline().strip().encode()))
