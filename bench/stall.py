"""``python -m bench.stall``: how long anything holds the event loop, under everything at once.

Streams, small requests, the record, the ledger, scrapes and a reader of the live feed: all that
runs on the loop, or beside it. A process that does nothing beats on the same core: what it is
late by, the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop

from bench import canned
from bench.beat import EVERY_S, Beats
from bench.bed import laid_out
from bench.children import ROOT, ChildFailed, Cores, child
from bench.gateways import Running, passgate, source_of_passgate
from bench.job import Job, Outcome
from bench.machine import this_machine
from bench.soak import allow_open_files
from bench.soak_load import Crowd
from bench.soak_sample import look

_LIMITS_MS: Final = (5, 10, 20)
_MOST_SHOWN: Final = 8
_SCRAPE_S: Final = 1.0
_DRAIN_S: Final = 10.0
_BODY_BYTES: Final = 2_000
_CONNECTIONS: Final = 16
_READ_BYTES: Final = 1 << 16


def main() -> int:
    """Load a gateway, and print what its loop was late by; 1 if it held it too long itself."""
    parser = argparse.ArgumentParser(prog="python -m bench.stall", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, metavar="S")
    parser.add_argument("--streams", type=int, default=500, metavar="N")
    args = parser.parse_args()
    allow_open_files()
    cores = Cores.of_this_machine()
    os.sched_setaffinity(0, cores.load)
    machine = this_machine(cores, ())
    try:
        with tempfile.TemporaryDirectory(prefix="passgate-stall-") as made:
            failures, gateway, nothing = _measured(Path(made), cores, args.seconds, args.streams)
    except (ChildFailed, OSError) as error:
        sys.stderr.write(f"stall: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    heads = ["", "beats", *(f"late by over {limit} ms" for limit in _LIMITS_MS), "at most"]
    own = [late for late in gateway.late if min(late) > _LIMITS_MS[-1]]
    rows = [_row("passgate", gateway), _row("a process that does nothing", nothing)]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    sys.stdout.write(
        f"\n{args.streams} streams and {_CONNECTIONS} connections of small requests for"
        f" {args.seconds} s, a beat every {EVERY_S * 1e3:.0f} ms. Held for over"
        f" {_LIMITS_MS[-1]} ms by passgate's own work: {len(own)} times. {machine.sentence()}.\n"
    )
    worst = sorted(gateway.late, reverse=True)[:_MOST_SHOWN]
    shown = ", ".join(f"{late_ms:.1f} ms ({own_ms:.1f})" for late_ms, own_ms in worst)
    sys.stdout.write(f"The longest, and the CPU time that passgate used meanwhile: {shown}.\n")
    failures = +failures  # those that were
    for why, often in failures.items():
        sys.stderr.write(f"stall: {often} x {why}\n")
    return 1 if own or failures else 0


def _row(name: str, said: Beats) -> list[str]:
    late = [late_ms for late_ms, _ in said.late]
    counts = [str(sum(each > limit for each in late)) for limit in _LIMITS_MS]
    return [name, f"{said.beats:,}", *counts, f"{max(late, default=0.0):.1f} ms"]


def _measured(
    made: Path, cores: Cores, seconds: int, streams: int
) -> tuple[Counter[str], Beats, Beats]:
    """Return what failed, and what was told by the gateway and by the process beside it."""
    beat, source = [sys.executable, "-m", "bench.beat", "--out"], source_of_passgate()
    if source is None:
        raise ChildFailed("passgate is not installed here")
    served, nothing = made / "served.json", made / "nothing.json"
    with laid_out(made, cores, tls=False) as bed, ExitStack() as stack:
        argv, directory = [*beat, str(served)], made / "gateway"
        gateway = stack.enter_context(passgate(source, bed, bed.plain, directory, argv=argv))
        argv, paths = [*beat, str(nothing)], {"PYTHONPATH": str(ROOT)}
        stack.enter_context(child(argv, cores.gateway, made, name="nothing", environment=paths))
        crowd = Crowd(gateway.port, gateway.key, streams, seconds)
        uvloop.run(_load(crowd, gateway))
    return crowd.failures, Beats.of(served), Beats.of(nothing)


async def _load(crowd: Crowd, gateway: Running) -> None:
    """Have everything going on until the time is up."""
    job = Job(
        port=gateway.port,
        key=gateway.key,
        model=canned.MESSAGE_MODEL,
        body_bytes=_BODY_BYTES,
        connections=_CONNECTIONS,
        duration_s=crowd.seconds,
        limit_s=crowd.seconds + _DRAIN_S,
    )
    small = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load"), cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    streaming = asyncio.create_task(crowd.stream())  # noqa: TID251  awaited below
    reader, feed = await asyncio.open_connection("127.0.0.1", gateway.admin_port)
    reading = asyncio.create_task(_drain(reader))  # noqa: TID251  likewise
    feed.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    speaking = asyncio.create_task(small.communicate(json.dumps(asdict(job)).encode()))  # noqa: TID251  likewise
    begun_s = monotonic()
    while not streaming.done():
        await asyncio.wait([streaming], timeout=_SCRAPE_S)
        await look(gateway, monotonic() - begun_s)
    await streaming
    said, _ = await speaking
    outcome = Outcome.from_json(said)
    crowd.failures.update(outcome.failures)
    crowd.failures.update({"a small request did not end": outcome.unfinished})
    feed.close()
    await reading


async def _drain(reader: asyncio.StreamReader) -> None:
    """Read the live feed as fast as it comes: a reader that stalls would be left out."""
    while await reader.read(_READ_BYTES):
        pass


if __name__ == "__main__":
    sys.exit(main())
