"""How a thought signature travels through a client and back, and what calls are named there.

Gemini signs some of its parts and wants each signature back on the same part. A client of
the Messages API keeps no such thing, but it returns thinking blocks as they were: their
``signature`` is the carrier. What a client lost is looked up in memory (:class:`Signatures`).
"""

from __future__ import annotations

import re
from collections.abc import Container
from enum import Enum
from hashlib import sha256
from typing import Protocol

import msgspec

PREFIX = "pg1:"

# Documented for calls that the model did not make. It costs the model its reasoning of that step.
# Source: Gemini docs, "Thought signatures", FAQ.
DUMMY = "skip_thought_signature_validator"

_ENVELOPE = re.compile(
    r"pg1:(?P<kind>[fhn]):(?P<model>[!-9;-~]+):(?P<scope>[0-9a-f]{8})"
    r":(?P<tool>-|[A-Za-z0-9_-]{1,64}):(?P<signature>[!-~]+)"
)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_KEPT_ID = "toolu_g_"
_MADE_ID = "toolu_p_"


class Kind(Enum):
    """What the signature of an envelope belongs to."""

    CALL = "f"
    THOUGHT = "h"
    NOTHING = "n"  # only closes a thinking block that is shown: clients discard unsigned ones


class Envelope(msgspec.Struct, frozen=True):
    """What the ``signature`` of a thinking block says that passgate wrote.

    Attributes:
        kind: What was signed.
        model: Id of the model that signed, without ``models/``.
        scope: Whose key it was signed under, see :func:`scope_of`; holds no secret.
        tool_id: The client's id of the signed call, or None.
        signature: As Gemini gave it, or None.
    """

    kind: Kind
    model: str
    scope: str
    tool_id: str | None = None
    signature: str | None = None

    def encode(self) -> str:
        """Return it as ASCII without spaces."""
        tool, signature = self.tool_id or "-", self.signature or "-"
        return f"{PREFIX}{self.kind.value}:{self.model}:{self.scope}:{tool}:{signature}"


def decode(signature: str) -> Envelope | None:
    """Return what *signature* says, or None where passgate did not write it or it is broken."""
    if not signature.startswith(PREFIX):
        return None
    found = _ENVELOPE.fullmatch(signature)
    if found is None:
        return None
    kind, model, scope, tool, signed = found.groups()
    return Envelope(Kind(kind), model, scope, _told(tool), _told(signed))


def _told(field: str) -> str | None:
    return None if field == "-" else field


def scope_of(project: bytes, salt: bytes = b"") -> str:
    """Return the scope for keys of one *project*: signatures do not move between accounts.

    Args:
        project: The key's label in the key file, else the key itself.
        salt: Per install where *project* is a key, so that the scope tells nothing of it.
    """
    return sha256(salt + project).hexdigest()[:8]


class Place(Enum):
    """Where in a message without calls its signature sat."""

    ON_TEXT = "on text"
    OWN_PART = "own empty part"  # signed and unsigned parts must not be merged


class TextSignature(msgspec.Struct, frozen=True):
    """A signature on a message's text; the client is never sent it.

    Attributes:
        scope: As in :class:`Envelope`. The model is part of the key it is found by.
        place: Where it sat.
        signature: As Gemini gave it.
    """

    scope: str
    place: Place
    signature: str


def text_key(model: str, text: str) -> bytes:
    """Return what the signature of a message's *text* is remembered by.

    Args:
        model: Id of the model that wrote it.
        text: All text of the message, the blocks joined without anything between.
    """
    return sha256(f"{model}\n{text}".encode("utf-8", "surrogatepass")).digest()


class Signatures(Protocol):
    """What this process remembers of signatures it passed on."""

    def call(self, tool_id: str) -> Envelope | None:
        """Return the envelope of the call that a client knows by *tool_id*, or None."""

    def text(self, key: bytes) -> TextSignature | None:
        """Return the signature for a :func:`text_key`, or None."""


class Forgetful:
    """Signatures of a process that remembers none, such as one just started."""

    def call(self, tool_id: str) -> Envelope | None:
        """Return None."""
        return None

    def text(self, key: bytes) -> TextSignature | None:
        """Return None."""
        return None


def base62(of: str, length: int) -> str:
    """Return the SHA-256 of *of* as *length* letters and digits, at most 42."""
    number, digits = int.from_bytes(sha256(of.encode()).digest(), "big"), []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(digits)


def tool_id_down(
    gemini_id: str | None, response_id: str, hop: int, ordinal: int, taken: Container[str]
) -> str:
    """Return the id by which a client gets to know a call.

    Args:
        gemini_id: The call's own id, which not every answer has.
        response_id: Of the answer that holds the call, ``""`` without one.
        hop: Number of that answer within the message, from 0.
        ordinal: Number of the call within the message, from 0.
        taken: Ids that this conversation has, see ``Translated.taken_ids``.
    """
    if gemini_id is not None and _SHORT_ID.fullmatch(gemini_id):
        kept = _KEPT_ID + gemini_id
        if kept not in taken:
            return kept
    made = _MADE_ID + base62(f"{response_id}\n{hop}\n{ordinal}", 22)
    while made in taken:  # an answer without an id of its own, or one that repeats
        made = _MADE_ID + base62(made, 22)
    return made


def tool_id_up(tool_id: str) -> str | None:
    """Return the id that Gemini knows a client's *tool_id* by, or None if it gave none."""
    if tool_id.startswith(_MADE_ID):
        return None
    return tool_id.removeprefix(_KEPT_ID)


def taken_by(tool_id: str) -> frozenset[str]:
    """Return the ids that no later call may have beside *tool_id*, here or at Gemini."""
    up = tool_id_up(tool_id)
    return frozenset((tool_id,)) if up is None else frozenset((tool_id, _KEPT_ID + up))
