"""The connections of both sides together: cut, stopped, left and stalled at any moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passgate.core.exchange import Record
from tests import strict
from tests.edge.wire.bed import Bed, Wire, cut
from tests.edge.wire.plays import (
    BODY,
    CHUNKED,
    EVENTS,
    EXPECT,
    FILES,
    LIMITS,
    LONG,
    LONG_EVENTS,
    Play,
    Scene,
    answer,
    ask,
    stream,
)
from tests.strict import Message

CLOSE = b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end"


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"


SCENES = (
    Scene("small", (ask(),), (answer(),)),
    Scene("stream", (ask(),), (stream(*EVENTS),)),
    Scene(
        "extensions and trailers",
        (ask(),),
        (stream(*EVENTS, extension=b";a=b", trailer=b"X-T: 1\r\nX-U: 2\r\n"),),
    ),
    Scene("until the end", (ask(),), (CLOSE,), ends=True),
    Scene("HTTP/1.0 upstream", (ask(),), (answer().replace(b"/1.1", b"/1.0", 1),), ends=True),
    Scene("connection: close", (ask(),), (answer(b"x", "Connection: close"),), ends=True),
    Scene("interim", (ask(),), (INTERIM + answer(),)),
    Scene("no content", (ask(),), (b"HTTP/1.1 204 No Content\r\n\r\n",)),
    Scene("not modified", (ask(b"", "/v1/x", method="GET"),), (answer(b"", status="304 N"),)),
    Scene("head", (ask(b"", "/v1/x", method="HEAD"),), (answer(b"hello")[:-5],)),
    Scene("empty", (ask(),), (answer(b""),)),
    Scene("nothing, coded", (ask(b"", "/v1/messages", "Content-Encoding: gzip"),), (answer(),)),
    Scene("error", (ask(),), (answer(b"{}", status="529 Overloaded"),)),
    Scene("chunked ask", (ask(BODY, "/v1/messages", CHUNKED),), (answer(),)),
    Scene("upload", (ask(b"0123456789" * 3, FILES),), (answer(),)),
    Scene("chunked upload", (ask(b"0123456789" * 3, FILES, CHUNKED),), (answer(),)),
    Scene("expected upload", (ask(b"01234", FILES, EXPECT),), (answer(),), framing_varies=True),
    Scene(
        "expected chunks", (ask(b"0", FILES, EXPECT, CHUNKED),), (answer(),), framing_varies=True
    ),
    Scene("expected ask", (ask(BODY, "/v1/messages", EXPECT),), (answer(),), framing_varies=True),
    Scene("native", (ask(b"{}", "/v1beta/models/gemini-x:generateContent"),), (answer(),)),
    Scene("renamed", (ask(b'{"model" : "old-x", "a":1}'),), (answer(),)),
    Scene("HTTP/1.0 client", (ask(version="1.0"),), (answer(),)),
    Scene("HTTP/1.0 client, stream", (ask(version="1.0"),), (stream(*EVENTS),)),
    Scene("local", (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",), ()),
    Scene("no key", (ask(key=None),), (), framing_varies=True),
    Scene("no path", (ask(b"", "/nowhere", method="GET"),), ()),
    Scene("bad JSON", (ask(b'{"model":'),), (answer(b"no", status="400 Bad Request"),)),
    Scene("two models", (ask(b'{"model":"a","model":"b"}'),), ()),
    Scene("bad chunk", (ask(b"", FILES, CHUNKED)[:-5] + b"zz\r\n",), (), framing_varies=True),
    Scene(
        "pipelined",
        (
            ask(),
            ask(b"", "/v1/x", method="GET"),
            ask(BODY, "/v1/messages", CHUNKED),
            b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
            ask(b"12345", FILES),
            ask(b"", "/v1/x", method="HEAD"),
            ask(),
        ),
        (
            answer(b"HTTP/1.1 200 OK\r\n\r\n"),
            stream(*EVENTS),
            answer(b"3"),
            answer(b"HTTP/1.1 201 No\r\nContent-Length: 0\r\n\r\n"),
            answer(b"hello")[:-5],
            stream(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        ),
    ),
)


by_name = pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one play came to, without what depends on time."""

    up: tuple[Message, ...]
    down: tuple[Message, ...]
    raw: bytes
    closed: bool
    records: tuple[Record, ...]


def timeless(record: Record) -> Record:
    """Return *record* without its times."""
    return msgspec.structs.replace(
        record, queued_ms=None, ttfb_ms=None, first_token_ms=None, duration_ms=0.0
    )


