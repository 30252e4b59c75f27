"""Which key a request on Gemini's own paths has to show: its resource's.

Files, caches, batches and the like belong to the project of the key that made them. What
was made is learnt from answers; a name that was never seen belongs to the first key.
"""

from __future__ import annotations

import re
from collections import OrderedDict

_NAME = (
    rb"(?:files|cachedContents|batches|operations|fileSearchStores|corpora|tunedModels"
    rb"|interactions)/[A-Za-z0-9._-]{1,128}"
)
_NAMED = re.compile(rb"(?:(?<=[/\"])|\A)" + _NAME)
_MADE = re.compile(rb"\"name\"\s*:\s*\"(?:models/[A-Za-z0-9._-]{1,128}/)?(" + _NAME + rb")")
# An interaction is named by its id alone, by the request that goes on with it, too.
_MADE_INTERACTION = re.compile(rb"\"id\"\s*:\s*\"([A-Za-z0-9._-]{1,128})\"")
_PREVIOUS = re.compile(rb"\"previous_?[iI]nteraction_?[iI]d\"\s*:\s*\"([A-Za-z0-9._-]{1,128})\"")
_INTERACTIONS = "/interactions"
# A list may hold a thousand names, of which each is worth knowing.
_MOST = 10_000


class Resources:
    """Remember whose key made which resource; the least recently used is forgotten first.

    Keys are told apart by their scope, see ``signatures.scope_of``.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._scopes: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scopes)

    def scope_of(self, path: str, body: bytes | bytearray | None) -> str | None:
        """Return the scope that a request has to be made with, or None where it is not known.

        Args:
            path: Path of the request.
            body: What is at hand of it, or None.
        """
        names = [found[0] for found in _NAMED.finditer(path.encode())]
        if body is not None:
            names += (found[0] for found in _NAMED.finditer(body))
            names += (b"interactions/" + found[1] for found in _PREVIOUS.finditer(body))
        for name in names:
            scope = self._scopes.get(name)
            if scope is not None:
                self._scopes.move_to_end(name)
                return scope
        return None

    def learn(self, path: str, answer: bytes, scope: str) -> None:
        """Take note of the resources that an answer names.

        Args:
            path: Path of the request.
            answer: Its body, or the beginning of it.
            scope: Of the key that was shown.
        """
        made = _MADE.findall(answer)
        if path.endswith(_INTERACTIONS) and (found := _MADE_INTERACTION.search(answer)):
            made.append(b"interactions/" + found[1])
        for name in made:
            self._scopes[name] = scope
            self._scopes.move_to_end(name)
        while len(self._scopes) > self._most:
            self._scopes.popitem(last=False)
