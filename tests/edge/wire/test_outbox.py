"""Writes are gathered within a turn: in order, bounded, none lost, none late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from passgate.edge.wire.outbox import Outbox
from tests.edge.wire.bed import Turns

Written = list[tuple[str, bytes]]


def outbox() -> tuple[Outbox, Turns]:
    """Return an outbox and the turns in which it writes."""
    turns = Turns()
    return Outbox(cast(asyncio.AbstractEventLoop, turns)), turns


def writer(name: str, written: Written) -> Callable[[bytes | bytearray], None]:
    """Return what takes note of each write to *name*."""
    return lambda data: written.append((name, bytes(data)))


def test_first_at_once_the_rest_at_the_end_of_the_turn() -> None:
    """A lone message waits for nothing; what follows it in the same turn goes together."""
    box, turns = outbox()
    written: Written = []
    box.put(writer("a", written), b"1")
    box.put(writer("b", written), b"2")
    box.put(writer("a", written), b"3")
    at_once = list(written)
    turns.settle()
    at_the_end = list(written)
    box.put(writer("c", written), b"4")

    assert [("a", b"1")] == at_once
    assert [("a", b"1"), ("b", b"2"), ("a", b"3")] == at_the_end
    assert ("c", b"4") == written[-1]


def test_flush() -> None:
    """Before a connection is closed, all that waits is written, and nothing twice."""
    box, turns = outbox()
    written: Written = []
    for data in (b"1", b"2"):
        box.put(writer("a", written), data)
    box.flush()
    flushed = list(written)
    box.put(writer("a", written), b"3")
    turns.settle()

    assert [("a", b"1"), ("a", b"2")] == flushed
    assert [b"1", b"2", b"3"] == [data for _, data in written]


def test_bounded() -> None:
    """A turn in which much is said does not hold it all."""
    box, _ = outbox()
    written: Written = []
    held, most = 0, 0
    for _ in range(100):
        box.put(writer("a", written), b"x" * 50_000)
        held += 50_000
        most = max(most, held - sum(len(data) for _, data in written))

    assert most <= 256 * 1024 + 50_000


def test_closed_connection_costs_no_other_one() -> None:
    """A connection that was lost in this very turn raises; the others are written to."""

    def closed(_: bytes | bytearray) -> None:
        raise RuntimeError("the handler is closed")

    box, turns = outbox()
    written: Written = []
    for _ in range(2):
        box.put(closed, b"x")
        box.put(writer("a", written), b"1")
        box.put(closed, b"x")
        box.put(writer("b", written), b"2")
        turns.settle()

    assert [("a", b"1"), ("b", b"2")] * 2 == written


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 70_000, 300_000]), st.booleans())
    )
)
def test_order(puts: list[tuple[str, int, bool]]) -> None:
    """However much is said, each connection is written to in the order in which it was said."""
    box, turns = outbox()
    written: Written = []
    for number, (name, size, turn) in enumerate(puts):
        box.put(writer(name, written), b"%d" % number + b"x" * size)
        if turn:
            turns.settle()
    turns.settle()
    expected = [(name, b"%d" % number + b"x" * size) for number, (name, size, _) in enumerate(puts)]

    assert expected == written
