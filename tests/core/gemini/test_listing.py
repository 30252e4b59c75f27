"""Gemini's models among Claude's: shape, names, and pages that end in the right place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passgate.core.gemini.listing import Entry, entry_of, merged, page_of, with_aliases


def model(name: str, **more: Any) -> dict[str, Any]:
    """Return a model as Google lists it."""
    return {
        "name": f"models/{name}",
        "displayName": name.title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    } | more


def listed(*models: dict[str, Any], **more: Any) -> bytes:
    """Return a page as Google gives it."""
    return json.dumps({"models": list(models), **more}).encode()


FLASH = Entry(
    "gemini-3.8-flash",
    "Gemini-3.8-Flash",
    "1970-01-01T00:00:00Z",
    "active",
    1_048_576,
    65_536,
    None,
)


def test_page_of() -> None:
    """What generates is listed, what does not, and what is no Gemini, is left out."""
    page = page_of(
        listed(
            model("gemini-3.8-flash"),
            model("gemini-embedding", supportedGenerationMethods=["embedContent"]),
            model("gemini-odd", supportedGenerationMethods=None),
            model("gemma-4"),
            nextPageToken="more",
        )
    )

    assert page is not None
    assert ((FLASH,), "more") == (page.entries, page.next_token)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"models":1}', b'{"models":[{}]}', b"\xff", b'{"x":' + b"[" * 9999]
)
def test_no_page(body: bytes) -> None:
    """What is no list is none."""
    assert page_of(body) is None


def test_empty_page() -> None:
    """A list without models is a list."""
    page = page_of(b"{}")

    assert page is not None
    assert ((), "") == (page.entries, page.next_token)


def test_entry_of() -> None:
    """One model, in the shape of the Messages API, by the name it was asked for."""
    body = json.dumps(model("gemini-3.8-flash", displayName=None, inputTokenLimit=None)).encode()
    entry = entry_of(body, "anthropic/gemini-3.8-flash")

    assert entry is not None
    assert {
        "type": "model",
        "id": "anthropic/gemini-3.8-flash",
        "display_name": "gemini-3.8-flash",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": None,
        "max_tokens": 65_536,
        "capabilities": None,
    } == json.loads(entry)
    assert entry_of(b"{}", "x") is None


def test_aliases() -> None:
    """Each model is listed under both of its names, if the client may use them."""
    both = with_aliases([FLASH], lambda _: True)
    own = with_aliases([FLASH], lambda name: not name.startswith("anthropic/"))

    assert ["gemini-3.8-flash", "anthropic/gemini-3.8-flash"] == [each.id for each in both]
    assert [FLASH] == own


def claude(*ids: str, has_more: bool = False, **more: Any) -> bytes:
    """Return a page of Claude's models."""
    ends = {"first_id": ids[0], "last_id": ids[-1]} if ids else {}
    data = [{"id": each, "new": 1e3} for each in ids]
    return json.dumps({"data": data, "has_more": has_more, **ends, **more}).encode()


def test_merged() -> None:
    """Ours stand behind theirs, whose entries and further members are untouched."""
    page = merged(claude("a", "b", more={"x": 1}), [FLASH])

    assert page is not None
    read = json.loads(page)
    assert ["a", "b", "gemini-3.8-flash"] == [each["id"] for each in read["data"]]
    assert b'{"id": "a", "new": 1000.0}' in page
    assert (False, "a", "gemini-3.8-flash", {"x": 1}) == (
        read["has_more"],
        read["first_id"],
        read["last_id"],
        read["more"],
    )


def test_merged_into_nothing() -> None:
    """Where Claude's list is not to be had, or empty, ours is the list."""
    alone, empty = merged(None, [FLASH]), merged(claude(), [FLASH])

    assert alone == empty
    assert alone is not None
    assert {"has_more": False, "first_id": FLASH.id, "last_id": FLASH.id} == {
        key: value for key, value in json.loads(alone).items() if key != "data"
    }
    none = merged(None, [])
    assert none is not None
    assert {"data": [], "has_more": False, "first_id": None, "last_id": None} == json.loads(none)


@pytest.mark.parametrize(
    "theirs",
    [
        claude("a", has_more=True),
        b"<html>",
        b"[]",
        b'{"data":1}',
        b'{"data":[1]}',
        b'{"data":[{"id":7}]}',
    ],
    ids=["more-pages", "html", "list", "no-data", "no-models", "odd-id"],
)
def test_passes_as_it_is(theirs: bytes) -> None:
    """A page with more behind it, or what is no page, is not ours to change."""
    assert merged(theirs, [FLASH]) is None
