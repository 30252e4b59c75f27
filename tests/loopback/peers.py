"""The other ends of a gateway that no correct program would be, and how they saw it end."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from passgate.core.settings import UpstreamSettings
from tests.loopback.gateway import WAIT_S, anthropic

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Scripted:
    """An upstream of which a test says every byte; it reads one request and plays a script.

    Args:
        script: Plays one connection; it is closed with a FIN when this returns.

    Attributes:
        port: Where it listens.
        connections: How many were accepted.
        heads: Every request head that arrived whole.
    """

    def __init__(self, script: Callable[[Peer], None]) -> None:
        self._script = script
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self.heads: list[bytes] = []
        self._peers: list[Peer] = []
        self._thread = threading.Thread(target=self._accept, name="scripted", daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for peer in self._peers:
            peer.over.set()
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)

    @property
    def settings(self) -> UpstreamSettings:
        """What makes a gateway use it."""
        return anthropic(self.port, "up_" + "of-the-operator")

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                break
            self.connections += 1
            peer = Peer(accepted, self.heads)
            self._peers.append(peer)
            threads.append(threading.Thread(target=self._play, args=(peer,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(WAIT_S)

    def _play(self, peer: Peer) -> None:
        with peer.socket, contextlib.suppress(OSError, EOFError):
            self._script(peer)


class Peer:
    """One connection of a :class:`Scripted` upstream.

    Attributes:
        socket: The connection itself, with a time limit.
        over: Set when the test is over.
    """

    def __init__(self, accepted: socket.socket, heads: list[bytes]) -> None:
        accepted.settimeout(WAIT_S)
        self.socket = accepted
        self.over = threading.Event()
        self._heads = heads
        self._rest = b""

    def request(self) -> bytes:
        """Return the next request's head, after its body of declared length was read."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        self._heads.append(head + b"\r\n\r\n")
        length = _LENGTH.search(head)
        while length and len(self._rest) < int(length[1]):
            self._more()
        self._rest = self._rest[int(length[1]) if length else 0 :]
        return head + b"\r\n\r\n"

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self._rest += data

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.socket.sendall(data)

    def hold(self) -> None:
        """Keep the connection as it is until the other side ends it, or the test does."""
        with contextlib.suppress(OSError):
            while self.socket.recv(1 << 16):
                pass

    def reset(self) -> None:
        """End it with a RST."""
        reset(self.socket)


def says(answer: bytes, then: str = "hold") -> Callable[[Peer], None]:
    """Return a script that answers each request with *answer*.

    Args:
        answer: All that it says.
        then: ``hold`` to go on to the next request, ``fin`` or ``reset`` to end there.
    """

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(answer)
            if then == "reset":
                peer.reset()
            if then != "hold":
                return

    return script


def reset(connection: socket.socket) -> None:
    """Close *connection* with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def rest_of(connection: socket.socket) -> tuple[bytes, str]:
    """Return what still comes, and how it ends: ``fin`` or ``reset``."""
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionError:
        return data, "reset"
    return data, "fin"


def pieces(connection: socket.socket, sent: list[Any]) -> None:
    """Send each of *sent* by itself; a peer that has closed meanwhile is no failure here."""
    with contextlib.suppress(ConnectionError):
        for piece in sent:
            connection.sendall(piece)
