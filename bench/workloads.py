"""What is measured: each workload's load, and the figures that are made of its outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench import canned
from bench.job import Job, Outcome

MB: Final = 1_000_000

_SMALL_S: Final = 2.0
_STREAM_S: Final = 4.0
_STREAM_EVENTS: Final = 300
_SLOW_STREAMS: Final = 500
_SLOW_EVENTS_PER_S: Final = 20
_SLOW_S: Final = 8.0
_BESIDE_STREAMS: Final = 200
_BIG_BYTES: Final = 100 * MB
_BIG_TIMES: Final = 2

# Long enough for a gateway to be at its usual speed, short enough not to be felt.
_WARM_UP_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Used:
    """What a gateway used for an outcome: None where there is no gateway, or no telling.

    Attributes:
        cold_start_s: From its start to the end of its first answer.
        idle_bytes: Its memory before the load.
        growth_bytes: The peak of its memory under the load, less the former.
    """

    outcome: Outcome
    cold_start_s: float | None = None
    idle_bytes: int | None = None
    growth_bytes: int | None = None
    cpu_s: float | None = None

    def cpu_us(self, units: int) -> float | None:
        """Return the CPU microseconds for each of *units*."""
        return _divided(self.cpu_s, units / 1e6)


def _divided(what: float | None, unit: float) -> float | None:
    return None if what is None else what / unit


Figures = Mapping[str, float | None]
"""The figures of one measurement, by what the table calls them."""

NO_RATIO: Final = frozenset({"peak memory growth, MB", "events per read"})
"""Figures that may be next to nothing, or have a fixed aim: their quotient says little."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of load.

    Attributes:
        name: What ``--only`` calls it.
        title: What the table calls it.
        job: Makes the load for a scale, a port and a key.
        figures: Makes the figures.
        https: The upstream is behind TLS.
        direct: The load without any gateway says something too.
        ours: Only passgate can do it.
        warm_up: A part of the same load goes before, unmeasured; not where memory is measured.
    """

    name: str
    title: str
    job: Callable[[float, int, str], Job]
    figures: Callable[[Used], Figures]
    https: bool = False
    direct: bool = True
    ours: bool = False
    warm_up: bool = True


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _limit_s(usual_s: float) -> float:
    """Return when to give up on what should take *usual_s* on an idle machine."""
    return 20 + 3 * usual_s


def _one_request(scale: float, port: int, key: str) -> Job:
    return replace(_small(1)(scale, port, key), requests=1)


def _small(connections: int) -> Callable[[float, int, str], Job]:
    def job(scale: float, port: int, key: str) -> Job:
        return Job(
            port=port,
            key=key,
            model=canned.MESSAGE_MODEL,
            body_bytes=2_000,
            connections=connections,
            duration_s=_SMALL_S * scale,
            limit_s=_limit_s(_SMALL_S * scale),
            body_sha256=_digest(canned.message_body()),
        )

    return job


def _stream(scale: float, port: int, key: str) -> Job:
    return Job(
        port=port,
        key=key,
        model=canned.EVENTS_MODEL.format(count=_STREAM_EVENTS),
        body_bytes=200_000,
        connections=16,
        duration_s=_STREAM_S * scale,
        limit_s=_limit_s(_STREAM_S * scale),
        body_sha256=_digest(b"".join(canned.events(_STREAM_EVENTS))),
    )


def _slow(scale: float, port: int, key: str) -> Job:
    count = max(4, round(_SLOW_S * scale * _SLOW_EVENTS_PER_S))
    return Job(
        port=port,
        key=key,
        model=canned.SLOW_MODEL.format(per_s=_SLOW_EVENTS_PER_S, count=count),
        body_bytes=2_000,
        connections=_SLOW_STREAMS,
        requests=_SLOW_STREAMS,
        ramp_s=1.0,
        limit_s=_limit_s(_SLOW_S * scale),
        stamps=count,
    )


def _beside(scale: float, port: int, key: str) -> Job:
    """Return the slow streams of the Claude path, as many as of Gemini's."""
    job = _slow(scale, port, key)
    return replace(job, connections=_BESIDE_STREAMS, requests=_BESIDE_STREAMS)


def _translated(scale: float, port: int, key: str) -> Job:
    job = _beside(scale, port, key)
    return replace(
        job, model=canned.GEMINI_MODEL.format(per_s=_SLOW_EVENTS_PER_S, count=job.stamps)
    )


def _native(scale: float, port: int, key: str) -> Job:
    job = _translated(scale, port, key)
    return replace(job, path=canned.GEMINI_PATH.format(model=job.model))


def _small_native(scale: float, port: int, key: str) -> Job:
    model = canned.GEMINI_MESSAGE_MODEL
    path, digest = canned.GEMINI_WHOLE_PATH.format(model=model), _digest(canned.gemini_body())
    return replace(_small(16)(scale, port, key), model=model, path=path, body_sha256=digest)


def _small_translated(scale: float, port: int, key: str) -> Job:
    job = _small(16)(scale, port, key)
    return replace(job, model=canned.GEMINI_MESSAGE_MODEL, body_sha256=None)


def _stream_native(scale: float, port: int, key: str) -> Job:
    model = canned.GEMINI_EVENTS_MODEL.format(count=_STREAM_EVENTS)
    digest = _digest(b"".join(canned.gemini_events(_STREAM_EVENTS)))
    path = canned.GEMINI_PATH.format(model=model)
    return replace(_stream(scale, port, key), model=model, path=path, body_sha256=digest)


