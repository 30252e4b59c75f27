"""Answers that are not what they seem: one table, for the suite and for any gateway."""

from __future__ import annotations

from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH, CHUNKED = OK + b"Content-Length: 4\r\n", OK + b"Transfer-Encoding: chunked\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@dataclass(frozen=True)
class Said:
    """What an upstream says to each request, and how it goes on.

    Attributes:
        then: ``hold`` the connection, ``fin`` or ``reset``.
        broken: Whether something of the body is missing or wrong, so that nobody may take it
            for whole. Of the others a gateway can make a valid answer.
    """

    id: str
    answer: bytes
    then: str = "hold"
    broken: bool = False


# fmt: off
BEFORE_THE_HEAD = [
    Said("nothing, FIN", b"", "fin"),
    Said("nothing, RST", b"", "reset"),
    Said("a cut status line, FIN", b"HTTP/1.1 2", "fin"),
    Said("a cut head, FIN", LENGTH, "fin"),
    Said("a cut head, RST", LENGTH, "reset"),
    Said("interim, FIN", INTERIM, "fin"),
    Said("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Said("TLS", bytes.fromhex("15030300020228")),
    Said("HTTP/0.9", b"<html></html>\r\n\r\n", "fin"),
    Said("ICY", b"ICY 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("http/1.1", b"http/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("an empty line first", b"\r\n" + LENGTH + b"\r\nnull"),
    Said("a status of letters", b"HTTP/1.1 2xx OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 99", b"HTTP/1.1 099 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 2000", b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("status 20", b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("two blanks", b"HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("two lengths", LENGTH + b"Content-Length: 5\r\n\r\nnull!"),
    Said("two equal lengths", LENGTH + b"Content-Length: 4\r\n\r\nnull"),
    Said("two lengths in one", OK + b"Content-Length: 4, 4\r\n\r\nnull"),
    Said("a negative length", OK + b"Content-Length: -4\r\n\r\nnull"),
    Said("a signed length", OK + b"Content-Length: +4\r\n\r\nnull"),
    Said("an empty length", OK + b"Content-Length:\r\n\r\nnull"),
    Said("a huge length", OK + b"Content-Length: 99999999999999999999\r\n\r\nnull"),
    Said("length and chunked", LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("chunked and length", CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n"),
    Said("chunked twice", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    Said("identity", OK + b"Transfer-Encoding: identity\r\n\r\nnull", "fin"),
    Said("an empty coding", OK + b"Transfer-Encoding:\r\n\r\nnull", "fin"),
    Said("chunked in HTTP/1.0",
         b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "fin"),
    Said("a blank before the colon", LENGTH + b"X-A : 1\r\n\r\nnull"),
    Said("a blank before a length's", OK + b"Content-Length : 4\r\n\r\nnull"),
    Said("a folded value", LENGTH + b"X-A: 1\r\n 2\r\n\r\nnull"),
    Said("a folded first field", OK + b" X-A: 1\r\nContent-Length: 4\r\n\r\nnull"),
    Said("bare LF behind a field", LENGTH + b"X-A: 1\nX-B: 2\r\n\r\nnull"),
    Said("bare LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 4\n\nnull", "fin"),
    Said("bare CR in a value", LENGTH + b"X-A: 1\rX-B: 2\r\n\r\nnull"),
    Said("bare CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 4\r\n\r\nnull"),
    Said("NUL in a value", LENGTH + b"X-A: \x00\r\n\r\nnull"),
    Said("a control in a value", LENGTH + b"X-A: \x1b[2J\r\n\r\nnull"),
    Said("NUL in a name", LENGTH + b"X-\x00: 1\r\n\r\nnull"),
    Said("no name", LENGTH + b": 1\r\n\r\nnull"),
    Said("no colon", LENGTH + b"X-A\r\n\r\nnull"),
    Said("a 204 with a length", b"HTTP/1.1 204 N\r\nContent-Length: 4\r\n\r\nnull"),
    Said("a 204 with chunks", b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Said("a 204 with a body", b"HTTP/1.1 204 N\r\n\r\nnull"),
    Said("a 304 with a body", b"HTTP/1.1 304 N\r\nContent-Length: 4\r\n\r\nnull"),
    Said("101", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    Said("101 behind interim", INTERIM + b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n"),
    Said("an interim with a chunked body",
         b"HTTP/1.1 103 E\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LENGTH + b"\r\nnull"),
    Said("33 interim", INTERIM * 33 + LENGTH + b"\r\nnull"),
    Said("endless 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000),
    Said("an endless status line", b"HTTP/1.1 200 " + b"a" * 1_000_000),
    Said("an endless value", LENGTH + b"X-A: " + b"a" * 1_000_000),
    Said("endless fields", LENGTH + b"X-A: a\r\n" * 100_000),
    Said("a head of 128 KiB", LENGTH + b"X-A: a\r\n" * 16_000 + b"\r\nnull"),
    Said("surplus", LENGTH + b"\r\nnull" + LENGTH + b"\r\nevil"),
    Said("surplus behind nothing", OK + b"Content-Length: 0\r\n\r\n" + LENGTH + b"\r\nevil"),
]
AFTER_THE_HEAD = [
    Said("a length too long, FIN", OK + b"Content-Length: 5\r\n\r\nnull", "fin", broken=True),
    Said("a length too long, RST", OK + b"Content-Length: 5\r\n\r\nnull", "reset", broken=True),
    Said("no byte of a body, FIN", LENGTH + b"\r\n", "fin", broken=True),
    Said("no end, RST", OK + b"\r\nnull", "reset", broken=True),
    Said("no chunk, FIN", CHUNKED + b"\r\n", "fin", broken=True),
    Said("a cut size, FIN", CHUNKED + b"\r\n4", "fin", broken=True),
    Said("a cut chunk, FIN", CHUNKED + b"\r\n4\r\nnu", "fin", broken=True),
    Said("a cut chunk, RST", CHUNKED + b"\r\n4\r\nnu", "reset", broken=True),
    Said("no last chunk, FIN", CHUNKED + b"\r\n4\r\nnull\r\n", "fin", broken=True),
    Said("half a last chunk, FIN", CHUNKED + b"\r\n4\r\nnull\r\n0\r\n", "fin", broken=True),
    Said("half a trailer, FIN", CHUNKED + b"\r\n4\r\nnull\r\n0\r\nX-A: 1\r\n", "fin", broken=True),
    Said("a bad first size", CHUNKED + b"\r\nx\r\nnull\r\n0\r\n\r\n", broken=True),
    Said("a bad second size", CHUNKED + b"\r\n4\r\nnull\r\nx\r\n\r\n", broken=True),
    Said("a size of 17 digits", CHUNKED + b"\r\n00000000000000004\r\nnull\r\n0\r\n\r\n"),
    Said("a size beyond 64 bits",
         CHUNKED + b"\r\n10000000000000004\r\nnull\r\n0\r\n\r\n", broken=True),
    Said("data too long", CHUNKED + b"\r\n4\r\nnull!\r\n0\r\n\r\n", broken=True),
    Said("data too short", CHUNKED + b"\r\n5\r\nnull\r\n0\r\n\r\n", broken=True),
    Said("bare LF behind the data", CHUNKED + b"\r\n4\r\nnull\n0\r\n\r\n"),
    Said("bare LF behind a size", CHUNKED + b"\r\n4\nnull\r\n0\r\n\r\n"),
    Said("bare LF at the end", CHUNKED + b"\r\n4\r\nnull\r\n0\n\n"),
    Said("an endless extension", CHUNKED + b"\r\n4;" + b"a" * 100_000),
    Said("an endless trailer", CHUNKED + b"\r\n0\r\n" + b"X-A: a\r\n" * 10_000),
    Said("a bad trailer", CHUNKED + b"\r\n0\r\nX A: 1\r\n\r\n"),
    Said("surplus behind chunks", CHUNKED + b"\r\n4\r\nnull\r\n0\r\n\r\n" + LENGTH + b"\r\nevil"),
]
# fmt: on
