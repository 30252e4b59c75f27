"""Where the ``$ref`` of a JSON schema lead, and which lead back to themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]

_DEFINITIONS = ("$defs", "definitions")
_ODD = re.compile(r"[^A-Za-z0-9_.-]")
# Beyond these a schema is not searched: every reference then counts as one that recurs.
_MAX_REFERENCES = 256
_MAX_VISITS = 20_000


class References:
    """The references of one schema."""

    __slots__ = ("_known", "_names", "_recursive", "_root")

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._names = _names_of(root)
        self._known = False
        self._recursive: frozenset[str] | None = None

    def target(self, reference: str) -> Schema | None:
        """Return what *reference* leads to, or None where that is no schema of this document."""
        at: object = self._root
        if reference == "#":
            return self._root
        if not reference.startswith("#/"):
            return None
        for escaped in unquote(reference[2:]).split("/"):
            step = escaped.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict) and step in at:
                at = at[step]
            elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
                at = at[int(step)]
            else:
                return None
        return at if isinstance(at, dict) else None

    def name(self, reference: str) -> str | None:
        """Return the key under ``$defs`` of what *reference* names, or None if it is elsewhere."""
        return self._names.get(unquote(reference))

    def recurs(self, reference: str) -> bool:
        """Return whether what *reference* leads to holds, somewhere, a way back to it."""
        if not self._known:  # most schemas never ask
            self._known, self._recursive = True, self._circles()
        return self._recursive is None or reference in self._recursive

    def _circles(self) -> frozenset[str] | None:
        """Return the references on a circle; None where there are too many to tell."""
        edges: dict[str, list[str]] = {}
        pending, visits = list(_references_in(self._root)), 0
        while pending:
            reference = pending.pop()
            if reference in edges:
                continue
            target = self.target(reference)
            edges[reference] = found = []
            for inner in () if target is None else _references_in(target, with_blanks=True):
                visits += 1
                if inner:
                    found.append(inner)
                if visits > _MAX_VISITS or len(edges) > _MAX_REFERENCES:
                    return None
            pending += found
        return frozenset(each for each in edges if each in _reached(edges, each))


def _reached(edges: dict[str, list[str]], start: str) -> set[str]:
    reached: set[str] = set()
    pending = [*edges[start]]
    while pending:
        at = pending.pop()
        if at not in reached:
            reached.add(at)
            pending += edges[at]
    return reached


def _references_in(schema: object, *, with_blanks: bool = False) -> Iterator[str]:
    """Yield every ``$ref`` below *schema*; *with_blanks*, an empty one for each other node."""
    pending = [schema]
    while pending:
        at = pending.pop()
        if isinstance(at, dict):
            reference = at.get("$ref")
            if isinstance(reference, str):
                yield reference
            elif with_blanks:
                yield ""
            pending += at.values()
        elif isinstance(at, list):
            pending += at


def _names_of(root: Schema) -> dict[str, str]:
    """Return for each definition the reference that names it -> its key under ``$defs``."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for keyword in _DEFINITIONS:
        held = root.get(keyword)
        for key in held if isinstance(held, dict) else ():
            name = _ODD.sub("_", key)
            while name in taken:
                name += f"_{len(names)}"
            taken.add(name)
            step = key.replace("~", "~0").replace("/", "~1")
            names[f"#/{keyword}/{step}"] = name
    return names
