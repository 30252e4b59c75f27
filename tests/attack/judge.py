"""What a gateway made of an attack: refused it, passed it on in order, or got it wrong.

The same judgement for every gateway, from what its two sides saw and nothing else. It is
lenient where the standards are: who passes an odd request on as one valid one does no harm.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count

from tests import strict
from tests.attack.answers import Said
from tests.attack.requests import Attack
from tests.attack.tap import Line
from tests.attack.targets import BODY_S, HEAD_S, Target

# After the limits that the targets have, and before a person loses patience.
PATIENCE_S = 2.0 + HEAD_S + BODY_S
_QUIET_S = 0.02
# Nothing in an answer is worth waiting for: it is all there.
_ANSWER_S = 1.0
_PROBES = count(1)
_FIRST_ERROR, _OURS = 400, 500


class Verdict(Enum):
    """How it went."""

    REFUSED = "refused"
    CLEANED = "passed on in order"
    WRONG = "wrong"


@dataclass(frozen=True)
class Outcome:
    """A verdict, and why."""

    verdict: Verdict
    why: str = ""


REFUSED, CLEANED = Outcome(Verdict.REFUSED), Outcome(Verdict.CLEANED)


def wrong(why: str) -> Outcome:
    """Return that it went wrong, and why."""
    return Outcome(Verdict.WRONG, why)


@dataclass(frozen=True)
class Got:
    """All that a client was sent, and how it ended: ``fin``, ``reset`` or ``open``."""

    data: bytes
    end: str
    method: str = "POST"

    def responses(self) -> list[strict.Message]:
        """Return the final responses.

        Raises:
            strict.NotStrict: They are no valid HTTP.
        """
        closed = self.end == "fin"
        found = strict.responses(self.data, [self.method] * 9, closed=closed)
        return [each for each in found if each.status >= 200]

    @property
    def answered(self) -> bool:
        """Whether the last thing said is a whole response."""
        with contextlib.suppress(strict.NotStrict):
            found = self.responses()
            return bool(found) and found[-1].complete
        return False


def send(target: Target, pieces: Sequence[bytes], within_s: float = PATIENCE_S) -> Got:
    """Send *pieces* on a connection of their own; return what came of it."""
    with target.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return say(connection, pieces, within_s)


def say(
    connection: socket.socket,
    pieces: Sequence[bytes],
    within_s: float = PATIENCE_S,
    *,
    alone: bool = False,
) -> Got:
    """Send *pieces* on *connection*; return what comes until it ends or nothing more does.

    Args:
        connection: A connection to a target.
        pieces: What to send, one after the other.
        within_s: How long to wait.
        alone: Whether one whole answer is enough, and nothing can come behind it.
    """
    with contextlib.suppress(ConnectionError, TimeoutError):
        for piece in pieces:
            connection.sendall(piece)
    data, until = bytearray(), time.monotonic() + within_s
    method = "HEAD" if pieces[0].startswith(b"HEAD ") else "POST"
    got = Got(b"", "open", method)
    while time.monotonic() < until:
        connection.settimeout(_QUIET_S)
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            if got.answered:
                return got
            continue
        except ConnectionError:
            return Got(bytes(data), "reset", method)
        if not piece:
            return Got(bytes(data), "fin", method)
        data += piece
        got = Got(bytes(data), "open", method)
        if alone and got.answered:
            return got
    return got


def probed(target: Target, connection: socket.socket | None = None) -> str:
    """Ask something ordinary; return what was wrong with the answer."""
    name = f"p{next(_PROBES)}"
    fields = f"Host: h\r\nX-Api-Key: {target.keys.key}\r\nX-Probe: {name}\r\n\r\n"
    raw = f"GET /v1/models HTTP/1.1\r\n{fields}".encode()
    with contextlib.ExitStack() as stack:
        where = connection or stack.enter_context(target.connect())
        got = say(where, [raw], alone=True)
    try:
        found = got.responses()
    except strict.NotStrict as error:
        return f"the next answer is no HTTP: {error}"
    if not found and got.end != "open" and connection is not None:
        return ""  # it was being closed, which is fine
    if [each.status for each in found] != [200]:
        return f"the next request got {[each.status for each in found]}"
    if found[0].body != b'{"probe":"%s"}' % name.encode():
        return "the next request got another one's answer"
    return ""


def upstream_saw(target: Target) -> list[strict.Message]:
    """Return the requests that reached the upstream, but for the probes.

    Raises:
        strict.NotStrict: They are no valid HTTP.
    """
    found = [each for data in target.tap.sent() for each in strict.requests(data, cut=True)]
    return [each for each in found if not each.get(b"x-probe")]


def request_row(target: Target, row: Attack) -> Outcome:
    """Judge a request that is not what it seems."""
    key = target.keys.key.encode()
    target.tap.begin()
    got = send(target, [piece.replace(b"<key>", key) for piece in row.sent])
    return request_judged(target, got, must_refuse=row.code == "route")


def request_judged(target: Target, got: Got, *, must_refuse: bool) -> Outcome:
    """Judge what came of one request."""
    if problem := probed(target) or leaked(target, got):
        return wrong(problem)
    try:
        answers, passed = got.responses(), upstream_saw(target)
    except strict.NotStrict as error:
        return wrong(f"no valid HTTP: {error}")
    if len(answers) > 1 or len(passed) > 1:
        return wrong("one message became two")
    if passed:
        if must_refuse:
            return wrong("it was passed on")
        if not passed[0].complete and answers and answers[0].status < _FIRST_ERROR:
            return wrong("answered though its body did not arrive")
        return CLEANED if passed[0].complete else REFUSED
    if got.end == "open" and not answers:
        return wrong(f"no answer within {PATIENCE_S:g} s")
    return REFUSED


def leaked(target: Target, got: Got) -> str:
    """Return which secret is where it must not be, or nothing."""
    keys = target.keys
    if keys.credential.encode() in got.data:
        return "the credential reached the client"
    sent = b"".join(target.tap.sent())
    for key in (keys.key, keys.other, keys.expired):
        if key.encode() in sent:
            return "the client's key reached the upstream"
    return ""


def answer_row(target: Target, row: Said) -> Outcome:
    """Judge an answer that is not what it seems."""

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        line.send(row.answer)
        if row.then == "reset":
            line.reset()
        elif row.then == "fin":
            line.socket.close()

    target.tap.begin(script)
    with target.connect() as connection:
        got = say(connection, [ask(target)], _ANSWER_S)
        if got.end == "open" and got.answered and (problem := probed(target, connection)):
            return wrong(problem)
    if problem := probed(target) or leaked(target, got):
        return wrong(problem)
    asked = [head for head in target.tap.heads if b"X-Probe" not in head]
    if len(asked) > 1:
        return wrong(f"it was asked {len(asked)} times")
    return _answer_judged(got, row)


def _answer_judged(got: Got, row: Said) -> Outcome:
    if b"evil" in got.data:
        return wrong("what nobody asked for was passed on")
    try:
        found = got.responses()
    except strict.NotStrict as error:
        # Whoever is cut off in the middle of a message has not been deceived.
        return REFUSED if got.end != "open" else wrong(f"no valid HTTP: {error}")
    if len(found) > 1:
        return wrong("one answer became two")
    if not found and got.end == "open":
        return wrong(f"no answer within {_ANSWER_S:g} s")
    if not found or not found[0].complete:
        return REFUSED if got.end != "open" else wrong("a broken answer was left open")
    if found[0].status >= _OURS:
        return REFUSED
    if not row.answer.startswith(b"HTTP/1."):
        return wrong("what is no HTTP became an answer")
    return wrong("a broken body looks whole") if row.broken else CLEANED


def ask(target: Target, *fields: str, body: bytes = b'{"model":"claude-a"}') -> bytes:
    """Return an ordinary request."""
    lines = [
        "POST /v1/messages HTTP/1.1",
        "Host: h",
        f"X-Api-Key: {target.keys.key}",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
