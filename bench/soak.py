"""``python -m bench.soak``: many streams through passgate for long, and what it gathers meanwhile.

A gateway that leaks shows it here: memory, descriptors and threads must be flat, the ledger
must keep up, and in the end it must hold one row for each exchange that a client began.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop

from bench.bed import laid_out
from bench.children import ChildFailed, Cores
from bench.gateways import Running, present
from bench.machine import this_machine
from bench.measure import cpu_s
from bench.soak_load import Crowd
from bench.soak_sample import Sample, judge, look

_SAMPLE_S: Final = 5.0
_SAY_S: Final = 30.0
_SETTLE_S: Final = 15.0  # for the last streams to end, and their records to be written
_OPEN_FILES: Final = 4096


def main() -> int:
    """Run the soak and say what came of it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=_seconds, default=1200, metavar="S")
    parser.add_argument("--streams", type=int, default=500, metavar="N")
    args = parser.parse_args()
    allow_open_files()
    cores = Cores.of_this_machine()
    found = [one for one in present(_say) if one.name == "passgate"]
    if not found:
        return 1
    machine = this_machine(cores, found)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="passgate-soak-") as made,
            laid_out(Path(made), cores, tls=False) as bed,
        ):
            directory = bed.directory / "gateway"
            with found[0].start(bed, bed.plain, directory) as gateway:
                crowd = Crowd(gateway.port, gateway.key, args.streams, args.seconds)
                before_s = cpu_s(gateway.pids[:1])
                samples = uvloop.run(_soak(crowd, gateway))
                used_s = cpu_s(gateway.pids[:1]) - before_s
            rows = _rows(directory / "state" / "ledger.sqlite3")
    except (ChildFailed, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("stopped; what it had started has ended")
        return 130
    expected = crowd.ended + crowd.hung_up + 1  # the gateway's start was seen by a request
    problems = [
        *(f"{often} x {why}" for why, often in crowd.failures.items()),
        *judge(samples, streams=args.streams),
    ]
    if rows != expected:
        problems.append(f"the ledger has {rows:,} rows for {expected:,} exchanges")
    _report(samples, problems)
    sys.stdout.write(
        f"\n{args.streams} streams for {args.seconds} s: {crowd.ended:,} exchanges ended,"
        f" {crowd.hung_up:,} hung up, {crowd.events:,} events; {rows:,} rows;"
        f" {used_s / args.seconds:.0%} of a core. {machine.sentence()}.\n"
    )
    return 1 if problems else 0


async def _soak(crowd: Crowd, gateway: Running) -> list[Sample]:
    """Let the crowd stream, look at the gateway meanwhile, and once more when all is over."""
    begun_s = monotonic()
    said_s = -math.inf
    samples: list[Sample] = []
    streaming = asyncio.create_task(crowd.stream())  # noqa: TID251  awaited below
    while not streaming.done():
        await asyncio.wait([streaming], timeout=_SAMPLE_S)
        now_s = monotonic() - begun_s
        if now_s > crowd.seconds:
            break
        samples.append(await look(gateway, now_s))
        if now_s - said_s >= _SAY_S:
            said_s = now_s
            _say(samples[-1].line())
    async with asyncio.timeout(_SETTLE_S * 2):
        await streaming
    for _ in range(int(_SETTLE_S)):
        last = await look(gateway, monotonic() - begun_s)
        if last.in_flight == last.backlog == 0:
            break
        await asyncio.sleep(1)
    return [*samples, last]


def _rows(ledger: Path) -> int:
    with closing(sqlite3.connect(ledger)) as connection:
        rows: int = connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
        return rows


def _report(samples: Sequence[Sample], problems: Iterable[str]) -> None:
    shown = samples[:: max(1, len(samples) // 10)]
    lines = [one.line() for one in (*shown, *([samples[-1]] if shown[-1] != samples[-1] else []))]
    verdict = [f"FAILED: {one}" for one in problems] or ["flat: nothing gathers, nothing is lost"]
    sys.stdout.write("\n".join([*lines, "", *verdict]) + "\n")


def _seconds(said: str) -> int:
    seconds = int(said)
    if seconds < 30:
        raise argparse.ArgumentTypeError("at least 30, or nothing has settled")
    return seconds


def allow_open_files() -> None:
    """Let this process and its children have as many descriptors as the streams take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _say(line: str) -> None:
    sys.stderr.write(f"soak: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
