"""Which connections are used again, and which never."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.edge.wire.bed import Bed, Wire
from tests.edge.wire.plays import BODY, FILES, TWO, Play, Scene, answer, ask, reused


def test_newest_is_reused() -> None:
    """A second exchange takes the connection of the first."""
    bed = Bed()
    play = Play(TWO, bed)
    reused(bed, play)
    play.asks(ask())
    play.answers()

    assert (1, 2) == (len(bed.upstreams), len(bed.records))


def _speaks(_: Bed, wire: Wire) -> None:
    wire.sends(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


def _ages(bed: Bed, _: Wire) -> None:
    bed.clock.now_s += 31


def _ends_unseen(bed: Bed, wire: Wire) -> None:
    bed.clock.now_s += 1
    wire.unseen = True


@pytest.mark.parametrize(
    "happens",
    [lambda _, wire: wire.ends(), lambda _, wire: wire.resets(), _speaks, _ages, _ends_unseen],
    ids=["ends", "resets", "speaks", "ages", "ends unseen"],
)
def test_idle_upstream_that_is_not_reused(happens: Callable[[Bed, Wire], None]) -> None:
    """An idle connection that ended, spoke unasked or is old is never used again."""
    bed = Bed()
    play = Play(TWO, bed)
    wire = reused(bed, play)
    happens(bed, wire)
    bed.turns.settle()
    play.asks(ask())
    play.answers()
    bed.at_rest()

    assert (2, 2) == (len(bed.upstreams), len(bed.records))
    assert wire.closed


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", FILES])
@pytest.mark.parametrize("sent", [0, 1, 20])
@pytest.mark.parametrize("stop", [Wire.ends, Wire.resets], ids=["FIN", "RST"])
def test_stale(retry: bool, path: str, sent: int, stop: Callable[[Wire], None]) -> None:  # noqa: FBT001
    """Only what the operator allows is repeated: a held request, unanswered, on a reused one."""
    bed = Bed(retry_stale=retry)
    play = Play(TWO, bed)
    wire = reused(bed, play)
    play.asks(ask(BODY, path))
    wire.sends(answer()[:sent])
    stop(wire)
    bed.turns.settle()
    play.answers()
    bed.at_rest()
    repeated = retry and not sent and path != FILES
    [_, record] = bed.records
    got = play.responses()[-1]

    assert ((200, 2) if repeated else (502, 1)) == (got.status, record.attempts)


def test_first_use_is_not_stale() -> None:
    """A connection that ends unanswered on its first request is not stale: nothing is repeated."""
    bed = Bed(retry_stale=True)
    play = Play(TWO, bed)
    play.asks(ask())
    bed.dialled()
    bed.upstreams[0].ends()
    bed.turns.settle()
    bed.at_rest()

    assert [(502, 1)] == [(r.status, r.attempts) for r in bed.records]


def test_ended_as_soon_as_made() -> None:
    """An upstream that accepts and closes at once is a 502, not a wait for nothing."""
    bed = Bed()
    play = Play(TWO, bed)
    play.asks(ask())
    wire, connection = bed.connection()
    wire.ends()
    bed.turns.settle()
    bed.pools["anthropic"]._all.add(connection)  # who dialled learns of it later
    bed.dials[0].ends(connection)
    bed.turns.settle()
    bed.at_rest()

    assert [502] == [r.status for r in bed.records]
    assert not bed.pools["anthropic"]._all


def test_retired_pool_lets_the_exchange_end() -> None:
    """After a reload without this upstream, what runs on it ends well and nothing is kept."""
    bed = Bed()
    play = Play(TWO, bed)
    idle = bed.idle()
    busy = bed.idle()
    play.asks(ask())
    bed.pools["anthropic"].retire()
    play.answers()
    bed.at_rest()

    assert (True, True) == (idle.closed, busy.closed)
    assert ["complete"] == [r.ending.value for r in bed.records]


def test_upstream_that_has_not_read_the_request_is_not_pooled() -> None:
    """A connection on which a request still waits to be sent gets no other one behind it."""
    bed = Bed()
    bed.high_bytes = 64
    play = Play(Scene("", (ask(),), ()), bed)
    wire = bed.idle()
    wire.stalled = True
    play.asks(ask(BODY + b" " * 1000))
    wire.sends(answer(b"no need to read"))
    bed.turns.settle()
    bed.at_rest()

    assert wire.closed
    assert play.responses()[0].complete
