"""Make new inputs of old ones, with some grammar: lines, numbers, the words of HTTP."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

# What a parser's opinion turns on.
_BYTES = b'\r\n\t \0\x0b\x0c\x7f\x80\xff:;,=0%.-_{}"\\/?#'
_WORDS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"00000000000000000000",
    b"chunked",
    b"chunked, chunked",
    b"identity",
    b"gzip",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD ",
    b"/v1/messages",
    b"/v1/files",
    b"/v1/organizations",
    b"%2e%2e",
    b"..",
    b'"model":"old-x",',
    b'"\\u006dodel":1,',
    b"data: ",
    b"event: ping\n",
    b"\n\ndata: {}\n\n",
    b'"usage":{"output_tokens":9},',
    b'"finishReason":"STOP",',
    b"[" * 2000,
    b"null",
    b"1e999",
    b"\\ud800",
    b"\n[[route]]\nmodel = 1\n",
    b"= 9999-99-99\n",
)
_LINES = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding:\tchunked ",
    b"transfer_encoding: chunked",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: +5",
    b"Content-Length: 99999999999999999999",
    b"Content_Length: 7",
    b"Connection: close",
    b"Connection: keep-alive, host, x-api-key",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Connection: Upgrade",
    b"Host: b",
    b"Trailer: x",
    b"X-Api-Key: other",
    b"Authorization: Bearer other",
    b"X-Passgate-Key: other",
    b"Set-Cookie: a=b",
    b"Content-Encoding: gzip",
    b"Accept-Encoding: br, zz",
    b": nameless",
    b"Space : before",
)

Mutation = Callable[[random.Random, bytes], bytes]


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _byte(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes([chance.choice(_BYTES)]) + data[at + chance.randrange(2) :]


def _word(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_WORDS) + data[at + chance.choice((0, 0, 1, 8)) :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _lose(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 40) :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    end = at + chance.randint(1, chance.choice((8, 200, 4000)))
    return data[:at] + data[at:end] * chance.choice((2, 3, 120, 400)) + data[end:]


def _number(chance: random.Random, data: bytes) -> bytes:
    """Change one number, in whatever base, by a little or by much."""
    found = list(re.finditer(rb"[0-9a-fA-F]+", data))
    if not found:
        return data
    number = chance.choice(found)
    other = chance.choice((b"0", b"1", b"5", b"a", b"-1", b"7fffffff", b"100000000", b"9" * 30))
    if number[0].isdigit() and chance.random() < 0.6:
        other = b"%d" % max(0, int(number[0][:18]) + chance.randint(-3, 3))
    return data[: number.start()] + other + data[number.end() :]


def _line(chance: random.Random, data: bytes) -> bytes:
    """Add, lose, double or move a line."""
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines.insert(at, chance.choice(_LINES))
        case 1:
            del lines[at]
        case 2:
            lines.insert(at, lines[at])
        case _:
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
    return b"\r\n".join(lines)


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _byte,
    _byte,
    _word,
    _word,
    _line,
    _line,
    _line,
    _number,
    _number,
    _cut,
    _lose,
    _repeat,
)
_MAX_BYTES = 200_000


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Return an input made of those in *corpus*."""
    data = chance.choice(corpus)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        if chance.random() < 0.15:
            data = _spliced(chance, data, chance.choice(corpus))
        elif data:
            data = chance.choice(_MUTATIONS)(chance, data)
    return data[:_MAX_BYTES]


def _spliced(chance: random.Random, one: bytes, other: bytes) -> bytes:
    """Return the beginning of one input with the end of another, or one within the other."""
    at, start = chance.randrange(len(one) + 1), chance.randrange(len(other) + 1)
    return one[:at] + other[start:] + (one[at:] if chance.random() < 0.5 else b"")
