"""The Messages API, as far as a gateway must understand it: what a request asks for."""

from __future__ import annotations

import re
import zlib

import msgspec

from passgate.core import faults
from passgate.core.exchange import NO_ASK, Ask
from passgate.core.faults import Refused

Body = bytes | bytearray

_MAX_MODEL_BYTES = 256


class _Key:
    """A top-level key of a body. Equal to nothing else, so that no repetition is lost."""

    __slots__ = ("name",)

    def __init__(self, _: type, name: str) -> None:
        self.name = name


_decode = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_Key).decode
_decode_value = msgspec.json.Decoder().decode


def peek(body: Body) -> Ask:
    """Return what *body* asks for; of a body that is no JSON object, that it names no model.

    Nothing but ``model`` is judged: the rest is the upstream's business.

    Raises:
        Refused: ``model`` stands in it twice; parsers disagree on which one counts.
    """
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NO_ASK
    model: msgspec.Raw | None = None
    stream = False
    for key, raw in fields.items():
        if key.name == "model":
            if model is not None:
                raise Refused(faults.request("model: the body names it twice"))
            model = raw
        elif key.name == "stream":
            stream = bytes(raw) == b"true"
    return Ask(model=None if model is None else _name_in(model), stream=stream)


def _name_in(model: msgspec.Raw) -> str | None:
    """Return the string that *model* is, or None: the decoder did not look inside it yet."""
    if memoryview(model).nbytes > _MAX_MODEL_BYTES:
        return None
    try:
        name = _decode_value(model)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return name if isinstance(name, str) else None


_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def renamed(body: Body, model: str) -> bytes:
    """Return *body*, which :func:`peek` read, with *model* in place of its model.

    Only the bytes of that one value change: the walk knows from the decoder how long
    each top-level value is, so it never looks inside one.
    """
    at = _SPACE.match(body).end() + 1  # type: ignore[union-attr]  # may be empty, so always matches
    for key, raw in _decode(body).items():
        at = _SPACE.match(body, at).end()  # type: ignore[union-attr]
        at = _STRING.match(body, at).end()  # type: ignore[union-attr]  # the decoder saw a string
        at = body.index(b":", at) + 1
        at = _SPACE.match(body, at).end()  # type: ignore[union-attr]
        end = at + memoryview(raw).nbytes
        if key.name == "model":
            return b"".join((body[:at], msgspec.json.encode(model), body[end:]))
        at = _SPACE.match(body, end).end() + 1  # type: ignore[union-attr]  # the comma
    raise AssertionError("peek found a model in this body")


def decoded(body: Body, coding: bytes, limit_bytes: int) -> bytes | None:
    """Return a copy of *body* without its content coding, or None where we cannot read it.

    Args:
        body: As received.
        coding: Value of ``content-encoding``.
        limit_bytes: Most bytes to make; a bomb is not read further.
    """
    match coding.strip().lower():
        case b"gzip" | b"x-gzip":
            bits = 31
        case b"deflate":
            bits = 15
        case b"identity" | b"":
            return bytes(body)
        case _:
            return None
    machine = zlib.decompressobj(bits)
    try:
        plain = machine.decompress(body, limit_bytes)
    except zlib.error:
        return None
    whole = machine.eof and not machine.unused_data and not machine.unconsumed_tail
    return plain if whole else None
