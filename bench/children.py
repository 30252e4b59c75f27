"""Child processes: started on given cores with a known environment, ended by their pid."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measure import tree

ROOT: Final = Path(__file__).resolve().parents[1]
"""The project: where ``python -m bench...`` finds its modules."""

_STOP_S: Final = 5.0

# A fresh environment, so that no variable of the caller's shell changes what is measured:
# passgate alone reads a dozen, and Python reads more.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8"}


class ChildFailed(Exception):
    """A child did not start, or ended early."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores do what; the same ones where the machine has a single core."""

    gateway: frozenset[int]
    load: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Give the gateway the last core, and the load and the upstream all others."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[-1:]), frozenset(cores[:-1] or cores))


@contextmanager
def child(
    argv: Sequence[str],
    cores: frozenset[int],
    directory: Path,
    *,
    name: str,
    environment: Mapping[str, str] | None = None,
    piped: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *argv* on *cores* in *directory*, and end it when the block ends.

    Its stderr goes to ``NAME.err`` and, if it is not *piped*, its stdout to ``NAME.out``.
    """
    with ExitStack() as stack:
        err = stack.enter_context((directory / f"{name}.err").open("wb"))
        out = None if piped else stack.enter_context((directory / f"{name}.out").open("wb"))
        with _on(cores):  # inherited: no thread and no child of its own can slip away
            process = subprocess.Popen(  # noqa: S603  our own commands
                argv,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=out or subprocess.PIPE,
                stderr=err,
                cwd=directory,
                env=_ENVIRONMENT | dict(environment or {}),
                start_new_session=True,  # Ctrl-C is for us; we end our children
            )
        try:
            yield process
        finally:
            _stop(process)


@contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask *process* to end; kill it and its children if it does not."""
    if process.poll() is None:
        pids = tree(process.pid)
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(_STOP_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def last_words(directory: Path) -> str:
    """Return the end of what the child that runs in *directory* complained of."""
    said = "".join(
        log.read_text(errors="replace")
        for log in (*sorted(directory.glob("*.err")), *directory.glob("nginx.log"))
    )
    return " / ".join(line.strip() for line in said.splitlines()[-3:]) or "it said nothing"
