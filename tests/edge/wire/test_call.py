"""A call that is read here: its head, its pieces, silence, a slow reader, an end, a hang-up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

import pytest

from passgate.core.exchange import Ending, Outbound
from passgate.core.faults import Refused
from passgate.edge.clock import SystemClock
from passgate.edge.wire.call import Call
from passgate.edge.wire.drive import Wait
from tests.edge.wire.bed import Bed, Wire
from tests.edge.wire.plays import answer, stream

T = TypeVar("T")

LONG_S = 5.0
SOON_S = 0.001


@dataclass
class Scene:
    """A call under way, and the upstream that it was sent to."""

    bed: Bed
    call: Call
    upstream: Wire


def begun() -> Scene:
    """Send a call on an idle connection."""
    bed = Bed()
    upstream = bed.idle()
    outbound = Outbound(b"POST /x HTTP/1.1\r\nhost: a", b"{}", b"")
    call = Call(bed.pools["anthropic"], SystemClock(), outbound, "POST")
    bed.turns.settle()
    return Scene(bed, call, upstream)


def pooled(bed: Bed) -> int:
    """Return how many connections are idle."""
    return bed.pools["anthropic"].state().idle


async def told(wait: Wait[T]) -> T:
    """Return what *wait* brings, which a task cannot await by itself."""
    there = asyncio.Event()
    wait.add_done_callback(lambda _: there.set())
    if not wait._done:
        await there.wait()
    return await wait


async def test_read_in_pieces() -> None:
    """Head and body are told as they come; what came before it was asked for, together."""
    scene = begun()
    scene.upstream.sends(stream(b"one", b"two")[:-5])
    scene.bed.turns.settle()
    head = await told(scene.call.answer_head(LONG_S))
    first = await told(scene.call.read(LONG_S))
    waits = asyncio.ensure_future(told(scene.call.read(LONG_S)))
    await asyncio.sleep(0)
    scene.upstream.sends(b"5\r\nthree\r\n")
    second = await waits
    scene.upstream.sends(b"0\r\n\r\n")
    scene.bed.turns.settle()
    last = await told(scene.call.read(LONG_S))

    assert scene.upstream.got == b"POST /x HTTP/1.1\r\nhost: a\r\n\r\n{}"
    assert head is not None
    assert (200, b"onetwo", b"three", b"") == (head.status, first, second, last)
    assert (Ending.COMPLETE, 11, 1) == (scene.call.ending, scene.call.bytes_down, pooled(scene.bed))


async def test_silence_ends_nothing() -> None:
    """Silence is told, before the head and after it, and what is awaited again goes on.

    A wait that follows another while its timer still runs has its own time.
    """
    scene = begun()
    silent = await told(scene.call.answer_head(SOON_S))
    scene.upstream.sends(answer(b"hello")[:-2])
    scene.bed.turns.settle()
    head = await told(scene.call.answer_head(LONG_S))
    pieces = [await told(scene.call.read(20 * SOON_S)), await told(scene.call.read(10 * SOON_S))]
    ahead = asyncio.ensure_future(told(scene.call.read(SOON_S)))
    await asyncio.sleep(0)
    pieces.append(await ahead)
    scene.upstream.sends(b"lo")
    scene.bed.turns.settle()
    pieces.append(await told(scene.call.read(LONG_S)))

    assert silent is None
    assert head is not None
    assert [b"hel", None, None, b"lo"] == pieces


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 2", b"nonsense\r\n\r\n"])
async def test_no_head(raw: bytes) -> None:
    """An upstream that breaks before its head is why there is none."""
    scene = begun()
    if raw:
        scene.upstream.sends(raw)
    scene.upstream.resets()
    scene.bed.turns.settle()

    with pytest.raises(Refused):
        await told(scene.call.answer_head(LONG_S))
    scene.call.close()
    assert 0 == pooled(scene.bed)


async def test_cut_body() -> None:
    """What came of a body that was cut is told, and that it was cut."""
    scene = begun()
    scene.upstream.sends(answer(b"hello")[:-2])
    scene.bed.turns.settle()
    await told(scene.call.answer_head(LONG_S))
    scene.upstream.resets()
    scene.bed.turns.settle()
    pieces = [await told(scene.call.read(LONG_S)), await told(scene.call.read(LONG_S))]

    assert ([b"hel", b""], Ending.UPSTREAM_BROKE) == (pieces, scene.call.ending)


async def test_slow_reader() -> None:
    """An upstream is not let ahead of its reader by more than a quarter of a megabyte."""
    scene = begun()
    scene.upstream.sends(answer(b"x" * 400_000)[:-1])
    await told(scene.call.answer_head(LONG_S))
    scene.bed.turns.settle()
    paused = not scene.upstream.reading
    got = await told(scene.call.read(LONG_S))

    assert (True, True, 399_999) == (paused, scene.upstream.reading, len(got or b""))


async def test_slow_client() -> None:
    """A client that reads slowly slows the upstream down, also before its head is here."""
    scene = begun()
    scene.call.pause_reading()
    paused = not scene.upstream.reading
    scene.call.resume_reading()

    assert (True, True) == (paused, scene.upstream.reading)


async def test_hang_up() -> None:
    """Who makes a call ends it: the connection is closed unless the answer was whole."""
    early, late = begun(), begun()
    early.call.close()
    late.upstream.sends(answer())
    late.bed.turns.settle()
    late.call.close()
    late.call.close()

    assert (True, 0) == (early.upstream.closed, pooled(early.bed))
    assert (False, 1) == (late.upstream.closed, pooled(late.bed))


async def test_hang_up_while_it_is_dialled() -> None:
    """A connection that nobody waits for any more is not used; who is slow already waits."""
    bed = Bed()
    calls = [
        bed.pools["anthropic"].call(Outbound(b"GET /x HTTP/1.1", b"", b""), "GET") for _ in range(2)
    ]
    calls[0].close()
    calls[1].pause_reading()
    bed.dialled()

    assert [b"GET /x HTTP/1.1\r\n\r\n"] == [wire.got for wire in bed.upstreams if wire.got]
    assert [False] == [wire.reading for wire in bed.upstreams if wire.got]
