"""A client's JSON schema, reduced to the keywords that Gemini documents.

What is not among them becomes a hint in the nearest description: the model reads it, and
no request fails for it. Only places where a schema stands are looked at: a property that
is *named* ``format`` or ``properties`` is data.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, TypeGuard

import msgspec
from msgspec.structs import replace

from passgate.core.gemini.references import References, Schema

# Google refuses a message nested deeper than about 30 levels of JSON: two for each of these.
_MAX_DEPTH = 10
_MAX_NODES = 2000
_MAX_RECURSION = 3
_MAX_TRAIL = 24
_MAX_HINT = 200
_MAX_ENUM = 200
_MAX_WHOLE = 1 << 63

_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_PLAIN_KEYS = 2
_LEAVES = ("string", "number", "integer", "boolean")
# Keywords that are told in words. ``maxItems`` is documented, but the sum of all of a tool
# above some 960 is a 400 that names nothing.
_TOLD = (
    "minLength",
    "maxLength",
    "pattern",
    "multipleOf",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "minItems",
    "maxItems",
    "default",
    "contains",
    "propertyNames",
    "patternProperties",
    "not",
)
_TOLD_ONCE = frozenset(_TOLD)
_PARTED = frozenset(("allOf", "then", "else"))
_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
# What a type needs beside it where the schema says nothing more.
_BARE: dict[str, Schema] = {"array": {"items": {}}}
# Beside these a reference stands alone.
_NO_SIBLINGS = frozenset(
    ("$ref", "$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "title")
)


class _Place(Enum):
    ROOT = 0
    PROPERTY = 1
    INNER = 2  # items, branches, definitions: where a list of types is refused


class _At(msgspec.Struct, frozen=True):
    """Where a walk is.

    Attributes:
        place: What holds the schema.
        depth: How many schemas hold it, itself included.
        optional: Whether a property on the way here need not be there.
        trail: The references that were followed to get here.
    """

    place: _Place = _Place.ROOT
    depth: int = 1
    optional: bool = False
    trail: tuple[str, ...] = ()

    def down(self, place: _Place, *, optional: bool = False) -> _At:
        return _At(place, self.depth + 1, self.optional or optional, self.trail)


def normalised(schema: object) -> Schema:
    """Return *schema* with the keywords that Gemini takes; the same for the same."""
    return _Walk(schema if isinstance(schema, dict) else {}).done()


class _Walk:
    """One schema on its way; counts what it makes, so that nothing grows without a bound."""

    __slots__ = ("_left", "_references", "_root", "_used")

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._references = References(root)
        self._left = _MAX_NODES
        self._used: dict[str, None] = {}

    def done(self) -> Schema:
        made = self._node(self._root, _At())
        made.pop("title", None)
        definitions: Schema = {}
        while missing := [each for each in self._used if each not in definitions]:
            for reference in missing:
                target = self._references.target(reference)
                definitions[reference] = self._node(target, _At(_Place.INNER, 2))
        if definitions:
            made["$defs"] = {self._references.name(each): definitions[each] for each in definitions}
        return made

    def _node(self, schema: object, at: _At) -> Schema:
        """Return the schema to send for one that stands *at* a place."""
        if not isinstance(schema, dict):
            return {}
        self._left -= 1
        if _is_plain(schema) and self._left >= 0 and at.depth <= _MAX_DEPTH:
            return schema
        if at.depth > _MAX_DEPTH or self._left < 0 or len(at.trail) > _MAX_TRAIL:
            return _cut(schema, "nested too deeply to be told")
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, schema["$ref"], at)
        return self._told(schema, at)

    def _told(self, schema: Schema, at: _At) -> Schema:
        """Return what is sent of a schema's own keywords."""
        # Most nodes have few keywords: a step that has none of its own is not taken.
        flat = schema if _PARTED.isdisjoint(schema) else self._flat(schema)
        hints: list[str] = []
        made = _typed(flat, at.place, hints)
        made.update(_said(flat))
        if "enum" in flat or "const" in flat:
            made.update(_valued(flat, hints))
        if not _BOUNDS.isdisjoint(flat):
            made.update(_bounded(flat, hints))
        if "anyOf" in flat or "oneOf" in flat:
            self._branches(flat, made, at)
        if _may_be(made, "object"):
            self._properties(flat, made, at)
        if _may_be(made, "array"):
            self._items(flat, made, at)
        if not _TOLD_ONCE.isdisjoint(flat):
            hints += [f"{key}: {_told(flat[key])}" for key in _TOLD if key in flat]
        return _hinted(made, hints)

    def _reference(self, schema: Schema, reference: str, at: _At) -> Schema:
        target = self._references.target(reference)
        if target is None:
            return _cut(schema, f"$ref: {reference}")
        beside = {key: value for key, value in schema.items() if key not in _NO_SIBLINGS}
        name = self._references.name(reference)
        recurs = self._references.recurs(reference)
        if recurs and at.trail.count(reference) >= _MAX_RECURSION:
            return _cut(schema, f"as above: {reference.rpartition('/')[2]}")
        alone = at.optional if recurs else not beside
        if name is not None and alone and at.place is not _Place.ROOT:
            self._used[reference] = None
            made: Schema = {"$ref": f"#/$defs/{name}"}
            if not beside:
                return made
            return {**_said(beside), "anyOf": [made]}
        return self._node(_merged(beside, target), replace(at, trail=(*at.trail, reference)))

    def _flat(self, schema: Schema, depth: int = 0) -> Schema:
        """Return *schema* with its ``allOf`` and conditions merged into it."""
        flat = {key: value for key, value in schema.items() if key != "allOf"}
        parts = schema.get("allOf")
        for part in parts if isinstance(parts, list) else ():
            self._left -= 1
            if isinstance(part, dict) and depth < _MAX_DEPTH and self._left > 0:
                flat = _merged(flat, self._flat(self._followed(part), depth + 1))
        for key in ("then", "else"):
            branch = schema.get(key)
            if isinstance(branch, dict) and isinstance(branch.get("properties"), dict):
                flat = _merged(flat, {"properties": branch["properties"]})
        return flat

    def _followed(self, schema: Schema) -> Schema:
        """Return *schema* with what it refers to merged into it."""
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            target = self._references.target(reference) if isinstance(reference, str) else None
            if target is None:
                break
            beside = {key: value for key, value in schema.items() if key not in _NO_SIBLINGS}
            schema = _merged(beside, target)
        return {key: value for key, value in schema.items() if key != "$ref"}

    def _branches(self, flat: Schema, made: Schema, at: _At) -> None:
        for key in ("anyOf", "oneOf"):
            branches = flat.get(key)
            if isinstance(branches, list):
                kept = [
                    self._node(each, at.down(_Place.INNER))
                    for each in branches
                    if each is not False
                ]
                if kept:
                    made[key] = kept

    def _properties(self, flat: Schema, made: Schema, at: _At) -> None:
        properties = flat.get("properties")
        if isinstance(properties, dict):
            required = flat.get("required")
            named = required if isinstance(required, list) else []
            must = {name for name in named if isinstance(name, str)}
            made["properties"] = kept = {
                name: self._node(each, at.down(_Place.PROPERTY, optional=name not in must))
                for name, each in properties.items()
                if each is not False
            }
            if needed := [n for n in dict.fromkeys(named) if isinstance(n, str) and n in kept]:
                made["required"] = needed
            ordering = flat.get("propertyOrdering")
            if isinstance(ordering, list):
                made["propertyOrdering"] = [n for n in ordering if isinstance(n, str) and n in kept]
        more = flat.get("additionalProperties")
        if isinstance(more, bool):
            made["additionalProperties"] = more
        elif isinstance(more, dict):
            made["additionalProperties"] = self._node(more, at.down(_Place.INNER))

    def _items(self, flat: Schema, made: Schema, at: _At) -> None:
        items, first = flat.get("items"), flat.get("prefixItems")
        if isinstance(items, list):
            items, first = flat.get("additionalItems"), items
        if isinstance(first, list) and first:
            made["prefixItems"] = [self._node(each, at.down(_Place.INNER)) for each in first]
        if isinstance(items, dict) or made.get("type") is not None:
            made["items"] = self._node(items, at.down(_Place.INNER))


