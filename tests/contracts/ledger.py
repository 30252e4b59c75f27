"""What every ledger must do, whatever it keeps its rows in.

Subclass :class:`LedgerContract` with a fixture ``bed`` that gives a :class:`Bed`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from passgate.core.exchange import Record
from passgate.gateway.interfaces import Ledger
from tests.contracts.records import record, records
from tests.loopback.gateway import eventually


class Bed(Protocol):
    """A place for a ledger of its own, and a way to look into it."""

    def open(self, max_rows: int = 1_000) -> Ledger:
        """Return the ledger, opened; it takes at most *max_rows* that wait."""

    def kept(self) -> list[Record]:
        """Return what it keeps now, in the order in which it was written."""

    def barred(self) -> AbstractContextManager[None]:
        """Let nothing be written as long as this is entered, though all can be appended."""


class LedgerContract:
    """The suite."""

    def test_keeps_what_is_appended(self, bed: Bed) -> None:
        """Every record is there, whole and in order; soon, and not only at the end."""
        ledger = bed.open()
        for first in range(0, 30, 10):
            ledger.append([record(first + number) for number in range(10)])
        eventually(lambda: ledger.backlog == 0)
        got = bed.kept()
        ledger.close()

        assert [record(number) for number in range(30)] == got
        assert (0, None) == (ledger.lost, ledger.problem)

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(records(), min_size=1, max_size=5))
    def test_keeps_it_whole(self, bed: Bed, anything: list[Record]) -> None:
        """Whatever a record holds is what is read back."""
        bed.open().close()
        first = len(bed.kept())
        given = [structs.replace(r, id=f"{first + n} {r.id}") for n, r in enumerate(anything)]
        ledger = bed.open()
        ledger.append(given)
        ledger.close()

        assert given == bed.kept()[first:]

    def test_close_writes_what_is_left(self, bed: Bed) -> None:
        """What was appended just before the end is kept; what comes after it is counted."""
        ledger = bed.open()
        ledger.append([record(number) for number in range(500)])
        ledger.close()
        ledger.append([record(500)])
        ledger.close()

        assert 500 == len(bed.kept())
        assert (0, 1) == (ledger.backlog, ledger.lost)

    def test_never_twice(self, bed: Bed) -> None:
        """A record that comes again, now or after a restart, changes nothing."""
        for cost in (1, 2):
            ledger = bed.open()
            ledger.append([record(1, cost_nusd=cost), record(1, cost_nusd=cost + 1)])
            ledger.append([record(2), record(1, cost_nusd=9)])
            ledger.close()
            assert 0 == ledger.lost

        assert [record(1, cost_nusd=1), record(2)] == bed.kept()

    def test_append_does_not_wait(self, bed: Bed) -> None:
        """While nothing can be written, records wait; then all of them are written."""
        ledger = bed.open()
        with bed.barred():
            ledger.append([record(number) for number in range(100)])
            waiting, kept = ledger.backlog, bed.kept()
        eventually(lambda: ledger.backlog == 0)
        ledger.close()

        assert (100, [], 0) == (waiting, kept, ledger.lost)
        assert [record(number) for number in range(100)] == bed.kept()

    def test_what_has_no_room_is_counted(self, bed: Bed) -> None:
        """The backlog has a bound: beyond it records are lost, to the very number."""
        ledger = bed.open(max_rows=50)
        with bed.barred():
            ledger.append([record(0, attempts=1)])
            for first in range(1, 121, 40):
                ledger.append([record(first + n, attempts=1) for n in range(40)])
                assert ledger.backlog <= 50
            full, problem = ledger.backlog, ledger.problem
        eventually(lambda: ledger.backlog == 0)
        ledger.append([record(999)])
        ledger.close()
        kept = [each.id for each in bed.kept()]

        assert (50, 71) == (full, ledger.lost)
        assert problem
        assert [record(number).id for number in [*range(50), 999]] == kept

    def test_what_used_something_has_the_last_room(self, bed: Bed) -> None:
        """Refusals, which come again and again, fill half of the room and no more."""
        ledger = bed.open(max_rows=50)
        with bed.barred():
            ledger.append([record(number, attempts=0) for number in range(40)])
            refused = ledger.backlog
            ledger.append([record(100 + n, attempts=n % 2) for n in range(40)])
        ledger.close()
        later = [each.id for each in bed.kept()][refused:]

        assert (25, 35) == (refused, ledger.lost)
        assert [record(100 + n).id for n in range(1, 40, 2)] == later

    def test_new_price(self, bed: Bed) -> None:
        """A price that comes later replaces what the row says of it, and nothing else."""
        ledger = bed.open()
        ledger.append([record(n, price_status="pending", output_tokens=5) for n in range(3)])
        ledger.reprice({record(0).id: (7, "exact"), record(2).id: (None, "unknown"), "x": (1, "x")})
        ledger.close()
        expected = [(7, "exact"), (None, "pending"), (None, "unknown")]

        assert expected == [(each.cost_nusd, each.price_status) for each in bed.kept()]
        assert [5, 5, 5] == [each.output_tokens for each in bed.kept()]

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"input_tokens": 2**63}, id="a number of 64 bits"),
            pytest.param({"model": "\ud800"}, id="half a character"),
        ],
    )
    def test_one_that_cannot_be_kept(self, bed: Bed, fields: dict[str, object]) -> None:
        """A record that cannot be stored is counted, and keeps no other one from it."""
        ledger = bed.open()
        given = [record(number) for number in range(40)]
        ledger.append([*given[:20], record(99, **fields), *given[20:]])
        ledger.close()

        assert (1, given) == (ledger.lost, bed.kept())
