"""How many come in, and how much of their bodies is held."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from passgate.core import faults
from passgate.core.faults import Refused
from passgate.edge.clock import SystemClock
from passgate.edge.ledger_sqlite import SqliteLedger
from passgate.gateway.admission import Admission, Slot
from tests.contracts.records import record

MOST, MOST_BYTES = 3, 100


@pytest.mark.parametrize(("already", "crowded"), [(0, True), (MOST, False), (MOST, True)])
def test_full(already: int, crowded: bool) -> None:  # noqa: FBT001  a column
    """With too many exchanges or connections the next one is refused, and counts nowhere."""
    admission = Admission(MOST, MOST_BYTES)
    for _ in range(already):
        admission.enter(crowded=False)
    with pytest.raises(Refused) as refused:
        admission.enter(crowded=crowded)

    assert (faults.BUSY, already) == (refused.value.fault, admission.in_flight)


def test_required_ledger(tmp_path: Path) -> None:
    """Without a ledger that is required nobody comes in; one that is not is not asked."""
    ledger = SqliteLedger(tmp_path / "a" / "ledger", 90, SystemClock(), lambda _: None, 2)
    admission = Admission(MOST, MOST_BYTES)
    admission.required = ledger
    admission.enter(crowded=False)
    ledger.append([record(n, attempts=1) for n in range(2)])  # nobody writes them
    with pytest.raises(Refused) as refused:
        admission.enter(crowded=False)
    admission.required = None
    admission.enter(crowded=False)

    assert (faults.UNRECORDED, 2) == (refused.value.fault, admission.in_flight)


@given(st.integers(0, MOST_BYTES), st.integers(0, 2 * MOST_BYTES))
def test_memory(held: int, more: int) -> None:
    """Held bodies together may take so much memory, whoever holds them."""
    admission = Admission(MOST, MOST_BYTES)
    admission.enter(crowded=False).hold(held)
    slot = admission.enter(crowded=False)
    if held + more <= MOST_BYTES:
        slot.hold(more)
    else:
        with pytest.raises(Refused) as refused:
            slot.hold(more)
        assert faults.BUSY is refused.value.fault

    assert admission.held_bytes == held + slot.held_bytes


def test_bounds_may_change() -> None:
    """A reload moves the bounds under what runs; who is in stays in."""
    admission = Admission(2, 100)
    slots = [admission.enter(crowded=False) for _ in range(2)]
    slots[0].hold(100)
    admission.max_in_flight, admission.max_held_bytes = 1, 50
    slots[1].leave()
    with pytest.raises(Refused):
        admission.enter(crowded=False)
    slots[0].leave()
    admission.enter(crowded=False).hold(50)

    assert (1, 50) == (admission.in_flight, admission.held_bytes)


class Admissions(RuleBasedStateMachine):
    """Taken = held + given back, for places and for memory, in any order of events."""

    slots: Bundle[Slot] = Bundle("slots")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(MOST, MOST_BYTES)
        self.held: dict[Slot, int] = {}

    @rule(target=slots)
    def enter(self) -> Slot:
        """Let one in, or find the gateway full."""
        if len(self.held) == MOST:
            with pytest.raises(Refused):
                self.admission.enter(crowded=False)
            return next(iter(self.held))
        slot = self.admission.enter(crowded=False)
        self.held[slot] = 0
        return slot

    @rule(slot=slots, size=st.integers(0, MOST_BYTES))
    def hold(self, slot: Slot, size: int) -> None:
        """Hold more, or find the memory full."""
        if slot not in self.held:
            return
        if sum(self.held.values()) + size > MOST_BYTES:
            with pytest.raises(Refused):
                slot.hold(size)
        else:
            slot.hold(size)
            self.held[slot] += size

    @rule(slot=slots)
    def release(self, slot: Slot) -> None:
        """Give the memory back, perhaps again."""
        slot.release()
        if slot in self.held:
            self.held[slot] = 0

    @rule(slot=consumes(slots))
    def leave(self, slot: Slot) -> None:
        """Leave, once."""
        if self.held.pop(slot, None) is not None:
            slot.leave()

    @invariant()
    def conserved(self) -> None:
        """Nothing is lost and nothing counts twice."""
        expected = (len(self.held), sum(self.held.values()))

        assert expected == (self.admission.in_flight, self.admission.held_bytes)


TestAdmissions = Admissions.TestCase