def _is_plain(schema: Schema) -> bool:
    """Return whether *schema* is one of the many that say a type and a word: they stay."""
    return (
        len(schema) == _PLAIN_KEYS
        and schema.get("type") in _LEAVES
        and isinstance(schema.get("description"), str)
    )


def _merged(first: Schema, second: Schema) -> Schema:
    """Return both as one: properties and required together, else the first counts."""
    merged = {**second, **first}
    one, other = first.get("properties"), second.get("properties")
    if isinstance(one, dict) and isinstance(other, dict):
        merged["properties"] = {**one, **{k: v for k, v in other.items() if k not in one}}
    one, other = first.get("required"), second.get("required")
    if isinstance(one, list) and isinstance(other, list):
        merged["required"] = [*one, *other]
    return merged


def _cut(schema: Schema, why: str) -> Schema:
    return _hinted({"type": "object", **_said(schema)}, [why])


def _said(flat: Schema) -> Schema:
    """Return what of *flat* is prose or a name for one."""
    return {
        key: flat[key]
        for key in ("title", "description", "format")
        if isinstance(flat.get(key), str)
    }


def _typed(flat: Schema, place: _Place, hints: list[str]) -> Schema:
    """Return the type, as its place allows."""
    said = flat.get("type")
    listed = said if isinstance(said, list) else [said]
    types = [t.lower() for t in listed if isinstance(t, str) and t.lower() in _TYPES]
    if said is not None and not types:
        hints.append(f"type: {_told(said)}")
    types = list(dict.fromkeys(types))
    if not types:
        return {"type": "object"} if isinstance(flat.get("properties"), dict) else {}
    if len(types) == 1:
        return {"type": types[0]}
    if place is _Place.PROPERTY:
        return {"type": types}
    some = [each for each in types if each != "null"]
    if len(some) == 1:
        return {"type": some[0]}
    # What the schema goes on about, else whatever it may be: "object" has no branch of its own.
    for kind, detail in (("object", "properties"), ("array", "items")):
        if kind in some and (detail in flat or place is _Place.ROOT):
            hints.append(f"type: {_told(some)}")
            return {"type": kind}
    return {} if "anyOf" in flat else {"anyOf": [{"type": t} | _BARE.get(t, {}) for t in some]}


