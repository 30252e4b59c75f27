"""Head bytes -> RequestHead; what is ambiguous is refused here.

llhttp, strict, judges the grammar of a head first. What it lets through and we do not
follows: one place for each rule. Nothing here touches a socket.

Source: RFC 9112, sections 2 to 7; RFC 9110, sections 5 to 8.
"""

from __future__ import annotations

import re

import httptools

from passgate.core import faults
from passgate.core.exchange import RequestHead
from passgate.core.faults import Fault
from passgate.core.headers import FIND, KEPT, around_length, cut, tokens

MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
MAX_TARGET_BYTES = 8 * 1024

_REQUEST_LINE = re.compile(
    rb"(?!TRACE |CONNECT )([A-Z-]+) (/[\x21-\x7e]{0,%d}) HTTP/1\.([01])\r\n"
    % (MAX_TARGET_BYTES - 1)
)
_ANY_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/1\.[01]\r\n")
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")
LENGTH = re.compile(rb"[0-9]{1,18}")


class _Sink:
    """Callbacks of a parser: none, we only want its verdict.

    Said to be None, since a missing attribute costs an exception each.
    """

    on_message_begin = on_url = on_status = on_header = on_headers_complete = None
    on_body = on_message_complete = on_chunk_header = on_chunk_complete = None


SINK = _Sink()


class HeadProbe:
    """Judge a head that arrives in pieces, so that nonsense is refused before it is whole."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(SINK)

    def accepts(self, piece: bytes) -> bool:
        """Take the next bytes of a head; return whether they can still become one."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError:
            return False
        return True


def too_long(part: bytes | bytearray) -> Fault | None:
    """Return why the beginning of a head is already too long, or None."""
    line_end = part.find(b"\r\n", 0, MAX_TARGET_BYTES + 64)
    if line_end < 0 and len(part) > MAX_TARGET_BYTES + 64:
        return faults.http(414, f"the target is longer than {MAX_TARGET_BYTES} bytes")
    if len(part) > MAX_HEAD_BYTES:
        return faults.http(431, f"the head is longer than {MAX_HEAD_BYTES} bytes")
    return None


def parse_request(head: bytes) -> RequestHead:
    """Return the request head in *head*, which ends with its empty line.

    A head that is refused comes back with its ``fault`` set.
    """
    try:
        httptools.HttpRequestParser(SINK).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # the head is good; we upgrade nothing and cut the fields
    except httptools.HttpParserError:
        return _refused(head, 400, "the head is not valid HTTP/1.1")
    line = _REQUEST_LINE.match(head)
    if line is None or head.count(b"\r\n") > MAX_FIELDS + 2:
        return _out_of_bounds(head)
    method, target, minor = line.groups()
    raw_fields = head[line.end() - 2 : -4]
    fields, said = cut(raw_fields, FIND, KEPT)
    http10 = minor == b"0"
    problem = _ambiguous(said, http10=http10)
    if problem is not None:
        return _refused(head, 400, problem)
    path, mark, query = target.partition(b"?")
    return RequestHead(
        method.decode(),
        target,
        path.decode(),
        query if mark else None,
        raw_fields,
        fields,
        said,
        None if b"transfer-encoding" in said else int(said.get(b"content-length", 0)),
        not http10 and lasts(said),
        http10,
    )


_NO_PARTS = (b"", b"")
_MAX_DIGITS = 18


class HeadMemory:
    """The last accepted head of a connection.

    An agent says the same head with every request, but for the length of its body: what
    was judged once to the byte need not be judged again.

    Attributes:
        fresh: Whether the last head was like none before, so that all must be judged anew.
    """

    __slots__ = ("_fields", "_fields_at", "_head", "_parts", "_raw", "fresh")

    def __init__(self) -> None:
        self._raw = b""
        self._parts = _NO_PARTS
        self._fields = _NO_PARTS
        self._fields_at = 0  # where the field lines begin
        self._head = RequestHead()
        self.fresh = True

    def parse(self, raw: bytes) -> RequestHead:
        """Return the request head in *raw*; see :func:`parse_request`."""
        if raw == self._raw:
            self.fresh = False
            return self._head
        before, after = self._parts
        if before and raw.startswith(before) and raw.endswith(after):
            digits = raw[len(before) : len(raw) - len(after)]
            if digits.isdigit() and len(digits) <= _MAX_DIGITS:
                self.fresh = False
                self._raw, self._head = raw, self._with_length(raw, digits)
                return self._head
        head = parse_request(raw)
        self._remember(raw, head)
        return head

    def _remember(self, raw: bytes, head: RequestHead) -> None:
        self.__init__()  # type: ignore[misc]  # of a refused head there is nothing to remember
        if head.fault is None:
            self._raw, self._head = raw, head
            self._parts = around_length(raw)
            self._fields = around_length(head.fields)
            self._fields_at = len(raw) - 4 - len(head.raw_fields)

    def _with_length(self, raw: bytes, digits: bytes) -> RequestHead:
        """Return the head in *raw*, which has another content-length."""
        head = self._head
        return RequestHead(
            head.method,
            head.target,
            head.path,
            head.query,
            raw[self._fields_at : -4],
            digits.join(self._fields),
            head.said | {b"content-length": digits},
            int(digits),
            head.keep_alive,
            head.http10,
        )


def lasts(said: dict[bytes, bytes]) -> bool:
    """Return whether an HTTP/1.1 message lets its connection last."""
    connection = said.get(b"connection")
    return connection is None or b"close" not in tokens(connection)


def _out_of_bounds(head: bytes) -> RequestHead:
    """Return the refusal of a head whose request line or number of fields is not ours."""
    line = _ANY_REQUEST_LINE.match(head)
    if line is None:
        return _refused(head, 400, "the request line is not: METHOD /path HTTP/1.1")
    if len(line[2]) > MAX_TARGET_BYTES:
        return _refused(head, 414, f"the target is longer than {MAX_TARGET_BYTES} bytes")
    if line[1] in (b"TRACE", b"CONNECT"):
        return _refused(head, 405, "this method is not served")
    if not line[2].startswith(b"/"):
        return _refused(head, 400, "the target is not a path: /path?query")
    return _refused(head, 431, f"more than {MAX_FIELDS} header fields")


def _ambiguous(said: dict[bytes, bytes], *, http10: bool) -> str | None:
    """Return what makes the framing or the host of a request ambiguous, or None."""
    host = said.get(b"host")
    if host is None:
        if not http10:
            return "there must be one Host field"
    elif not _HOST.fullmatch(host):  # a repeated one holds a line feed
        return "there must be one Host field, with a valid host"
    coding, length = said.get(b"transfer-encoding"), said.get(b"content-length")
    if coding is not None:
        if length is not None:
            return "both Content-Length and Transfer-Encoding"
        if http10 or coding.lower() != b"chunked":
            return "a Transfer-Encoding other than chunked"
    elif length is not None and not LENGTH.fullmatch(length):
        return "there must be one Content-Length, a decimal number"
    return None


def _refused(head: bytes, status: int, message: str) -> RequestHead:
    """Return a head that only says why it is refused, and what can be told of it."""
    line = _ANY_REQUEST_LINE.match(head)
    fault = faults.http(status, message)
    if line is None:
        return RequestHead(fault=fault)
    # What is no path is nobody's business: it could be a key in the wrong place.
    path = line[2].partition(b"?")[0][:1024].decode() if line[2][:1] == b"/" else ""
    return RequestHead(method=line[1].decode(), path=path, fault=fault)
