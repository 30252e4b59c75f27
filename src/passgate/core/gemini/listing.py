"""Gemini's models in the shape and among the models of the Messages API.

Each is listed twice: by its id, and as ``anthropic/ID``, because Claude Code shows only
models whose id has "claude" or "anthropic" in it.

Source: Claude docs, "List models"; ai.google.dev, "Models".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

ALIAS = "anthropic/"

# What the Messages API says of a model whose date of release it does not know.
_NO_DATE = "1970-01-01T00:00:00Z"


class Entry(msgspec.Struct, frozen=True, tag="model"):
    """One model, as the Messages API lists it."""

    id: str
    display_name: str
    created_at: str
    lifecycle: str
    max_input_tokens: int | None
    max_tokens: int | None
    capabilities: None


class Page(msgspec.Struct, frozen=True):
    """One page of Gemini's list.

    Attributes:
        entries: What can answer a message, aliases left out.
        next_token: What the next page is asked for with, empty on the last.
    """

    entries: tuple[Entry, ...]
    next_token: str


class _Model(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    supported_generation_methods: list[str] | None = None


class _Models(msgspec.Struct, rename="camel"):
    models: list[_Model] = []
    next_page_token: str = ""


class _Known(msgspec.Struct):
    id: str | None = None


def page_of(body: bytes) -> Page | None:
    """Return what Gemini's list *body* says, None where it is no list."""
    try:
        read = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    entries = (
        _entry(model, _id_of(model))
        for model in read.models
        if "generateContent" in (model.supported_generation_methods or ())
    )
    kept = tuple(entry for entry in entries if entry.id.startswith("gemini-"))
    return Page(kept, read.next_page_token)


def entry_of(body: bytes, model: str) -> bytes | None:
    """Return the entry of one model as JSON, None where *body* describes none.

    Args:
        body: Gemini's answer.
        model: As the client named it.
    """
    try:
        read = msgspec.json.decode(body, type=_Model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.json.encode(_entry(read, model))


def with_aliases(entries: Iterable[Entry], is_open: Callable[[str], bool]) -> list[Entry]:
    """Return *entries* under both names, as far as they are open to a client."""
    return [
        _renamed(entry, name)
        for entry in entries
        for name in (entry.id, ALIAS + entry.id)
        if is_open(name)
    ]


def merged(theirs: bytes | None, ours: Iterable[Entry]) -> bytes | None:
    """Return a page of models with *ours* behind those it has, if it is the last page.

    Args:
        theirs: A page of the Messages API, None where there is none to be had.
        ours: Entries to add.

    Returns:
        The page as JSON, or None where *theirs* is to pass as it is: there are further
        pages, or it is no page.
    """
    page: dict[str, msgspec.Raw] = {"data": msgspec.Raw(b"[]"), "has_more": msgspec.Raw(b"false")}
    added = list(ours)
    try:
        if theirs is not None:
            page |= msgspec.json.decode(theirs, type=dict[str, msgspec.Raw])
        listed = msgspec.json.decode(page["data"], type=list[msgspec.Raw])
        ends = [msgspec.json.decode(raw, type=_Known).id for raw in (*listed[:1], *listed[-1:])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if bytes(page["has_more"]) != b"false":
        return None
    ids = [*ends, *(entry.id for entry in added)]
    return msgspec.json.encode(
        {
            **page,
            "data": [*listed, *added],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
    )


def _id_of(model: _Model) -> str:
    return model.name.removeprefix("models/")


def _entry(model: _Model, name: str) -> Entry:
    title = model.display_name or _id_of(model)
    return Entry(
        name, title, _NO_DATE, "active", model.input_token_limit, model.output_token_limit, None
    )


def _renamed(entry: Entry, name: str) -> Entry:
    return msgspec.structs.replace(entry, id=name)