def _stream_translated(scale: float, port: int, key: str) -> Job:
    model = canned.GEMINI_EVENTS_MODEL.format(count=_STREAM_EVENTS)
    return replace(_stream(scale, port, key), model=model, body_sha256=None)


def _big_bytes(scale: float) -> int:
    return max(MB, round(_BIG_BYTES * min(scale, 1.0)))


def _upload(scale: float, port: int, key: str) -> Job:
    size = _big_bytes(scale)
    return Job(
        port=port,
        key=key,
        path=canned.UPLOAD_PATH,
        body_bytes=size,
        requests=_BIG_TIMES,
        body_sha256=_digest(canned.upload_body(size)),
    )


def _download(scale: float, port: int, key: str) -> Job:
    size = _big_bytes(scale)
    return Job(
        port=port,
        key=key,
        path=canned.DOWNLOAD_PATH.format(size=size),
        requests=_BIG_TIMES,
        body_sha256=canned.download_digest(size),
    )


def warm_up(job: Job) -> Job:
    """Return a short part of *job*, for before it."""
    whole_s = _WARM_UP_S if job.duration_s is None else job.duration_s
    return replace(job, duration_s=min(whole_s, _WARM_UP_S))


def _of_start(used: Used) -> Figures:
    return {
        "cold start, ms": _divided(used.cold_start_s, 1 / 1e3),
        "idle memory, MB": _divided(used.idle_bytes, MB),
    }


def _of_requests(used: Used) -> Figures:
    outcome = used.outcome
    return {
        "CPU, µs per request": used.cpu_us(outcome.requests),
        "requests per s": outcome.requests / outcome.wall_s,
        "latency p50, µs": outcome.latency_us.p50,
        "latency p99, µs": outcome.latency_us.p99,
    }


def _of_streams(used: Used) -> Figures:
    outcome = used.outcome
    return {
        "CPU, µs per request": used.cpu_us(outcome.requests),
        "requests per s": outcome.requests / outcome.wall_s,
        "first byte p50, µs": outcome.first_byte_us.p50,
    }


def _of_slow_streams(used: Used) -> Figures:
    return _of_streams_of(_SLOW_STREAMS, used)


def _of_streams_beside(used: Used) -> Figures:
    return _of_streams_of(_BESIDE_STREAMS, used)


def _of_streams_of(streams: int, used: Used) -> Figures:
    outcome = used.outcome
    return {
        "CPU, µs per event": used.cpu_us(outcome.events),
        "event's delay p50, µs": outcome.delay_us.p50,
        "event's delay p99, µs": outcome.delay_us.p99,
        "events per read": outcome.events / max(1, outcome.reads_with_events),
        "memory, KB per stream": _divided(used.growth_bytes, 1_000 * streams),
    }


def _of_big_bodies(used: Used) -> Figures:
    return {
        "time, ms": used.outcome.latency_us.p50 / 1e3,
        "peak memory growth, MB": _divided(used.growth_bytes, MB),
        "CPU, ms": _divided(used.cpu_s, _BIG_TIMES / 1e3),
    }


def _https(name: str, title: str, plain: Workload) -> Workload:
    """Return *plain* before an HTTPS upstream; the load driver itself speaks no TLS."""
    return replace(plain, name=name, title=title, https=True, direct=False)


_START: Final = Workload("start", "start", _one_request, _of_start, direct=False, warm_up=False)
_SMALL: Final = tuple(
    Workload(f"small-{count}", f"small request, {count} conn.", _small(count), _of_requests)
    for count in (1, 16, 64)
)
_STREAM: Final = Workload("stream", "200 KB, 300 events, 16 conn.", _stream, _of_streams)
_SLOW: Final = Workload("slow", "500 slow streams", _slow, _of_slow_streams, warm_up=False)
_UPLOAD: Final = Workload("upload", "100 MB upload", _upload, _of_big_bodies, warm_up=False)
_DOWNLOAD: Final = Workload("download", "100 MB download", _download, _of_big_bodies, warm_up=False)

_GEMINI: Final = (
    Workload("gemini-native-small", "small request, 16 conn., Gemini", _small_native, _of_requests),
    Workload(
        "gemini-translated-small",
        "small request, 16 conn., translated",
        _small_translated,
        _of_requests,
        direct=False,
        ours=True,
    ),
    Workload("gemini-native-stream", "200 KB, 300 events, Gemini", _stream_native, _of_streams),
    Workload(
        "gemini-translated-stream",
        "200 KB, 300 events, translated",
        _stream_translated,
        _of_streams,
        direct=False,
        ours=True,
    ),
    Workload(
        "gemini-beside", "200 slow streams, Claude", _beside, _of_streams_beside, warm_up=False
    ),
    Workload(
        "gemini-native", "200 slow streams, Gemini", _native, _of_streams_beside, warm_up=False
    ),
    Workload(
        "gemini-translated",
        "200 slow streams, translated",
        _translated,
        _of_streams_beside,
        direct=False,
        ours=True,
        warm_up=False,
    ),
)

WORKLOADS: Final = (
    _START,
    *_SMALL,
    _STREAM,
    _SLOW,
    _UPLOAD,
    _DOWNLOAD,
    _https("tls-small", "HTTPS, small, 16 conn.", _SMALL[1]),
    _https("tls-stream", "HTTPS, 200 KB, 300 events", _STREAM),
    *_GEMINI,
)

NAMES: Final = tuple(workload.name for workload in WORKLOADS)
"""All that can be measured."""
