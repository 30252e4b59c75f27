"""How much a model is told to think, and how long its answer may get."""

from __future__ import annotations

import pytest

from tests.core.gemini.asks import FLASH, Json, ask, asked, at, fault, sent

PRO, LITE = "gemini-2.5-pro", "gemini-2.5-flash-lite"
OLD, MINIMAL, TWO = "gemini-2.5-flash", "gemini-3.5-flash", "gemini-3-pro-preview"


def level(name: str | None, *, shown: bool = False) -> Json | None:
    """Return a config of a level."""
    made = {"includeThoughts": True} if shown else {}
    return {**made, "thinkingLevel": name} if name else made or None


def budget(tokens: int | None, *, shown: bool = False) -> Json:
    """Return a config of a budget."""
    made: Json = {"includeThoughts": True} if shown else {}
    return {**made, "thinkingBudget": tokens}


def effort(name: str) -> Json:
    """Return the fields of an effort."""
    return {"output_config": {"effort": name}}


def enabled(tokens: int, **more: object) -> Json:
    """Return the fields of a budget."""
    return {"thinking": {"type": "enabled", "budget_tokens": tokens, **more}}


DISABLED = {"thinking": {"type": "disabled"}}
ADAPTIVE = {"thinking": {"type": "adaptive"}}
BETWEEN = {"thinking": {"type": "between_tools"}}
OMITTED = {"thinking": {"type": "adaptive", "display": "omitted"}}
# Model, fields of the request, thinkingConfig, maxOutputTokens.
ROWS = {
    "absent": (FLASH, {}, None, 8192),
    "absent on 2.5": (OLD, {}, None, 8192),
    "thinking-disabled": (FLASH, DISABLED, level("LOW"), 8192),
    "disabled, minimal": (MINIMAL, DISABLED, level("MINIMAL"), 8192),
    "disabled on 2.5": (OLD, DISABLED, budget(0), 8192),
    "disabled on 2.5 Lite": (LITE, DISABLED, budget(0), 8192),
    "disabled on 2.5 Pro": (PRO, DISABLED, budget(128), 8192),
    "disabled, whatever the effort": (FLASH, {**DISABLED, **effort("max")}, level("LOW"), 8192),
    "thinking-omitted": (FLASH, OMITTED, None, 8192),
    "adaptive": (FLASH, ADAPTIVE, level(None, shown=True), 8192),
    "adaptive, other display": (
        FLASH,
        {"thinking": {"type": "adaptive", "display": "updates"}},
        level(None, shown=True),
        8192,
    ),
    "adaptive on 2.5": (OLD, ADAPTIVE, budget(-1, shown=True), 8192),
    "between tools": (FLASH, BETWEEN, level(None, shown=True), 8192),
    "between tools on 2.5": (PRO, BETWEEN, budget(-1, shown=True), 8192),
    "omitted on 2.5": (OLD, OMITTED, budget(-1), 8192),
    "effort low": (FLASH, effort("low"), level("LOW"), 8192),
    "effort medium": (FLASH, effort("medium"), level("MEDIUM"), 8192),
    "effort high": (FLASH, effort("high"), level("HIGH"), 8192),
    "effort xhigh": (FLASH, effort("xhigh"), level("HIGH"), 8192),
    "effort-max-38": (FLASH, effort("max"), level("HIGH"), 8192),
    "effort medium of two levels": (TWO, effort("medium"), level("HIGH"), 8192),
    "effort and shown": (FLASH, {**ADAPTIVE, **effort("low")}, level("LOW", shown=True), 8192),
    "effort and omitted": (FLASH, {**OMITTED, **effort("low")}, level("LOW"), 8192),
    "effort before budget": (
        FLASH,
        {**enabled(2000), **effort("high")},
        level("HIGH", shown=True),
        8192,
    ),
    "effort low on 2.5": (OLD, effort("low"), budget(2048), 8192),
    "effort medium on 2.5": (OLD, effort("medium"), budget(8192), 8192),
    "effort high on 2.5": (OLD, effort("high"), budget(16384), 8192),
    "effort xhigh on 2.5": (OLD, effort("xhigh"), budget(24576), 8192),
    "effort max on 2.5": (OLD, effort("max"), budget(24576), 8192),
    "effort max on 2.5 Pro": (PRO, effort("max"), budget(32768), 8192),
    "budget to low": (FLASH, enabled(4096), level("LOW", shown=True), 8192),
    "budget to medium": (FLASH, enabled(16384), level("MEDIUM", shown=True), 8192),
    "budget to high": (FLASH, enabled(16385), level("HIGH", shown=True), 8192),
    "budget, omitted": (FLASH, enabled(1024, display="omitted"), level("LOW"), 8192),
    "budget on 2.5": (OLD, enabled(5000), budget(5000, shown=True), 8192),
    "budget over 2.5": (OLD, enabled(99999), budget(24576, shown=True), 8192),
    "budget under 2.5 Lite": (LITE, enabled(100), budget(512, shown=True), 8192),
    # A limit that thoughts alone could use up.
    "small-max-tokens": (FLASH, {"max_tokens": 16}, level("LOW"), 16 + 2048),
    "minimal-38": (FLASH, {"max_tokens": 16, **DISABLED}, level("LOW"), 16 + 2048),
    "small, minimal": (MINIMAL, {"max_tokens": 16}, level("MINIMAL"), 16 + 512),
    "small, shown": (
        FLASH,
        {"max_tokens": 4095, **ADAPTIVE},
        level("LOW", shown=True),
        4095 + 2048,
    ),
    "small with an effort": (
        FLASH,
        {"max_tokens": 16, **effort("high")},
        level("HIGH"),
        16 + 2048,
    ),
    "small with a budget": (
        FLASH,
        {"max_tokens": 2000, **enabled(1500)},
        level("LOW", shown=True),
        2000 + 2048,
    ),
    "not small": (FLASH, {"max_tokens": 4096}, None, 4096),
    "small on 2.5 Pro": (PRO, {"max_tokens": 16}, budget(128), 16 + 2048),
    "small on 2.5, which can stop": (OLD, {"max_tokens": 16}, None, 16),
    "a model that does not think": (
        "gemini-2.0-flash",
        {"max_tokens": 9000, **ADAPTIVE, **effort("high")},
        None,
        8192,
    ),
}