def _may_be(made: Schema, kind: str) -> bool:
    said = made.get("type", kind)
    return kind == said or (isinstance(said, list) and kind in said)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _valued(flat: Schema, hints: list[str]) -> Schema:
    """Return the values that are allowed, as far as Gemini takes them."""
    word = "const" if "const" in flat else "enum"
    values = [flat["const"]] if word == "const" else flat.get("enum")
    if not isinstance(values, list):
        return {}
    fit = [v for v in values if (isinstance(v, str) and v) or _number(v)]
    # By its JSON text: 1 and 1.0 are one key of a dict, and so are 1 and true.
    kept = list({_json(value): value for value in fit}.values())
    if len(kept) > _MAX_ENUM:
        hints.append(f"{word}: {_listed(values)}")
        return {}
    odd = [v for v in values if not (isinstance(v, str) or _number(v))]
    if odd:
        hints.append(f"{word}: {_listed(odd)}")
    return {"enum": kept} if kept else {}


def _listed(values: list[Any]) -> str:
    return ", ".join(_told(value) for value in values[:_MAX_ENUM])


def _bounded(flat: Schema, hints: list[str]) -> Schema:
    """Return the bounds of a number; one that is not itself allowed is moved or told."""
    made: Schema = {}
    whole = flat.get("type") == "integer"
    for key, exclusive, step in (
        ("minimum", "exclusiveMinimum", 1),
        ("maximum", "exclusiveMaximum", -1),
    ):
        bounds = [flat[key]] if _number(flat.get(key)) else []
        beyond = flat.get(exclusive)
        if beyond is True and bounds:  # as draft 4 wrote it
            beyond = bounds.pop()
        if _number(beyond):
            if whole and abs(beyond) < _MAX_WHOLE:
                beyond = (math.floor(beyond) if step > 0 else math.ceil(beyond)) + step
            else:
                hints.append(f"{exclusive}: {_told(beyond)}")
            bounds.append(beyond)
        if bounds:
            made[key] = max(bounds) if step > 0 else min(bounds)
    return made


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _told(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _hinted(made: Schema, hints: list[str]) -> Schema:
    """Return *made* with *hints* behind its description."""
    if hints:
        short = [h if len(h) <= _MAX_HINT else f"{h[: _MAX_HINT - 3]}..." for h in hints]
        words = [made["description"]] if made.get("description") else []
        made["description"] = " ".join((*words, *(f"({hint})" for hint in short)))
    return made
