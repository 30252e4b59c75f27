"""One upstream, its request and its answer: early, too much, never, not HTTP."""

from __future__ import annotations

import gc
import sys

import pytest

from passgate.edge.wire.server import ServerConnection
from passgate.gateway.interfaces import Downstream
from tests.edge.wire.bed import Bed, cut
from tests.edge.wire.plays import (
    BODY,
    CHUNKED,
    EVENTS,
    FILES,
    LIMITS,
    LONG,
    TWO,
    Play,
    Scene,
    answer,
    ask,
    stream,
)


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "413 Too Large"])
@pytest.mark.parametrize("fields", [(), (CHUNKED,)], ids=["length", "chunks"])
def test_early_answer(status: str, fields: tuple[str, ...]) -> None:
    """An upstream may answer before it has the whole request: that is the answer."""
    bed = Bed()
    play = Play(Scene("", (ask(LONG, FILES, *fields),), ()), bed)
    wire = bed.idle()
    play.asks(play.scene.sent[:3000])
    wire.sends(answer(b"enough", status=status))
    bed.turns.settle()
    play.asks(play.scene.sent[3000:])
    play.client.ends()
    bed.at_rest()
    [got] = play.responses()
    [record] = bed.records

    assert (b"enough", True, [b"close"]) == (got.body, got.complete, got.get(b"connection"))
    assert "complete" == record.ending.value
    assert wire.closed


def test_surplus_is_not_passed_on() -> None:
    """Bytes behind a response's end break the exchange; none of that buffer goes on."""
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"
    for raw in (answer(), answer(LONG * 20), stream(*EVENTS), b"HTTP/1.1 204 No\r\n\r\n"):
        bed = Bed()
        play = Play(TWO, bed)
        wire = bed.idle()
        play.asks(ask())
        wire.sends(raw + smuggled)
        bed.turns.settle()
        play.check_end()

        assert "upstream_broke" == bed.records[0].ending.value
        assert wire.closed
        assert smuggled not in play.client.got


def test_endless_interim_responses() -> None:
    """Interim responses are passed on, but not without end."""
    bed = Bed()
    play = Play(TWO, bed)
    wire = bed.idle()
    play.asks(ask())
    for _ in range(40):
        wire.sends(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        bed.turns.settle()
    bed.at_rest()
    got = [message.status for message in play.responses()]

    assert [103] * 32 + [502] == got


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"X",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 65_536,
    ],
    ids=["101", "HTTP/2", "SSH", "a byte", "endless"],
)
def test_not_an_answer(raw: bytes) -> None:
    """What is not HTTP/1 as we accept it is a 502 as soon as that is clear."""
    bed = Bed()
    play = Play(TWO, bed)
    wire = bed.idle()
    play.asks(ask())
    wire.sends(*cut(raw, range(0, len(raw), 1000)))
    bed.turns.settle()
    bed.at_rest()

    assert [(502, "upstream")] == [(r.status, r.error) for r in bed.records]
    assert wire.closed


def test_upstream_that_stops_reading_an_upload() -> None:
    """An upstream that takes no more of a body, while its client has more, is not waited for."""
    bed = Bed(limits=LIMITS)
    bed.high_bytes = 64
    client = bed.client()
    bed.idle().stalled = True
    client.sends(*cut(ask(LONG * 10, FILES), range(0, 50_000, 1000)))
    bed.turns.settle()
    paused = not client.reading
    bed.passes(5)
    bed.at_rest()

    assert paused
    assert [(504, "timed_out")] == [(r.status, r.ending.value) for r in bed.records]


def test_held_body_is_let_go_once_written() -> None:
    """Once the upstream has a held body, the gateway has it no more: not until the answer comes."""
    bed = Bed()
    bed.idle()
    client = bed.client()
    raw = ask(BODY + b" " * 100_000)
    written: list[object] = []
    bed.upstreams[0].watch = written.append
    for piece in cut(raw, range(1000, len(raw), 1000)):
        client.sends(piece)
    bed.turns.settle()
    [body] = [each for each in written if isinstance(each, bytearray)]

    assert (1, 0) == (bed.admission.in_flight, bed.admission.held_bytes)
    assert sys.getrefcount(body) == 3, "someone beside this test still holds it"


