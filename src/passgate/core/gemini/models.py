"""What each Gemini model takes: thinking, output and generation, as data."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

_FAMILY = "gemini-"
_PREFIXES = ("anthropic/", "google/", "gemini/", "models/")
_LONG_CONTEXT = "[1m]"
_ID = re.compile(r"gemini-[A-Za-z0-9][A-Za-z0-9._-]{0,120}")  # it becomes part of a path
_VERSION = re.compile(r"gemini-(\d{1,3})(?:\.(\d{1,3}))?(?![0-9])")


def is_gemini(model: str) -> str | None:
    """Return the id of the Gemini model that a client calls *model*, or None if it is none."""
    if _FAMILY not in model:
        return None  # each request of another model is asked this
    for prefix in _PREFIXES:
        if model.startswith(prefix):
            model = model.removeprefix(prefix)
            break
    model = model.removesuffix(_LONG_CONTEXT)
    return model if _ID.fullmatch(model) else None


class Level(Enum):
    """How much a model of generation 3 and later thinks, from little to much."""

    MINIMAL = "MINIMAL"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    XHIGH = "XHIGH"


_RANK = {level: rank for rank, level in enumerate(Level)}
_LOW_UP = (Level.LOW, Level.MEDIUM, Level.HIGH)
_MINIMAL_UP = (Level.MINIMAL, *_LOW_UP)


class Levels(msgspec.Struct, frozen=True):
    """Thinking that is set by a level; it cannot be switched off.

    Attributes:
        offered: The levels the model takes, from little to much.
    """

    offered: tuple[Level, ...]

    def nearest(self, wanted: Level) -> Level:
        """Return *wanted*, else the next level above it, else the highest."""
        above = [level for level in self.offered if _RANK[level] >= _RANK[wanted]]
        return above[0] if above else self.offered[-1]

    @property
    def lowest(self) -> Level:
        """The least a model can think."""
        return self.offered[0]


class Budgets(msgspec.Struct, frozen=True):
    """Thinking that is set by a number of tokens.

    Attributes:
        least: Fewest tokens, where it thinks at all.
        most: Most tokens.
        stops: Whether a budget of 0 switches it off.
    """

    least: int
    most: int
    stops: bool

    def nearest(self, wanted: int) -> int:
        """Return *wanted* tokens, within what the model takes."""
        return max(self.least, min(wanted, self.most))

    @property
    def lowest(self) -> int:
        """The least a model can think, in tokens."""
        return 0 if self.stops else self.least


Thinking = Levels | Budgets | None


class Model(msgspec.Struct, frozen=True):
    """What one model takes.

    Attributes:
        id: Its id, without ``models/``.
        generation: 3.8 is ``(3, 8)``; an alias without a number counts as the present one.
        thinking: How its thinking is set, or None where it has none.
        max_output_tokens: Most tokens of one answer, thoughts included.
    """

    id: str
    generation: tuple[int, int]
    thinking: Thinking
    max_output_tokens: int

    @property
    def current(self) -> bool:
        """Whether it is of generation 3 or later: levels, signatures that it insists on."""
        return self.generation >= (3, 0)


_PRO_25 = Budgets(128, 32768, stops=False)
_FLASH_25 = Budgets(0, 24576, stops=True)
_LITE_25 = Budgets(512, 24576, stops=True)

# Id prefix -> thinking; the longest prefix counts.
# Source: reference of the models, Gemini docs, "Thinking" and "Latest models", November 2026.
THINKING: dict[str, Thinking] = {
    "gemini-4-argon": Levels(_LOW_UP),
    "gemini-3.8-flash": Levels(_LOW_UP),  # MINIMAL is a 400
    "gemini-3.7-flash": Levels(_LOW_UP),
    "gemini-3.6-flash": Levels(_LOW_UP),  # MINIMAL is not documented
    "gemini-3.5-flash": Levels(_MINIMAL_UP),
    "gemini-3.5-flash-lite": Levels(_MINIMAL_UP),
    "gemini-3.1-pro": Levels(_LOW_UP),
    "gemini-3.1-flash-lite": Levels(_MINIMAL_UP),
    "gemini-3-flash": Levels(_MINIMAL_UP),
    "gemini-3-pro": Levels((Level.LOW, Level.HIGH)),
    "gemini-2.5-pro": _PRO_25,
    "gemini-2.5-flash": _FLASH_25,
    "gemini-2.5-flash-lite": _LITE_25,
    "gemini-2.5-flash-image": None,  # to set it is an error
}
_OLD_OUTPUT = 8192
_OUTPUT = 65536
_ALIAS_GENERATION = (3, 0)


def model_of(id_: str) -> Model:
    """Return what the model *id_* takes; one that is not in the table by its generation."""
    found = _VERSION.match(id_)
    generation = (int(found[1]), int(found[2] or 0)) if found else _ALIAS_GENERATION
    known = max((prefix for prefix in THINKING if id_.startswith(prefix)), key=len, default=None)
    if known is not None:
        thinking = THINKING[known]
    elif generation >= (3, 0):
        thinking = Levels(_LOW_UP)
    else:
        thinking = _FLASH_25 if generation == (2, 5) else None
    limit = _OUTPUT if generation >= (2, 5) else _OLD_OUTPUT
    return Model(id_, generation, thinking, limit)