def outcome(play: Play) -> Outcome:
    """Return what *play* came to; check that nothing is left of it."""
    play.bed.at_rest()
    varies, down = play.scene.framing_varies, play.responses()
    if varies:
        down = [
            Message(m.line, tuple(f for f in m.fields if f[0] != b"connection"), m.body, m.complete)
            for m in down
            if m.status >= 200
        ]
    return Outcome(
        tuple(m for wire in play.bed.upstreams for m in strict.requests(bytes(wire.got))),
        tuple(down),
        b"" if varies else bytes(play.client.got),
        False if varies else play.client.ended,
        tuple(map(timeless, play.bed.records)),
    )


def played(scene: Scene, asks: Sequence[int] = (), answers: Sequence[int] = ()) -> Outcome:
    """Play a scene with requests and responses cut at the given places."""
    play = Play(scene)
    for piece in cut(scene.sent, asks):
        play.asks(piece)
        play.answers(answers)
    return outcome(play)


@by_name
def test_scene(scene: Scene) -> None:
    """Uncut, each scene is served to its end: one whole response for each request."""
    got = played(scene)
    final = [message for message in got.down if message.status >= 200]

    assert (len(scene.asks), len(scene.answers)) == (len(final), len(got.up))
    assert all(message.complete for message in (*got.up, *got.down))


@by_name
def test_cut_requests(scene: Scene) -> None:
    """Wherever the network cuts a request, both sides get the same bytes, and so the record."""
    expected = played(scene)

    for at in range(1, len(scene.sent)):
        assert expected == played(scene, asks=[at]), at


@by_name
def test_cut_responses(scene: Scene) -> None:
    """Wherever the network cuts a response, both sides get the same bytes, and so on."""
    expected = played(scene)

    for at in range(1, max(map(len, scene.answers), default=0)):
        assert expected == played(scene, answers=[at]), at


@by_name
def test_bytes_one_by_one(scene: Scene) -> None:
    """Nor does it matter when every byte comes alone."""
    every = range(4096)

    assert played(scene) == played(scene, every, every)


def cuts_of(longest: int) -> st.SearchStrategy[list[int]]:
    """Return a few places to cut at."""
    return st.lists(st.integers(1, longest), max_size=6)


@given(
    scene=st.sampled_from(SCENES),
    asks=cuts_of(1500),
    answers=cuts_of(200),
)
@settings(max_examples=300, deadline=None)
def test_any_cuts(scene: Scene, asks: list[int], answers: list[int]) -> None:
    """Nor in how many pieces requests and responses come together."""
    assert played(scene) == played(scene, asks, answers)


Stop = Callable[[Play], None]


# The end, by anybody, at any moment.


def _leaves(play: Play) -> None:
    play.client.ends()


def _resets(play: Play) -> None:
    play.client.resets()


def _upstream_ends(play: Play) -> None:
    for wire in play.bed.upstreams:
        wire.ends()


def _upstream_resets(play: Play) -> None:
    for wire in play.bed.upstreams:
        wire.resets()


def _all_at_once(play: Play) -> None:
    _upstream_resets(play)
    _leaves(play)


def _drained(play: Play) -> None:
    play.bed.listener.stop_exchanges()


def _silence(play: Play) -> None:
    play.bed.passes(12)


def _stalled(play: Play) -> None:
    """Let nobody take anything, then time pass."""
    for wire in (play.client, *play.bed.upstreams):
        wire.stalled = True
    play.bed.passes(12)


STOPS: tuple[Stop, ...] = (
    _leaves,
    _resets,
    _upstream_ends,
    _upstream_resets,
    _all_at_once,
    _drained,
    _silence,
    _stalled,
)


by_stop = pytest.mark.parametrize("stop", STOPS, ids=[stop.__name__[1:] for stop in STOPS])


@by_stop
@by_name
def test_stop_while_asking(scene: Scene, stop: Stop) -> None:
    """Whatever ends at whatever byte of a request: no exchange runs on, each has one record."""
    for at in range(len(scene.sent) + 1):
        play = Play(scene, Bed(limits=LIMITS))
        play.asks(scene.sent[:at])
        play.bed.dialled()
        stop(play)
        play.bed.turns.settle()
        if stop not in (_upstream_ends, _upstream_resets):
            for _ in scene.asks:  # what was sent ahead begins when what is before it has ended
                stop(play)
                play.bed.unreachable()
            play.bed.at_rest()
        play.asks(scene.sent[at:])
        play.client.ends()
        play.check_end()


@by_stop
@by_name
def test_stop_while_answering(scene: Scene, stop: Stop) -> None:
    """Whatever ends at whatever byte of a response: the same, and what was cut looks cut."""
    for at in range(max(map(len, scene.answers), default=0) + 1):
        play = Play(scene, Bed(limits=LIMITS))
        play.asks(scene.sent)
        if wire := play.asked():
            wire.sends(scene.answers[0][:at])
        stop(play)
        play.bed.turns.settle()
        play.check_end()


