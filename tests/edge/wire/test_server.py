"""One client: what it sends ahead, does not read, leaves, or must wait for."""

from __future__ import annotations

import pytest

from passgate.core.settings import Limits
from passgate.gateway.interfaces import Downstream
from tests.edge.wire.bed import Bed, cut, responses_to
from tests.edge.wire.plays import (
    CHUNKED,
    EXPECT,
    FILES,
    LIMITS,
    LONG,
    TWO,
    Play,
    Scene,
    answer,
    ask,
)


def test_half_close_behind_a_request_that_is_answered_at_once() -> None:
    """The answer that was given before the FIN was seen is sent before the connection ends."""
    bed = Bed()
    clients = [bed.client() for _ in range(2)]
    for client in clients:  # in one turn: what is said first is written first
        client.sends(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        client.ends()
    bed.turns.settle()

    assert all(client.got.startswith(b"HTTP/1.1 200 OK\r\n") for client in clients)
    assert all(client.ended for client in clients)


def test_head_that_comes_in_parts_while_its_client_does_not_read() -> None:
    """A head is judged once, however often its exchange had to wait for answers to be read."""
    bed = Bed()
    bed.high_bytes = 150  # one answer is below, two are above
    client = bed.client()
    client.stalled = True
    health = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    client.sends(health + health + health[:22])
    bed.turns.settle()
    assert not client.writable
    client.sends(health[22:30])
    client.takes()
    bed.turns.settle()
    client.sends(health[30:])
    bed.turns.settle()

    assert [200, 200, 200] == [message.status for message in responses_to(client, bed)]


def test_one_lost_client_costs_no_other_one_a_byte() -> None:
    """What waits to be written to others is written, though one of the clients has just gone."""
    bed = Bed()
    clients = [bed.client() for _ in range(3)]
    for client in clients:
        bed.idle()
        client.sends(ask())
    bed.turns.settle()
    clients[0].resets()
    for wire in bed.upstreams:
        wire.sends(answer())
    bed.turns.settle()
    bed.at_rest()

    assert [False, True, True] == [bool(client.got) for client in clients]


def test_what_is_sent_ahead_is_bounded() -> None:
    """While an upload waits for its upstream, the client's bytes stay in the client's socket."""
    bed = Bed()
    client = bed.client()
    client.sends(ask(b"x" * 5_000_000, FILES)[:200])
    for _ in range(40):
        client.sends(b"x" * 10_000)
        bed.turns.settle()
    [connection] = bed.listener._connections
    held = len(connection._ahead)
    paused = not client.reading
    bed.dialled()
    client.sends(b"x" * 10_000)
    bed.turns.settle()

    assert held <= 75_000
    assert (True, True) == (paused, client.reading)
    assert b"".join([b"x" * 410_000]) in bed.upstreams[0].got + b"x" * 200


def test_client_that_reads_no_answers() -> None:
    """A client that sends requests and reads nothing begins no more than a few of them."""
    bed = Bed(limits=LIMITS)
    bed.high_bytes = 1000
    client = bed.client()
    client.stalled = True
    raw = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    client.sends(*[raw * 100] * 100)
    bed.turns.settle()
    begun, waiting = len(bed.begun), client.get_write_buffer_size()
    client.takes()
    bed.turns.settle()

    assert begun < 200
    assert waiting < 20_000
    assert 10_000 == len(responses_to(client, bed))


def test_refusal_before_the_body_arrives() -> None:
    """A client that sends its body before it reads gets the refusal, then the end."""
    bed = Bed()
    client = bed.client()
    raw = ask(b" " * 500_000, key=None)
    client.sends(raw[:300])
    bed.turns.settle()
    refused_at_once = bytes(client.got)
    client.sends(raw[300:])
    bed.turns.settle()
    open_still = not client.closed
    bed.passes(3)
    bed.at_rest()

    assert refused_at_once.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert (True, True) == (open_still, client.closed)


def test_endless_body_behind_a_refusal() -> None:
    """After a refusal no more than a mebibyte is read."""
    bed = Bed()
    client = bed.client()
    client.sends(ask(b" " * 5_000_000, key=None)[:300])
    sent = 0
    while not client.closed and sent < 5_000_000:
        client.sends(b" " * 100_000)
        bed.turns.settle()
        sent += 100_000

    assert 1 << 20 <= sent <= (1 << 20) + 100_000


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (ask(b"1", FILES, EXPECT), [100, 200]),
        (ask(b"1", FILES, EXPECT, key=None), [401]),
        (ask(b"1", FILES, EXPECT, version="1.0"), [200]),
        (ask(b"1", FILES, "Expect: 200-ok"), [200]),
    ],
    ids=["asked", "refused", "HTTP/1.0", "something else"],
)
def test_expectation(raw: bytes, expected: list[int]) -> None:
    """A client that waits to be asked for its body is asked once its key was seen to be good."""
    bed = Bed()
    play = Play(Scene("", (raw,), (answer(),)), bed)
    bed.idle()
    play.asks(raw[:-1], raw[-1:])
    play.answers()
    play.client.ends()
    bed.at_rest()

    assert expected == [message.status for message in play.responses()]


