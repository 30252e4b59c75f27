"""Who may come in: the caps on exchanges in flight and on held bodies together."""

from __future__ import annotations

from passgate.core import faults
from passgate.core.faults import Refused


class Admission:
    """Count what is in flight and refuse what would be too much.

    Attributes:
        in_flight: Exchanges now being served.
        held_bytes: Bodies now held, together.
    """

    def __init__(self, max_in_flight: int, max_held_bytes: int) -> None:
        self.in_flight = 0
        self.held_bytes = 0
        self.max_in_flight = max_in_flight
        self.max_held_bytes = max_held_bytes

    def enter(self, *, crowded: bool) -> None:
        """Let one exchange in, before any of its body is read; it must :meth:`leave`.

        Args:
            crowded: Whether there are more connections than allowed.

        Raises:
            Refused: The gateway is full.
        """
        if crowded or self.in_flight >= self.max_in_flight:
            raise Refused(faults.BUSY)
        self.in_flight += 1

    def leave(self) -> None:
        """Give an exchange's place back."""
        self.in_flight -= 1


class Hold:
    """The memory that one held body takes, until it is on its way."""

    __slots__ = ("_admission", "_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def take(self, more_bytes: int) -> None:
        """Take *more_bytes*.

        Raises:
            Refused: Held bodies together would outgrow their memory.
        """
        admission = self._admission
        if admission.held_bytes + more_bytes > admission.max_held_bytes:
            raise Refused(faults.BUSY)
        admission.held_bytes += more_bytes
        self._bytes += more_bytes

    def release(self) -> None:
        """Give everything back; harmless when called again."""
        self._admission.held_bytes -= self._bytes
        self._bytes = 0