@by_name
def test_client_leaves_while_dialling(scene: Scene) -> None:
    """A client that leaves while its upstream is dialled stops the dial, or what came of it."""
    for late in (False, True):
        play = Play(scene)
        play.asks(scene.sent)
        dials = play.bed.dials
        for dial in dials if late else ():
            dial.ends(play.bed.connection()[1])
        play.client.resets()
        play.check_end()

        assert all(dial.done for dial in dials)
        assert all(wire.closed for wire in play.bed.upstreams)


HIGH_BYTES = 256


# Back-pressure.

BIG_SCENES = (
    Scene("download", (ask(),), (answer(LONG),)),
    Scene("stream", (ask(), ask()), (stream(*LONG_EVENTS, trailer=b"X-T: 1\r\n"), answer())),
    Scene("until the end", (ask(),), (CLOSE + LONG,), ends=True),
    Scene("HTTP/1.0 client", (ask(version="1.0"),), (stream(*LONG_EVENTS),)),
    Scene("upload", (ask(LONG, FILES), ask(LONG, FILES)), (answer(LONG), answer())),
    Scene("chunks", (ask(LONG, FILES, CHUNKED), ask()), (answer(LONG), stream(*LONG_EVENTS))),
    Scene("held", (ask(BODY + b" " * 5000),), (answer(LONG),)),
)


class SlowPlay(Play):
    """A scene of which each side sends and takes a little at a time.

    Attributes:
        moves: What can happen, by name; each takes a number of bytes.
    """

    def __init__(self, scene: Scene) -> None:
        bed = Bed()
        bed.high_bytes = HIGH_BYTES
        super().__init__(scene, bed)
        self._wire: Wire | None = None
        self._to_ask, self._to_answer = scene.sent, b""
        self.moves: dict[str, Callable[[int], None]] = {
            "ask": self.ask,
            "answer": self.answer_on,
            "client takes": self.client.takes,
            "upstreams take": lambda size: self._upstreams(lambda wire: wire.takes(size)),
            "client stalls": lambda _: setattr(self.client, "stalled", True),
            "upstreams stall": lambda _: self._upstreams(lambda w: setattr(w, "stalled", True)),
        }

    def _upstreams(self, does: Callable[[Wire], None]) -> None:
        for wire in self.bed.upstreams:
            does(wire)

    def ask(self, size: int) -> None:
        """Have the client send the next bytes."""
        self.asks(self._to_ask[:size])
        self._to_ask = self._to_ask[size:]

    def answer_on(self, size: int) -> None:
        """Have an upstream send the next bytes of an answer, if it was asked for one."""
        if not self._to_answer and (wire := self.asked()):
            self._wire, self._to_answer = wire, self.answer()
        if self._wire and self._to_answer:
            self._wire.sends(self._to_answer[:size])
            self._to_answer = self._to_answer[size:]

    def check_held(self) -> None:
        """Check that little waits to be sent to anybody; a held body is held by intent."""
        waiting = [self.client.get_write_buffer_size()]
        if self.scene.name != "held":
            self._upstreams(lambda wire: waiting.append(wire.get_write_buffer_size()))

        assert max(waiting) <= HIGH_BYTES + MOST_BYTES + 300

    def finish(self) -> None:
        """Have everybody take and send all that is left."""
        self.client.takes()
        self._upstreams(Wire.takes)
        self.bed.turns.settle()
        if self._wire and self._to_answer:
            self._wire.sends(self._to_answer)
            self.bed.turns.settle()
            if self.scene.ends:
                self._wire.ends()
        self.asks(self._to_ask)
        self.answers()


MOST_BYTES = 500


MOVES = sorted(SlowPlay(BIG_SCENES[0]).moves)


@given(
    scene=st.sampled_from(BIG_SCENES),
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(1, MOST_BYTES)), max_size=80),
)
@settings(max_examples=300, deadline=None)
def test_back_pressure(scene: Scene, moves: list[tuple[str, int]]) -> None:
    """However slowly each side reads, nothing is lost and little is held."""
    play = SlowPlay(scene)
    for move, size in moves:
        play.moves[move](size)
        play.bed.turns.settle()
        play.check_held()
    play.finish()

    assert played(scene) == outcome(play)


@pytest.mark.parametrize(
    "raw", [answer(), answer(b""), stream(*EVENTS)], ids=["length", "empty", "chunks"]
)
def test_paused_upstream_is_pooled_reading(raw: bytes) -> None:
    """A connection that was paused for a slow client reads again before anybody reuses it."""
    for at in range(1, len(raw) + 1):
        bed = Bed()
        bed.high_bytes = 8
        play = Play(Scene("", (ask(), ask()), ()), bed)
        play.asks(ask())
        wire = play.asked()
        assert wire is not None
        play.client.stalled = True
        wire.sends(*cut(raw, [at]))
        bed.turns.settle()
        play.client.takes()  # an end that was held back comes only now
        bed.turns.settle()
        bed.at_rest()

        assert not wire.closed
