"""What the soak calls flat, and that it notices what is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.soak_sample import Sample, judge

FLAT = Sample(
    at_s=0,
    memory=45_000_000,
    descriptors=1_019,
    threads=4,
    in_flight=500,
    backlog=3,
    lost=0,
    log_dropped=0,
    meter_failures=0,
    watcher_failures=0,
    answer_s=0.01,
)
END = replace(FLAT, at_s=1200, in_flight=0, backlog=0, descriptors=500)


def run(change: Callable[[Sample], Sample], end: Sample = END) -> list[str]:
    """Return what is said of a run of 20 minutes whose samples all went through *change*."""
    samples = [change(replace(FLAT, at_s=at)) for at in range(5, 1200, 5)]
    return list(judge([*samples, end], streams=500))


def test_flat() -> None:
    """A run that gathers nothing, and one that warmed up, have no problem."""
    assert run(lambda one: one) == []
    assert (
        run(lambda one: replace(one, memory=one.memory - 100_000 * max(0, 300 - int(one.at_s))))
        == []
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: replace(one, memory=one.memory + int(one.at_s) * 2_000), "memory grew"),
        (lambda one: replace(one, memory=one.memory + int(one.at_s) % 2 * 9_000_000), "moved"),
        (lambda one: replace(one, descriptors=800 + int(one.at_s) // 20), "descriptors"),
        (lambda one: replace(one, descriptors=2_000), "descriptors"),
        (lambda one: replace(one, threads=4 + int(one.at_s) // 100), "threads"),
        (lambda one: replace(one, backlog=1_000), "backlog"),
    ],
)
def test_not_flat(change: Callable[[Sample], Sample], said: str) -> None:
    """Each thing that gathers is named, and alone."""
    problems = run(change)

    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.parametrize("name", ["lost", "log_dropped", "in_flight", "backlog"])
def test_left_behind(name: str) -> None:
    """What is left, or was lost, when all clients are gone is named."""
    [problem] = run(lambda one: one, replace(END, **{name: 1}))

    assert "1" in problem
