"""Every edge case that the reference of the translation names is a row of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.gemini.cases import CASES

_ROOT = Path(__file__).parents[3]
_SHOWN = [(name, place) for name, place in CASES.items() if place is not None]


def test_all_are_listed() -> None:
    """The reference numbers 55 cases, of which some are several."""
    assert 61 == len(CASES)


@pytest.mark.parametrize(("name", "place"), _SHOWN, ids=[name for name, _ in _SHOWN])
def test_case_is_shown(name: str, place: str) -> None:
    """The file that is to show a case has it by its name."""
    text = (_ROOT / place).read_text()

    assert f'"{name}"' in text or f"**{name}**" in text
