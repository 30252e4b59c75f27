"""Each promise has tests that exist, and the score that is told is of the attacks there are."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.attack.score import every

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count(" | ") == 3
]
PROMISES = [row for row in ROWS if row[0] not in ("promise", "---")]


def defined_in(path: str) -> set[str]:
    """Return the tests that a file defines."""
    tree = ast.parse((ROOT / path).read_text())
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, found)} | {""}


def test_there_are_promises() -> None:
    """The table was read."""
    assert len(PROMISES) > 20


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0])
def test_promise(row: list[str]) -> None:
    """A promise says its bound and where it stops, and is kept by tests that exist."""
    promise, bound, stops, proof = row
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", proof)

    assert promise
    assert bound
    assert stops
    assert named
    for path, name in named:
        assert name in defined_in(path), f"{path}::{name}"


def test_score_is_of_what_is_played() -> None:
    """The table of the score counts the attacks that there are today, by group."""
    told = dict(re.findall(r"^\| (\w+)[^|]*\| [0-9]+/([0-9]+) \|", PAGE, re.MULTILINE))
    played = Counter(attack.group for attack in every())

    assert told.pop("all") == str(played.total())
    assert {group: str(count) for group, count in played.items()} == told
    assert f"plays {played.total()} attacks" in PAGE
