"""What comes on top of the sums is kept once, and what is in them never."""

from __future__ import annotations

import json

import pytest

from passgate.core.iterations import Extra, extras, model_of, read
from passgate.core.usage import Iteration, Usage


def entry(kind: str | None, output: int | None = 5, model: str | None = None) -> Iteration:
    """Return an entry of ``usage.iterations``."""
    return Iteration(kind, model, 7, output)


_USAGE = Usage(input_tokens=7, output_tokens=5)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([entry("message")], [], id="in the sums"),
        pytest.param([entry("message", model="other")], [], id="no fallback"),
        pytest.param([entry("compaction"), entry("message")], [Extra("compaction", None, _USAGE)]),
        pytest.param(
            [entry("advisor_message", model="adviser")],
            [Extra("advisor_message", "adviser", _USAGE)],
        ),
        pytest.param(
            [
                entry("message", model="first"),
                entry("message", 0, model="second"),
                entry("message", None, model="third"),
                entry("message", model="served"),
                entry("message"),
                entry("fallback_message", model="served"),
            ],
            [Extra("message", "first", _USAGE)],
            id="fallback",
        ),
        pytest.param([entry("new_kind")], [], id="unknown"),
        pytest.param([entry(None)], [], id="no type"),
    ],
)
def test_extras(entries: list[Iteration], expected: list[Extra]) -> None:
    """Compaction, advice and hops that declined late are added; nothing else is."""
    assert expected == list(read(extras(entries, "served", refused_empty=False)))


def test_free() -> None:
    """A refusal before any content is reported and not billed."""
    kept = extras([], "m", refused_empty=True)

    assert kept == '[{"type":"unbilled"}]'
    assert [Extra("unbilled")] == list(read(kept))


def test_bounded() -> None:
    """An endless list is cut."""
    assert 256 == len(
        json.loads(extras([entry("compaction")] * 999, "m", refused_empty=False) or "")
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], None),
        ([entry("message", model="a")], None),
        ([entry("fallback_message", model="a"), entry("fallback_message", model="b")], "b"),
        ([entry("fallback_message")], None),
    ],
)
def test_model_of(entries: list[Iteration], expected: str | None) -> None:
    """The last model to which the request fell back is the one that answered."""
    assert expected == model_of(entries)


@pytest.mark.parametrize("kept", ["{", '[{"type":1}]', '[{"x":' + "[" * 5000])
def test_unreadable(kept: str) -> None:
    """What is no list of them is told as one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        read(kept)
