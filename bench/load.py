"""The load driver: ``python -m bench.load`` reads a job from stdin and prints its outcome.

Closed loop: each connection sends a request, reads the response to its end, and sends the
next. It checks every body, so that no figure is made of answers that did not arrive whole.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import math
import sys
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from time import monotonic_ns
from typing import Final, cast

import uvloop

from bench import canned
from bench.job import Job, Outcome, request_of, spread
from bench.responses import BrokenResponse, Decoder

# What has gone this wrong is not a figure any more.
_MAX_FAILURES: Final = 50


@dataclass(slots=True)
class Tally:
    """What all connections of a job share, and count."""

    job: Job
    request: bytes
    upload_bytes: int
    ended: asyncio.Event
    stop_ns: float = math.inf
    begun: int = 0
    done: int = 0
    open: int = 0
    reads_with_events: int = 0
    last_ns: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latencies_ns: array[int] = field(default_factory=lambda: array("Q"))
    first_bytes_ns: array[int] = field(default_factory=lambda: array("Q"))
    delays_ns: array[int] = field(default_factory=lambda: array("Q"))

    def take(self, now_ns: int) -> bool:
        """Return whether one more request is to be begun, and count it."""
        most = self.job.requests
        if now_ns >= self.stop_ns or (most is not None and self.begun >= most):
            return False
        if self.failures.total() >= _MAX_FAILURES:
            return False
        self.begun += 1
        return True

    def left(self) -> None:
        """Count a connection that has ended."""
        self.open -= 1
        if self.open == 0:
            self.ended.set()

    def outcome(self, begun_ns: int) -> Outcome:
        """Return what was counted."""
        return Outcome(
            requests=self.done,
            unfinished=self.begun - self.done - self.failures.total(),
            failures=dict(self.failures),
            wall_s=max(self.last_ns - begun_ns, 1) / 1e9,
            latency_us=spread(self.latencies_ns),
            first_byte_us=spread(self.first_bytes_ns),
            events=len(self.delays_ns),
            reads_with_events=self.reads_with_events,
            delay_us=spread(self.delays_ns),
        )


class Connection(asyncio.Protocol):
    """One connection of the load."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._stamped = tally.job.stamps > 0
        self._decoder = Decoder(self._find_stamps)
        self._waiting = self._full = False
        self._upload_left = self._stamps = 0
        self._tail = b""  # the end of what was searched: a stamp may straddle two pieces

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send(monotonic_ns())

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection, and the request whose response it took along."""
        if self._waiting:
            self._tally.failures["a connection was lost"] += 1
        self._tally.left()

    def pause_writing(self) -> None:
        """Stop an upload: the gateway takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with an upload."""
        self._full = False
        self._upload()

    def _send(self, now_ns: int) -> None:
        if not self._tally.take(now_ns):
            self._transport.close()
            return
        self._waiting = self._silent = True
        self._sent_ns = self._now_ns = now_ns
        self._hash = hashlib.sha256()
        if not self._stamped:
            self._decoder.sink = self._hash.update
        self._transport.write(self._tally.request)
        if self._tally.upload_bytes:
            self._upload_left = self._tally.upload_bytes
            self._upload()

    def _upload(self) -> None:
        while self._upload_left and not self._full:
            piece = canned.PIECE[: self._upload_left]
            self._upload_left -= len(piece)
            self._transport.write(piece)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a response; judge it when it is complete, and send the next request."""
        now_ns = self._now_ns = monotonic_ns()
        if not self._waiting:
            self._fail("bytes came that nobody had asked for")
            return
        if self._silent:
            self._silent = False
            self._tally.first_bytes_ns.append(now_ns - self._sent_ns)
        stamps = self._stamps
        try:
            ended = self._decoder.feed(data)
        except BrokenResponse as error:
            self._fail(str(error))
            return
        if self._stamps > stamps:
            self._tally.reads_with_events += 1
        if ended:
            self._judge(now_ns)

    def _find_stamps(self, piece: bytes) -> None:
        data, end = self._tail + piece, 0
        for found in canned.STAMP.finditer(data):
            end = found.end()
            self._stamps += 1
            self._tally.delays_ns.append(max(0, self._now_ns - int(found[1])))
        self._tail = data[max(end, len(data) - canned.STAMP_BYTES) :]

    def _judge(self, now_ns: int) -> None:
        tally = self._tally
        if self._decoder.status != 200:
            self._fail(f"status {self._decoder.status}")
        elif self._stamps != tally.job.stamps:
            self._fail("a stream lacks events")
        elif tally.job.body_sha256 not in (None, self._hash.hexdigest()):
            self._fail("a body is not the one expected")
        else:
            self._waiting = False
            tally.done += 1
            tally.last_ns = now_ns
            tally.latencies_ns.append(now_ns - self._sent_ns)
            self._stamps, self._tail = 0, b""
            self._send(now_ns)

    def _fail(self, why: str) -> None:
        self._tally.failures[why] += 1
        self._waiting = False
        self._transport.abort()


async def run(job: Job) -> Outcome:
    """Put *job*'s load on 127.0.0.1 and return what became of it."""
    loop = asyncio.get_running_loop()
    request, upload_bytes = request_of(job)
    tally = Tally(job, request, upload_bytes, asyncio.Event(), open=job.connections)
    gc.freeze()
    begun_ns = monotonic_ns()
    if job.duration_s is not None:
        tally.stop_ns = begun_ns + job.duration_s * 1e9

    async def connect(wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            await loop.create_connection(lambda: Connection(tally), "127.0.0.1", job.port)
        except OSError as error:
            tally.begun += 1
            tally.failures[f"no connection: {error.strerror}"] += 1
            tally.left()

    step_s = job.ramp_s / job.connections
    try:
        async with asyncio.timeout(job.limit_s):
            await asyncio.gather(*(connect(at * step_s) for at in range(job.connections)))
            await tally.ended.wait()
    except TimeoutError:
        pass  # what has not ended shows as unfinished
    return tally.outcome(begun_ns)


if __name__ == "__main__":
    made = uvloop.run(run(Job(**json.load(sys.stdin))))
    sys.stdout.write(json.dumps(asdict(made)) + "\n")
