"""The Messages API, as far as a gateway must understand it: what a request asks for."""

from __future__ import annotations

import operator
import re
import zlib
from collections.abc import Callable

import msgspec

from passgate.core import faults
from passgate.core.exchange import NO_ASK, Ask
from passgate.core.faults import Refused

Body = bytes | bytearray
MAX_BODY_BYTES = 33_554_432  # what the Messages API takes

_MAX_MODEL_CHARS = 254
# The API knows some dozens. A key takes 100 bytes, and 32 MiB have room for six million.
_MOST_KEYS = 10_000
_MANY_BYTES = 1 << 16  # a smaller body has no room for many more
# In, and out, of one step of taking a coding off: what there is beside what was asked for.
_STEP_BYTES = 1 << 17
_QUICKLY = 1  # of zlib's levels


class _Key(str):
    """A top-level key of a body. Equal to nothing else, so that no repetition is lost."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


_Fields = dict[_Key, msgspec.Raw]
_decode_small = msgspec.json.Decoder(_Fields, dec_hook=operator.call).decode


def _decode(body: Body) -> _Fields:
    """Return the top-level values of a body, which are not looked into.

    Raises:
        msgspec.DecodeError: It is no JSON object, or it has more keys than any request.
    """
    if len(body) < _MANY_BYTES:
        return _decode_small(body)
    left = _MOST_KEYS

    def key(type_: type, name: str) -> _Key:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("too many keys")
        return _Key(name)

    return msgspec.json.decode(body, type=_Fields, dec_hook=key)


_decode_name = msgspec.json.Decoder(str).decode


_decode_ask = msgspec.json.Decoder(Ask).decode


def _ask_at_sight(body: Body) -> Ask | None:
    r"""Return what an ordinary body asks for: a small one which cannot name its model twice.

    That takes the word itself, or its letters written as ``\u006d``; and what is not
    ASCII may not be UTF-8 either, which parsers read in several ways.
    """
    if len(body) >= _MANY_BYTES or not body.isascii() or body.count(b'"model"') != 1:
        return None
    if body.find(b"\\u006") >= 0:
        return None
    try:
        ask = _decode_ask(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return ask if ask.model is not None and len(ask.model) <= _MAX_MODEL_CHARS else None


def peek(body: Body) -> Ask:
    """Return what *body* asks for; of a body that is no JSON object, that it names no model.

    Nothing but ``model`` is judged: the rest is the upstream's business.

    Raises:
        Refused: ``model`` stands in it twice; parsers disagree on which one counts.
    """
    ask = _ask_at_sight(body)
    if ask is not None:
        return ask
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NO_ASK
    names = list(map(str, fields))
    if names.count("model") > 1:
        raise Refused(faults.request("model: the body names it twice"))
    said = dict(zip(names, fields.values(), strict=False))  # they are as many, and that is cheaper
    model, stream = said.get("model"), said.get("stream")
    return Ask(
        None if model is None else _name_in(model), stream is not None and bytes(stream) == b"true"
    )


def _name_in(model: msgspec.Raw) -> str | None:
    """Return the string that *model* is, or None: the decoder did not look inside it yet."""
    try:
        name = _decode_name(model)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return name if len(name) <= _MAX_MODEL_CHARS else None


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
        if str(key) == "model":
            return b"".join((body[:at], msgspec.json.encode(model), body[end:]))
        at = _SPACE.match(body, end).end() + 1  # type: ignore[union-attr]  # the comma
    raise AssertionError("peek found a model in this body")


def decoded(
    body: Body, coding: bytes, limit_bytes: int, fits: Callable[[int], None]
) -> Body | None:
    """Return *body* without its content coding, or None where we cannot read it.

    Args:
        body: As received.
        coding: Value of ``content-encoding``.
        limit_bytes: Most bytes to make; a bomb is not read further.
        fits: Told how much it has come to before that is kept; what it raises stops the work.
    """
    match coding.strip().lower():
        case b"gzip" | b"x-gzip":
            bits = 31
        case b"deflate":
            bits = 15
        case b"identity" | b"":
            return body
        case _:
            return None
    try:
        return _inflated(body, bits, limit_bytes, fits)
    except zlib.error:
        return None


def recoded(plain: Body, coding: bytes) -> Body:
    """Return *plain*, which :func:`decoded` made of a body in *coding*, in that coding again."""
    name = coding.strip().lower()
    if name in (b"identity", b""):
        return plain
    machine = zlib.compressobj(_QUICKLY, wbits=15 if name == b"deflate" else 31)
    return machine.compress(plain) + machine.flush()


def _inflated(
    body: Body, bits: int, limit_bytes: int, fits: Callable[[int], None]
) -> bytearray | None:
    """Return what *body* was, in steps: asked for all at once, zlib makes room for twice as much.

    Raises:
        zlib.error: It is not coded as it says.
    """
    machine, plain = zlib.decompressobj(bits), bytearray()
    for at in range(0, len(body), _STEP_BYTES):
        coded, full = bytes(body[at : at + _STEP_BYTES]), True
        while full and not machine.eof:
            piece = machine.decompress(coded, _STEP_BYTES)
            if len(plain) + len(piece) > limit_bytes:
                return None
            fits(len(plain) + len(piece))
            plain += piece
            coded, full = machine.unconsumed_tail, len(piece) == _STEP_BYTES
        if machine.eof:
            whole = not machine.unused_data and at + _STEP_BYTES >= len(body)
            return plain if whole else None
    return None
