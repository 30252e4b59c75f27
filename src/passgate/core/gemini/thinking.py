"""How much a model is to think: the Messages API's words in those of a Gemini model."""

from __future__ import annotations

import msgspec

from passgate.core.gemini.body import Thinking, refused, shown
from passgate.core.gemini.models import Budgets, Level, Levels, Model
from passgate.core.gemini.parts import ThinkingConfig

# Gemini counts thoughts into the answer's limit: below this an answer may be all thought.
_SHORT_TOKENS = 4096
_HEADROOM_TOKENS = 2048
_MINIMAL_HEADROOM_TOKENS = 512

_KINDS = ("enabled", "disabled", "adaptive", "between_tools")
# Effort -> level, and the budget of a model that has budgets.
_EFFORTS = {
    "low": (Level.LOW, 2048),
    "medium": (Level.MEDIUM, 8192),
    "high": (Level.HIGH, 16384),
    "xhigh": (Level.XHIGH, 24576),
    "max": (Level.XHIGH, 1 << 20),
}
_DYNAMIC = -1
_LOW_BUDGET_TOKENS = 4096
_MEDIUM_BUDGET_TOKENS = 16384


class Wish(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        kind: ``thinking.type``, or None where the request has no ``thinking``.
        budget_tokens: With ``enabled``.
        shown: Whether thoughts are to come down, if the model thinks.
        effort: ``output_config.effort``, or None.
    """

    kind: str | None = None
    budget_tokens: int | None = None
    shown: bool = False
    effort: str | None = None


def wish_of(thinking: Thinking | None, effort: str | None) -> Wish:
    """Return what *thinking* and *effort* ask for.

    Raises:
        Refused: A value that is not known; the message names it.
    """
    if effort is not None and effort not in _EFFORTS:
        raise refused(
            "output_config.effort", f"{shown(effort)} is not one of {', '.join(_EFFORTS)}"
        )
    if thinking is None:
        return Wish(effort=effort)
    if thinking.type not in _KINDS:
        raise refused("thinking.type", f"{shown(thinking.type)} is not one of {', '.join(_KINDS)}")
    budget = thinking.budget_tokens
    if thinking.type == "enabled" and (budget is None or budget < 0):
        raise refused("thinking.enabled.budget_tokens", f"a number is needed, got {shown(budget)}")
    seen = thinking.type != "disabled" and thinking.display != "omitted"
    return Wish(thinking.type, budget, seen, effort)


class Plan(msgspec.Struct, frozen=True):
    """What a model is told of thinking and length.

    Attributes:
        config: For the request, or None where it says nothing.
        max_output_tokens: Thoughts included; None where the client set no limit.
    """

    config: ThinkingConfig | None
    max_output_tokens: int | None


def plan(model: Model, wish: Wish, max_tokens: int | None) -> Plan:
    """Return what *model* is told for *wish*, in an answer of at most *max_tokens*."""
    if model.thinking is None:
        return Plan(None, _capped(model, max_tokens))
    short = max_tokens is not None and max_tokens < _SHORT_TOKENS
    if isinstance(model.thinking, Levels):
        level = _level(model.thinking, wish, short=short)
        config = ThinkingConfig(wish.shown, None if level is None else level.value)
        room = _MINIMAL_HEADROOM_TOKENS if level is Level.MINIMAL else _HEADROOM_TOKENS
    else:
        short = short and not model.thinking.stops
        budget = _budget(model.thinking, wish, short=short)
        config = ThinkingConfig(wish.shown, thinking_budget=budget)
        room = _HEADROOM_TOKENS
    if short and max_tokens is not None:
        max_tokens += room
    said = config if config != ThinkingConfig() else None
    return Plan(said, _capped(model, max_tokens))


def _capped(model: Model, max_tokens: int | None) -> int | None:
    return None if max_tokens is None else min(max_tokens, model.max_output_tokens)


def _level(levels: Levels, wish: Wish, *, short: bool) -> Level | None:
    """Return the level, or None for the model's own default."""
    if wish.kind == "disabled":
        return levels.lowest
    if wish.effort is not None:
        return levels.nearest(_EFFORTS[wish.effort][0])
    if short:
        return levels.lowest
    if wish.budget_tokens is not None and wish.kind == "enabled":
        return levels.nearest(_level_of(wish.budget_tokens))
    return None


def _level_of(budget_tokens: int) -> Level:
    if budget_tokens <= _LOW_BUDGET_TOKENS:
        return Level.LOW
    return Level.MEDIUM if budget_tokens <= _MEDIUM_BUDGET_TOKENS else Level.HIGH


def _budget(budgets: Budgets, wish: Wish, *, short: bool) -> int | None:
    """Return the budget in tokens, or None for the model's own default."""
    if wish.kind == "disabled":
        return budgets.lowest
    if wish.effort is not None:
        return budgets.nearest(_EFFORTS[wish.effort][1])
    if short:
        return budgets.lowest
    if wish.budget_tokens is not None and wish.kind == "enabled":
        return budgets.nearest(wish.budget_tokens)
    return None if wish.kind is None else _DYNAMIC
