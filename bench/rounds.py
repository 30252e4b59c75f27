"""Measure: each workload on each gateway in turn, round after round.

The gateways take turns so that a busy neighbour hits all of them, and each measurement gets a
gateway just started, so that none inherits the memory of another.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from bench import measure
from bench.bed import Bed, Upstream
from bench.children import ROOT, ChildFailed, child, last_words
from bench.gateways import Gateway, Running
from bench.job import Job, Outcome
from bench.workloads import WORKLOADS, Figures, Used, Workload, warm_up

# What a gateway does once after its start is over by then.
_SETTLE_S: Final = 0.5

# On top of the driver's own limit: for the interpreter to start and end.
_DRIVER_EXTRA_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One gateway under one workload, once.

    Attributes:
        problem: Why there are no figures, or None.
    """

    round: int
    workload: str
    title: str
    gateway: str
    figures: Figures
    problem: str | None = None


def measured(
    bed: Bed, gateways: Sequence[Gateway], names: Sequence[str], rounds: int, scale: float
) -> Iterator[Measurement]:
    """Measure all *names* on all *gateways*, *rounds* times, each time in another order."""
    workloads = [
        workload
        for workload in WORKLOADS
        if workload.name in names and not (workload.https and bed.tls is None)
    ]
    for turn in range(rounds):
        first = turn % len(gateways)
        for workload in workloads:
            for gateway in (*gateways[first:], *gateways[:first]):
                if gateway.name == "passgate" or _can(gateway, workload):
                    yield _measurement(turn + 1, bed, gateway, workload, scale)


def _can(gateway: Gateway, workload: Workload) -> bool:
    """Return whether another than passgate can be put under a load."""
    return not workload.ours and (workload.direct or gateway.name != "direct")


def _measurement(
    turn: int, bed: Bed, gateway: Gateway, workload: Workload, scale: float
) -> Measurement:
    """Measure once; a gateway that fails costs its figures, not the run."""
    figures: Figures = {}
    problem = None
    try:
        figures = _figures(bed, gateway, workload, scale)
    except (ChildFailed, FileNotFoundError, ProcessLookupError) as error:
        problem = str(error)
    return Measurement(turn, workload.name, workload.title, gateway.name, figures, problem)


@contextmanager
def _serving(bed: Bed, gateway: Gateway, upstream: Upstream) -> Iterator[Running]:
    directory = bed.directory / "gateway"
    try:
        with gateway.start(bed, upstream, directory) as running:
            time.sleep(_SETTLE_S)
            yield running
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # its log grows with the load


def _figures(bed: Bed, gateway: Gateway, workload: Workload, scale: float) -> Figures:
    upstream = bed.tls if workload.https and bed.tls else bed.plain
    with _serving(bed, gateway, upstream) as running:
        job = workload.job(scale, running.port, running.key)
        if workload.warm_up:
            _drive(bed, warm_up(job))
        pids = running.pids
        if not pids:
            return workload.figures(Used(_drive(bed, job)))
        idle_bytes = measure.rss_bytes(pids)
        is_peak_new = measure.reset_peak(pids)
        before_s = measure.cpu_s(pids)
        outcome = _drive(bed, job)
        return workload.figures(
            Used(
                outcome,
                cold_start_s=running.cold_start_s,
                idle_bytes=idle_bytes,
                growth_bytes=measure.peak_rss_bytes(pids) - idle_bytes if is_peak_new else None,
                cpu_s=measure.cpu_s(pids) - before_s,
            )
        )


def _drive(bed: Bed, job: Job) -> Outcome:
    """Run the load driver in a process of its own.

    Raises:
        ChildFailed: Not every answer arrived whole.
    """
    argv = [sys.executable, "-m", "bench.load"]
    where = {"PYTHONPATH": str(ROOT)}
    with child(
        argv, bed.cores.load, bed.directory, name="load", environment=where, piped=True
    ) as process:
        try:
            said, _ = process.communicate(
                json.dumps(asdict(job)).encode(), job.limit_s + _DRIVER_EXTRA_S
            )
        except subprocess.TimeoutExpired as error:
            raise ChildFailed("the load driver did not end") from error
    if not said:
        raise ChildFailed(f"the load driver: {last_words(bed.directory)}")
    outcome = Outcome.from_json(said)
    if outcome.failures or outcome.unfinished or not outcome.requests:
        failures = [f"{count} times: {why}" for why, count in outcome.failures.items()]
        raise ChildFailed("; ".join([*failures, f"{outcome.unfinished} unfinished"]))
    return outcome
