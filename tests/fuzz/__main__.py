"""Fuzz the gateway without a network.

    python -m tests.fuzz --seconds 60 [--target NAME] [--seed 1]

What fails is written to a file that ``--replay`` takes. The same seed makes the same
inputs. Where ``atheris`` can be imported it chooses them, guided by coverage.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, corpus_of


def run(name: str, seconds: float, seed: int) -> tuple[int, bytes | None]:
    """Fuzz one target; return how many inputs it took, and the one that failed, or None."""
    target, corpus = TARGETS[name], list(corpus_of(name).values())
    chance = random.Random(seed)  # noqa: S311  chance, not a secret
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = corpus[count] if count < len(corpus) else mutated(chance, corpus)
        count += 1
        try:
            target(data)
        except Exception:  # noqa: BLE001  whatever it is, it is what we look for
            traceback.print_exc()
            return count, data
    return count, None


def _guided(name: str, seconds: float, seed: int) -> None:
    """Have atheris choose the inputs; never returns."""
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target(bytes(data))

    places = [str(Path(__file__).parent / "corpus" / name)]
    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *options, *places], one)
    atheris.Fuzz()


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz as told; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--budget", type=float, help="seconds for all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--replay", type=Path, help="run the one input in this file")
    asked = parser.parse_args(argv)
    names = asked.target or sorted(TARGETS)
    if asked.budget:
        asked.seconds = asked.budget / len(names)
    if asked.replay:
        for name in names:
            TARGETS[name](asked.replay.read_bytes())
        return 0
    if not asked.plain and importlib.util.find_spec("atheris"):
        if len(names) == 1:
            _guided(names[0], asked.seconds, asked.seed)
        command = [sys.executable, "-m", "tests.fuzz", f"--seconds={asked.seconds}"]
        each = [[*command, f"--seed={asked.seed}", f"--target={name}"] for name in names]
        return max(subprocess.run(one, check=False).returncode for one in each)  # noqa: S603  ours
    return max(_plain(name, asked.seconds, asked.seed) for name in names)


def _plain(name: str, seconds: float, seed: int) -> int:
    count, failed = run(name, seconds, seed)
    sys.stdout.write(f"{name}: {count} inputs, seed {seed}\n")
    if failed is None:
        return 0
    file = Path(f"fuzz-{name}-{seed}-{count}")
    file.write_bytes(failed)
    sys.stdout.write(f"{name}: the last one failed: --target {name} --replay {file}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