@pytest.mark.parametrize(("model", "fields", "expected", "limit"), ROWS.values(), ids=ROWS)
def test_thinking(model: str, fields: Json, expected: Json | None, limit: int) -> None:
    """Each wish becomes what the model takes that is nearest to it."""
    got = sent(ask(**fields), model)

    assert expected == at(got, "generationConfig.thinkingConfig")
    assert limit == at(got, "generationConfig.maxOutputTokens")


@pytest.mark.parametrize(
    ("fields", "display", "disabled"),
    [
        ({}, False, False),
        (DISABLED, False, True),
        (ADAPTIVE, True, False),
        (OMITTED, False, False),
        (effort("high"), False, False),
        (enabled(2000), True, False),
    ],
)
def test_what_the_client_sees(fields: Json, *, display: bool, disabled: bool) -> None:
    """Thoughts come down where the client asks for thinking and does not leave them out."""
    got = asked(ask(**fields))

    assert (display, disabled) == (got.display, got.thinking_disabled)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (effort("huge"), "output_config.effort: 'huge' is not one of low, medium"),
        ({"thinking": {"type": "deep"}}, "thinking.type: 'deep' is not one of enabled"),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: a number"),
        (enabled(-1), "thinking.enabled.budget_tokens: a number is needed, got -1"),
    ],
)
def test_unknown(fields: Json, expected: str) -> None:
    """A word that is not known would change the result silently."""
    assert fault(ask(**fields)).message.startswith(expected)


def system(name: str) -> Json:
    """Return a system message that sets the effort of its turn."""
    return {"role": "system", "content": "a", "output_config": {"effort": name}}


U, A = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t"}
CALLS, RESULTS = {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [RESULT]}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([U, system("high")], "HIGH", id="of this turn"),
        pytest.param([system("high"), U], "HIGH", id="before it"),
        pytest.param([U, system("high"), A, U], "LOW", id="of an earlier turn"),
        pytest.param([U, system("high"), CALLS, RESULTS], "HIGH", id="of a turn with calls"),
        pytest.param([U, system("high"), U, system("medium")], "MEDIUM", id="the last"),
    ],
)
def test_effort_of_a_turn(messages: list[Json], expected: str) -> None:
    """A system message sets the effort of its own turn, over that of the request."""
    got = sent(ask(*messages, **effort("low")))

    assert expected == at(got, "generationConfig.thinkingConfig.thinkingLevel")
