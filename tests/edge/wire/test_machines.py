"""The connections of both sides together: cut, stopped, left and stalled at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passgate.core.exchange import Record
from passgate.core.settings import Limits
from tests import strict
from tests.edge.wire.bed import KEY, Bed, Wire, cut
from tests.strict import Message

BODY = b'{"model":"claude-x","stream":true}'
EVENTS = b"event: a\ndata: 1\n\n", b"event: b\ndata: 22\n\n"
LIMITS = Limits(
    first_byte_s=2, idle_s=2, client_head_s=2, client_body_idle_s=2, client_stall_s=2, keep_alive_s=3
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

    @property
    def sent(self) -> bytes:
        """All that the client sends."""
        return b"".join(self.asks)

    @property
    def methods(self) -> list[str]:
        """The method of each request."""
        return [each.split()[0].decode() for each in self.asks]


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
    Scene("error", (ask(),), (answer(b"{}", status="529 Overloaded"),)),
    Scene("chunked ask", (ask(BODY, "/v1/messages", CHUNKED),), (answer(),)),
    Scene("upload", (ask(b"0123456789" * 3, FILES),), (answer(),)),
    Scene("chunked upload", (ask(b"0123456789" * 3, FILES, CHUNKED),), (answer(),)),
    Scene("expected upload", (ask(b"01234", FILES, EXPECT),), (answer(),), framing_varies=True),
    Scene("expected chunks", (ask(b"0", FILES, EXPECT, CHUNKED),), (answer(),), framing_varies=True),
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
            whole = [each for each in strict.requests(bytes(wire.got)) if each.complete]
            if len(whole) > self._answered.get(wire, 0):
                self._answered[wire] = len(whole)
                return wire
        return None

    def answers(self, cuts: Sequence[int] = ()) -> None:
        """Have the upstreams answer all that was asked."""
        while wire := self.asked():
            for piece in cut(next(self._answers), cuts):
                wire.sends(piece)
                self.bed.turns.settle()
            if self.scene.ends:
                wire.ends()
                self.bed.turns.settle()

    def responses(self) -> list[Message]:
        """Return what the client got."""
        closed = self.client.ended and not self.client.reset
        return strict.responses(bytes(self.client.got), self.scene.methods, closed=closed)


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
    """Wherever the network cuts a request, both sides get the same bytes, and the record says so."""
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


def check_end(play: Play) -> None:
    """Check that a play which was stopped has ended, and that nothing looks better than it was."""
    play.bed.at_rest()
    served = [r for r in play.bed.records if r.route is not None]
    got = [m for m in play.responses() if m.status >= 200]
    whole = sum(message.complete for message in got)
    local = len(play.bed.begun) - play.bed.exchanges
    answered = [r for r in play.bed.records if r.ending.value in ("complete", "refused")]
    lost = play.client.lost
    assert whole - local <= len(answered) + sum(
        r.status is not None and r.error is not None for r in play.bed.records
    )
    if not lost:
        assert len([r for r in served if r.ending.value == "complete"]) <= whole


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
        play.asks(scene.sent[at:])
        play.client.ends()
        check_end(play)


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
        check_end_of(play, at)
        play.client.ends()
        check_end(play)


def check_end_of(play: Play, at: int) -> None:
    """Check that the first response is whole just where its record says so."""
    if not play.bed.records or play.bed.records[0].route is None:
        return
    final = [m for m in play.responses() if m.status >= 200]
    whole = bool(final) and final[0].complete
    record = play.bed.records[0]
    if record.ending.value == "complete" and not play.client.stalled:
        assert whole, at
    if record.ending.value != "complete" and record.ttfb_ms is not None:
        assert not whole, at
