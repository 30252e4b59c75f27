"""Head bytes -> RequestHead or AnswerHead; what is ambiguous is refused here.

llhttp, strict, judges the grammar of a head first. What it lets through and we do not
follows: one place for each rule. Nothing here touches a socket.

Source: RFC 9112, sections 2 to 7; RFC 9110, sections 5 to 8.
"""

from __future__ import annotations

import re

import httptools

from passgate.core import faults
from passgate.core.exchange import AnswerHead, RequestHead
from passgate.core.faults import Fault
from passgate.core.headers import (
    FIND,
    FIND_IN_ANSWER,
    KEPT,
    KEPT_OF_ANSWER,
    around_length,
    cut,
    tokens,
)

MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
MAX_TARGET_BYTES = 8 * 1024
MAX_ANSWER_HEAD_BYTES = 64 * 1024

_REQUEST_LINE = re.compile(
    rb"(?!TRACE |CONNECT )([A-Z-]+) (/[\x21-\x7e]{0,%d}) HTTP/1\.([01])\r\n"
    % (MAX_TARGET_BYTES - 1)
)
_ANY_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/1\.[01]\r\n")
_RequestParser, _ResponseParser = httptools.HttpRequestParser, httptools.HttpResponseParser
_HTTP10 = b"HTTP/1.0 "
_VERSIONS = frozenset({_HTTP10, b"HTTP/1.1 "})
_FIRST_STATUS, _LAST_STATUS = 100, 599
_FIRST_PLAIN = 200
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_NO_BODY = frozenset({204, 304})


class _Sink:
    """Callbacks of a parser: none, we only want its verdict.

    Said to be None, since a missing attribute costs an exception each.
    """

    on_message_begin = on_url = on_status = on_header = on_headers_complete = None
    on_body = on_message_complete = on_chunk_header = on_chunk_complete = None


_SINK = _Sink()


class HeadProbe:
    """Judge a head that arrives in pieces, so that nonsense is refused before it is whole."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(_SINK)

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
        _RequestParser(_SINK).feed_data(head)
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
        not http10 and _lasts(said),
        http10,
    )


_NO_PARTS = (b"", b"")


class HeadMemory:
    """The last accepted head of a connection.

    An agent says the same head with every request, but for the length of its body: what
    was judged once to the byte need not be judged again.

    Attributes:
        fresh: Whether the last head was like none before, so that all must be judged anew.
    """

    __slots__ = ("_fields", "_head", "_parts", "_raw", "_raw_fields", "fresh")

    def __init__(self) -> None:
        self._raw = b""
        self._parts = _NO_PARTS
        self._raw_fields = self._fields = _NO_PARTS
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
                self._raw, self._head = raw, self._with_length(digits)
                return self._head
        head = parse_request(raw)
        self._remember(raw, head)
        return head

    def _remember(self, raw: bytes, head: RequestHead) -> None:
        self.__init__()  # type: ignore[misc]  # of a refused head there is nothing to remember
        if head.fault is None:
            self._raw, self._head = raw, head
            self._parts = around_length(raw)
            self._raw_fields, self._fields = (
                around_length(head.raw_fields),
                around_length(head.fields),
            )

    def _with_length(self, digits: bytes) -> RequestHead:
        """Return the head with another content-length."""
        head = self._head
        return RequestHead(
            head.method,
            head.target,
            head.path,
            head.query,
            digits.join(self._raw_fields),
            digits.join(self._fields),
            head.said | {b"content-length": digits},
            int(digits),
            head.keep_alive,
            head.http10,
        )


def _lasts(said: dict[bytes, bytes]) -> bool:
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
    elif length is not None and not _LENGTH.fullmatch(length):
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


class BadAnswer(Exception):
    """An upstream's response head is malformed or ambiguous."""


def parse_answer(head: bytes, method: str) -> AnswerHead:
    """Return the response head in *head*, which ends with its empty line.

    Args:
        head: As received.
        method: Of the request it answers; an answer to ``HEAD`` has no body.

    Raises:
        BadAnswer: It is malformed, or its framing is ambiguous.
    """
    try:
        _ResponseParser(_SINK).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadAnswer("grammar") from error
    version = head[:9]  # the parser saw three digits behind it
    if version not in _VERSIONS:
        raise BadAnswer("version")
    plain = _plain(head, version, method)
    if plain is not None:
        return plain
    fields, said = cut(head[:-4], FIND_IN_ANSWER, KEPT_OF_ANSWER)
    status = int(head[9:12])
    if not _FIRST_STATUS <= status <= _LAST_STATUS:
        raise BadAnswer("status")
    http10 = version == _HTTP10
    if http10:
        fields = b"HTTP/1.1" + fields[8:]
    length, chunked = _answer_framing(said, status, method, http10=http10)
    return AnswerHead(status, fields, said, length, chunked, not http10 and _lasts(said))


# A head without any of these has nothing to be cut, no framing but a length, and no coding.
_NOT_PLAIN = re.compile(
    rb"\r\n(?:con(?:nection|tent-encoding)|keep-alive|proxy-|set-cookie|t(?:e|railer|ransfer-encoding)|upgrade)"
).search
_LENGTH_LINE, _ID_LINE = b"\r\ncontent-length:", b"\r\nrequest-id:"
_MAX_DIGITS = 18


def _plain(head: bytes, version: bytes, method: str) -> AnswerHead | None:
    """Return the head of a unary answer from which nothing is to be cut; else None.

    Nearly every one, at half the cost of what judges the others.
    """
    lowered = head.lower()
    status = int(head[9:12])
    at = lowered.find(_LENGTH_LINE)
    if at < 0 or version == _HTTP10 or method == "HEAD":
        return None
    if not _FIRST_PLAIN <= status <= _LAST_STATUS or status in _NO_BODY:
        return None
    at += len(_LENGTH_LINE)
    length = head[at : head.find(b"\r\n", at)].strip(b" \t")
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        return None
    if lowered.find(_LENGTH_LINE, at) >= 0 or _NOT_PLAIN(lowered):
        return None
    said = {b"content-length": length}
    at = lowered.find(_ID_LINE)
    if at >= 0:
        at += len(_ID_LINE)
        said[b"request-id"] = head[at : head.find(b"\r\n", at)].strip(b" \t")
        if lowered.find(_ID_LINE, at) >= 0:
            return None
    return AnswerHead(status, head[:-4], said, int(length), chunked=False, keep_alive=True)


def _answer_framing(
    said: dict[bytes, bytes], status: int, method: str, *, http10: bool
) -> tuple[int | None, bool]:
    """Return how the body is framed: its length or None, and whether it is chunked.

    Source: RFC 9112, 6.3.
    """
    coding, length = said.get(b"transfer-encoding"), said.get(b"content-length")
    if length is not None and (coding is not None or not _LENGTH.fullmatch(length)):
        raise BadAnswer("length")
    if coding is not None and (http10 or coding.lower() != b"chunked"):
        raise BadAnswer("transfer-encoding")
    if status in _NO_BODY or status < 200 or method == "HEAD":
        if status == 204 and (coding or int(length or 0)):
            raise BadAnswer("a body in a 204")
        return 0, False
    if coding is not None:
        return None, True
    return (None if length is None else int(length)), False
