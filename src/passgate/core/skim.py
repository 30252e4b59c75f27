"""JSON objects out of a stream of them, without what is too large to be of interest.

A whole answer may hold megabytes of which a meter wants the few members that are short.
Long ones are let go as they come, so that memory is bounded however large an object is.

Source: RFC 8259.
"""

from __future__ import annotations

import re

_MAX_MEMBER_BYTES = 128 * 1024
_MAX_OBJECT_BYTES = 512 * 1024

# All up to what changes the depth, or to a string that the piece does not end; on the
# outermost level also up to what ends a member. Not possessive: early 3.11 gets that wrong.
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_DEEP = re.compile(rb'(?:[^"{}\[\]]+|%s)*' % _STRING, re.DOTALL).match
_FLAT = re.compile(rb'(?:[^"{}\[\],]+|%s)*' % _STRING, re.DOTALL).match
_CHANGES = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
# All of a string up to its end, or up to a backslash that ends the piece.
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL).match
_QUOTE = ord('"')


class TooManyMembers(Exception):
    """An object is too large though none of its members is."""


class Skimmer:
    """Cut a byte stream into its outermost JSON objects, less their longest members.

    What stands between objects is passed over: the rest of an array, or ``data:`` before
    each. So are line ends and ``data:`` between the tokens of an object.

    Args:
        max_member_bytes: A longer member, its name included, is left out.
        max_object_bytes: Most bytes held of one object.
    """

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_string",
        "_kept_bytes",
        "_leaves_out",
        "_max_member_bytes",
        "_max_object_bytes",
        "_member",
        "_members",
    )

    def __init__(
        self,
        max_member_bytes: int = _MAX_MEMBER_BYTES,
        max_object_bytes: int = _MAX_OBJECT_BYTES,
    ) -> None:
        self._max_member_bytes = max_member_bytes
        self._max_object_bytes = max_object_bytes
        self._depth = 0  # within an object
        self._in_string = self._escaped = False
        self._member = bytearray()  # the one that is read
        self._leaves_out = False  # whether that one is too long
        self._members: list[bytes] = []
        self._kept_bytes = 0

    @property
    def between(self) -> bool:
        """Whether no object has begun that has not ended."""
        return self._depth == 0 and not self._in_string

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, return the objects they complete.

        Raises:
            TooManyMembers: One is too large.
        """
        done: list[bytes] = []
        member_at = 0
        at, mark = self._next_mark(data, 0)
        while mark:
            if self._depth == 0:
                if mark == b"{":
                    self._depth, member_at = 1, at
            elif self._depth == 1 and mark in b",}]":
                self._keep(data[member_at : at - 1])
                self._end_member()
                member_at = at
                if mark != b",":
                    self._depth = 0
                    done.append(self._object())
            else:
                self._depth += _CHANGES[mark]
            at, mark = self._next_mark(data, at)
        if self._depth:
            self._keep(data[member_at:])
        return done

    def _next_mark(self, data: bytes, at: int) -> tuple[int, bytes]:
        """Return where the next mark outside strings ends, and it; empty where none is left."""
        while at < len(data):
            if self._in_string:
                at = self._through_string(data, at)
                continue
            scan = _DEEP if self._depth > 1 else _FLAT
            at = scan(data, at).end() + 1  # type: ignore[union-attr]  # may be empty, so always matches
            mark = data[at - 1 : at]
            if mark != b'"':
                return at, mark
            self._in_string = True
        return at, b""

    def _through_string(self, data: bytes, at: int) -> int:
        """Go on in a string; return where to look next."""
        if self._escaped:
            self._escaped = False
            return at + 1
        at = _IN_STRING(data, at).end()  # type: ignore[union-attr]  # as above
        if at < len(data):
            self._in_string = data[at] != _QUOTE
            self._escaped = self._in_string  # a backslash, and the piece ends with it
            at += 1
        return at

    def _keep(self, part: bytes) -> None:
        """Keep a part of a member, unless that is too long."""
        if self._leaves_out:
            return
        if len(self._member) + len(part) > self._max_member_bytes:
            self._leaves_out = True
            self._member.clear()
            return
        self._member += part

    def _end_member(self) -> None:
        if self._member and not self._leaves_out:
            self._kept_bytes += len(self._member) + 1
            if self._kept_bytes > self._max_object_bytes:
                raise TooManyMembers
            self._members.append(bytes(self._member))
        self._member.clear()
        self._leaves_out = False

    def _object(self) -> bytes:
        members, self._members, self._kept_bytes = self._members, [], 0
        return b"{%s}" % b",".join(members)


class Held:
    """One JSON object, whole where it is of ordinary size, skimmed where it is large.

    Nearly every answer is short: to hold it costs less than to look at every byte.
    """

    __slots__ = ("_most", "_skimmed", "_skimmer", "_text")

    def __init__(self, most: int = 256 * 1024) -> None:
        self._most = most
        self._text: bytes | bytearray = b""
        self._skimmer: Skimmer | None = None
        self._skimmed: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooManyMembers: It is too large.
        """
        if self._skimmer is not None:
            self._skim(self._skimmer, data)
        elif not self._text:
            self._text = data  # nearly always all of it
        elif len(self._text) + len(data) <= self._most:
            if isinstance(self._text, bytes):
                self._text = bytearray(self._text)
            self._text += data
        else:
            self._skimmer = Skimmer()
            self._skim(self._skimmer, bytes(self._text))
            self._text = b""
            self._skim(self._skimmer, data)

    def _skim(self, skimmer: Skimmer, data: bytes) -> None:
        for text in skimmer.feed(data):
            self._skimmed = text

    @property
    def text(self) -> bytes | bytearray:
        """What has come, or what is left of it."""
        return self._text if self._skimmer is None else self._skimmed
