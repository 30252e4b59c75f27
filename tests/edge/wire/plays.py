"""Requests, responses and who plays them; see ``test_machines.py`` for the plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passgate.core.settings import Limits
from tests import strict
from tests.edge.wire.bed import KEY, Bed, Wire, check_end, cut, responses_to
from tests.strict import Message

BODY = b'{"model":"claude-x","stream":true}'


EVENTS = b"event: a\ndata: 1\n\n", b"event: b\ndata: 22\n\n"


FILES = "/v1/files?purpose=x"


CHUNKED = "Transfer-Encoding: Chunked"


EXPECT = "Expect: 100-continue"


LONG = bytes(range(256)) * 20


LONG_EVENTS = [b"x" * size for size in (1, 700, 30, 255, 256, 257, 2000, 5, 900)]


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


TWO = Scene("two", (ask(), ask()), (answer(), answer(b"2")))


def reused(bed: Bed, play: Play) -> Wire:
    """Serve one exchange and return the upstream's connection, used and idle."""
    play.asks(ask())
    play.answers()
    [wire] = bed.upstreams
    return wire
