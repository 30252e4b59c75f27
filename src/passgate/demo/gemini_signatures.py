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


def sign(owner: Owner, part: Json, said: str | None = None, nonce: str = "") -> str:
    """Return the signature for *part*.

    Args:
        owner: Model and project.
        part: The part that will carry it.
        said: The whole text that *part* ends, where it is the last piece of one.
        nonce: What makes it unlike the signature of an equal part.
    """
    own = _content(part)
    pieces = (owner.model, owner.project, own, own if said is None else f"text {said}", nonce)
    body = _MARK + b"".join(map(_digest, pieces)) + _digest(f"filler {nonce}")
    return base64.b64encode(body + _checksum(body)).decode()


def judge(signature: str, owner: Owner, part: Json) -> Verdict:
    """Return what *signature* is worth on *part*, from this model and project."""
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
    model, project, content, said = (
        body[at + n * _PIECE_BYTES : at + (n + 1) * _PIECE_BYTES] for n in range(4)
    )
    if model != _digest(owner.model):
        return Verdict.OTHER_MODEL
    if project != _digest(owner.project):
        return Verdict.OTHER_PROJECT
    own = _content(part)
    return Verdict.ISSUED if content == _digest(own) or said == _digest(own) else Verdict.OTHER_PART


def _content(part: Json) -> str:
    """Return what *part* says, whatever else stands beside it."""
    call = part.get("functionCall")
    if not isinstance(call, dict):
        return f"{'thought' if part.get('thought') else 'text'} {part.get('text', '')}"
    name = str(call.get("name")).removeprefix("default_api:").removeprefix("default_api.")
    args = json.dumps(call.get("args") or {}, sort_keys=True)
    return f"call {call.get('id', '')} {name} {args}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()[:_PIECE_BYTES]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"simulated" + body).digest()[:_PIECE_BYTES]
