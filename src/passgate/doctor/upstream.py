"""The doctor as the upstream: a Messages API that keeps what it is sent and plays a part.

It speaks plain HTTP on one address. The part is the one of the row that runs, and only a
request that carries the row's mark is given it, so that a gateway's own questions (a health
check, a list of models) get an ordinary answer.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from passgate.doctor.wire import WAIT_S, Fields

MODEL = {
    "type": "model",
    "id": "claude-doctor",
    "display_name": "Doctor",
    "created_at": "2026-11-01T09:00:00Z",
}
MESSAGE = {
    "id": "msg_doctor",
    "type": "message",
    "role": "assistant",
    "model": "claude-doctor",
    "content": [{"type": "text", "text": "well"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_MOST_BYTES = 64 << 20
_MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived.

    Attributes:
        head: All of its head.
        body: Without its framing.
    """

    method: str
    target: str
    fields: Fields
    head: bytes
    body: bytes

    def get(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]


class Peer:
    """The connection on which a part is played."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(WAIT_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._rest = bytearray()

    def request(self) -> Seen:
        """Return the next request.

        Raises:
            EOFError: None comes.
        """
        self._fill(lambda: b"\r\n\r\n" in self._rest)
        head, blank, self._rest = self._rest.partition(b"\r\n\r\n")
        raw = bytes(head + blank)
        line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, target, _ = (*line.split(" "), "", "")[:3]
        pairs = (each.partition(":") for each in lines)
        fields = tuple((name, value.strip()) for name, _, value in pairs)
        return Seen(method, target, fields, raw, self._body(raw))

    def _body(self, head: bytes) -> bytes:
        if _CHUNKED.search(head):
            return self._chunks()
        length = _LENGTH.search(head)
        return self._take(min(int(length[1]), _MOST_BYTES)) if length else b""

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            self._fill(lambda: b"\r\n" in self._rest)
            line, _, self._rest = self._rest.partition(b"\r\n")
            size = int(line.partition(b";")[0] or b"0", 16)
            piece = self._take(size + 2)
            if not size:
                return bytes(body)
            body += piece[:-2]
            if len(body) > _MOST_BYTES:
                raise EOFError

    def _take(self, size: int) -> bytes:
        self._fill(lambda: len(self._rest) >= size)
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def _fill(self, enough: Callable[[], bool]) -> None:
        while not enough():
            data = self._socket.recv(1 << 18)
            if not data or len(self._rest) > _MOST_BYTES:
                raise EOFError
            self._rest += data

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self._socket.sendall(data)

    def left(self, within_s: float) -> bool:
        """Return whether the other side ends the connection in time."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def end(self) -> None:
        """End the connection, whatever was said so far."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


Part = Callable[[Peer, Seen], None]


class Upstream:
    """The doctor's own upstream.

    Attributes:
        seen: Every request so far, the last thousand.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self.seen: list[Seen] = []
        self._part: tuple[bytes, Part] | None = None
        self._peers: set[Peer] = set()
        self._thread = threading.Thread(target=self._accept, name="doctor's upstream", daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for peer in tuple(self._peers):
            peer.end()

    def plays(self, mark: str, part: Part) -> None:
        """Play *part* for each request that carries *mark*."""
        self._part = (mark.encode(), part)

    def marked(self, mark: str) -> list[Seen]:
        """Return the requests that carry *mark*."""
        wanted = mark.encode()
        return [seen for seen in tuple(self.seen) if wanted in seen.head or wanted in seen.body]

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(Peer(accepted),), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        self._peers.add(peer)
        try:
            while True:
                seen = peer.request()
                self.seen.append(seen)
                del self.seen[:-_MOST_KEPT]
                self._part_for(seen)(peer, seen)
        except (OSError, EOFError, ValueError):
            pass  # whatever it was, the row sees that its request did not arrive
        finally:
            self._peers.discard(peer)
            peer.end()

    def _part_for(self, seen: Seen) -> Part:
        if self._part is not None:
            mark, part = self._part
            if mark in seen.head or mark in seen.body:
                return part
        return ordinary


def ordinary(peer: Peer, seen: Seen) -> None:
    """Answer as the API does."""
    path = seen.target.partition("?")[0]
    if path.endswith("/v1/models"):
        ends = {"first_id": MODEL["id"], "last_id": MODEL["id"]}
        said: object = {"data": [MODEL], "has_more": False, **ends}
    elif path.endswith("/count_tokens"):
        said = {"input_tokens": 7}
    else:
        said = MESSAGE
    body = b"" if seen.method == "HEAD" else json.dumps(said).encode()
    peer.send(answer(200, body))


def answer(status: int, body: bytes, *fields: str, kind: str = "application/json") -> bytes:
    """Return a whole answer."""
    lines = [
        f"HTTP/1.1 {status} Doctor",
        f"content-type: {kind}",
        *fields,
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def stream_head(*fields: str) -> bytes:
    """Return the head of a stream."""
    lines = ["HTTP/1.1 200 OK", "content-type: text/event-stream", *fields]
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Return *data* as a chunk; nothing makes the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data)
