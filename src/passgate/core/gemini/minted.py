"""A conversation that moves from Gemini to Claude: what passgate minted stays behind.

The thinking blocks that carry Gemini's signatures mean nothing to Claude, which would
refuse them. They are cut, in the same way on every request, and nothing else is touched:
Claude's own signatures chain over what stands before them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from passgate.core import messages
from passgate.core.gemini.signatures import PREFIX
from passgate.core.messages import Body

_MINTED = PREFIX.encode()
# A message must not vanish: what follows may have to stand behind an assistant's.
_NOTHING = b'{"type":"text","text":"(no content)"}'


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Message(msgspec.Struct):
    content: msgspec.Raw


class _Block(msgspec.Struct):
    type: str
    signature: str | None = None


_body = msgspec.json.Decoder(_Body).decode
_message = msgspec.json.Decoder(_Message).decode
_blocks = msgspec.json.Decoder(list[msgspec.Raw]).decode
_block = msgspec.json.Decoder(_Block).decode


def without_minted(
    body: Body, coding: bytes | None, limit_bytes: int, fits: Callable[[int], None]
) -> Body:
    """Return *body* without the thinking blocks that passgate minted; else as it is.

    All other bytes stay what they were, but for the white space within a content from
    which a block was cut. A body that is no Messages request is left to who knows better.

    Args:
        body: As it came.
        coding: Its content coding, in which it is returned, or None.
        limit_bytes: As of :func:`messages.decoded`.
        fits: The same.
    """
    if coding is None:
        return _without(body)
    plain = messages.decoded(body, coding, limit_bytes, fits)
    kept = None if plain is None else _without(plain)
    return body if kept is None or kept is plain else messages.recoded(kept, coding)


def is_minted(body: Body) -> bool:
    """Return whether anything in *body*, which has no coding, may have been minted."""
    return body.find(_MINTED) >= 0


def _without(body: Body) -> Body:
    if not is_minted(body):
        return body
    try:
        messages = _body(body).messages
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    pieces: list[bytes | bytearray] = []
    done = 0
    for each in messages:
        message = bytes(each)
        kept = _cut(message) if _MINTED in message else message
        if kept is not message:
            at = body.index(message, done)
            pieces += (body[done:at], kept)
            done = at + len(message)
    return b"".join((*pieces, body[done:])) if pieces else body


def _cut(message: bytes) -> bytes:
    """Return *message* without its minted blocks; the same object where it has none."""
    try:
        content = bytes(_message(message).content)
        blocks = [bytes(block) for block in _blocks(content)]
        kept = [block for block in blocks if not _is_minted(block)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return message  # its content is one text, which may well speak of such a block
    if len(kept) == len(blocks):
        return message
    start, _, end = message.partition(content)
    return b"%s[%s]%s" % (start, b",".join(kept or [_NOTHING]), end)


def _is_minted(block: bytes) -> bool:
    if _MINTED not in block:
        return False
    found = _block(block)
    return found.type == "thinking" and (found.signature or "").startswith(PREFIX)
