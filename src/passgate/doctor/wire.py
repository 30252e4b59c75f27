"""HTTP/1.1 by hand, as a client: what is sent and received is seen to the byte and in time.

No library: one would repeat, decode, follow or close what this is to be a witness of.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

# For each step of each row: no gateway needs so long to refuse, and a person waits for it.
WAIT_S = 5.0
_READ_BYTES = 1 << 16
_FIRST_FINAL = 200
_BODILESS = (204, 304)

Fields = tuple[tuple[str, str], ...]


class NoAnswer(Exception):
    """Nothing that could be read as an answer came; the text says what did."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway is.

    Attributes:
        prefix: The path before ``/v1``, without a slash at its end.
    """

    tls: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Return the place that *url* names.

        Raises:
            ValueError: It is no http or https URL of a host.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the URL must begin with http:// or https:// and name a host")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("the URL must hold nothing but a host, a port and a path")
        tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(tls, parts.hostname, parts.port or (443 if tls else 80), prefix)

    @property
    def authority(self) -> str:
        """What goes into ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        fields: Name and value as received, in order.
        body: Without its framing, as far as it came.
        whole: Whether its framing says that it is complete.
    """

    status: int
    fields: Fields
    body: bytes
    whole: bool

    def get(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]


class Call:
    """One connection to a gateway, for one request."""

    def __init__(self, place: Place, *, trusted: str | None = None) -> None:
        """Connect.

        Args:
            place: Where to.
            trusted: File with the certificates to trust; None for the system's.

        Raises:
            OSError: There is no connection.
        """
        plain = socket.create_connection((place.host, place.port), WAIT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if place.tls:
            context = ssl.create_default_context(cafile=trusted)
            context.set_alpn_protocols(["http/1.1"])
            try:
                self._socket = context.wrap_socket(plain, server_hostname=place.host)
            except BaseException:
                plain.close()
                raise
        self._got = bytearray()
        self._over = self._reset = False

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send *data*, or as much as the other side takes before it ends the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._socket.sendall(data)

    def leave(self) -> None:
        """End the connection as a program does that is stopped."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    @property
    def got(self) -> bytes:
        """All that came back so far."""
        return bytes(self._got)

    def head(self, within_s: float = WAIT_S) -> int:
        """Return the status of an answer that has no body.

        Raises:
            NoAnswer: There is none.
        """
        for found in self._answers(within_s):
            if found is not None:
                return found.status
        raise NoAnswer("no answer")

    def until(self, mark: bytes, within_s: float = WAIT_S) -> Answer | None:
        """Return the answer so far once *mark* is in its body; None where that does not come."""
        return next((a for a in self._answers(within_s) if a is not None and mark in a.body), None)

    def answer(self, within_s: float = WAIT_S) -> Answer:
        """Return the answer, whole or as far as it came.

        Raises:
            NoAnswer: There is none.
        """
        found = None
        for found in self._answers(within_s):
            if found is not None and found.whole:
                return found
        if found is None:
            raise NoAnswer("no answer" if not self._over else "the connection was closed")
        return found

    def _answers(self, within_s: float) -> Iterator[Answer | None]:
        """Yield what there is of the answer, each time that there is more, and at the end."""
        until = time.monotonic() + within_s
        while True:
            # A reset is no end that a body could have.
            yield parsed(bytes(self._got), ended=self._over and not self._reset)
            if self._over or not self._more(until - time.monotonic()):
                return

    def _more(self, within_s: float) -> bool:
        """Read; return whether there may be something new to look at."""
        if within_s <= 0:
            return False
        self._socket.settimeout(within_s)
        try:
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            return False
        except OSError:
            self._over = self._reset = True
            return True
        self._over = not data
        self._got += data
        return True


def parsed(got: bytes, *, ended: bool) -> Answer | None:
    """Return the final answer in *got*, as far as it came, or None.

    Raises:
        NoAnswer: It is no HTTP/1.
    """
    while True:
        head, blank, rest = got.partition(b"\r\n\r\n")
        if not blank:
            return None
        line, *lines = head.decode("latin-1").split("\r\n")
        version, _, after = line.partition(" ")
        if not version.startswith("HTTP/1.") or not after[:3].isdigit():
            raise NoAnswer("what came is no HTTP/1 answer")
        status = int(after[:3])
        if status >= _FIRST_FINAL:
            break
        got = rest
    pairs = (each.partition(":") for each in lines)
    fields = tuple((name, value.strip()) for name, _, value in pairs)
    body, whole = _body(status, {name.lower(): value for name, value in fields}, rest, ended=ended)
    return Answer(status, fields, body, whole)


def _body(status: int, said: dict[str, str], rest: bytes, *, ended: bool) -> tuple[bytes, bool]:
    if status in _BODILESS:
        return b"", True
    if "chunked" in said.get("transfer-encoding", "").lower():
        return _unchunked(rest)
    length = said.get("content-length")
    if length is not None and length.isdecimal():
        return rest[: int(length)], len(rest) >= int(length)
    return rest, ended


def _unchunked(rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        size = line.partition(b";")[0].strip()
        if not end or not size or set(size.lower()) - set(b"0123456789abcdef"):
            return body, False
        count = int(size, 16)
        if not count:
            return body, rest.startswith(b"\r\n") or rest.endswith(b"\r\n\r\n")
        body += rest[:count]
        if rest[count : count + 2] != b"\r\n":
            return body, False
        rest = rest[count + 2 :]
