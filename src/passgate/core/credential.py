"""A credential as a value that cannot be shown by accident, and what may be one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from passgate.core import faults
from passgate.core.faults import Refused
from passgate.core.settings import CredentialKind

PLAN_TOKEN_PREFIX = b"sk-ant-oat"
"""How the token of a Claude plan begins; contract and docs say whose traffic it may carry."""

MAX_SOURCE_BYTES = 65_536
"""Most bytes a source may hold: hundreds of keys, and no log file named by mistake."""

# RFC 9110, 5.5 would let a field hold spaces too. No API's key has one, but a pasted
# ``Bearer ...`` and a file with two keys in a line do.
_SECRET = re.compile(rb"[!-~]+")
LABELLED = re.compile(rb"([A-Za-z0-9_-]{1,32})=(.+)")
"""A line of a keys file with a label; its groups are label and key."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What one upstream is shown.

    Attributes:
        name: The upstream it is bound to; safe to show.
        kind: How it is sent.
        secret: The value itself, empty for ``CLIENT`` and ``NONE``. Never shown.
    """

    name: str
    kind: CredentialKind
    secret: bytes = field(default=b"", repr=False)


class CredentialMissing(Refused):
    """An upstream's source has given nothing that can be shown."""

    def __init__(self) -> None:
        super().__init__(faults.CREDENTIAL)


class Unusable(Exception):
    """What a source gave cannot be a credential; the text says why, without showing it."""


def only_secret(raw: bytes) -> bytes:
    """Return the one credential that *raw* consists of, without the white space around it.

    Raises:
        Unusable: It is empty, or more than a credential.
    """
    secret = raw.strip()
    if not secret:
        raise Unusable("is empty")
    if b"\n" in secret or b"\r" in secret:
        raise Unusable("holds more than one line")
    if not _SECRET.fullmatch(secret):
        raise Unusable("holds a space, a control character or one that is not ASCII")
    return secret


def key_lines(raw: bytes) -> list[bytes]:
    """Return the lines of a keys file that hold a key, with its label where it has one.

    One key a line, ``#`` starts a comment line. A line is ``label=key`` where the label
    is 1 to 32 of ``A-Za-z0-9_-`` and something follows; else the whole line is the key.
    """
    lines = []
    for line in raw.splitlines():
        text = line.strip()
        labelled = LABELLED.fullmatch(text)
        key = labelled[2].strip() if labelled else text
        if not text.startswith(b"#") and _SECRET.fullmatch(key):
            lines.append(text)
    return lines


def key_list(raw: bytes) -> bytes:
    """Return the lines of a keys file that hold a key.

    Raises:
        Unusable: There is none.
    """
    lines = key_lines(raw)
    if not lines:
        raise Unusable("holds no usable key")
    return b"\n".join(lines)
