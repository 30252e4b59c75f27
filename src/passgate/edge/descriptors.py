"""Whether the process has a file descriptor left: when not, somebody must say so.

The event loop closes whoever connects meanwhile, and tells nobody.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable

from passgate.gateway.interfaces import Clock

_NONE_LEFT = (errno.EMFILE, errno.ENFILE)
_REMIND_S = 60.0


class Descriptors:
    """Tell when descriptors have run out, once a minute, and when there are some again.

    Args:
        clock: The time.
        notice: Told what the operator should read.

    Attributes:
        shortages: How often they ran out.
        problem: What the operator should know now, or None.
    """

    def __init__(self, clock: Clock, notice: Callable[[str], None]) -> None:
        self._clock = clock
        self._notice = notice
        self._told_s: float | None = None
        self._tells = False  # of the shortage that lasts
        self.shortages = 0
        self.problem: str | None = None

    def look(self) -> None:
        """Look whether there is one left; to be called once a second."""
        if _left():
            if self._tells:
                self._notice("there are file descriptors again")
            self.problem, self._tells = None, False
            return
        if self.problem is None:
            self.shortages += 1
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.problem = (
                f"no file descriptor is left (the limit is {soft}): new clients are closed "
                "unanswered, new connections to upstreams fail; raise the limit of open files"
            )
        now_s = self._clock.monotonic()
        if self._told_s is None or now_s - self._told_s >= _REMIND_S:
            self._told_s, self._tells = now_s, True
            self._notice(self.problem)


def _left() -> bool:
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno not in _NONE_LEFT
    return True
