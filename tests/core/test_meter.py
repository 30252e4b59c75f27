"""A meter cannot hurt: whatever it does, the bytes go on and the exchange is recorded."""

from __future__ import annotations

import pytest

from passgate.core.meter import NOTHING, Metered, Metering
from passgate.core.usage import Usage


class Scripted:
    """A meter that does as it is told: fails where the piece says so."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.failures: list[int] = []
        self.opens = b"first"  # what begins the content

    def feed(self, data: bytes) -> bool:
        """See ``meter.Meter``."""
        self.seen.append(data)
        if data == b"fail":
            raise ValueError
        return data == self.opens

    def running(self) -> tuple[int | None, bool]:
        """See ``meter.Meter``."""
        return len(self.seen), True

    def close(self, *, complete: bool) -> Metered:
        """See ``meter.Meter``."""
        if self.seen[-1] == b"fail at the end":
            raise ValueError
        return Metered("final" if complete else "partial", Usage(input_tokens=len(self.seen)))


def metering(*, coded: bool = False) -> tuple[Metering, Scripted, list[bytes]]:
    """Return a metering, its meter, and the list of what decided for it."""
    meter, firsts, times = Scripted(), list[bytes](), iter([1.5, 2.5])

    def meter_for(first: bytes) -> Scripted:
        firsts.append(first)
        return meter

    def decode(data: bytes) -> bytes:
        if data == b"bomb":
            raise MemoryError
        return data.lower()

    tap = Metering(
        meter_for, decode if coded else None, lambda: next(times), lambda: meter.failures.append(1)
    )
    return tap, meter, firsts


def test_chosen_by_the_first_byte() -> None:
    """Which meter it is is decided once, by the first byte that is no space."""
    tap, meter, firsts = metering()
    for piece in (b"", b" \r\n", b"\n {a", b" {b"):
        tap.feed(piece)

    assert ([b"{"], [b"{a", b" {b"]) == (firsts, meter.seen)


def test_nothing_came() -> None:
    """Without a body there is nothing to tell."""
    tap, _, _ = metering()

    assert ((None, False), NOTHING) == (tap.running(), tap.close(complete=True))


@pytest.mark.parametrize("complete", [True, False])
def test_read(*, complete: bool) -> None:
    """What the meter has read is what is told, and so is how far it is."""
    tap, _, _ = metering()
    tap.feed(b"a")
    tap.feed(b"b")
    expected = Metered("final" if complete else "partial", Usage(input_tokens=2))

    assert (2, True) == tap.running()
    assert expected == tap.close(complete=complete)


def test_clock_is_read_once() -> None:
    """The time of the first of the content costs one look at the clock."""
    tap, _, _ = metering()
    tap.feed(b"a")
    before = tap.first_token_s
    for piece in (b"first", b"b", b"c"):
        tap.feed(piece)

    assert (None, 1.5) == (before, tap.first_token_s)


def test_first_piece_may_be_the_first_of_the_content() -> None:
    """Also where everything comes in one piece."""
    tap, _, _ = metering()
    tap.feed(b"first")

    assert 1.5 == tap.first_token_s


def test_coded() -> None:
    """The coding is taken off before the meter sees a byte."""
    tap, meter, firsts = metering(coded=True)
    for piece in (b" ", b"A", b"FIRST"):
        tap.feed(piece)

    assert ([b"a"], [b"a", b"first"], 1.5) == (firsts, meter.seen, tap.first_token_s)


@pytest.mark.parametrize(("coded", "piece"), [(False, b"fail"), (True, b"bomb"), (True, b"FAIL")])
def test_switched_off(piece: bytes, *, coded: bool) -> None:
    """A meter that fails sees nothing more; nothing of it is told but that it failed."""
    tap, meter, _ = metering(coded=coded)
    for each in (b"a", piece, b"first", b"b"):
        tap.feed(each)

    assert b"b" not in meter.seen
    assert ([1], None) == (meter.failures, tap.first_token_s)
    assert ((None, False), NOTHING) == (tap.running(), tap.close(complete=True))


def test_fails_at_the_end() -> None:
    """So does one that fails when it is asked."""
    tap, meter, _ = metering()
    tap.feed(b"fail at the end")

    assert [] == meter.failures
    assert (NOTHING, [1]) == (tap.close(complete=True), meter.failures)


def test_looked_at_while_it_runs() -> None:
    """Who asks before the end changes nothing: what comes after is read as well."""
    tap, _, _ = metering()
    tap.feed(b"a")
    before = tap.close(complete=False)
    tap.feed(b"b")

    assert ("partial", Usage(input_tokens=1)) == (before.kind, before.usage)
    assert Metered("final", Usage(input_tokens=2)) == tap.close(complete=True)
