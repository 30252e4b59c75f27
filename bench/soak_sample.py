"""What a soak looks at, and what it calls flat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from bench.gateways import Running
from bench.measure import rss_bytes

_MB: Final = 1_000_000
_LIMIT_S: Final = 30.0
_GAUGE: Final = r"^{name} (\S+)$"

# What the second half of a run may gather. A short run still warms up in its second half.
_MEMORY_PER_S: Final = 1 * _MB / 600
_MEMORY_LEAST: Final = 1 * _MB
_MEMORY_LEAST_SHORT: Final = 4 * _MB
_LONG_S: Final = 300
_THREADS: Final = 2
_MEMORY_SPREAD: Final = 8 * _MB
_DESCRIPTORS: Final = 20
_BACKLOG: Final = 200

_MUST_BE_ZERO: Final = {
    "lost": "passgate_ledger_lost_records_total",
    "log_dropped": "passgate_log_lines_dropped_total",
    "meter_failures": "passgate_meter_failures_total",
    "watcher_failures": "passgate_watcher_failures_total",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the gateway. *answer_s* is how long its metrics took: what its loop lags."""

    at_s: float
    memory: int
    descriptors: int
    threads: int
    in_flight: int
    backlog: int
    lost: int
    log_dropped: int
    meter_failures: int
    watcher_failures: int
    answer_s: float

    def line(self) -> str:
        """Return it for people."""
        return (
            f"{self.at_s:6.0f} s  {self.memory / _MB:6.1f} MB  {self.descriptors:5} descriptors"
            f"  {self.threads:2} threads  {self.in_flight:4} in flight  backlog {self.backlog}"
            f"  lost {self.lost}  metrics in {self.answer_s * 1000:.0f} ms"
        )


async def look(gateway: Running, at_s: float) -> Sample:
    """Look at *gateway* now, from outside and by its own metrics."""
    begun_s = monotonic()
    said = await _metrics(gateway.admin_port)
    answer_s = monotonic() - begun_s
    process = Path("/proc") / str(gateway.pids[0])
    return Sample(
        at_s=at_s,
        memory=rss_bytes(gateway.pids[:1]),
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        in_flight=_number(said, "passgate_in_flight"),
        backlog=_number(said, "passgate_ledger_backlog_records"),
        answer_s=answer_s,
        **{name: _number(said, metric) for name, metric in _MUST_BE_ZERO.items()},
    )


async def _metrics(port: int) -> str:
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        said = await reader.read(-1)
        writer.close()
    return said.decode()


def _number(said: str, name: str) -> int:
    found = re.search(_GAUGE.format(name=name), said, re.MULTILINE)
    if found is None:
        raise OSError(f"/metrics lacks {name}")
    return int(float(found[1]))


def judge(samples: Sequence[Sample], *, streams: int) -> Iterator[str]:
    """Yield what is wrong with *samples*, of which the last was taken when all had ended."""
    *running, last = samples
    yield from _not_flat([one for one in running if one.at_s >= last.at_s / 2], streams)
    if max(one.backlog for one in running) > _BACKLOG or last.backlog:
        yield f"ledger backlog: at most {max(one.backlog for one in samples)}, {last.backlog} left"
    if last.in_flight:
        yield f"{last.in_flight} exchanges run though all clients are gone"
    for name in _MUST_BE_ZERO:
        if count := getattr(last, name):
            yield f"{name}: {count}"


def _not_flat(half: Sequence[Sample], streams: int) -> Iterator[str]:
    span_s = half[-1].at_s - half[0].at_s
    gathered = _slope([(one.at_s, one.memory) for one in half]) * span_s
    least = _MEMORY_LEAST if span_s >= _LONG_S else _MEMORY_LEAST_SHORT
    if gathered > max(least, _MEMORY_PER_S * span_s):
        yield f"memory grew by {gathered / _MB:.1f} MB in {span_s:.0f} s"
    if (spread := _spread([one.memory for one in half])) > _MEMORY_SPREAD:
        yield f"memory moved by {spread / _MB:.1f} MB"
    opened = _slope([(one.at_s, one.descriptors) for one in half]) * span_s
    if opened > _DESCRIPTORS or max(one.descriptors for one in half) > 2 * streams + 100:
        yield f"descriptors grew by {opened:.0f}, to {half[-1].descriptors}"
    if _spread([one.threads for one in half]) > _THREADS:
        yield f"threads: {sorted({one.threads for one in half})}"


def _spread(values: Sequence[int]) -> int:
    return max(values) - min(values)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    across = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / across if across else 0.0
