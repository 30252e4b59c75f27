"""Every edge case that the reference of the translation names is a row of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.gemini.cases import CASES

_ROOT = Path(__file__).parents[3]


def test_all_are_listed() -> None:
    """The reference numbers 55 cases, of which some are several."""
    assert 61 == len(CASES)


@pytest.mark.parametrize(("name", "place"), CASES.items(), ids=CASES)
def test_case_is_shown(name: str, place: str) -> None:
    """The file that is to show a case has it by its name, or has the test that is named."""
    file, _, test = place.partition("::")
    text = (_ROOT / file).read_text()

    assert f"def {test}(" in text if test else f'"{name}"' in text
