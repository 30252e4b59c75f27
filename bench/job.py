"""What the load driver is told and what it answers: a job, its request, its outcome.

Pure, and shared by both sides: whoever starts the driver, and the driver.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import canned

# What an SDK sends beside the body; a gateway's work on a head grows with it.
_FIELDS: Final = (
    "Host: 127.0.0.1:{port}\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: identity\r\n"
    "Content-Type: {kind}\r\n"
    "User-Agent: bench/1.0\r\n"
    "X-Stainless-Lang: python\r\n"
    "X-Stainless-Package-Version: 1.0.0\r\n"
    "X-Stainless-OS: Linux\r\n"
    "X-Stainless-Arch: x64\r\n"
    "X-Stainless-Runtime: CPython\r\n"
    "X-Stainless-Runtime-Version: 3.11.0\r\n"
    "X-Stainless-Retry-Count: 0\r\n"
    "X-Stainless-Timeout: 600\r\n"
    "x-api-key: {key}\r\n"
    "anthropic-version: 2023-06-01\r\n"
    "anthropic-beta: bench-2026-01-01\r\n"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A load, and what its answers must be.

    Attributes:
        model: The model to ask for; empty for what is neither JSON nor has a model.
        body_bytes: Size of the request's body; 0 makes it a GET.
        duration_s: No request is begun after this; None leaves it to *requests*.
        requests: Most requests in all; None leaves it to *duration_s*.
        ramp_s: The time over which connections are opened.
        limit_s: What has not ended by then is unfinished.
        body_sha256: Digest of every response body, or None where bodies carry stamps, or
            ids that are made for each.
        stamps: How many stamped events each response body holds.
    """

    port: int
    key: str
    path: str = "/v1/messages"
    model: str = ""
    body_bytes: int = 0
    connections: int = 1
    duration_s: float | None = None
    requests: int | None = None
    ramp_s: float = 0.0
    limit_s: float = 60.0
    body_sha256: str | None = None
    stamps: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """Two percentiles, in microseconds; 0 where nothing was counted."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        requests: Requests whose response arrived whole, with status 200 and the right body.
        failures: What went wrong, and how often.
        reads_with_events: Reads that brought at least one stamped event.
    """

    requests: int
    unfinished: int
    failures: dict[str, int]
    wall_s: float
    latency_us: Spread
    first_byte_us: Spread
    events: int
    reads_with_events: int
    delay_us: Spread

    @classmethod
    def from_json(cls, line: bytes) -> Outcome:
        """Return the outcome that the load driver printed."""
        read = json.loads(line)
        for name in ("latency_us", "first_byte_us", "delay_us"):
            read[name] = Spread(**read[name])
        return cls(**read)


def spread(times_ns: Sequence[int]) -> Spread:
    """Return percentiles by nearest rank."""
    if not times_ns:
        return Spread(0.0, 0.0)
    ordered = sorted(times_ns)
    p50, p99 = (ordered[math.ceil(len(ordered) * part) - 1] / 1_000 for part in (0.5, 0.99))
    return Spread(p50, p99)


def request_of(job: Job) -> tuple[bytes, int]:
    """Return the bytes of *job*'s request that are sent at once, and how many bytes follow."""
    kind = "application/json" if job.model else "application/octet-stream"
    fields = _FIELDS.format(port=job.port, key=job.key, kind=kind)
    if not job.body_bytes:
        return f"GET {job.path} HTTP/1.1\r\n{fields}\r\n".encode(), 0
    head = f"POST {job.path} HTTP/1.1\r\n{fields}Content-Length: {job.body_bytes}\r\n\r\n".encode()
    if not job.model:
        return head, job.body_bytes
    whole = job.model in (canned.MESSAGE_MODEL, canned.GEMINI_MESSAGE_MODEL)
    ask = {"model": job.model, "max_tokens": 1024, "stream": not whole}
    bare = json.dumps(ask | {"messages": [{"role": "user", "content": ""}]})
    content = canned.text(job.body_bytes - len(bare))
    return head + json.dumps(ask | {"messages": [{"role": "user", "content": content}]}).encode(), 0
