"""Thought signatures: issued on a part, and good on exactly that part alone.

A real signature is encrypted and means nothing to its reader. This one is as opaque, but
can be judged without memory, so that it stays good when the simulated Gemini is started
anew: it is bound to model, project and part, and has a checksum.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from enum import Enum

from passgate.demo.content import Json

_MARK = b"\x12\xca\x01"
_PIECE_BYTES = 8
_RAW_BYTES = len(_MARK) + 7 * _PIECE_BYTES
# What Google documents for calls that the model did not make.
_ESCAPES = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
_DUMMIES = frozenset((*_ESCAPES, *(base64.b64encode(word.encode()).decode() for word in _ESCAPES)))


class Verdict(Enum):
    """What became of a signature that came back."""

    ISSUED = "issued"
    DUMMY = "dummy"
    OTHER_PART = "other part"
    OTHER_MODEL = "other model"
    OTHER_PROJECT = "other project"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a signature is bound to."""

    model: str
    project: str


def sign(owner: Owner, part: Json, said: str = "", nonce: str = "") -> str:
    """Return the signature for *part*.

    Args:
        owner: Model and project.
        part: The part that will carry it.
        said: The whole text that *part* is a piece of, or that an empty one ends.
        nonce: What makes it unlike the signature of an equal part.
    """
    own = _content(part, said)
    pieces = (owner.model, owner.project, own, f"text {said}" if said else own, nonce)
    body = _MARK + b"".join(map(_digest, pieces)) + _digest(f"filler {nonce}")
    return base64.b64encode(body + _checksum(body)).decode()


def judge(signature: str, owner: Owner, part: Json, said: str = "") -> Verdict:
    """Return what *signature* is worth.

    Args:
        signature: As it came back.
        owner: Model and project that it came back to.
        part: What it stands on.
        said: All text of that part's content.
    """
    if signature in _DUMMIES:
        return Verdict.DUMMY
    try:
        # One SDK sends the URL-safe alphabet.
        raw = base64.b64decode(signature.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return Verdict.BROKEN
    body = raw[:-_PIECE_BYTES]
    if len(raw) != _RAW_BYTES or raw[-_PIECE_BYTES:] != _checksum(body):
        return Verdict.BROKEN
    at = len(_MARK)
    model, project, content, whole = (
        body[at + n * _PIECE_BYTES : at + (n + 1) * _PIECE_BYTES] for n in range(4)
    )
    if model != _digest(owner.model):
        return Verdict.OTHER_MODEL
    if project != _digest(owner.project):
        return Verdict.OTHER_PROJECT
    own = _digest(_content(part, said))
    return Verdict.ISSUED if own in (content, whole) else Verdict.OTHER_PART


def _content(part: Json, said: str) -> str:
    """Return what *part* says, or what an empty one is the end of."""
    call = part.get("functionCall")
    if not isinstance(call, dict):
        kind = "thought" if part.get("thought") else "text" if part.get("text") else "end"
        return f"{kind} {said if kind == 'end' else part.get('text')}"
    name = str(call.get("name")).removeprefix("default_api:").removeprefix("default_api.")
    args = json.dumps(call.get("args") or {}, sort_keys=True)
    return f"call {call.get('id', '')} {name} {args}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()[:_PIECE_BYTES]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"simulated" + body).digest()[:_PIECE_BYTES]
