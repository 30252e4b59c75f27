"""The connections of both sides together: cut, stopped, left and stalled at any moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passgate.core.exchange import Record
from passgate.core.settings import Limits
from tests import strict
from tests.edge.wire.bed import KEY, Bed, Wire, check_end, cut, responses_to
from tests.strict import Message

BODY = b'{"model":"claude-x","stream":true}'
EVENTS = b"event: a\ndata: 1\n\n", b"event: b\ndata: 22\n\n"
LIMITS = Limits(
    first_byte_s=2,
    idle_s=2,
    client_head_s=2,
    client_body_idle_s=2,
    client_stall_s=2,
    keep_alive_s=3,
)


def ask(
    body: bytes = BODY,
    path: str = "/v1/messages",
    *fields: str,
    method: str = "POST",
    version: str = "1.1",
    key: bytes | None = KEY,
) -> bytes:
    """Return a whole request; *fields* that frame the body stand for its content-length."""
    lines = [f"{method} {path} HTTP/{version}", "Host: gateway", "X-Odd_Case: kept"]
    if key is not None:
        lines.append(f"X-Api-Key: {key.decode()}")
    framed = any(field.lower().startswith("transfer-encoding") for field in fields)
    length = [] if framed or (method != "POST" and not body) else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, *fields, *length]).encode() + b"\r\n\r\n"
    return head + (chunked(body) if framed else body)


def chunked(*data: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """Return *data* as chunks."""
    sized = (b"%x%s\r\n%s\r\n" % (len(each), extension, each) for each in data if each)
    return b"".join(sized) + b"0%s\r\n%s\r\n" % (extension, trailer)


def answer(body: bytes = b"hello", *fields: str, status: str = "200 OK") -> bytes:
    """Return a response with a content-length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/plain", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def stream(*data: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """Return a chunked response."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Rate: 1\r\nx-rate: 2\r\n\r\n"
    return head + chunked(*data, extension=extension, trailer=trailer)


@dataclass(frozen=True, slots=True)
class Scene:
    """Requests of one client on one connection, and what the upstreams answer to them.

    Attributes:
        name: What is special.
        asks: The requests, in order.
        answers: The responses, in order, to those that reach an upstream.
        ends: Whether the upstream closes its connection after each response.
        framing_varies: Whether a cut may change what frames our response: whether an
            interim one precedes it, and whether the connection lasts.
    """

    name: str
    asks: tuple[bytes, ...]
    answers: tuple[bytes, ...]
    ends: bool = False
    framing_varies: bool = False

    def __repr__(self) -> str:
        return f"Scene({self.name})"

    @property
    def sent(self) -> bytes:
        """All that the client sends."""
        return b"".join(self.asks)


FILES = "/v1/files?purpose=x"
CHUNKED = "Transfer-Encoding: Chunked"
EXPECT = "Expect: 100-continue"
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


class Play:
    """A scene as it is played.

    Attributes:
        bed: Where.
        client: The wire to the client.
    """

    def __init__(self, scene: Scene, bed: Bed | None = None) -> None:
        self.scene = scene
        self.bed = bed or Bed()
        self.client = self.bed.client()
        self._answers = iter(scene.answers)
        self._answered: dict[Wire, int] = {}

    def asks(self, *pieces: bytes) -> None:
        """Have the client send *pieces*, in a turn each."""
        for piece in pieces:
            self.client.sends(piece)
            self.bed.turns.settle()

    def asked(self) -> Wire | None:
        """Return an upstream that has got a whole request which nobody answered, or None."""
        self.bed.dialled()
        for wire in self.bed.upstreams:
            if wire.closed:
                continue
            whole = [each for each in strict.requests(bytes(wire.got)) if each.complete]
            if len(whole) > self._answered.get(wire, 0):
                self._answered[wire] = len(whole)
                return wire
        return None

    def answers(self, cuts: Sequence[int] = ()) -> None:
        """Have the upstreams answer all that was asked."""
        while wire := self.asked():
            for piece in cut(self.answer(), cuts):
                wire.sends(piece)
                self.bed.turns.settle()
            if self.scene.ends:
                wire.ends()
                self.bed.turns.settle()

    def answer(self) -> bytes:
        """Return the next response of the scene."""
        return next(self._answers)

    def responses(self) -> list[Message]:
        """Return what the client got."""
        return responses_to(self.client, self.bed)

    def check_end(self) -> None:
        """Check that all has ended well, also what is still being dialled."""
        self.bed.unreachable()
        check_end(self.bed, self.client)


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


# The end, by anybody, at any moment.

Stop = Callable[[Play], None]


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


# Back-pressure.

LONG = bytes(range(256)) * 20
LONG_EVENTS = [b"x" * size for size in (1, 700, 30, 255, 256, 257, 2000, 5, 900)]
HIGH_BYTES = 256
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
        super().__init__(scene, Bed())
        self.bed.high_bytes = HIGH_BYTES
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

        assert max(waiting) <= HIGH_BYTES + 2 * MOST_BYTES + 300

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


def test_paused_upstream_is_pooled_reading() -> None:
    """A connection that was paused for a slow client reads again before anybody reuses it."""
    bed = Bed()
    bed.high_bytes = 8
    play = Play(Scene("", (ask(),), ()), bed)
    play.asks(ask())
    wire = play.asked()
    assert wire is not None
    play.client.stalled = True
    head, body = answer(b"0123456789").split(b"\r\n\r\n")
    wire.sends(head + b"\r\n\r\n" + body[:5])
    bed.turns.settle()
    paused = wire.reading
    play.client.takes(40)
    wire.sends(body[5:])
    play.client.takes()
    bed.turns.settle()
    bed.at_rest()

    assert (False, True) == (paused, wire.reading)


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


# Reuse.


def reused(bed: Bed, play: Play) -> Wire:
    """Serve one exchange and return the upstream's connection, used and idle."""
    play.asks(ask())
    play.answers()
    [wire] = bed.upstreams
    return wire


TWO = Scene("two", (ask(), ask()), (answer(), answer(b"2")))


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
    bed.dials[0].ends(connection)
    wire.ends()
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


# Answers that come early, or too much of them.


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


# The client's side alone.


def test_half_close_behind_a_request_that_is_answered_at_once() -> None:
    """The answer that was given before the FIN was seen is sent before the connection ends."""
    bed = Bed()
    client = bed.client()
    client.sends(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    client.ends()
    bed.turns.settle()

    assert client.got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.ended


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
