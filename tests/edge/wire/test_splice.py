"""What passes is seen by the meter, in every framing and at every cut, and by it alone."""

from __future__ import annotations

import pytest

from passgate.core.exchange import Ending, Record
from tests.edge.wire.bed import Bed, cut
from tests.edge.wire.plays import Play, Scene, answer, ask, chunked, stream

USAGE = b'"usage":{"input_tokens":7,"output_tokens":%d}'
EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{' + USAGE % 1 + b"}}\n\n",
    b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta",' + USAGE % 9 + b"}\n\n",
)
BODY = b"".join(EVENTS)
MESSAGE = b"{" + USAGE % 9 + b"}"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# Chunk borders that have nothing to do with those of events.
STRANGE = HEAD + chunked(BODY[:5], BODY[5:90], BODY[90:91], BODY[91:], extension=b";a=b")
FRAMINGS = {
    "chunks": Scene("", (ask(),), (stream(*EVENTS, trailer=b"X-T: 1\r\n"),)),
    "strange chunks": Scene("", (ask(),), (STRANGE,)),
    "chunks to HTTP/1.0": Scene("", (ask(version="1.0"),), (STRANGE,)),
    "length": Scene("", (ask(),), (answer(BODY),)),
    "until the end": Scene("", (ask(),), (b"HTTP/1.1 200 OK\r\n\r\n" + BODY,), ends=True),
    "small": Scene("", (ask(),), (answer(MESSAGE),)),
}
_framings = pytest.mark.parametrize("scene", FRAMINGS.values(), ids=FRAMINGS)


def told(record: Record) -> tuple[object, ...]:
    """Return what the record says of the usage."""
    return record.usage, record.input_tokens, record.output_tokens, record.ending


def played(scene: Scene, *cuts: int) -> Record:
    """Play *scene* and return its record."""
    play = Play(scene)
    play.asks(*scene.asks)
    play.answers(cuts)
    play.check_end()
    [record] = play.bed.records
    return record


@_framings
def test_every_cut(scene: Scene) -> None:
    """However an answer is framed and cut, its usage is read."""
    for at in range(len(scene.answers[0])):
        assert ("final", 7, 9, Ending.COMPLETE) == told(played(scene, at)), at


@_framings
def test_byte_by_byte(scene: Scene) -> None:
    """Also where every byte comes by itself."""
    got = played(scene, *range(len(scene.answers[0])))

    assert ("final", 7, 9, Ending.COMPLETE) == told(got)


@_framings
def test_cut_off(scene: Scene) -> None:
    """Where the upstream breaks off, what had come by then is in the record."""
    whole = scene.answers[0]
    for at in range(whole.index(b"\r\n\r\n") + 4, len(whole)):
        bed = Bed()
        play = Play(scene, bed)
        play.asks(*scene.asks)
        wire = play.asked()
        assert wire is not None
        for piece in cut(whole[:at], [at // 2]):
            wire.sends(piece)
            bed.turns.settle()
        wire.resets()
        bed.turns.settle()
        [record] = bed.records
        started = record.usage != "none"

        assert (7 if started else None) == record.input_tokens
        assert record.usage in (
            ("none",) if scene.answers[0].endswith(MESSAGE) else ("none", "partial", "final")
        )
        assert Ending.UPSTREAM_BROKE == record.ending


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_surplus_is_not_seen(surplus: bytes) -> None:
    """What comes behind the end of a body is none of it."""
    for scene in (FRAMINGS["chunks"], FRAMINGS["length"]):
        bed = Bed()
        play = Play(scene, bed)
        play.asks(*scene.asks)
        wire = play.asked()
        assert wire is not None
        whole = scene.answers[0]
        at = whole.index(EVENTS[-1]) - 4
        wire.sends(whole[:at])
        bed.turns.settle()
        wire.sends(whole[at:] + surplus)
        bed.turns.settle()
        [record] = bed.records

        assert (Ending.UPSTREAM_BROKE, "partial") == (record.ending, record.usage)


def test_meter_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter's bug costs its exchange the usage, and nobody a byte; it is counted."""

    def fails(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr("passgate.core.messages_meter.blocks", fails)
    monkeypatch.setattr("passgate.core.messages_meter.told_in", fails)
    for number, scene in enumerate(FRAMINGS.values(), 1):
        play = Play(scene)
        play.asks(*scene.asks)
        play.answers([150])
        play.check_end()
        [record], [response] = play.bed.records, play.responses()
        failures = play.bed.meters.failures

        assert (Ending.COMPLETE, "none", None) == (record.ending, record.usage, record.input_tokens)
        assert response.body == (MESSAGE if number == len(FRAMINGS) else BODY)
        assert 1 == failures
        assert [] == play.bed.bugs