def test_held_body_counts_until_written() -> None:
    """While the upstream reads slowly, a held body counts against the memory for bodies."""
    bed = Bed()
    wire = bed.idle()
    wire.stalled = True
    client = bed.client()
    raw = ask(BODY + b" " * 100_000)
    for piece in cut(raw, [500]):
        client.sends(piece)
    bed.turns.settle()
    before = bed.admission.held_bytes
    wire.takes()
    bed.turns.settle()

    assert (len(BODY) + 100_000, 0) == (before, bed.admission.held_bytes)


def test_body_kept_for_a_repeat_counts_until_the_answer() -> None:
    """Where a stale connection may be tried again, a held body is kept, and counts, till then."""
    bed = Bed(retry_stale=True)
    play = Play(Scene("", (ask(),), ()), bed)
    wire = bed.idle()
    play.asks(*cut(ask(BODY + b" " * 100_000), [500]))
    before = bed.admission.held_bytes
    wire.sends(answer(LONG)[:100])
    bed.turns.settle()

    assert (len(BODY) + 100_000, 0) == (before, bed.admission.held_bytes)
    assert 1 == bed.admission.in_flight


def test_models_that_take_turns() -> None:
    """Each request of a connection goes where its own model goes, whatever the last one named."""
    bed = Bed()
    client, upstream = bed.client(), bed.idle()
    models = (b"old-1", b"other", b"old-1", b"old-2", b"other")
    for model in models:
        client.sends(ask(b'{"model":"%s"}' % model))
        bed.turns.settle()
        upstream.sends(answer())
        bed.turns.settle()

    sent = [part.partition(b"\r\n\r\n")[2] for part in upstream.got.split(b"POST ")[1:]]
    assert [b'{"model":"%s"}' % name for name in (b"new", b"other", b"new", b"new", b"other")] == (
        sent
    )
    assert list(map(bytes.decode, models)) == [record.model for record in bed.records]


@pytest.mark.parametrize("reply", [answer(b'{"usage":{}}'), stream(*EVENTS), answer(b"")])
def test_nothing_is_left_to_the_collector(reply: bytes) -> None:
    """An exchange that has ended is gone at once: a search for what holds itself takes time."""
    bed = Bed()
    client, upstream = bed.client(), bed.idle()

    def exchange() -> None:
        client.sends(ask())
        bed.turns.settle()
        upstream.sends(reply)
        bed.turns.settle()

    for _ in range(3):  # the first ones leave what is learned of their heads
        exchange()
    gc.collect()
    gc.freeze()  # what other tests left is none of this one's
    gc.disable()
    try:
        for _ in range(10):
            exchange()
        found = gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()

    assert (13, 0) == (len(bed.records), found)


def test_a_stream_holds_no_head() -> None:
    """While a body passes nobody needs its head, which is long, and streams are many."""
    bed = Bed()
    client, upstream = bed.client(), bed.idle()
    client.sends(ask())
    bed.turns.settle()
    upstream.sends(stream(*EVENTS)[:-5])
    bed.turns.settle()
    [connection] = bed.pools["anthropic"]._all
    [(_, down)] = bed.pipeline.running.values()
    names = [name for name in _locals_of(down) if name in ("reply_head", "outbound", "body")]

    assert client.got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"", []) == (connection.head.fields, names)


def _locals_of(down: Downstream) -> set[str]:
    """Return the names that the exchange of *down* holds while it waits."""
    assert isinstance(down, ServerConnection)
    found: set[str] = set()
    coro = down._drive.coro
    while coro is not None and hasattr(coro, "cr_frame"):
        found |= coro.cr_frame.f_locals.keys()
        coro = coro.cr_await
    return found