@pytest.mark.parametrize("fields", [(), (CHUNKED,)], ids=["length", "chunks"])
@pytest.mark.parametrize("pieces", [1, 7])
def test_body_too_large(
    monkeypatch: pytest.MonkeyPatch, fields: tuple[str, ...], pieces: int
) -> None:
    """A held body over the limit is refused as soon as that is known, and not held."""
    monkeypatch.setattr("passgate.core.messages.MAX_BODY_BYTES", 1000)
    raw = ask(b" " * 1001, "/v1/messages", *fields)
    bed = Bed()
    play = Play(Scene("", (raw,), ()), bed)
    play.asks(*cut(raw, [200, *range(300, len(raw), len(raw) // pieces)]))
    bed.passes(3)
    bed.at_rest()

    assert [(413, "size")] == [(r.status, r.error) for r in bed.records]
    assert not bed.dials


@pytest.mark.parametrize("fields", [(), (CHUNKED,)], ids=["length", "chunks"])
def test_no_memory_for_a_body(fields: tuple[str, ...]) -> None:
    """A body for which there is no memory is refused, and what it took is given back."""
    raw = ask(b" " * 1_100_000, "/v1/messages", *fields)
    bed = Bed(limits=Limits(max_body_memory_mb=1))
    play = Play(Scene("", (raw,), ()), bed)
    play.asks(*cut(raw, range(200, len(raw), 50_000)))
    bed.passes(3)
    bed.at_rest()

    assert [(529, "busy")] == [(r.status, r.error) for r in bed.records]


def test_drain_closes_after_the_answer() -> None:
    """While the gateway drains, each response says that it is the last of its connection."""
    bed = Bed()
    play = Play(TWO, bed)
    play.asks(ask())
    bed.listener.draining = True
    play.answers()
    bed.at_rest()
    [got] = play.responses()

    assert ([b"close"], True) == (got.get(b"connection"), play.client.closed)


def test_bug_of_a_handler() -> None:
    """An exception that escapes is reported, and the connection is cut: nobody waits on it."""

    async def fails(_: Downstream) -> None:
        raise ValueError

    bed = Bed()
    bed.listener.handler = fails
    client = bed.client()
    client.sends(ask())
    bed.turns.settle()

    assert [ValueError] == [type(bug) for bug in bed.bugs]
    assert (True, 0) == (client.closed, len(client.got))


def test_stalled_while_its_answer_is_sent() -> None:
    """A client that takes nothing more is cut off, also when all was written."""
    bed = Bed(limits=LIMITS)
    bed.high_bytes = 10
    play = Play(Scene("", (ask(version="1.0"),), (answer(LONG),)), bed)
    play.client.stalled = True
    play.asks(play.scene.sent)
    play.answers()
    closing = not play.client.closed
    bed.passes(5)
    bed.at_rest()

    assert (True, True) == (closing, play.client.closed)
