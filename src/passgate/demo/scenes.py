"""How the simulated upstream behaves: each scene sends the answer to one call.

A scene is asked for by the ``model`` of the request's body, so that it works through a
gateway, or by the field ``x-demo-scene``, so that any request can. Its name may start with
``claude-``, and its numbers follow it. What names no scene gets the ordinary answer.

==============================================  =========================================
text-N, thinking, tool, refusal, max-tokens     what the message holds, and why it stops
big-N                                           N bytes of JSON, or of text in events
pings                                           pings, comments, unknown events in between
slow-R-N                                        N words, R events per second
first-byte-MS, silent, hang                     late; only the first event; not even a head
cut-N, reset-N, cut-length                      FIN or RST after N events; a length too long
error-CODE, error-html-CODE, mid-error-N        in the envelope; from a CDN; after N events
early-CODE                                      an error before the body was read
gzip, deflate                                   a coded body, flushed event by event
echo, echo-credential                           the head in the body; the credential in x-echo
head-dup, interim, trailers                     rare but right: fields, 103, trailer fields
http10, close, no-length                        the ways to end with the connection
fin, race                                       an idle connection ends; so does a second request
surplus, huge-head                              bytes after the end; 128 KiB of fields
bad-status, bad-chunk, bad-name, obs-fold       no correct HTTP/1.1
two-lengths, length-and-chunked                 no correct HTTP/1.1 either
==============================================  =========================================
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import chain, islice

from passgate.demo.content import SPOKEN, Scene
from passgate.demo.replies import ALTERED, Call, reason_of
from passgate.demo.told import usage_in
from passgate.demo.wire import Connection, Fields, Head, Reply

_EARLY_MODEL = re.compile(rb'"model"\s*:\s*"((?:claude-)?early-[0-9]+)"')
_CHUNKED = (b"Transfer-Encoding", b"chunked")
_SLICE_BYTES = 16
_RATE_LIMITS = {
    b"requests": (4000, 3999),
    b"tokens": (2_400_000, 2_399_000),
    b"input-tokens": (2_000_000, 1_999_000),
    b"output-tokens": (400_000, 399_000),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene plays with.

    Attributes:
        reply: The ordinary answer to the call.
        pace_s: Seconds before each part of its body.
        told: The usage that was told so far.
    """

    connection: Connection
    call: Call
    reply: Reply
    pace_s: float
    told: dict[str, int] = field(default_factory=dict)

    def number(self, index: int, default: int) -> int:
        """Return a number of the scene's name."""
        return self.call.scene.number(index, default)

    async def send(self, reply: Reply) -> None:
        """Send *reply* as a correct response."""
        if reply.length is not None:
            await self.begin(reply, (b"Content-Length", b"%d" % reply.length))
            await self.play(reply.parts)
        elif self.call.head.version == b"HTTP/1.0":
            await self.until_closed(reply)
        else:
            await self.begin(reply, _CHUNKED)
            await self.play(chain(map(chunk, reply.parts), [chunk(b"")]))

    async def until_closed(self, reply: Reply, version: bytes = b"HTTP/1.1") -> None:
        """Send *reply* without framing: its end is the end of the connection."""
        self.connection.ending = True
        await self.connection.send(self.head(reply, version=version))
        await self.play(reply.parts)

    async def begin(self, reply: Reply, *framing: tuple[bytes, bytes]) -> None:
        """Send the head of *reply*."""
        await self.connection.send(self.head(reply, *framing))

    def head(
        self, reply: Reply, *framing: tuple[bytes, bytes], version: bytes = b"HTTP/1.1"
    ) -> bytes:
        """Return the bytes of a response's head."""
        closing = [(b"Connection", b"close")] if self.connection.ending else []
        fields = [(b"Content-Type", reply.content_type), *_ordinary_fields(self.call.request_id)]
        lines = [b"%s %d %s" % (version, reply.status, reason_of(reply.status).encode())]
        lines += [b"%s: %s" % field for field in chain(fields, reply.fields, framing, closing)]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def play(self, parts: Iterable[bytes]) -> None:
        """Send a body part by part, at the pace that was asked for; HEAD is answered without."""
        if self.call.head.method == "HEAD":
            return
        for part in parts:
            if self.pace_s:
                await asyncio.sleep(self.pace_s)
            await self.connection.send(part)
            self.told.update(usage_in(part))


def scene_of(head: Head, model: object) -> Scene:
    """Return the scene that a request's field names, or else its model."""
    field = head.get(b"x-demo-scene")
    return Scene.named(model if field is None else field.decode("latin-1"))


def early_scene_of(head: Head, start: bytes) -> Scene | None:
    """Return the scene that wants no more of the body than its *start*, None without one."""
    found = _EARLY_MODEL.search(start)
    scene = scene_of(head, found[1].decode() if found else None)
    return scene if scene.name == "early" else None


def chunk(data: bytes) -> bytes:
    """Return *data* as a chunk; empty data make the last one, without trailer fields."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _ordinary_fields(request_id: str) -> Fields:
    now = datetime.now(UTC)
    reset = (now + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    fields = [
        (b"Date", format_datetime(now, usegmt=True).encode()),
        (b"request-id", request_id.encode()),
        (b"anthropic-organization-id", b"00000000-0000-4000-8000-000000000000"),
    ]
    for kind, (limit, remaining) in _RATE_LIMITS.items():
        name = b"anthropic-ratelimit-%s-" % kind
        fields += [(name + b"limit", b"%d" % limit), (name + b"remaining", b"%d" % remaining)]
        fields.append((name + b"reset", reset))
    return fields


def _sliced(reply: Reply) -> Iterator[bytes]:
    """Yield a stream's events, or of any other body pieces as small as events."""
    for part in reply.parts:
        size = len(part) if reply.is_stream else _SLICE_BYTES
        yield from (part[at : at + size] for at in range(0, len(part), size))


