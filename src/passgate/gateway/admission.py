"""Who may come in: the caps on exchanges in flight and on held bodies, and the ledger's say."""

from __future__ import annotations

from collections.abc import Callable

from passgate.core import faults
from passgate.core.faults import Refused
from passgate.gateway.interfaces import Ledger


class Admission:
    """Count what is in flight and refuse what would be too much.

    Attributes:
        in_flight: Exchanges now being served.
        held_bytes: Bodies now held, together.
        required: The ledger without which nobody is let in, or None; swapped on reload.
    """

    def __init__(self, max_in_flight: int, max_held_bytes: int) -> None:
        self.in_flight = 0
        self.held_bytes = 0
        self.max_in_flight = max_in_flight
        self.max_held_bytes = max_held_bytes
        self.required: Ledger | None = None

    def enter(self, *, crowded: bool) -> Slot:
        """Let one exchange in, before any of its body is read; see :meth:`admit`."""
        self.admit(crowded=crowded)
        return Slot(self)

    def admit(self, *, crowded: bool) -> None:
        """Count one exchange in, which holds no body; ``leave`` counts it out.

        Args:
            crowded: Whether there are more connections than allowed.

        Raises:
            Refused: The gateway is full, or could not record what is used.
        """
        if crowded or self.in_flight >= self.max_in_flight:
            raise Refused(faults.BUSY)
        if self.required is not None and self.required.problem is not None:
            raise Refused(faults.UNRECORDED)
        self.in_flight += 1

    def leave(self) -> None:
        """Count one exchange out."""
        self.in_flight -= 1


class Slot:
    """One exchange's place, and the memory of its held body until that is on its way.

    Attributes:
        held_bytes: How much it holds now.
    """

    __slots__ = ("_admission", "held_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held_bytes = 0

    def fits(self, more_bytes: int) -> None:
        """Look whether there is room for *more_bytes*, which are gone before anybody else comes.

        Raises:
            Refused: Held bodies together would outgrow their memory.
        """
        if self._admission.held_bytes + more_bytes > self._admission.max_held_bytes:
            raise Refused(faults.BUSY)

    def hold(self, more_bytes: int) -> None:
        """Take *more_bytes* for a held body.

        Raises:
            Refused: Held bodies together would outgrow their memory.
        """
        self.fits(more_bytes)
        self._admission.held_bytes += more_bytes
        self.held_bytes += more_bytes

    def release(self) -> None:
        """Give the memory back; harmless when called again."""
        self._admission.held_bytes -= self.held_bytes
        self.held_bytes = 0

    @property
    def to_be_released(self) -> Callable[[], None] | None:
        """What gives the memory back, or None where none is held."""
        return self.release if self.held_bytes else None

    def leave(self) -> None:
        """Give the place back."""
        if self.held_bytes:
            self.release()
        self._admission.leave()
