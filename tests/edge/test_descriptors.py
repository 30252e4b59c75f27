"""Descriptors that run out are told of once, reminded of, and told of when they are back."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

from passgate.edge.clock import SystemClock
from passgate.edge.descriptors import Descriptors


class Moved(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.monotonic = lambda: self.now_s


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Let this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptors() -> None:
    """However often it is looked at: a sentence at its begin, one each minute, one at its end."""
    said: list[str] = []
    clock = Moved()
    descriptors = Descriptors(clock, said.append)
    descriptors.look()
    assert (said, descriptors.problem) == ([], None)
    with none_left():
        for _ in range(90):
            descriptors.look()
            clock.now_s += 1
        assert descriptors.problem is not None
        assert "limit is 3" in descriptors.problem
    descriptors.look()
    with none_left():
        descriptors.look()  # too soon to be told again, but counted
    descriptors.look()
    shorts = [line.partition(" ")[0] for line in said]

    assert 2 == descriptors.shortages
    assert ["no", "no", "there"] == shorts
