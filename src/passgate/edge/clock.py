"""The time, from the operating system."""

from __future__ import annotations

import time


class SystemClock:
    """Monotonic and wall time."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)  # noqa: TID251  the one place
