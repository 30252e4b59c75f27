"""What a schema may hold for Gemini, told independently of how it is made; and tools."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_KEYWORDS = {
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "enum",
    "description",
    "title",
    "format",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "additionalProperties",
    "propertyOrdering",
    "$ref",
    "$defs",
}
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}


def wrong_in(schema: Any, *, place: str = "#", inner: bool = True, root: bool = True) -> list[str]:
    """Return what Gemini would refuse of *schema*.

    Args:
        schema: To look at.
        place: Where it is, for the report.
        inner: Whether a list of types is refused here.
        root: Whether ``$defs`` may stand here.
    """
    if not isinstance(schema, dict):
        return [f"{place}: no schema"]
    wrong = [f"{place}: {each}" for each in _wrong_here(schema)]
    wrong += [f"{place}: $defs"] if "$defs" in schema and not root else []
    wrong += [f"{place}: types"] if isinstance(schema.get("type"), list) and inner else []
    for key, each in schema.get("properties", {}).items():
        wrong += wrong_in(each, place=f"{place}/{key}", inner=False, root=False)
    for key, each in _held(schema):
        wrong += wrong_in(each, place=f"{place}/{key}", root=False)
    return wrong


def _held(schema: Json) -> list[tuple[str, Any]]:
    """Return the schemas below one, but for its properties."""
    held = [
        (key, each) for key in ("anyOf", "oneOf", "prefixItems") for each in schema.get(key, [])
    ]
    held += [("items", schema["items"])] if "items" in schema else []
    more = schema.get("additionalProperties", True)
    held += [] if isinstance(more, bool) else [("additionalProperties", more)]
    return held + list(schema.get("$defs", {}).items())


def _wrong_here(schema: Json) -> list[str]:
    wrong = [f"{key}" for key in schema.keys() - _KEYWORDS]
    wrong += ["beside $ref"] if "$ref" in schema and len(schema) > 1 else []
    kinds = schema.get("type", [])
    listed = kinds if isinstance(kinds, list) else [kinds]
    wrong += [] if set(listed) <= _TYPES else ["type"]
    if listed and "object" not in listed:
        wrong += [f"{key} of no object" for key in ("properties", "required") if key in schema]
    wrong += ["no items"] if "array" in listed and "items" not in schema else []
    names = schema.get("properties", {})
    wrong += [f"required {n}" for n in schema.get("required", []) if n not in names]
    wrong += [f"empty {key}" for key in ("anyOf", "oneOf", "prefixItems") if schema.get(key) == []]
    values = schema.get("enum", ["x"])
    odd = [value for value in values if value == "" or isinstance(value, bool) or value is None]
    return wrong + (["enum"] if odd or not 0 < len(values) <= 200 else [])


def depth_of(value: Any) -> int:
    """Return how many levels of JSON *value* has."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def references_in(value: Any) -> list[str]:
    """Return every reference in a schema that was made."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in references_in(inner)]
    return [e for inner in value for e in references_in(inner)] if isinstance(value, list) else []


def must_recur(schema: Json) -> list[str]:
    """Return the definitions that lead back to themselves without an optional property."""
    definitions = schema.get("$defs", {})
    edges = {name: _needed(each) for name, each in definitions.items()}
    circles = []
    for name in edges:
        seen: set[str] = set()
        pending = [*edges[name]]
        while pending:
            at = pending.pop()
            if at not in seen:
                seen.add(at)
                pending += edges.get(at, [])
        circles += [name] if name in seen else []
    return circles


def _needed(schema: Any) -> list[str]:
    """Return the definitions that *schema* cannot be without."""
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        return [schema["$ref"].removeprefix("#/$defs/")]
    needed = [
        name
        for key, each in schema.get("properties", {}).items()
        if key in schema.get("required", [])
        for name in _needed(each)
    ]
    for key in ("items", "additionalProperties"):
        needed += _needed(schema.get(key))
    for key in ("anyOf", "oneOf", "prefixItems"):
        needed += [name for each in schema.get(key, []) for name in _needed(each)]
    return needed


_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def tool(name: str, properties: Json, required: list[str], **more: Any) -> Json:
    """Return a tool as an agent's program declares it."""
    schema = {
        "$schema": _DRAFT,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }
    return {"name": name, "description": f"Does {name}.", "input_schema": schema}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


# In the kind of those that a coding agent and servers of its tools send.
REAL = [
    tool(
        "Bash",
        {
            "command": _text("The command to run"),
            "timeout": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 600000,
                "description": "Milliseconds",
            },
            "run_in_background": {"type": "boolean", "default": False},
        },
        ["command"],
    ),
    tool(
        "Edit",
        {
            "file_path": _text("Absolute path"),
            "old_string": _text("What to replace"),
            "new_string": _text("What to put there"),
            "replace_all": {"type": "boolean", "default": False},
        },
        ["file_path", "old_string", "new_string"],
    ),
    tool(
        "Fetch",
        {
            "url": _text("Where", format="uri", minLength=1),
            "prompt": _text("What to look for", pattern="^\\S"),
        },
        ["url", "prompt"],
    ),
    tool(
        "Todo",
        {
            "todos": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1000,
                "uniqueItems": True,
                "items": {
                    "type": "object",
                    "properties": {
                        "content": {"type": "string", "minLength": 1},
                        "status": {"type": "string", "enum": ["pending", "doing", "done"]},
                        "id": {"type": "integer", "minimum": 1, "maximum": 9007199254740991},
                    },
                    "required": ["content", "status"],
                    "additionalProperties": False,
                },
            }
        },
        ["todos"],
    ),
    tool(
        "Ask",
        {
            "kind": {"const": "question"},
            "answers": {
                "type": "object",
                "propertyNames": {"type": "string"},
                "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "options": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "array", "items": {"type": ["object", "null"]}},
                ]
            },
        },
        ["kind", "answers"],
    ),
    tool(
        "mcp__db__query",
        {
            "properties": {"type": "array", "items": {"$ref": "#/definitions/Column"}},
            "where": {"$ref": "#/definitions/Filter"},
            "order": {"$ref": "#/definitions/Column", "description": "Sort by"},
            "title": {"type": ["string", "null"], "title": "Title", "examples": ["a"]},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "x-hint": 1},
            "format": {"enum": ["csv", "json", "csv", "", None, True]},
            "pair": {"type": "array", "items": [{"type": "string"}, {"type": "number"}]},
            "anything": True,
            "nothing": False,
        },
        ["properties", "where", "missing"],
        definitions={
            "Column": {"allOf": [{"type": "object"}, {"properties": {"name": {"type": "string"}}}]},
            "Filter": {
                "oneOf": [
                    {"type": "object", "properties": {"eq": {"type": "string"}}},
                    {
                        "type": "object",
                        "properties": {
                            "and": {"type": "array", "items": {"$ref": "#/definitions/Filter"}},
                            "not": {"$ref": "#/definitions/Filter"},
                        },
                        "required": ["and"],
                    },
                ]
            },
            "Unused": {"type": "string"},
        },
    ),
]
