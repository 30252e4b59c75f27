"""The models of the simulated Gemini, and what each of them can do.

Source: Google AI for Developers, "Gemini models" and "Gemini thinking".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from passgate.demo.content import Json

_ALL = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_UPPER = ("LOW", "MEDIUM", "HIGH")
_CONTEXT, _OUTPUT = 1_048_576, 65_536


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        levels: The thinking levels it takes; empty where it takes a budget.
        budget: Least and most of a thinking budget; None where it takes a level.
        can_stop: Whether a budget of 0 turns thinking off.
        strict_end: Whether a request that ends with the model's turn is refused.
    """

    id: str
    title: str
    levels: tuple[str, ...] = ()
    budget: tuple[int, int] | None = None
    can_stop: bool = False
    strict_end: bool = False

    @property
    def signs(self) -> bool:
        """Tell whether calls must come back with their signatures."""
        return bool(self.levels)

    @property
    def fixed_sampling(self) -> bool:
        """Tell whether penalties are refused."""
        return self.strict_end

    def entry(self) -> Json:
        """Return what the list of models says of it."""
        return {
            "name": f"models/{self.id}",
            "version": "001",
            "displayName": self.title,
            "description": f"{self.title}, simulated.",
            "inputTokenLimit": _CONTEXT,
            "outputTokenLimit": _OUTPUT,
            "supportedGenerationMethods": ["generateContent", "countTokens", "createCachedContent"],
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
            "thinking": True,
        }


MODELS = {
    model.id: model
    for model in (
        Model("gemini-4-argon", "Gemini 4 Argon", _UPPER, strict_end=True),
        Model("gemini-3.8-flash", "Gemini 3.8 Flash", _UPPER, strict_end=True),
        Model("gemini-3.7-flash", "Gemini 3.7 Flash", _UPPER, strict_end=True),
        Model("gemini-3.6-flash", "Gemini 3.6 Flash", _UPPER, strict_end=True),
        Model("gemini-3.5-flash", "Gemini 3.5 Flash", _ALL),
        Model("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite", _ALL, strict_end=True),
        Model("gemini-3.1-pro-preview", "Gemini 3.1 Pro Preview", _UPPER),
        Model("gemini-3.1-flash-lite", "Gemini 3.1 Flash-Lite", _ALL),
        Model("gemini-3-flash-preview", "Gemini 3 Flash Preview", _ALL),
        Model("gemini-3-pro-preview", "Gemini 3 Pro Preview", ("LOW", "HIGH")),
        Model("gemini-2.5-pro", "Gemini 2.5 Pro", budget=(128, 32_768)),
        Model("gemini-2.5-flash", "Gemini 2.5 Flash", budget=(0, 24_576), can_stop=True),
        Model(
            "gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite", budget=(512, 24_576), can_stop=True
        ),
    )
}
_ID = re.compile(r"(?:models/)?([A-Za-z0-9._-]{1,80})")


def model_named(name: object) -> Model | None:
    """Return the model that a request's path or body names, None where there is none."""
    found = _ID.fullmatch(name) if isinstance(name, str) else None
    return MODELS.get(found[1]) if found else None
