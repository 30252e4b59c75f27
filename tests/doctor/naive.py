"""Gateways as they should not be: each can be given any of the flaws that the doctor looks for.

Without a flaw it does what clients rely on, plainly and slowly, so that a row that fails does
so for the one flaw that is put in.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
import zlib
from collections.abc import Collection

KEY = "pg_" + "doctor" * 6
CREDENTIAL = "up_" + "doctor" * 6

_HOP = {"connection", "te", "keep-alive", "proxy-authorization", "transfer-encoding"}
_OURS = _HOP | {"x-api-key", "authorization", "cookie", "host", "content-length"}
# Flaw -> the row in whose answers it shows.
_HELD = {
    "drops pings": b"pings",
    "drops comments": b"pings",
    "ends cleanly": b"broken",
    "follows": b"redirect",
    "mangles errors": b"errors",
    "retries errors": b"errors",
    "rewrites answers": b"reply",
    "unpacks": b"compression",
}

Pairs = list[tuple[str, str]]


class Naive:
    """A gateway with *flaws*, on a port of its own.

    Attributes:
        url: Where clients reach it.
    """

    def __init__(self, upstream_port: int, flaws: Collection[str] = ()) -> None:
        self._upstream_port = upstream_port
        self._flaws = frozenset(flaws)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Naive:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in tuple(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _begin(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                accepted.settimeout(10)
                self._begin(self._serve, accepted)

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with client, contextlib.suppress(OSError, EOFError, ValueError):
            head, rest = _until_blank(client, b"")
            line, fields = _parsed(head)
            length = int({n.lower(): v for n, v in fields}.get("content-length", "0"))
            body = _exactly(client, rest, length)
            refusal = self._refused(line, fields, length)
            if refusal is not None:
                client.sendall(refusal)
                return
            self._forward(client, self._upward(line, fields, body), again=True)
        self._open.discard(client)

    def _refused(self, line: str, fields: Pairs, length: int) -> bytes | None:
        shown = {
            v.removeprefix("Bearer ")
            for n, v in fields
            if n.lower() in ("x-api-key", "authorization")
        }
        if line.startswith("HEAD / "):
            status = 500 if "no warm-up" in self._flaws else 200
            return f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode()
        if "/v1/models" in line and "redirects models" in self._flaws:
            return b"HTTP/1.1 308 X\r\nlocation: /v1/models/\r\ncontent-length: 0\r\n\r\n"
        if "count_tokens" in line and "no count_tokens" in self._flaws:
            return _error(404, "not_found_error")
        if "small bodies" in self._flaws and length > 1 << 20:
            return _error(413, "request_too_large")
        good = KEY in shown if "takes one of two" in self._flaws else shown == {KEY}
        if "takes any key" in self._flaws or ("takes no key" in self._flaws and not shown):
            good = True
        if "knows nobody" in self._flaws:
            good = False
        if "other words" in self._flaws and not good:
            return b"HTTP/1.1 401 X\r\ncontent-length: 2\r\n\r\nno"
        final = () if "not final" in self._flaws else ("x-should-retry: false",)
        return None if good else _error(401, "authentication_error", *final)

    def _upward(self, line: str, fields: Pairs, body: bytes) -> bytes:
        flaws = self._flaws
        kept = [(n, v) for n, v in fields if n.lower() not in _OURS]
        named = [v for n, v in fields if n.lower() == "connection"]
        nominated = {part.strip() for v in named for part in v.split(",")}
        if "passes hops" not in flaws:
            kept = [(n, v) for n, v in kept if n.lower() not in nominated]
        else:
            kept += [(n, v) for n, v in fields if n.lower() in ("te", "proxy-authorization")]
        if "leaks the key" in flaws:
            kept += [(n, v) for n, v in fields if n.lower() in ("authorization", "cookie")]
        kept, body = self._fewer(kept), self._rewritten(body)
        if "drops the query" in flaws:
            line = re.sub(r"\?\S*", "", line)
        credential = KEY if "passes the key" in flaws else CREDENTIAL
        kept += [("host", "api.example"), ("x-api-key", credential)]
        kept += [("content-length", str(len(body)))] if line.startswith("POST") else []
        return "\r\n".join([line, *(f"{n}: {v}" for n, v in kept), "", ""]).encode() + body

    def _fewer(self, kept: Pairs) -> Pairs:
        flaws = self._flaws
        if "drops betas" in flaws:
            kept = [(n, v) for n, v in kept if n.lower() != "anthropic-beta"]
        if "one of a name" in flaws:
            kept = list({n.lower(): (n, v) for n, v in kept}.values())
        if "known fields" in flaws:
            kept = [(n, v) for n, v in kept if n.lower() != "anthropic-doctor"]
        if "no coding" in flaws:
            kept = [(n, v) for n, v in kept if n.lower() != "accept-encoding"]
        return kept

    def _rewritten(self, body: bytes) -> bytes:
        if "re-encodes" in self._flaws and body:
            body = json.dumps(json.loads(body)).encode()
        if "drops unknown" in self._flaws and body:
            known = ("model", "messages", "max_tokens", "stream", "metadata")
            body = json.dumps({k: v for k, v in json.loads(body).items() if k in known}).encode()
        return body

    def _forward(self, client: socket.socket, raw: bytes, *, again: bool) -> None:
        port = self._upstream_port
        if "goes elsewhere" in self._flaws:
            client.sendall(_error(502, "api_error"))
            return
        with socket.create_connection(("127.0.0.1", port), 10) as up:
            self._open.add(up)
            up.sendall(raw)
            got, ended = self._relay(client, up, raw)
            self._open.discard(up)
        if not got and again:
            if "repeats" in self._flaws:
                self._forward(client, raw, again=False)
            else:
                client.sendall(_error(502, "api_error"))
        if got and ended:
            self._whole(client, raw, got)

    def _holds(self, raw: bytes) -> bool:
        """Return whether an answer is held back, to be altered: only in the flaw's own row."""
        rows = {flaw for flaw, row in _HELD.items() if b"doctor-" + row in raw}
        return "buffers" in self._flaws or bool(rows & self._flaws)

    def _relay(self, client: socket.socket, up: socket.socket, raw: bytes) -> tuple[bytes, bool]:
        """Pass an answer on as it comes; return it, and whether it still has to be said."""
        flaws, got = self._flaws, b""
        holds = self._holds(raw)
        said = 0
        while True:
            ready, _, _ = select.select([client, up], [], [], 10)
            if client in ready and "goes on" not in flaws and not client.recv(1):
                return b"", False
            if client in ready and "goes on" in flaws:
                ready, _, _ = select.select([up], [], [], 10)
            if not ready:
                return got, holds
            if up in ready:
                data = up.recv(1 << 16)
                got += data
                head, blank, _ = got.partition(b"\r\n\r\n")
                if blank and not holds:
                    out = self._downward(head) + got[len(head) :]
                    with contextlib.suppress(OSError):
                        client.sendall(out[said:])
                        said = len(out)
                if not data or (blank and _complete(got)):
                    return got, holds

    def _downward(self, head: bytes) -> bytes:
        lines = head.split(b"\r\n")
        if "echoes" not in self._flaws:
            lines = [line for line in lines if CREDENTIAL.encode() not in line]
        if "passes hops back" not in self._flaws:
            lines = [
                x for x in lines if not x.lower().startswith((b"connection:", b"x-doctor-back:"))
            ]
        if "drops fields" in self._flaws:
            lines = [x for x in lines if not x.lower().startswith((b"anthropic-", b"retry-after"))]
        return b"\r\n".join(lines)

    def _asks_more(self, raw: bytes, head: bytes, status: int) -> None:
        """Ask the upstream what nobody asked for."""
        flaws, more = self._flaws, b""
        if status >= 400 and "retries errors" in flaws:
            more = raw
        if status == 307 and "follows" in flaws:
            target = re.search(rb"location: http://[^/]*(\S+)", head)
            assert target is not None
            more = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % target[1]
        if more:
            with socket.create_connection(("127.0.0.1", self._upstream_port), 10) as up:
                up.sendall(more)
                up.recv(1 << 16)

    def _whole(self, client: socket.socket, raw: bytes, got: bytes) -> None:
        """Say an answer that was held back, altered as the flaws say."""
        flaws = self._flaws
        head, _, rest = got.partition(b"\r\n\r\n")
        head = self._downward(head)
        status = int(head[9:12])
        body = _unchunked(rest) if b"chunked" in head.lower() else rest
        self._asks_more(raw, head, status)
        if b"gzip" in head and "unpacks" in flaws:
            body = zlib.decompress(body, wbits=31)
            head = head.replace(b"\r\ncontent-encoding: gzip", b"")
        if "rewrites answers" in flaws and b"json" in head and status == 200:
            with contextlib.suppress(ValueError):
                body = json.dumps(json.loads(body)).encode()
        if "mangles errors" in flaws and status >= 400:
            body = b'{"error":"upstream error"}'
        if "drops pings" in flaws:
            body = body.replace(b'event: ping\ndata: {"type": "ping"}\n\n', b"")
        if "drops comments" in flaws:
            body = body.replace(b": a comment line\n\n", b"")
        head = re.sub(rb"(?i)\r\n(transfer-encoding|content-length):[^\r]*", b"", head)
        if "ends cleanly" not in flaws and not _complete(got):
            client.sendall(head + b"\r\ncontent-length: %d\r\n\r\n" % (len(body) + 9) + body)
            return
        client.sendall(head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def _error(status: int, kind: str, *fields: str) -> bytes:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "no"}})
    lines = [f"HTTP/1.1 {status} X", *fields, f"content-length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def _until_blank(connection: socket.socket, got: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in got:
        data = connection.recv(1 << 16)
        if not data:
            raise EOFError
        got += data
    head, _, rest = got.partition(b"\r\n\r\n")
    return head, rest


def _exactly(connection: socket.socket, got: bytes, size: int) -> bytes:
    pieces, have = [got], len(got)
    while have < size:
        data = connection.recv(1 << 18)
        if not data:
            raise EOFError
        pieces.append(data)
        have += len(data)
    return b"".join(pieces)


def _parsed(head: bytes) -> tuple[str, Pairs]:
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (each.partition(":") for each in lines)
    return line, [(name, value.strip()) for name, _, value in pairs]


def _complete(got: bytes) -> bool:
    head, _, rest = got.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return rest.endswith(b"\r\n0\r\n\r\n")
    length = re.search(rb"(?i)content-length: *([0-9]+)", head)
    return length is not None and len(rest) >= int(length[1])


def _unchunked(rest: bytes) -> bytes:
    body = b""
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line or b"0", 16)
        if not size:
            break
        body += rest[:size]
        rest = rest[size + 2 :]
    return body
