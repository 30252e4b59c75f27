"""Head bytes -> AnswerHead; what is ambiguous is refused here.

As in ``heads.py``, llhttp judges the grammar first. An upstream says the same head again
and again, but for a few values: what was judged once is then known by one match.

Source: RFC 9112, sections 4 and 6; RFC 9110, section 15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import httptools

from passgate.core.exchange import AnswerHead
from passgate.core.headers import FIND_IN_ANSWER, KEPT_OF_ANSWER, cut
from passgate.core.ratelimits import MARK
from passgate.edge.wire.heads import LENGTH, SINK, lasts

MAX_ANSWER_HEAD_BYTES = 64 * 1024

_HTTP10 = b"HTTP/1.0 "
_VERSIONS = frozenset({_HTTP10, b"HTTP/1.1 "})
_FIRST_STATUS, _LAST_STATUS = 100, 599
_FIRST_FINAL = 200
_NO_BODY = frozenset({204, 304})
# What decides over framing, coding and reuse: it is the same in all heads of a shape.
_DECIDING = frozenset(
    {b"connection", b"content-encoding", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)


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
        httptools.HttpResponseParser(SINK).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadAnswer("grammar") from error
    version = head[:9]  # the parser saw three digits behind it
    if version not in _VERSIONS:
        raise BadAnswer("version")
    fields, said = cut(head[:-4], FIND_IN_ANSWER, KEPT_OF_ANSWER)
    status = int(head[9:12])
    if not _FIRST_STATUS <= status <= _LAST_STATUS:
        raise BadAnswer("status")
    http10 = version == _HTTP10
    if http10:
        fields = b"HTTP/1.1" + fields[8:]
    length, chunked = _framing(said, status, method, http10=http10)
    keep_alive = not http10 and lasts(said)
    id_, limits = said.get(b"request-id"), MARK in fields
    deciding = {name: value for name, value in said.items() if name in _DECIDING}
    return AnswerHead(status, fields, deciding, length, chunked, keep_alive, id_, limits)


def _framing(
    said: dict[bytes, bytes], status: int, method: str, *, http10: bool
) -> tuple[int | None, bool]:
    """Return how the body is framed: its length or None, and whether it is chunked.

    Source: RFC 9112, 6.3.
    """
    coding, length = said.get(b"transfer-encoding"), said.get(b"content-length")
    if length is not None and (coding is not None or not LENGTH.fullmatch(length)):
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


# Enough for messages, streams, counts and errors.
_MOST_SHAPES = 4
_MOST_SHAPE_BYTES = 4096
_MOST_MISSES = 1000  # in a row; to make a shape costs as much as to judge a hundred heads
_VALUE = rb"[\t -~\x80-\xff]*"
_LENGTH_VALUE, _ID_VALUE = rb" (?P<length>[0-9]{1,18})", rb" (?P<id>[!-~]+)"


class _Shape:
    """What is the same in heads that differ in values alone.

    Attributes:
        match: Finds out whether a head is of this shape.
    """

    __slots__ = ("_head", "_id", "_kept", "_length", "match")

    def __init__(self, raw: bytes, head: AnswerHead) -> None:
        shape = re.compile(b"".join(_pattern(raw)))
        self.match = shape.fullmatch
        self._length, self._id = shape.groupindex.get("length"), shape.groupindex.get("id")
        self._kept = [at for name, at in shape.groupindex.items() if name.startswith("kept")]
        self._head = (head.status, head.said, head.chunked, head.keep_alive, head.limits)

    def head(self, found: re.Match[bytes]) -> AnswerHead:
        """Return the head in what :attr:`match` has found."""
        status, said, chunked, keep_alive, limits = self._head
        length, id_ = self._length, self._id
        return AnswerHead(
            status,
            found[1] if len(self._kept) == 1 else b"".join(found.group(*self._kept)),
            said,
            None if length is None else int(found[length]),
            chunked,
            keep_alive,
            None if id_ is None else found[id_],
            limits,
        )


def _pattern(raw: bytes) -> Iterator[bytes]:
    """Return what matches heads like *raw*; what of them may go on stands in groups."""
    line, *lines = raw[:-4].split(b"\r\n")
    yield b"(?P<kept0>" + re.escape(line)
    keeps = True
    for at, line in enumerate(lines, 1):
        name, _, value = line.partition(b":")
        low = name.lower()
        kept = low in KEPT_OF_ANSWER or len(FIND_IN_ANSWER(b"\r\n%s:" % low)) == 1
        if kept is not keeps:
            yield b"(?P<kept%d>" % at if kept else b")"
        keeps = kept
        yield b"\r\n%s:" % re.escape(name)
        if low == b"content-length":
            yield _LENGTH_VALUE
        elif low == b"request-id":
            yield _ID_VALUE
        else:
            yield re.escape(value) if low in _DECIDING else _VALUE
    yield b")\r\n\r\n" if keeps else b"\r\n\r\n"


class AnswerMemory:
    """The shapes of an upstream's heads."""

    __slots__ = ("_misses", "_shapes")

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._misses = 0

    def parse(self, raw: bytes, method: str) -> AnswerHead:
        """Return the response head in *raw*; see :func:`parse_answer`.

        Raises:
            BadAnswer: It is malformed, or its framing is ambiguous.
        """
        if method != "HEAD":
            for shape in self._shapes:
                found = shape.match(raw)
                if found is not None:
                    self._misses = 0
                    return shape.head(found)
        head = parse_answer(raw, method)
        if method != "HEAD" and _is_usual(raw, head):
            self._learn(raw, head)
        return head

    def _learn(self, raw: bytes, head: AnswerHead) -> None:
        self._misses += 1
        if self._misses > _MOST_MISSES:
            self._shapes, self._misses = [], 0  # the upstream has changed its ways
        if len(self._shapes) < _MOST_SHAPES:
            shape = _Shape(raw, head)
            if shape.match(raw) is not None:  # else a value is not spelled as is usual
                self._shapes.append(shape)


def _is_usual(raw: bytes, head: AnswerHead) -> bool:
    """Return whether heads that differ from *raw* in values alone can be told by that."""
    repeated = any(b"\n" in value for value in (*head.said.values(), head.request_id or b""))
    final = head.status >= _FIRST_FINAL and head.status not in _NO_BODY
    short = len(raw) <= _MOST_SHAPE_BYTES
    return final and short and not repeated and not raw.startswith(_HTTP10)
