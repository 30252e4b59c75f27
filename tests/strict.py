"""HTTP/1.1 as strictly as it can be read: what the gateway writes must pass here.

Written from RFC 9112 alone, slow and plain, and nothing of the gateway is used: it must
not share our mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_VALUE = frozenset(b"\t") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))
_DIGITS = frozenset(b"0123456789")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_TARGET = frozenset(range(0x21, 0x7F))
_HOP_BY_HOP = frozenset(
    [b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect", b"forwarded"]
)


class NotStrict(Exception):
    """The bytes are not one valid message after the other."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        line: Request line or status line.
        fields: Name, in lower case, and value, in order.
        body: Without its framing.
        complete: Whether its framing says that it is whole.
    """

    line: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool

    def get(self, name: bytes) -> list[bytes]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.line.split()[1])


def requests(data: bytes, *, cut: bool = False) -> list[Message]:
    """Return the requests that *data* is, of which the last may lack a part of its body.

    Args:
        data: All that an upstream was sent.
        cut: Whether the end may be missing within a head, too, which is then left out.

    Raises:
        NotStrict: It is something else.
    """
    found, at = [], 0
    while at < len(data):
        if cut and b"\r\n\r\n" not in data[at:]:
            break
        line, fields, at = _head(data, at)
        method, target, version = _three(line)
        _must(bool(method) and set(method) <= _TOKEN, "method")
        _must(target.startswith(b"/") and set(target) <= _TARGET, "target")
        _must(version == b"HTTP/1.1", "version")
        names = [name for name, _ in fields]
        _must(names.count(b"host") == 1, "host")
        _must(not _HOP_BY_HOP & set(names), "hop-by-hop")
        message, at = _message(data, at, line, fields, no_body=False, by_close=False)
        _must(message.complete or at == len(data), "an unfinished request in between")
        found.append(message)
    return found


def responses(data: bytes, methods: Sequence[str], *, closed: bool) -> list[Message]:
    """Return the responses that *data* is, interim ones included.

    Args:
        data: All that a client was sent.
        methods: Of the requests it sent.
        closed: Whether the connection was closed, and not cut.

    Raises:
        NotStrict: It is something else.
    """
    found, at, answered = [], 0, 0
    while at < len(data):
        line, fields, at = _head(data, at)
        # The space behind the status is left out by some, which we pass on.
        version, code, _ = _three(line if line.count(b" ") > 1 else line + b" ")
        _must(version == b"HTTP/1.1", "version")
        _must(len(code) == 3 and set(code) <= _DIGITS, "status")
        status = int(code)
        _must(answered < len(methods), "a response that nothing asked for")
        empty = status < 200 or status in (204, 304) or methods[answered] == "HEAD"
        message, at = _message(data, at, line, fields, no_body=empty, by_close=True)
        if not message.complete:
            _must(at == len(data), "an unfinished response in between")
            lengthless = not message.get(b"content-length") + message.get(b"transfer-encoding")
            message = Message(line, fields, message.body, closed and lengthless)
        answered += status >= 200
        found.append(message)
    return found


def _message(
    data: bytes,
    at: int,
    line: bytes,
    fields: tuple[tuple[bytes, bytes], ...],
    *,
    no_body: bool,
    by_close: bool,
) -> tuple[Message, int]:
    """Return the message whose head ends at *at*, and where it ends."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    _must(len(lengths) + len(codings) <= 1, "ambiguous framing")
    if no_body:
        _must(not codings, "a body where there can be none")
        return Message(line, fields, b"", complete=True), at
    if codings:
        _must(codings[0] == b"chunked", "transfer-encoding")
        body, at, complete = _chunks(data, at)
        return Message(line, fields, body, complete), at
    if lengths:
        _must(0 < len(lengths[0]) <= 18 and set(lengths[0]) <= _DIGITS, "content-length")
        end = at + int(lengths[0])
        return Message(line, fields, data[at:end], end <= len(data)), min(end, len(data))
    if by_close:
        return Message(line, fields, data[at:], complete=False), len(data)
    return Message(line, fields, b"", complete=True), at


def _head(data: bytes, at: int) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], int]:
    end = data.find(b"\r\n\r\n", at)
    _must(end >= 0, "half a head")
    line, *lines = data[at:end].split(b"\r\n")
    fields = []
    for each in lines:
        name, colon, value = each.partition(b":")
        _must(bool(colon) and bool(name) and set(name) <= _TOKEN, "field name")
        _must(set(value) <= _VALUE, "field value")
        fields.append((name.lower(), value.strip(b" \t")))
    return line, tuple(fields), end + 4


def _chunks(data: bytes, at: int) -> tuple[bytes, int, bool]:
    """Return the data of a chunked body, where it ends and whether that was seen.

    Extensions may stand in it, trailers may not: we pass none on.
    """
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            _must(len(data) - at <= 1024, "a size line without end")
            return body, len(data), False
        size, semicolon, extension = data[at:end].partition(b";")
        size = size.rstrip(b" \t")
        _must(0 < len(size) <= 16 and set(size) <= _HEX, "chunk size")
        _must(set(extension) <= _VALUE or not semicolon, "chunk extension")
        start, stop = end + 2, end + 2 + int(size, 16)
        body += data[start:stop]
        _must(b"\r\n".startswith(data[stop : stop + 2]), "the end of a chunk")
        if len(data) < stop + 2:
            return body, len(data), False
        at = stop + 2
        if start == stop:
            return body, at, True


def _three(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ", 2)
    _must(len(parts) == 3, "first line")
    return parts[0], parts[1], parts[2]


def _must(true: bool, what: str) -> None:  # noqa: FBT001  reads as assert does
    if not true:
        raise NotStrict(what)
