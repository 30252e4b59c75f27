"""An upstream that keeps every byte it is sent, and says what a case has it say."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable

from tests.loopback.peers import reset

PROBE = re.compile(rb"\r\nx-probe: *([!-~]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_WAIT_S = 10.0
_KEPT_BYTES = 1 << 20


class Line:
    """One connection to the tap.

    Attributes:
        socket: The connection itself.
        busy: Whether a script plays on it.
    """

    def __init__(self, tap: Tap, accepted: socket.socket) -> None:
        accepted.settimeout(_WAIT_S)
        self.socket = accepted
        self.busy = False
        self._tap = tap
        self._rest = bytearray()

    def more(self) -> None:
        """Take the next bytes, for the case that runs now."""
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise EOFError
        self._tap.keep(self, data)
        self._rest += data

    def head(self) -> bytes:
        """Return the next request's head, its body not yet read."""
        while b"\r\n\r\n" not in self._rest:
            self.more()
        head, blank, self._rest = self._rest.partition(b"\r\n\r\n")
        return bytes(head + blank)

    def body(self, head: bytes) -> None:
        """Read what *head* says of a body."""
        if _CHUNKED.search(head):
            self._rest[:0] = b"\r\n"
            while (end := self._rest.find(b"\r\n0\r\n\r\n")) < 0:
                del self._rest[:-7]
                self.more()
            del self._rest[: end + 7]
        elif length := _LENGTH.search(head):
            left = int(length[1])
            while len(self._rest) < left:
                left -= len(self._rest)
                self._rest.clear()
                self.more()
            del self._rest[:left]

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.socket.sendall(data)

    def hold(self, most_s: float = _WAIT_S) -> None:
        """Keep the connection as it is until the other side ends it."""
        self.socket.settimeout(most_s)
        with contextlib.suppress(EOFError):
            while True:
                self.more()

    def reset(self) -> None:
        """End it with a RST."""
        reset(self.socket)


Script = Callable[[Line, bytes], None]


def ordinary(line: Line, head: bytes) -> None:
    """Answer as a correct upstream does, and name the probe that asks."""
    line.body(head)
    probe = PROBE.search(head)
    text = b'{"probe":"%s"}' % (probe[1] if probe else b"")
    said = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    line.send(said % len(text) + (b"" if head.startswith(b"HEAD ") else text))


class Tap:
    """The one upstream of a target, for all cases one after the other.

    Args:
        port: Where it listens; 0 takes a free port.

    Attributes:
        port: Where it listens.
        bytes_in: How much was sent in this case.
        dialled: How many connections were made in this case.
        heads: The requests of this case.
    """

    def __init__(self, port: int = 0) -> None:
        self._listening = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._threads: list[threading.Thread] = []
        self._script: Script = ordinary
        self._times = 0
        self._drops = False
        self._sent: dict[Line, bytearray] = {}
        self.dialled = self.bytes_in = 0
        self.heads: list[bytes] = []
        self._accepting = threading.Thread(target=self._accept, name="tap", daemon=True)

    def __enter__(self) -> Tap:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # it may have ended already
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join(_WAIT_S)
        self._drop()

    def begin(self, script: Script | None = None, times: int = 1) -> None:
        """Begin a case: forget what was sent.

        Args:
            script: Plays the answer to its first *times* requests; the others are answered
                well. After such a case no connection is kept.
            times: How often.
        """
        if self._drops:
            self._drop()
        with self._lock:
            self._script, self._times = script or ordinary, times if script else 0
            self._drops = script is not None
            self._sent.clear()
            self.heads.clear()
            self.dialled = self.bytes_in = 0

    def play(self, script: Script, times: int = 1) -> None:
        """Play *script* from now on, also on the connections that are there."""
        with self._lock:
            self._script, self._times, self._drops = script, times, True
            self._sent.clear()
            self.heads.clear()

    def sent(self) -> list[bytes]:
        """Return what was sent in this case on each connection."""
        with self._lock:
            return [bytes(data) for data in self._sent.values()]

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        with self._lock:
            return len(self._lines)

    @property
    def busy(self) -> int:
        """Return on how many connections a script plays."""
        with self._lock:
            return sum(line.busy for line in self._lines)

    def keep(self, line: Line, data: bytes) -> None:
        """Keep the beginning of what *line* was sent."""
        with self._lock:
            self.bytes_in += len(data)
            kept = self._sent.setdefault(line, bytearray())
            kept += data[: max(0, _KEPT_BYTES - len(kept))]

    def _drop(self) -> None:
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            with contextlib.suppress(OSError):
                line.socket.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + _WAIT_S
        while self.open and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.01)  # the target takes note of it

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            line = Line(self, accepted)
            with self._lock:
                self.dialled += 1
                self._lines.add(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        try:
            with line.socket, contextlib.suppress(OSError, EOFError):
                while True:
                    head = line.head()
                    script = self._next(head)
                    line.busy = True
                    script(line, head)
                    line.busy = False
                    if line.socket.fileno() < 0:
                        return
        finally:
            with self._lock:
                self._lines.discard(line)

    def _next(self, head: bytes) -> Script:
        with self._lock:
            self.heads.append(head)
            if self._times:
                self._times -= 1
                return self._script
            return ordinary
