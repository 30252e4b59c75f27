"""``python -m bench``: measure passgate beside nginx on this machine, and print the table."""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from bench import gateways, rounds, table
from bench.bed import laid_out
from bench.children import ChildFailed, Cores
from bench.machine import Machine, this_machine
from bench.rounds import Measurement
from bench.workloads import NAMES, WORKLOADS

_WHAT = "Measure passgate beside nginx on this machine, and print the table."

# 500 streams are a thousand sockets in the gateway.
_OPEN_FILES = 8192


def main() -> int:
    """Measure, print, return 0; 1 if anything could not be measured."""
    args = _arguments()
    say = _say_nothing if args.markdown else _say
    if not sys.platform.startswith("linux"):
        _say("this needs Linux: it reads /proc")
        return 2
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    _allow_open_files()
    cores = Cores.of_this_machine()
    found = gateways.present(say)
    machine = this_machine(cores, found)
    measurements: list[Measurement] = []
    wants_tls = any(workload.https and workload.name in args.only for workload in WORKLOADS)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="passgate-bench-") as directory,
            laid_out(Path(directory), cores, tls=wants_tls) as bed,
        ):
            if wants_tls and bed.tls is None:
                say("without nginx and openssl there is no HTTPS upstream: left out")
            for one in rounds.measured(bed, found, args.only, args.rounds, args.scale):
                measurements.append(one)
                (_say if one.problem else say)(_line(one, args.rounds))
    except ChildFailed as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("stopped; what it had started has ended")
        return 130
    _report(measurements, machine, args)
    return 1 if any(one.problem for one in measurements) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=_WHAT)
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 21),
        metavar="N",
        default=3,
        help="how many (3); medians are shown",
    )
    parser.add_argument(
        "--scale", type=_scale, metavar="X", default=1.0, help="times and big bodies by X (1)"
    )
    parser.add_argument(
        "--only", type=_names, default=NAMES, metavar="NAME,...", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--json", type=_new_file, metavar="FILE", help="write every measurement there"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table alone, without progress"
    )
    return parser.parse_args()


def _names(said: str) -> Sequence[str]:
    """Return the workloads that *said* means: ``small`` stands for all that begin so."""
    wanted: set[str] = set()
    for word in said.split(","):
        meant = {name for name in NAMES if name == word or name.startswith(f"{word}-")}
        if not meant:
            raise argparse.ArgumentTypeError(f"no workload {word!r}; there are {', '.join(NAMES)}")
        wanted |= meant
    return [name for name in NAMES if name in wanted]


def _scale(said: str) -> float:
    scale = float(said)
    if not 0.05 <= scale <= 5:
        raise argparse.ArgumentTypeError("from 0.05 to 5, so that it measures something and ends")
    return scale


def _new_file(said: str) -> Path:
    path = Path(said)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is no directory")
    return path


def _stop(signum: int, frame: FrameType | None) -> None:
    """Leave by the way that ends every child; a second signal must not cut that short."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _line(one: Measurement, of: int) -> str:
    said = one.problem or ", ".join(
        f"{name} {figure:,.1f}" for name, figure in one.figures.items() if figure is not None
    )
    return f"round {one.round}/{of}  {one.workload:<10}  {one.gateway:<8}  {said}"


def _report(
    measurements: Sequence[Measurement], machine: Machine, args: argparse.Namespace
) -> None:
    if args.json:
        written = {
            "machine": asdict(machine),
            "scale": args.scale,
            "measurements": [asdict(one) for one in measurements],
        }
        args.json.write_text(json.dumps(written, indent=1) + "\n")
    sys.stdout.write(f"{table.markdown(measurements)}\n\n")
    rounds_said = f"Medians of {args.rounds} rounds" if args.rounds > 1 else "One round"
    scaled = "" if args.scale == 1 else f", with times and big bodies scaled by {args.scale:g}"
    sys.stdout.write(f"{rounds_said}{scaled}. {machine.sentence()}.\n")


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


def _say_nothing(line: str) -> None:
    """Take what nobody wants to read."""


if __name__ == "__main__":
    sys.exit(main())
