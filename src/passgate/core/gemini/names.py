"""Tool names: as the client has them, and as Gemini takes them.

Names are mapped in the order in which a request shows them, so that the same conversation
gives the same names on each turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

# A declaration may be longer, but older answers of the API said 64.
_MAX_NAME = 64
_TAKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_STARTS = re.compile(r"[A-Za-z_]")
_ODD = re.compile(r"[^A-Za-z0-9_.:-]")
# The model calls a function by the name that Gemini's own error texts use for it.
_ECHOES = ("default_api:", "default_api.")


class NameMap:
    """Which name of a client's tool is which name at Gemini, for one request."""

    __slots__ = ("_down", "_up")

    def __init__(self, declared: Iterable[str] = ()) -> None:
        self._up: dict[str, str] = {}
        self._down: dict[str, str] = {}
        names = list(declared)
        # A name that fits keeps its form, whatever a name that does not fit becomes.
        for name in sorted(names, key=lambda name: _TAKEN.fullmatch(name) is None):
            self.up(name)

    def up(self, name: str) -> str:
        """Return what Gemini calls the client's tool *name*; a new name is entered."""
        known = self._up.get(name)
        if known is not None:
            return known
        made = _fitting(name)
        salt = name
        while made in self._down:
            made = _hashed(made, salt)
            salt += name
        self._up[name] = made
        self._down[made] = name
        return made

    def down(self, name: str) -> str:
        """Return what the client calls the tool that Gemini calls *name*.

        A name that is not known, but for an echoed prefix or its case, is understood;
        any other is passed on as it is, so that the client can tell the model.
        """
        tried = [name, *(name.removeprefix(echo) for echo in _ECHOES if name.startswith(echo))]
        for form in tried:
            if form in self._down:
                return self._down[form]
        for form in tried:
            alike = [ours for theirs, ours in self._down.items() if _alike(theirs, ours, form)]
            if len(alike) == 1:
                return alike[0]
        return name


def _alike(theirs: str, ours: str, name: str) -> bool:
    folded = name.casefold()
    return folded in (theirs.casefold(), ours.casefold())


def _fitting(name: str) -> str:
    if _TAKEN.fullmatch(name):
        return name
    plain = _ODD.sub("_", name)
    if not _STARTS.match(plain):
        plain = "_" + plain
    # Two names may become one by a replacement, but not by a prefix alone.
    return plain if plain[1:] == name and len(plain) <= _MAX_NAME else _hashed(plain, name)


def _hashed(plain: str, name: str) -> str:
    return f"{plain[:55]}_{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
