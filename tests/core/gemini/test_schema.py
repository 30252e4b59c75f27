"""What is left of a client's schema for Gemini."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.schema import normalised
from tests.core.gemini.asks import ask, at, sent
from tests.core.gemini.schemas import (
    REAL,
    Json,
    depth_of,
    must_recur,
    references_in,
    wrong_in,
)


def of(**keywords: Any) -> Json:
    """Return a schema in which a property ``p`` has these keywords."""
    return {"type": "object", "properties": {"p": keywords}}


# Keywords of a property, what is left of them.
PROPERTY = {
    "kept": (
        {"type": "number", "title": "T", "description": "d", "minimum": 1, "maximum": 2.5},
        {"type": "number", "title": "T", "description": "d", "minimum": 1, "maximum": 2.5},
    ),
    "removed": (
        {
            "type": "string",
            "$schema": "s",
            "$id": "i",
            "$comment": "c",
            "$anchor": "a",
            "examples": [1],
            "deprecated": True,
            "readOnly": True,
            "writeOnly": True,
            "x-any": 1,
            "contentEncoding": "base64",
            "nullable": True,
            "unevaluatedProperties": False,
            "dependentRequired": {},
            "dependentSchemas": {},
            "dependencies": {},
        },
        {"type": "string"},
    ),
    "true": (True, {}),
    "no schema": (3, {}),
    "const": ({"const": "a"}, {"enum": ["a"]}),
    "const of a number": ({"type": "number", "const": 1.5}, {"type": "number", "enum": [1.5]}),
    "const of truth": ({"const": True}, {"description": "(const: true)"}),
    "const of null": ({"const": None}, {"description": "(const: null)"}),
    "const of nothing": ({"const": ""}, {}),
    "const of an object": ({"const": {"a": 1}}, {"description": '(const: {"a":1})'}),
    "exclusive, whole": (
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
        {"type": "integer", "minimum": 1, "maximum": 9},
    ),
    "exclusive, whole, a fraction": (
        {"type": "integer", "exclusiveMinimum": 0.5, "exclusiveMaximum": 9.5},
        {"type": "integer", "minimum": 1, "maximum": 9},
    ),
    "exclusive, whole, huge": (
        {"type": "integer", "exclusiveMinimum": 1e300},
        {"type": "integer", "minimum": 1e300, "description": "(exclusiveMinimum: 1e300)"},
    ),
    "exclusive": (
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "number", "minimum": 0, "description": "(exclusiveMinimum: 0)"},
    ),
    "exclusive and not": (
        {
            "type": "integer",
            "exclusiveMinimum": 0,
            "minimum": 5,
            "exclusiveMaximum": 9,
            "maximum": 7,
        },
        {"type": "integer", "minimum": 5, "maximum": 7},
    ),
    "exclusive, draft 4": (
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        {"type": "integer", "minimum": 1},
    ),
    "exclusive of nothing": ({"exclusiveMinimum": True, "maximum": True}, {}),
    "not exclusive": ({"minimum": 0, "exclusiveMinimum": False}, {"minimum": 0}),
    "told": (
        {
            "type": "string",
            "description": "A name.",
            "minLength": 1,
            "maxLength": 9,
            "pattern": "^a",
            "default": None,
        },
        {
            "type": "string",
            "description": "A name. (minLength: 1) (maxLength: 9) (pattern: ^a) (default: null)",
        },
    ),
    "told of a list": (
        {"type": "array", "uniqueItems": True, "contains": {"const": 1}, "items": {}},
        {
            "type": "array",
            "items": {},
            "description": '(uniqueItems: true) (contains: {"const":1})',
        },
    ),
    "maxitems-1000": (
        {"type": "array", "maxItems": 1000, "minItems": 1, "items": {"type": "string"}},
        {
            "type": "array",
            "items": {"type": "string"},
            "description": "(minItems: 1) (maxItems: 1000)",
        },
    ),
    "told at length": (
        {"pattern": "a" * 300},
        {"description": f"(pattern: {'a' * 188}...)"},
    ),
    "description that is none": ({"description": 3, "format": [], "title": None}, {}),
    "allOf": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {}}, "required": ["a"], "description": "1"},
                {"properties": {"a": {"type": "string"}, "b": {}}, "required": ["b"]},
                {"description": "2"},
                True,
            ],
        },
        {
            "type": "object",
            "description": "1",
            "properties": {"a": {}, "b": {}},
            "required": ["a", "b"],
        },
    ),
    "allOf within": (
        {"allOf": [{"allOf": [{"type": "string"}]}]},
        {"type": "string"},
    ),
    "allOf that is none": ({"allOf": {"type": "string"}}, {}),
    "conditions": (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "required": ["a"],
            "if": {"properties": {"a": {"const": "x"}}},
            "then": {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            "else": {"properties": {"a": {"type": "number"}, "c": {}}},
        },
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {}},
            "required": ["a"],
        },
    ),
    "conditions of nothing": ({"then": True, "else": {"required": ["a"]}}, {}),
    "oneOf": (
        {"oneOf": [{"type": "string"}, False, True]},
        {"oneOf": [{"type": "string"}, {}]},
    ),
    "anyOf of nothing": ({"anyOf": [False], "oneOf": {}}, {}),
    "types": ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
    "types, one": ({"type": ["string", "string"]}, {"type": "string"}),
    "types in capitals": ({"type": "STRING"}, {"type": "string"}),
    "type unknown": ({"type": "any"}, {"description": "(type: any)"}),
    "types within": (
        {"anyOf": [{"type": ["string", "null"]}, {"type": ["null"]}]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    "types of items": (
        {"type": "array", "items": {"type": ["object", "null"]}},
        {"type": "array", "items": {"type": "object"}},
    ),
    "several types within": (
        {"type": "array", "items": {"type": ["string", "number", "null"]}},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
    ),
    "several types and branches within": (
        {"type": "array", "items": {"type": ["string", "number"], "anyOf": [{"minimum": 1}]}},
        {"type": "array", "items": {"anyOf": [{"minimum": 1}]}},
    ),
    "several types with properties": (
        {"anyOf": [{"type": ["string", "object"], "properties": {"a": {}}}]},
        {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"a": {}},
                    "description": '(type: ["string","object"])',
                }
            ]
        },
    ),
    "several types with items": (
        {"anyOf": [{"type": ["string", "array"], "items": {}}]},
        {"anyOf": [{"type": "array", "items": {}, "description": '(type: ["string","array"])'}]},
    ),
    "enum": (
        {"enum": ["a", 1, 1.0, "a", "", True, None, "1"]},
        {"enum": ["a", 1, 1.0, "1"], "description": "(enum: true, null)"},
    ),
    "enum of truth": (
        {"type": "boolean", "enum": [True]},
        {"type": "boolean", "description": "(enum: true)"},
    ),
    "enum of no list": ({"enum": "a"}, {}),
    "enum of many": (
        {"type": "integer", "enum": list(range(1000, 1201))},
        {
            "type": "integer",
            "description": "(enum: " + ", ".join(map(str, range(1000, 1200)))[:191] + "...)",
        },
    ),
    "enum of enough": ({"enum": list(range(200))}, {"enum": list(range(200))}),
    "types of items, one an array": (
        {"type": "array", "items": {"type": ["string", "array"]}},
        {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]},
        },
    ),
    "no items": ({"type": "array"}, {"type": "array", "items": {}}),
    "items of no type": ({"items": {"type": "string"}}, {"items": {"type": "string"}}),
    "items in order": (
        {"type": "array", "items": [{"type": "string"}, True], "additionalItems": {"minimum": 1}},
        {"type": "array", "prefixItems": [{"type": "string"}, {}], "items": {"minimum": 1}},
    ),
    "prefixItems": (
        {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {}},
    ),
    "no prefixItems": ({"type": "array", "prefixItems": []}, {"type": "array", "items": {}}),
    "items of no list": ({"type": "string", "items": {}}, {"type": "string"}),
    "required": (
        {
            "type": "object",
            "properties": {"a": {}, "b": False},
            "required": ["a", "b", "c", 1, "a"],
        },
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
    ),
    "required, draft 3": (
        {"type": "object", "properties": {"a": {"required": True}}, "required": True},
        {"type": "object", "properties": {"a": {}}},
    ),
    "required of nothing": ({"type": "object", "required": ["a"]}, {"type": "object"}),
    "properties of no type": ({"properties": {}}, {"type": "object", "properties": {}}),
    "properties of a string": (
        {"type": "string", "properties": {"a": {}}, "required": ["a"]},
        {"type": "string"},
    ),
    "properties that are none": ({"type": "object", "properties": []}, {"type": "object"}),
    "order": (
        {"properties": {"a": {}, "b": {}}, "propertyOrdering": ["b", "z", "a", 1]},
        {
            "type": "object",
            "properties": {"a": {}, "b": {}},
            "propertyOrdering": ["b", "a"],
        },
    ),
    "more properties": (
        {"type": "object", "additionalProperties": False},
        {"type": "object", "additionalProperties": False},
    ),
    "more properties of a kind": (
        {"type": "object", "additionalProperties": {"type": ["string", "null"], "minLength": 1}},
        {
            "type": "object",
            "additionalProperties": {"type": "string", "description": "(minLength: 1)"},
        },
    ),
    "named as a keyword": (
        {"properties": {n: {"type": "string"} for n in ("format", "title", "properties", "const")}},
        {
            "type": "object",
            "properties": {
                n: {"type": "string"} for n in ("format", "title", "properties", "const")
            },
        },
    ),
}


@pytest.mark.parametrize(("given_", "expected"), PROPERTY.values(), ids=PROPERTY)
def test_property(given_: Any, expected: Json) -> None:
    """Each keyword is kept, moved, told in words or removed, as the table says."""
    got = normalised({"type": "object", "properties": {"p": given_}})["properties"]["p"]

    assert expected == got
    assert json.dumps(expected, sort_keys=True) == json.dumps(got, sort_keys=True)


PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}, "v": {}}}
CUT = {"type": "object", "description": "(as above: N)"}


def chain(depth: int) -> Json:
    """Return a node whose next nodes, all required, are told to a depth."""
    inner = CUT if not depth else chain(depth - 1)
    return {"type": "object", "properties": {"next": inner, "v": {}}, "required": ["next"]}


# A whole schema, what is left of it.
WHOLE = {
    "root": (
        {"$schema": "s", "title": "T", "type": "object", "description": "d"},
        {"type": "object", "description": "d"},
    ),
    "no schema": ([1], {}),
    "types of the root": ({"type": ["object", "null"]}, {"type": "object"}),
    "several types of the root": (
        {"type": ["string", "object"]},
        {"type": "object", "description": '(type: ["string","object"])'},
    ),
    "other types of the root": (
        {"type": ["string", "number"]},
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "a reference": (
        {**of(**{"$ref": "#/definitions/P"}), "definitions": {"P": PERSON, "Unused": {}}},
        {**of(**{"$ref": "#/$defs/P"}), "$defs": {"P": PERSON}},
    ),
    "a reference in odd letters": (
        {**of(**{"$ref": "#/$defs/a%20b~1c"}), "$defs": {"a b/c": PERSON, "a b c": {}}},
        {**of(**{"$ref": "#/$defs/a_b_c"}), "$defs": {"a_b_c": PERSON}},
    ),
    "definitions of both kinds": (
        {
            "properties": {"p": {"$ref": "#/$defs/A"}, "q": {"$ref": "#/definitions/A"}},
            "$defs": {"A": {"type": "string"}},
            "definitions": {"A": {"type": "number"}},
        },
        {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/A"}, "q": {"$ref": "#/$defs/A_1"}},
            "$defs": {"A": {"type": "string"}, "A_1": {"type": "number"}},
        },
    ),
    "a reference with a title": (
        {**of(**{"$ref": "#/$defs/P", "title": "t"}), "$defs": {"P": PERSON}},
        {**of(**{"$ref": "#/$defs/P"}), "$defs": {"P": PERSON}},
    ),
    "a reference with siblings": (
        {**of(**{"$ref": "#/$defs/P", "description": "d"}), "$defs": {"P": PERSON}},
        of(**{**PERSON, "description": "d"}),
    ),
    "a reference of the root": ({"$ref": "#/$defs/P", "$defs": {"P": PERSON}}, PERSON),
    "a reference elsewhere": (
        {"properties": {"a": PERSON, "b": {"$ref": "#/properties/a"}}},
        {"type": "object", "properties": {"a": PERSON, "b": PERSON}},
    ),
    "a reference into a list": (
        {
            "properties": {"a": {"$ref": "#/x/1"}, "b": {"$ref": "#/x/7"}, "c": {"$ref": "#/x/y"}},
            "x": [1, PERSON],
        },
        {
            "type": "object",
            "properties": {
                "a": PERSON,
                "b": {"type": "object", "description": "($ref: #/x/7)"},
                "c": {"type": "object", "description": "($ref: #/x/y)"},
            },
        },
    ),
    "a reference to nowhere": (
        of(**{"$ref": "https://x/y", "description": "d"}),
        of(type="object", description="d ($ref: https://x/y)"),
    ),
    "a reference to no schema": (
        {**of(**{"$ref": "#/$defs/P"}), "$defs": {"P": True}},
        of(type="object", description="($ref: #/$defs/P)"),
    ),
    "definitions that are none": (
        {**of(type="string"), "$defs": [1]},
        of(type="string"),
    ),
    "a reference in allOf": (
        {**of(allOf=[{"$ref": "#/$defs/P"}, {"description": "d"}]), "$defs": {"P": PERSON}},
        of(**{**PERSON, "description": "d"}),
    ),
    "recursion": (
        {**of(**{"$ref": "#/$defs/N"}), "$defs": {"N": NODE}},
        {**of(**{"$ref": "#/$defs/N"}), "$defs": {"N": NODE}},
    ),
    "recursion with siblings": (
        {**of(**{"$ref": "#/$defs/N", "description": "d"}), "$defs": {"N": NODE}},
        {**of(description="d", anyOf=[{"$ref": "#/$defs/N"}]), "$defs": {"N": NODE}},
    ),
    "recursion that must be": (
        {**of(**{"$ref": "#/$defs/N"}), "$defs": {"N": {**NODE, "required": ["next"]}}},
        {**of(**{"$ref": "#/$defs/N"}), "$defs": {"N": chain(3)}},
    ),
    "recursion below what must be": (
        {**of(**{"$ref": "#/$defs/N"}), "required": ["p"], "$defs": {"N": NODE}},
        {**of(**NODE), "required": ["p"], "$defs": {"N": NODE}},
    ),
    "recursion of the root": (
        {"properties": {"a": {"$ref": "#"}, "b": {}}},
        {
            "type": "object",
            "properties": {
                "a": {
                    "type": "object",
                    "properties": {
                        "a": {
                            "type": "object",
                            "properties": {
                                "a": {
                                    "type": "object",
                                    "properties": {
                                        "a": {"type": "object", "description": "(as above: #)"},
                                        "b": {},
                                    },
                                },
                                "b": {},
                            },
                        },
                        "b": {},
                    },
                },
                "b": {},
            },
        },
    ),
    "recursion of nothing but names": (
        {
            **of(**{"$ref": "#/$defs/A"}),
            "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        },
        {
            **of(**{"$ref": "#/$defs/A"}),
            "$defs": {"A": {"type": "object", "description": "(as above: B)"}},
        },
    ),
    "recursion in allOf": (
        {
            **of(allOf=[{"$ref": "#/$defs/A"}]),
            "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}], "type": "string"}},
        },
        of(type="string"),
    ),
    "names in a circle in allOf": (
        {**of(allOf=[{"$ref": "#/$defs/A"}]), "$defs": {"A": {"$ref": "#/$defs/A", "minimum": 1}}},
        of(minimum=1),
    ),
}


@pytest.mark.parametrize(("given_", "expected"), WHOLE.values(), ids=WHOLE)
def test_whole(given_: Any, expected: Json) -> None:
    """References lead to a definition, are written out, or are cut where they never end."""
    got = normalised(given_)

    assert expected == got
    assert [] == wrong_in(got)


def test_real_tools() -> None:
    """A set in the kind of an agent's and its servers': the case is "schema-claude-code"."""
    declarations = sent(ask(tools=REAL))["tools"][0]["functionDeclarations"]
    schemas = {each["name"]: each["parametersJsonSchema"] for each in declarations}

    assert [] == [wrong for each in schemas.values() for wrong in wrong_in(each)]
    assert [tool["name"] for tool in REAL] == list(schemas)
    query = schemas["mcp__db__query"]["properties"]
    assert ["properties", "where", "order", "title", "limit", "format", "pair", "anything"] == (
        list(query)
    )
    assert ["properties", "where"] == schemas["mcp__db__query"]["required"]
    assert {"enum": ["csv", "json"], "description": "(enum: null, true)"} == query["format"]
    assert "maxItems" not in json.dumps(schemas["Todo"]).replace("(maxItems: 1000)", "")
    assert 1 == at(schemas["mcp__db__query"], "properties.limit.minimum")


def deep(levels: int) -> Json:
    """Return a schema so many levels deep."""
    made: Json = {"type": "string"}
    for _ in range(levels - 1):
        made = {"type": "object", "properties": {"p": made}}
    return made


@pytest.mark.parametrize("levels", [10, 11, 40])
def test_depth(levels: int) -> None:
    """What is nested deeper than ten schemas is told as an object of some kind."""
    got = normalised(deep(levels))

    assert depth_of(got) <= 24
    assert (deep(levels) == got) is (levels <= 10)
    assert ("nested too deeply" in json.dumps(got)) is (levels > 10)


def test_size() -> None:
    """A schema of any size becomes one of a bounded number of nodes."""
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}}
    branches = {"anyOf": [{"type": "string"}] * 5000, "allOf": [{"type": "string"}] * 5000}

    assert 3001 == json.dumps(normalised(wide)).count("too deeply")
    assert [] == wrong_in(normalised(branches))


def test_many_names() -> None:
    """Definitions that lead from one to the next, thousands of them, are followed a little."""
    names = {f"D{n}": {"$ref": f"#/$defs/D{n + 1}", "minimum": n} for n in range(3000)}
    got = normalised({**of(**{"$ref": "#/$defs/D0", "maximum": 1}), "$defs": names})

    assert [] == wrong_in(got)
    assert len(json.dumps(got)) < 5000


def test_branching_recursion() -> None:
    """A definition that holds itself many times over does not explode."""
    refs = {f"p{n}": {"$ref": "#/$defs/N"} for n in range(30)}
    node = {"type": "object", "properties": refs, "required": list(refs)}
    got = normalised({**of(**{"$ref": "#/$defs/N"}), "$defs": {"N": node}})

    assert len(json.dumps(got)) < 2_000_000
    assert [] == wrong_in(got)


keys = st.sampled_from(["a", "b", "p", "type", "properties", "format", "$ref", "N"])
names_ = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null", "x"])
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b", 1.5])
refs = st.sampled_from(["#", "#/$defs/N", "#/definitions/M", "#/properties/a", "#/x", "y"])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return schemas of which any part may be odd."""
    some = st.lists(inner, max_size=3)
    named = st.dictionaries(keys, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": names_ | st.lists(names_, max_size=3) | scalars,
            "properties": named | scalars,
            "required": st.lists(keys | scalars, max_size=3) | st.booleans(),
            "items": inner | some,
            "prefixItems": some,
            "anyOf": some | scalars,
            "oneOf": some,
            "allOf": some | scalars,
            "then": inner,
            "additionalProperties": inner,
            "enum": st.lists(scalars, max_size=4),
            "const": scalars,
            "$ref": refs,
            "$defs": named,
            "definitions": named,
            "minimum": scalars,
            "exclusiveMinimum": scalars,
            "maxItems": scalars,
            "description": scalars,
            "propertyOrdering": st.lists(keys, max_size=3),
        },
    )


schemas = st.recursive(scalars | refs.map(lambda ref: {"$ref": ref}), keywords, max_leaves=12)
roots = st.fixed_dictionaries(
    {},
    optional={
        "type": names_,
        "properties": st.dictionaries(keys, schemas, max_size=4),
        "required": st.lists(keys, max_size=3),
        "$defs": st.dictionaries(keys, schemas, max_size=3),
        "definitions": st.fixed_dictionaries({"M": schemas}),
        "$ref": refs,
    },
)


@given(roots | schemas)
def test_any_schema(schema: Any) -> None:
    """Whatever a client calls a schema, what Gemini gets is one it takes, and always the same."""
    before = json.dumps(schema)
    got = normalised(schema)

    assert [] == wrong_in(got)
    assert depth_of(got) <= 26
    assert {f"#/$defs/{name}" for name in got.get("$defs", {})} == set(references_in(got))
    assert [] == must_recur(got)
    assert json.dumps(got) == json.dumps(normalised(json.loads(before)))
    assert before == json.dumps(schema)
