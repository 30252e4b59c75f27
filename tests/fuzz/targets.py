"""What is fuzzed, and what must hold whatever comes.

An input is the bytes of one side alone. How they are cut, who stalls and how it ends is
drawn from the input itself, so that the same input always does the same.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

from passgate.core.settings import Limits
from tests import strict
from tests.edge.wire.bed import CREDENTIAL, KEY, NARROW_KEY, Bed, Wire, check_end, cut
from tests.fuzz.pure import PURE, seeds_of
from tests.fuzz.small import SMALL, small_seeds_of

LIMITS = Limits(
    first_byte_s=2,
    idle_s=2,
    client_head_s=2,
    client_body_idle_s=2,
    client_stall_s=2,
    keep_alive_s=3,
    max_in_flight=3,
    max_body_memory_mb=1,
)
_ALL_LIMITS_S = 14.0
_KEYS = {"wide": KEY, "narrow": NARROW_KEY}

_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
)
_EMPTY_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

_HEAD = b"%s HTTP/1.%d\r\nHost: a\r\nX-Api-Key: " + KEY + b"\r\n%s\r\n"
_ASKS = (
    _HEAD % (b"POST /v1/messages", 1, b"Content-Length: 14\r\n") + b'{"model":"gg"}',
    _HEAD % (b"POST /v1/messages", 0, b"Content-Length: 14\r\n") + b'{"model":"gg"}',
    _HEAD % (b"POST /v1/files", 1, b"Content-Length: 5\r\n") + b"hello",
    _HEAD % (b"POST /v1/files", 1, b"Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n0\r\n\r\n",
    _HEAD % (b"GET /v1/x", 1, b""),
    _HEAD % (b"HEAD /v1/x", 1, b""),
    _HEAD % (b"GET /v1beta/models/gemini-x", 1, b""),
)


def server(data: bytes) -> Bed:
    """Have a client send *data*."""
    chance = random.Random(zlib.crc32(data))  # noqa: S311  chance, not a secret
    bed = Bed(limits=LIMITS, retry_stale=chance.random() < 0.3)
    bed.high_bytes = chance.choice((64, 1 << 16))
    client = bed.client()
    if chance.random() < 0.3:
        bed.idle()
    answered: dict[Wire, int] = {}
    for piece in _pieces(chance, data):
        client.sends(piece)
        if chance.random() < 0.8:
            bed.turns.settle()
        if chance.random() < 0.7:
            _answer(chance, bed, answered)
        _stall(chance, client, *bed.upstreams)
    for wire in (client, *bed.upstreams):
        wire.takes()
    _answer(chance, bed, answered)
    _end(chance, bed, client)
    return bed


def client(data: bytes) -> Bed:
    """Have the upstreams answer with *data*, whatever they are asked."""
    chance = random.Random(zlib.crc32(data))  # noqa: S311  chance, not a secret
    bed = Bed(limits=LIMITS, retry_stale=chance.random() < 0.3)
    bed.high_bytes = chance.choice((64, 1 << 16))
    if chance.random() < 0.5:
        bed.idle()
    asks = chance.choices(_ASKS, k=chance.choice((1, 1, 2, 3)))
    down = bed.client()
    if chance.random() < 0.5:
        down.sends(b"".join(asks))
    else:
        for piece in _pieces(chance, b"".join(asks)):
            down.sends(piece)
            bed.turns.settle()
    for piece in _pieces(chance, data):
        bed.dialled()
        wire = next((each for each in bed.upstreams if each.got and not each.closed), None)
        if wire is not None:
            wire.sends(piece)
        if chance.random() < 0.8:
            bed.turns.settle()
        _stall(chance, down, *bed.upstreams)
    for wire in (down, *bed.upstreams):
        wire.takes()
    _end(chance, bed, down)
    return bed


SIDES: dict[str, Callable[[bytes], Bed]] = {"server": server, "client": client}
TARGETS: dict[str, Callable[[bytes], object]] = {**SIDES, **PURE, **SMALL}


def corpus_of(target: str) -> dict[str, bytes]:
    """Return the inputs that all others are made of, by name."""
    if target in PURE:
        return seeds_of(target)
    if target in SMALL:
        return small_seeds_of(target)
    files = sorted((Path(__file__).parent / "corpus" / target).iterdir())
    return {file.name: file.read_bytes() for file in files}


def _pieces(chance: random.Random, data: bytes) -> list[bytes]:
    cuts = chance.choice((0, 0, 1, 2, 10))
    if chance.random() < 0.02:
        return cut(data[:3000], range(3000))
    return cut(data, [chance.randint(0, len(data)) for _ in range(cuts)])


def _stall(chance: random.Random, *wires: Wire) -> None:
    for wire in wires:
        if chance.random() < 0.1:
            wire.stalled = True
        elif wire.stalled:
            wire.takes(chance.choice((1, 50, 10_000, None)))


def _answer(chance: random.Random, bed: Bed, answered: dict[Wire, int]) -> None:
    """Answer whatever the upstreams were asked, well."""
    for _ in range(200):
        bed.dialled()
        asked = None
        for wire in bed.upstreams:
            if wire.closed:
                continue
            sent = strict.requests(bytes(wire.got), cut=wire.stalled)
            whole = [each for each in sent if each.complete]
            if len(whole) > answered.get(wire, 0):
                asked, request = wire, whole[-1]
                answered[wire] = len(whole)
        if asked is None:
            return
        head = request.line.startswith(b"HEAD ")
        for piece in _pieces(chance, _EMPTY_ANSWER if head else chance.choice(_ANSWERS)):
            asked.sends(piece)
            bed.turns.settle()


def _end(chance: random.Random, bed: Bed, client: Wire) -> None:
    """End it in one of several ways, then check."""
    bed.turns.settle()
    ends: tuple[Callable[[], object], ...] = (
        client.ends,
        client.resets,
        lambda: bed.passes(_ALL_LIMITS_S),
        lambda: _all(Wire.ends, bed.upstreams),
        lambda: _all(Wire.resets, bed.upstreams),
        bed.listener.stop_exchanges,
    )
    chance.choice(ends)()
    bed.turns.settle()
    bed.unreachable()
    bed.passes(_ALL_LIMITS_S)
    bed.unreachable()
    check_end(bed, client)
    # Of several keys that a client might know, only the one it shows is kept back.
    shown = {record.client for record in bed.records} - {None}
    keys = [key for name, key in _KEYS.items() if shown == {name}]
    for wire in bed.upstreams:
        _check_upstream(wire, keys)


def _all(does: Callable[[Wire], None], wires: list[Wire]) -> None:
    for wire in wires:
        does(wire)


def _check_upstream(wire: Wire, keys: Collection[bytes]) -> None:
    """Check that an upstream was sent valid requests, with our credential and none of *keys*."""
    for request in strict.requests(bytes(wire.got), cut=bool(wire.dropped)):
        assert request.complete or wire.closed
        names = [name for name, _ in request.fields]
        said = names.count(b"x-api-key") + names.count(b"x-goog-api-key")
        assert (1, 0) == (said, names.count(b"authorization"))
        values = b"\n".join(value for _, value in request.fields) + request.line
        assert values.count(CREDENTIAL) == 1
        assert not any(key in values for key in keys)
        assert not any(
            name.startswith((b"x-passgate-", b"proxy-", b"x-forwarded-")) for name in names
        )
