"""What runs, told from looks a moment apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from passgate.core.live import Line, Looks, Running

ONE = Running("a", 100.0, client="ci", model="m", upstream="u", stream=True)


def looks(*at: tuple[float, Running]) -> Line:
    """Return what the last of several looks tells."""
    machine = Looks()
    lines = [machine.look([running], now_s) for now_s, running in at]
    return lines[-1][0]


def test_first_look() -> None:
    """The first look tells what there is, and no rate."""
    line = looks((101.5, replace(ONE, bytes_down=7, tokens=3, cost_nusd=9)))

    assert ("a", "ci", "m", "u", True) == (
        line.id,
        line.client,
        line.model,
        line.upstream,
        line.stream,
    )
    assert (1.5, 7, 3, 9) == (line.running_s, line.bytes_down, line.tokens, line.cost_nusd)
    assert (None, 0.0) == (line.tokens_per_s, line.silent_s)


def test_nothing_came_yet() -> None:
    """Before the first byte there is no silence to tell of, only time."""
    line = looks((101.0, ONE), (102.0, ONE))

    assert (2.0, None) == (line.running_s, line.silent_s)


SILENCE = {
    "bytes-came": ([10, 20], 0.0),
    "none-came": ([10, 10], 1.0),
    "none-came-twice": ([10, 10, 10], 2.0),
    "again": ([10, 10, 20], 0.0),
    "first-bytes": ([0, 10], 0.0),
}


@pytest.mark.parametrize(("sizes", "expected"), SILENCE.values(), ids=SILENCE.keys())
def test_silence(sizes: list[int], expected: float) -> None:
    """Silence is counted from the look at which bytes had last come."""
    line = looks(*((101.0 + n, replace(ONE, bytes_down=size)) for n, size in enumerate(sizes)))

    assert expected == line.silent_s


RATES = {
    "steady": ([0, 50, 100], 50.0),
    "from-unknown": ([None, 50, 100], 50.0),
    "still-unknown": ([None, None], None),
    "unknown-again": ([0, 50, None], 50.0),
    "smoothed": ([0, 100, 100], 60.0),
    "corrected": ([100, 60], 0.0),
}


@pytest.mark.parametrize(("tokens", "expected"), RATES.values(), ids=RATES.keys())
def test_rate(tokens: list[int | None], expected: float | None) -> None:
    """Tokens per second come from the looks before, smoothed, and are never below 0."""
    line = looks(*((101.0 + n, replace(ONE, tokens=each)) for n, each in enumerate(tokens)))

    assert expected == line.tokens_per_s


def test_two_looks_at_once() -> None:
    """Two looks in the same instant change no rate."""
    seen = replace(ONE, tokens=10)
    line = looks((101.0, ONE), (101.0, seen), (102.0, seen), (102.0, replace(ONE, tokens=90)))

    assert 0.0 == line.tokens_per_s


def test_what_has_ended_is_forgotten() -> None:
    """An exchange that is not there any more leaves nothing behind."""
    machine = Looks()
    machine.look([replace(ONE, bytes_down=1)], 101.0)
    machine.look([], 102.0)
    [line] = machine.look([replace(ONE, bytes_down=1)], 103.0)
    machine.forget()
    [anew] = machine.look([replace(ONE, bytes_down=1)], 104.0)

    assert (0.0, 0.0) == (line.silent_s, anew.silent_s)


@given(st.lists(st.lists(st.integers(0, 5), unique=True), max_size=6))
def test_each_by_its_own(rounds: list[list[int]]) -> None:
    """Whatever comes and goes: each look tells of all that runs, in order, by itself."""
    machine, since = Looks(), dict[int, int]()
    for now, numbers in enumerate(rounds):
        since = {number: since.get(number, now) for number in numbers}
        running = [Running(str(n), 0.0, bytes_down=1) for n in numbers]
        lines = machine.look(running, float(now))

        assert [str(n) for n in numbers] == [line.id for line in lines]
        assert [float(now - since[n]) for n in numbers] == [line.silent_s for line in lines]
