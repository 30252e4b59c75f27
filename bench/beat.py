"""``python -m bench.beat``: a gateway, or nothing, whose event loop is watched from inside.

A timer is due every two milliseconds. Where it is late something else had the loop, or the
machine had something else to do; the CPU time that the process used meanwhile tells which.
What was late is written when the process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

EVERY_S: Final = 0.002
LATE_MS: Final = 5.0
# Those of a minute of a gateway that is late all the time.
_MOST_KEPT: Final = 10_000


@dataclass(slots=True)
class Beats:
    """What came of the timer.

    Attributes:
        beats: How often it was called.
        late: How late it was, where that was more than :data:`LATE_MS`, and how much CPU time
            all threads of the process used since the beat before: milliseconds.
    """

    beats: int = 0
    late: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))

    def begin(self) -> None:
        """Beat from now on, on the loop that runs."""
        loop = asyncio.get_running_loop()
        due_s, cpu_ns = loop.time() + EVERY_S, time.process_time_ns()

        def beat() -> None:
            nonlocal due_s, cpu_ns
            self.beats += 1
            late_ms, used_ns = (time.monotonic() - due_s) * 1e3, time.process_time_ns() - cpu_ns
            if late_ms > LATE_MS:
                self.late.append((round(late_ms, 2), round(used_ns / 1e6, 2)))
            due_s, cpu_ns = time.monotonic() + EVERY_S, time.process_time_ns()
            loop.call_later(EVERY_S, beat)

        loop.call_later(EVERY_S, beat)

    @classmethod
    def of(cls, path: Path) -> Beats:
        """Return what was written to *path*."""
        said = json.loads(path.read_text())
        return cls(said["beats"], deque(map(tuple, said["late"])))

    def written(self, path: Path) -> None:
        """Write it to *path*."""
        path.write_text(json.dumps(asdict(self) | {"late": list(self.late)}))


def main() -> int:
    """Serve, or wait, until a signal says to end."""
    parser = argparse.ArgumentParser(prog="python -m bench.beat", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", help="of the gateway; without it nothing is served")
    args = parser.parse_args()
    beats = Beats()
    if args.config is None:
        asyncio.run(_wait(beats))
    else:
        _serve(beats, args.config)
    beats.written(args.out)
    return 0


async def _wait(beats: Beats) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    beats.begin()
    await asyncio.sleep(5 * EVERY_S)
    sys.stdout.write("beats\n")
    sys.stdout.flush()
    await ended.wait()


def _serve(beats: Beats, path: str) -> None:
    """Serve as ``passgate serve`` does, and begin to beat with the first records."""
    from passgate import app, config

    begun = False

    def watch(_: Sequence[object]) -> None:
        nonlocal begun
        if not begun:
            begun = True
            beats.begin()

    async def serve() -> int:
        load = partial(config.from_process, path)
        gateway = app.App(load(), load=load, notice=app.to_stderr, watchers=[watch])
        await gateway.start()
        await gateway.serve(lambda: None)
        return 0

    app.run(serve())


if __name__ == "__main__":
    raise SystemExit(main())
