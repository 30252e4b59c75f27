"""What each model takes."""

from __future__ import annotations

import pytest

from passgate.core.gemini.models import THINKING, Budgets, Level, Levels, is_gemini, model_of


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-3.8-flash", "gemini-3.8-flash"),
        ("anthropic/gemini-3.8-flash", "gemini-3.8-flash"),
        ("google/gemini-4-argon[1m]", "gemini-4-argon"),
        ("gemini/gemini-3.8-flash", "gemini-3.8-flash"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("claude-opus-5-5", None),
        ("anthropic/claude-opus-5-5", None),
        ("gemini-", None),
        ("gemini", None),
        ("Gemini-3.8-flash", None),
        ("gemini-3.8/../../x", None),
        ("gemini-3.8:countTokens", None),
        ("gemini-3.8-flash\n", None),
        ("openai/gemini-3.8-flash", None),
        ("gemini-" + "a" * 200, None),
    ],
)
def test_is_gemini(model: str, expected: str | None) -> None:
    """A model is Gemini's by what is left without a known prefix, and is safe in a path."""
    assert expected == is_gemini(model)


LOW_UP = Levels((Level.LOW, Level.MEDIUM, Level.HIGH))
MINIMAL_UP = Levels((Level.MINIMAL, Level.LOW, Level.MEDIUM, Level.HIGH))


@pytest.mark.parametrize(
    ("id_", "generation", "thinking", "limit"),
    [
        ("gemini-4-argon", (4, 0), LOW_UP, 65536),
        ("gemini-3.8-flash", (3, 8), LOW_UP, 65536),
        ("gemini-3.8-flash-002", (3, 8), LOW_UP, 65536),
        ("gemini-3.5-flash", (3, 5), MINIMAL_UP, 65536),
        ("gemini-3.5-flash-lite", (3, 5), MINIMAL_UP, 65536),
        ("gemini-3-pro-preview", (3, 0), Levels((Level.LOW, Level.HIGH)), 65536),
        ("gemini-2.5-flash", (2, 5), Budgets(0, 24576, stops=True), 65536),
        ("gemini-2.5-flash-lite", (2, 5), Budgets(512, 24576, stops=True), 65536),
        ("gemini-2.5-flash-image", (2, 5), None, 65536),
        ("gemini-2.5-pro", (2, 5), Budgets(128, 32768, stops=False), 65536),
        ("gemini-2.5-other", (2, 5), Budgets(0, 24576, stops=True), 65536),
        ("gemini-2.0-flash", (2, 0), None, 8192),
        ("gemini-5-new", (5, 0), LOW_UP, 65536),
        ("gemini-flash-latest", (3, 0), LOW_UP, 65536),
    ],
)
def test_model(
    id_: str, generation: tuple[int, int], thinking: Levels | Budgets | None, limit: int
) -> None:
    """The longest prefix of the table counts, else the generation."""
    got = model_of(id_)

    assert (id_, generation, thinking, limit) == (
        got.id,
        got.generation,
        got.thinking,
        got.max_output_tokens,
    )
    assert (generation >= (3, 0)) is got.current


@pytest.mark.parametrize("prefix", THINKING)
def test_table(prefix: str) -> None:
    """Generation 3 and later have levels, 2.5 has budgets."""
    got = model_of(prefix)

    assert got.thinking is None or isinstance(got.thinking, Levels) is got.current


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Level.MINIMAL, Level.LOW),
        (Level.LOW, Level.LOW),
        (Level.MEDIUM, Level.HIGH),
        (Level.HIGH, Level.HIGH),
        (Level.XHIGH, Level.HIGH),
    ],
)
def test_nearest(wanted: Level, expected: Level) -> None:
    """A level that is not offered becomes the next above it, else the highest."""
    assert expected is Levels((Level.LOW, Level.HIGH)).nearest(wanted)
