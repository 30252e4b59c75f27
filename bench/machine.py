"""Where and with what a measurement was made: what makes its figures comparable, or not."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.children import Cores
from bench.gateways import Gateway


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader has to know beside the figures."""

    date: str
    cpu: str
    cores: int
    gateway_core: str
    kernel: str
    versions: dict[str, str]
    load_average: float

    def sentence(self) -> str:
        """Return all of it in one line."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.date}; {self.cpu}, {self.cores} cores, {self.gateway_core};"
            f" {self.kernel}; {versions}; load average at the start {self.load_average:.2f}"
        )


def this_machine(cores: Cores, gateways: Sequence[Gateway]) -> Machine:
    """Look at the machine before anything is started on it."""
    count = len(cores.gateway | cores.load)
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        cpu=_cpu(),
        cores=count,
        gateway_core="all of it sharing one" if count == 1 else "one of them for the gateway alone",
        kernel=f"{platform.system()} {platform.release()}",
        versions={
            "Python": platform.python_version(),
            "uvloop": version("uvloop"),
            "httptools": version("httptools"),
        }
        | {gateway.name: gateway.version for gateway in gateways if gateway.version},
        load_average=os.getloadavg()[0],
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
