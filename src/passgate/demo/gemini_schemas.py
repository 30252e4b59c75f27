"""Which schemas the simulated Gemini takes for a function's arguments or an answer.

``parameters`` is a proto message, where an unknown keyword fails the whole request;
``parametersJsonSchema`` is free JSON with traps of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from passgate.demo.content import Json

_PROTO = frozenset(
    (
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "maxItems",
        "minItems",
        "properties",
        "required",
        "minProperties",
        "maxProperties",
        "minLength",
        "maxLength",
        "pattern",
        "example",
        "anyOf",
        "propertyOrdering",
        "default",
        "minimum",
        "maximum",
        "additionalProperties",
        "ref",
        "defs",
    )
)
_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
# What googleapis/python-genai issue 2170 measured: the sum, and nothing names it.
_MOST_ITEMS = 960
_MOST_LEVELS = 30
_MAPS = ("properties", "$defs", "defs")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


class BadSchema(Exception):
    """A schema is not taken; the message says which, or nothing at all."""


def check_schema(schema: object, at: str) -> None:
    """Refuse what the proto ``Schema`` cannot hold."""
    if _depth(schema) > _MOST_LEVELS:
        raise BadSchema("Message too deep. Max recursion depth reached for key 'properties'")
    if not isinstance(schema, dict):
        raise BadSchema(f"Invalid value at '{at}': expected an object.")
    _check_keywords(schema, at)
    _check_node(schema, at)
    if any(not isinstance(value, str) for value in _enum(schema)):
        raise BadSchema(f"Invalid value at '{at}.enum[0]' (TYPE_STRING)")
    for place, inner in _children(schema, at):
        if not (place.endswith(".additionalProperties") and isinstance(inner, bool)):
            check_schema(inner, place)


def _check_keywords(schema: Json, at: str) -> None:
    unknown = "Invalid JSON payload received. Unknown name"
    for key in schema:
        if key not in _PROTO:
            raise BadSchema(f"{unknown} \"{key}\" at '{at}': Cannot find field.")
    kind = schema.get("type")
    if isinstance(kind, list):
        raise BadSchema(
            f"{unknown} \"type\" at '{at}': Proto field is not repeating, cannot start list."
        )
    if kind is not None and str(kind).lower() not in _TYPES:
        raise BadSchema(f"Invalid value at '{at}.type': \"{kind}\"")


def check_json_schema(schema: object, at: str) -> None:
    """Refuse what is known to fail in free JSON schemas."""
    if _depth(schema) > _MOST_LEVELS:
        raise BadSchema("Message too deep. Max recursion depth reached for key 'properties'")
    if not isinstance(schema, dict):
        raise BadSchema("Request contains an invalid argument.")
    if _items(schema) > _MOST_ITEMS:
        raise BadSchema("Request contains an invalid argument.")
    defined = schema.get("$defs")
    _check_json(schema, at, frozenset(defined) if isinstance(defined, dict) else frozenset())


def _check_json(schema: object, at: str, defined: frozenset[str], *, inside: bool = False) -> None:
    if not isinstance(schema, dict):
        raise BadSchema(f"* GenerateContentRequest.{at}: boolean schemas are not supported.\n")
    kind = schema.get("type")
    if isinstance(kind, list) and inside:
        raise BadSchema(f"* GenerateContentRequest.{at}.type: must be a single type.\n")
    _check_reference(schema, at, defined)
    _check_node(schema, at)
    if any(isinstance(value, bool | dict | list) for value in _enum(schema)):
        raise BadSchema(f"* GenerateContentRequest.{at}.enum: only strings and numbers.\n")
    for place, inner in _children(schema, at):
        if place.endswith(".additionalProperties") and isinstance(inner, bool):
            continue
        _check_json(inner, place, defined, inside=".properties." not in place[len(at) :])


def _check_reference(schema: Json, at: str, defined: frozenset[str]) -> None:
    if (target := schema.get("$ref")) is None:
        return
    if any(not key.startswith("$") for key in schema):
        raise BadSchema(f"* GenerateContentRequest.{at}: $ref cannot have siblings.\n")
    if target != "#" and str(target).removeprefix("#/$defs/") not in defined:
        raise BadSchema(f"* GenerateContentRequest.{at}: reference to undefined schema {target}.\n")


def _check_node(schema: Json, at: str) -> None:
    kind, members = schema.get("type"), schema.get("properties")
    kinds = [str(each).lower() for each in (kind if isinstance(kind, list) else [kind])]
    if (
        kind is not None
        and "object" not in kinds
        and ("properties" in schema or "required" in schema)
    ):
        raise BadSchema(f"* GenerateContentRequest.{at}.properties: only allowed for OBJECT type\n")
    required = schema.get("required", [])
    if not isinstance(required, list):
        raise BadSchema(f"Invalid value at '{at}.required': expected a list.")
    for name in required:
        if not isinstance(members, dict) or name not in members:
            raise BadSchema(f"* GenerateContentRequest.{at}.required[0]: property is not defined\n")
    if "array" in kinds and "items" not in schema and "prefixItems" not in schema:
        raise BadSchema(f"* GenerateContentRequest.{at}.items: missing field.\n")
    if "" in _enum(schema):
        raise BadSchema(f"* GenerateContentRequest.{at}.enum[0]: cannot be empty\n")


def _enum(schema: Json) -> list[object]:
    values = schema.get("enum")
    return values if isinstance(values, list) else []


def _children(schema: Json, at: str) -> Iterator[tuple[str, object]]:
    for key in _MAPS:
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from ((f"{at}.{key}.{name}", each) for name, each in inner.items())
    for key in _LISTS:
        inner = schema.get(key)
        if isinstance(inner, list):
            yield from ((f"{at}.{key}[{n}]", each) for n, each in enumerate(inner))
    for key in _SINGLE:
        if key in schema:
            yield f"{at}.{key}", schema[key]


def _items(schema: object) -> int:
    if not isinstance(schema, Mapping):
        return 0
    own = schema.get("maxItems")
    inner = sum(_items(each) for _, each in _children(schema, ""))
    return inner + (own if isinstance(own, int) else 0)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(each) for each in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(each) for each in value), default=0)
    return 0
