"""What a gateway used, as the kernel counts it in ``/proc``: CPU time and memory.

A gateway is a process and its children, found once: none of those measured starts a child
later on. Linux only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat, counted from behind the name, which may hold anything.
_PARENT, _USER_TICKS, _SYSTEM_TICKS = 1, 11, 12

# Writing this to /proc/PID/clear_refs makes the peak start again from what is in use now.
_RESET_PEAK: Final = "5"


def tree(pid: int) -> tuple[int, ...]:
    """Return *pid* and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            for parent in _parent_of(int(entry.name)):
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += children.get(one, ())
    return tuple(found)


def _parent_of(pid: int) -> Iterator[int]:
    try:
        yield int(_stat(pid)[_PARENT])
    except OSError:
        return  # it has just ended


def _stat(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that *pids* have used, user and system together."""
    ticks = 0
    for pid in pids:
        stat = _stat(pid)
        ticks += int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])
    return ticks / _TICKS_PER_S


def rss_bytes(pids: Iterable[int]) -> int:
    """Return the memory that *pids* have resident; what they share counts for each."""
    return sum(_memory_bytes(pid, "VmRSS:") for pid in pids)


def peak_rss_bytes(pids: Iterable[int]) -> int:
    """Return the most that each of *pids* had resident since :func:`reset_peak`, summed."""
    return sum(_memory_bytes(pid, "VmHWM:") for pid in pids)


def reset_peak(pids: Iterable[int]) -> bool:
    """Let the peaks start anew; return whether the kernel allowed it."""
    try:
        for pid in pids:
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)
    except PermissionError:
        return False
    return True


def _memory_bytes(pid: int, name: str) -> int:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"{pid} has ended")  # a zombie has no memory
