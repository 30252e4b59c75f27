"""Requests that are not what they seem: one table, for the suite and for any gateway.

``<key>`` in what is sent stands for the client's key. What a row says of status and code
is passgate's answer; that nothing of it may reach an upstream unclean holds for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass

KEY = b"X-Api-Key: <key>"
HOST = b"Host: h"
NEXT = b"GET /v1/models HTTP/1.1\r\nHost: h\r\nX-Api-Key: <key>\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """Bytes that a client sends, all at once or piece by piece, and how they are refused."""

    id: str
    sent: tuple[bytes, ...]
    status: int = 400
    code: str = "http"


def lines(*said: bytes, body: bytes = b"") -> tuple[bytes]:
    """Return a message of *said* lines and *body*."""
    return (b"\r\n".join(said) + b"\r\n\r\n" + body,)


def get(*fields: bytes, target: bytes = b"/v1/models") -> tuple[bytes]:
    """Return a GET with the key."""
    return lines(b"GET %s HTTP/1.1" % target, HOST, KEY, *fields)


def post(*fields: bytes, body: bytes, path: bytes = b"/v1/messages") -> tuple[bytes]:
    """Return a POST with the key."""
    return lines(b"POST %s HTTP/1.1" % path, HOST, KEY, *fields, body=body)


def line(said: bytes) -> tuple[bytes]:
    """Return a request of which only the first line is odd."""
    return lines(said, HOST, KEY)


LENGTH, CHUNKED = b"Content-Length: 4", b"Transfer-Encoding: chunked"
# fmt: off
ATTACKS = [
    # Framing, and what stands behind it for a reader who frames otherwise.
    Attack("two equal lengths", post(LENGTH, LENGTH, body=b"null" + NEXT)),
    Attack("two lengths", post(LENGTH, b"Content-Length: 0", body=b"null" + NEXT)),
    Attack("two lengths in one", post(b"Content-Length: 4, 4", body=b"null")),
    Attack("a signed length", post(b"Content-Length: +4", body=b"null")),
    Attack("a negative length", post(b"Content-Length: -4", body=b"null")),
    Attack("a hexadecimal length", post(b"Content-Length: 0x4", body=b"null")),
    Attack("a length with a blank", post(b"Content-Length: 4 4", body=b"null")),
    Attack("a fractional length", post(b"Content-Length: 4.0", body=b"null")),
    Attack("an empty length", post(b"Content-Length:", body=b"null")),
    Attack("a huge length", post(b"Content-Length: 18446744073709551617", body=b"null")),
    Attack("a length of 19 digits", post(b"Content-Length: 1000000000000000000", body=b"null")),
    Attack("a length of wide digits", post(b"Content-Length: \xd9\xa4", body=b"null")),
    Attack("length and chunked", post(LENGTH, CHUNKED, body=b"0\r\n\r\n" + NEXT)),
    Attack("chunked and length", post(CHUNKED, LENGTH, body=b"0\r\n\r\n" + NEXT)),
    Attack("chunked twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    Attack("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    Attack("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Attack("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    Attack("identity", post(b"Transfer-Encoding: identity", body=b"")),
    Attack("xchunked", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    Attack("chunked;q=1", post(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n")),
    Attack("quoted chunked", post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    Attack("an empty coding", post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    Attack("a vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    Attack("chunked in HTTP/1.0",
           lines(b"POST /v1/messages HTTP/1.0", HOST, KEY, CHUNKED, body=b"0\r\n\r\n")),
    Attack("a blank before the colon", post(b"Content-Length : 4", body=b"null")),
    Attack("a tab before the colon", post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n")),
    Attack("a folded value", get(b"X-A: 1\r\n 2")),
    Attack("a folded coding", post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n")),
    Attack("a folded first field", lines(b"GET /v1/models HTTP/1.1", b" X-A: 1", HOST, KEY)),
    Attack("bare LF behind a field", get(b"X-A: 1\nContent-Length: 4")),
    Attack("bare LF everywhere", (b"GET /v1/models HTTP/1.1\nHost: h\n\n",)),
    Attack("bare CR in a value", get(b"X-A: 1\rX-B: 2")),
    Attack("bare CR in a name", get(b"X-\rA: 1")),
    Attack("NUL in a value", get(b"X-A: a\x00b")),
    Attack("a control in a value", get(b"X-A: a\x01b")),
    Attack("DEL in a value", get(b"X-A: a\x7fb")),
    Attack("NUL in a name", get(b"X-\x00A: 1")),
    Attack("a name beyond ASCII", get(b"X-\xe9: 1")),
    Attack("a name in brackets", get(b"X[A]: 1")),
    Attack("no name", get(b": 1")),
    Attack("no colon", get(b"X-A")),
    # The request line.
    Attack("an empty line first", (b"\r\n" + get()[0],)),
    Attack("bare LF first", (b"\n" + get()[0],)),
    Attack("two blanks", line(b"GET  /v1/models HTTP/1.1")),
    Attack("two blanks at the end", line(b"GET /v1/models  HTTP/1.1")),
    Attack("a tab for a blank", line(b"GET\t/v1/models HTTP/1.1")),
    Attack("a blank behind", line(b"GET /v1/models HTTP/1.1 ")),
    Attack("a blank first", line(b" GET /v1/models HTTP/1.1")),
    Attack("HTTP/0.9", (b"GET /v1/models\r\n\r\n",)),
    Attack("HTTP/0.9 with its name", line(b"GET /v1/models HTTP/0.9")),
    Attack("HTTP/1.2", line(b"GET /v1/models HTTP/1.2")),
    Attack("HTTP/2.0", line(b"GET /v1/models HTTP/2.0")),
    Attack("HTTP/2's preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)),
    Attack("http/1.1", line(b"GET /v1/models http/1.1")),
    Attack("HTTP/11", line(b"GET /v1/models HTTP/11")),
    Attack("ICE", line(b"SOURCE /v1/models ICE/1.0")),
    Attack("RTSP", line(b"DESCRIBE /v1/models RTSP/1.0")),
    Attack("TLS", (bytes.fromhex("16030100c8010000c40303"),)),
    Attack("a method in lower case", line(b"get /v1/models HTTP/1.1")),
    Attack("a method of no grammar", line(b"G(T /v1/models HTTP/1.1")),
    Attack("TRACE", line(b"TRACE /v1/models HTTP/1.1"), 405),
    Attack("TRACE in HTTP/1.0", line(b"TRACE /v1/models HTTP/1.0"), 405),
    Attack("CONNECT", line(b"CONNECT h:443 HTTP/1.1"), 405),
    Attack("absolute-form", line(b"GET http://h/v1/models HTTP/1.1")),
    Attack("absolute-form elsewhere", line(b"GET https://evil.example/v1/models HTTP/1.1")),
    Attack("asterisk-form", line(b"OPTIONS * HTTP/1.1")),
    Attack("authority-form", line(b"GET h:80 HTTP/1.1")),
    Attack("no slash", line(b"GET v1/models HTTP/1.1")),
    Attack("NUL in the target", line(b"GET /v1/mod\x00els HTTP/1.1")),
    Attack("a control in the target", line(b"GET /v1/mod\x01els HTTP/1.1")),
    Attack("DEL in the target", line(b"GET /v1/mod\x7fels HTTP/1.1")),
    Attack("UTF-8 in the target", line(b"GET /v1/mod\xc3\xa9ls HTTP/1.1")),
    Attack("overlong UTF-8 in the target", line(b"GET /v1/..\xc0\xaf HTTP/1.1")),
    # Who is meant.
    Attack("no Host", lines(b"GET /v1/models HTTP/1.1", KEY)),
    Attack("two Hosts", get(b"Host: h")),
    Attack("two other Hosts", get(b"host: evil.example")),
    Attack("an empty Host", lines(b"GET /v1/models HTTP/1.1", b"Host:", KEY)),
    Attack("a Host with a path", lines(b"GET /v1/models HTTP/1.1", b"Host: h/health?", KEY)),
    Attack("a Host with a user", lines(b"GET /v1/models HTTP/1.1", b"Host: u@h", KEY)),
    Attack("a Host with a blank", lines(b"GET /v1/models HTTP/1.1", b"Host: h x", KEY)),
    Attack("a list of Hosts", lines(b"GET /v1/models HTTP/1.1", b'Host: "h"', KEY)),
    Attack("a Host beyond ASCII", lines(b"GET /v1/models HTTP/1.1", b"Host: h\xc3\xa9", KEY)),
    Attack("two Hosts in HTTP/1.0", lines(b"GET /v1/models HTTP/1.0", HOST, HOST, KEY)),
    # Bounds.
    Attack("101 fields", get(*(b"X-%d: 1" % n for n in range(99))), 431),
    Attack("2000 fields", get(*(b"X: %d" % n for n in range(2000))), 431),
    Attack("a head over 32 KiB", get(b"X-A: " + b"a" * 33_000), 431),
    Attack("a name over 32 KiB", get(b"a" * 33_000 + b": 1"), 431),
    Attack("an endless value", (b"GET / HTTP/1.1\r\nHost: h\r\nX-A: ", *[b"a" * 8192] * 8), 431),
    Attack("endless fields", (b"GET / HTTP/1.1\r\nHost: h\r\n", *[b"X-A: a\r\n" * 999] * 8), 431),
    Attack("a target over 8 KiB", get(target=b"/v1/" + b"a" * 8189), 414),
    Attack("a query over 8 KiB", get(target=b"/v1/models?" + b"a" * 8189), 414),
    Attack("an endless target", (b"GET /v1/", *[b"a" * 4096] * 8), 414),
    Attack("an endless method", (b"G" * 40_000,), 414),
    Attack("endless empty lines", (b"\r\n" * 20_000,)),
]
CHUNKS = {
    "no size": b"\r\nnull\r\n0\r\n\r\n",
    "an empty size": b" \r\nnull\r\n0\r\n\r\n",
    "0x": b"0x4\r\nnull\r\n0\r\n\r\n",
    "a sign": b"+4\r\nnull\r\n0\r\n\r\n",
    "a negative size": b"-4\r\nnull\r\n0\r\n\r\n",
    "a blank first": b" 4\r\nnull\r\n0\r\n\r\n",
    "no digit": b"g\r\nnull\r\n0\r\n\r\n",
    "17 digits": b"00000000000000004\r\nnull\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"FFFFFFFFFFFFFFFFF\r\nnull",
    "bare LF": b"4\nnull\r\n0\r\n\r\n",
    "bare CR": b"4\rnull\r\n0\r\n\r\n",
    "an underscore": b"0_4\r\nnull\r\n0\r\n\r\n",
    "LF in an extension": b"4;a\nb\r\nnull\r\n0\r\n\r\n",
    "NUL in an extension": b"4;a\x00\r\nnull\r\n0\r\n\r\n",
    "an extension without its mark": b"4 a\r\nnull\r\n0\r\n\r\n",
    "an endless extension": b"4;" + b"a" * 70_000,
    "endless blanks": b"4" + b" " * 70_000,
    "endless zeros": b"0" * 70_000,
}
LATER = {
    "data too long": b"4\r\nnull!\r\n0\r\n\r\n",
    "data too short": b"5\r\nnull\r\n0\r\n\r\n",
    "bare LF behind the data": b"4\r\nnull\n0\r\n\r\n",
    "a bad second size": b"4\r\nnull\r\nx\r\n\r\n",
    "bare LF behind the last": b"4\r\nnull\r\n0\n\n",
    "an endless trailer": b"4\r\nnull\r\n0\r\n" + b"X-A: a\r\n" * 9000,
    "an endless trailer line": b"4\r\nnull\r\n0\r\nX-A: " + b"a" * 70_000,
    "a trailer of no grammar": b"4\r\nnull\r\n0\r\nX A: 1\r\n\r\n",
    "a folded trailer": b"4\r\nnull\r\n0\r\nX-A: 1\r\n 2\r\n\r\n",
    "a request for a trailer": b"4\r\nnull\r\n0\r\n" + NEXT,
}
# fmt: on
ATTACKS += [
    *(Attack(f"chunks: {id_}", post(CHUNKED, body=body)) for id_, body in CHUNKS.items()),
    *(
        Attack(f"upload: {id_}", post(CHUNKED, body=body, path=b"/v1/files"))
        for id_, body in CHUNKS.items()
    ),
    *(Attack(f"chunks: {id_}", post(CHUNKED, body=body)) for id_, body in LATER.items()),
]
# fmt: off
NOWHERE = [
    b"//v1/models", b"/v1//models", b"/./v1/models", b"/v1/./models", b"/v1/models/.",
    b"/v1/../v1/models", b"/health/../v1/models", b"/v1/models/..", b"/v1/.", b"/v1/..",
    b"/%76%31/models", b"/v1/%2e%2e/x", b"/v1/%2E/x", b"/v1/.%2e/x", b"/v1/a%2fb", b"/v1/a%2Fb",
    b"/v1/models/Anthropic%2fx", b"/v1/models/anthropic%2fa%2fb", b"/v1/models/anthropic%2f..",
    b"/v1/a%5cb", b"/v1/a%5Cb", b"/v1/a%00", b"/v1/a%0d%0ab", b"/v1/a%7f", b"/v1/a%80",
    b"/v1/%c0%af", b"/v1/%e0%80%af", b"/v1/%C3%A9", b"/v1/a%20b", b"/v1/a%25b", b"/v1/%252e%252e",
    b"/v1/a%3fb", b"/v1/a%23b", b"/v1/a%3bb", b"/v1/a%", b"/v1/a%4", b"/v1/a%zz", b"/v1/a;b",
    b"/v1/messages;x=1", b"/v1/a\\b", b"/\\v1/models", b"/v1/a@b",
    b"/@evil.example/v1/models", b"/v1/models#a", b"/#/v1/models", b"/v1/models/", b"/v1/messages/",
    b"/v1/", b"/v1", b"/V1/models", b"/v2/models", b"/health/", b"/HEALTH", b"/ready/x", b"/api",
    b"/api/hello/", b"/metrics", b"/healthz", b"/readyz", b"/admin", b"/v1models", b'/v1/"',
    b"/v1/a<b", b"/v1/{x}", b"/v1/a|b", b"/v1/a^b", b"/v1/a`b", b"/v1/[x]", b"/http://h/v1/models",
]
# fmt: on
ATTACKS += [
    Attack(f"path {path.decode()}", get(target=path), 404, "route")
    for path in dict.fromkeys(NOWHERE)
]
ATTACKS += [
    Attack(f"{path} by POST", line(f"POST {path} HTTP/1.1".encode()), 404, "route")
    for path in ("/health", "/ready", "/", "/api/hello")
]