async def _plain(stage: Stage) -> None:
    await stage.send(stage.reply)


async def _altered(stage: Stage) -> None:
    await stage.send(ALTERED[stage.call.scene.name](stage.call, stage.reply))


async def _slow(stage: Stage) -> None:
    await replace(stage, pace_s=1 / max(1, stage.number(0, 10))).send(stage.reply)


async def _hang(_stage: Stage) -> None:
    await asyncio.Event().wait()  # the peer's hang-up cancels it


async def _silent(stage: Stage) -> None:
    await stage.begin(stage.reply, _CHUNKED)
    await stage.play(map(chunk, islice(_sliced(stage.reply), 1)))
    await _hang(stage)


async def _first_byte(stage: Stage) -> None:
    await asyncio.sleep(stage.number(0, 100) / 1000)
    await stage.send(stage.reply)


async def _cut(stage: Stage, *, reset: bool) -> None:
    await stage.begin(stage.reply, _CHUNKED)
    await stage.play(map(chunk, islice(_sliced(stage.reply), stage.number(0, 3))))
    if reset:
        await asyncio.sleep(0.01)  # so that what was sent is there before the RST
        stage.connection.abort(reset=True)
    stage.connection.ending = True


async def _cut_length(stage: Stage) -> None:
    body = b"".join(stage.reply.parts)
    await stage.begin(stage.reply, (b"Content-Length", b"%d" % (len(body) + 100)))
    await stage.play([body])
    stage.connection.ending = True


async def _http10(stage: Stage) -> None:
    await stage.until_closed(stage.reply, version=b"HTTP/1.0")


async def _no_length(stage: Stage) -> None:
    await stage.until_closed(stage.reply)


async def _close(stage: Stage) -> None:
    stage.connection.ending = True
    await stage.send(stage.reply)


async def _trailers(stage: Stage) -> None:
    last = b"0\r\nX-Trailer: one\r\nx-trailer: two\r\n\r\n"
    await stage.begin(stage.reply, _CHUNKED, (b"Trailer", b"X-Trailer"))
    await stage.play(chain(map(chunk, stage.reply.parts), [last]))


async def _early(stage: Stage) -> None:
    status = stage.number(0, 413)
    stage.connection.ending = True
    await stage.send(stage.call.refused(status, f"The demo was asked for an early {status}."))
    stage.connection.answering = False
    # What is unread makes the close an RST, which may overtake the answer.
    await asyncio.sleep(0.05)


async def _interim(stage: Stage) -> None:
    await stage.connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </v1>; rel=preload\r\n\r\n")
    await stage.send(stage.reply)


async def _fin(stage: Stage) -> None:
    await stage.send(stage.reply)
    stage.connection.answering = False
    await asyncio.sleep(0.005)
    stage.connection.ending = True


async def _race(stage: Stage) -> None:
    stage.connection.doomed = True
    await stage.send(stage.reply)


async def _surplus(stage: Stage) -> None:
    body = b"".join(stage.reply.parts)
    head = stage.head(stage.reply, (b"Content-Length", b"%d" % len(body)))
    # In one write, so that the surplus is there when the response ends.
    await stage.connection.send(head + body + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")


async def _bad(stage: Stage, *, answer: bytes) -> None:
    await stage.connection.send(answer)


async def _huge_head(stage: Stage) -> None:
    filler = [(b"X-Filler-%d" % n, b"x" * 1000) for n in range(stage.number(0, 1 << 17) // 1000)]
    await stage.send(replace(stage.reply, fields=[*stage.reply.fields, *filler]))


# Each breaks one rule of RFC 9112, and a lenient reader would take it for an empty object.
_BAD_ANSWERS = {
    "bad-status": b"HTTP/1.1 2xx OK\r\nContent-Length: 2\r\n\r\n{}",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nxyz\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX-Fold: one\r\n two\r\nContent-Length: 2\r\n\r\n{}",
    "bad-name": b"HTTP/1.1 200 OK\r\nX-Name : one\r\nContent-Length: 2\r\n\r\n{}",
}

# What is not in here, any real model's name among them, is played as "default".
SCENES: Mapping[str, Callable[[Stage], Awaitable[None]]] = {
    **dict.fromkeys(SPOKEN, _plain),
    **dict.fromkeys(ALTERED, _altered),
    **{name: partial(_bad, answer=answer) for name, answer in _BAD_ANSWERS.items()},
    "slow": _slow,
    "silent": _silent,
    "hang": _hang,
    "first-byte": _first_byte,
    "cut": partial(_cut, reset=False),
    "reset": partial(_cut, reset=True),
    "cut-length": _cut_length,
    "http10": _http10,
    "close": _close,
    "no-length": _no_length,
    "trailers": _trailers,
    "early": _early,
    "interim": _interim,
    "fin": _fin,
    "race": _race,
    "surplus": _surplus,
    "huge-head": _huge_head,
}
