"""An answer of the simulated Gemini, as values: the request it is for, its steps, its usage.

What is said is decided in ``gemini_scenes.py``, how it travels in ``gemini.py``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from passgate.demo.content import Json, encode, objects
from passgate.demo.gemini_models import Model
from passgate.demo.gemini_rules import current_turn
from passgate.demo.gemini_signatures import Owner

THOUGHT = "**Planning** They would like an answer, and a short one will do."
WORD = re.compile(r"\S+\s*")
_SCENE = re.compile(r"\bdemo:([a-z-]+)((?::[A-Za-z0-9_.-]+)*)")
_MOST = 10_000_000  # a mistyped number must not cost the memory of the machine


@dataclass(frozen=True, slots=True)
class Say:
    """One chunk of the answer, before its usage is counted.

    Attributes:
        parts: Its parts, None where the candidate has no content.
        finish: The finish reason, empty where it is not the end.
        candidate: Further members of the candidate.
        top: Further members of the chunk.
        is_candidate: Whether there is a candidate at all.
    """

    parts: tuple[Json, ...] | None = None
    finish: str = ""
    candidate: Json = field(default_factory=dict)
    top: Json = field(default_factory=dict)
    is_candidate: bool = True


@dataclass(frozen=True, slots=True)
class Fail:
    """An error after the head.

    Attributes:
        raw: Whether it comes as bare JSON lines instead of an event.
    """

    error: Json
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence; without end where there is no number."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of the connection within the body, by FIN or RST."""

    reset: bool = False


Act = Say | Fail | Pause | Stop


@dataclass(frozen=True, slots=True)
class Scene:
    """What a request asks to be shown: a name, and what follows it."""

    name: str
    args: tuple[str, ...] = ()

    @classmethod
    def within(cls, text: str) -> Scene:
        """Return the scene that *text* names, else the ordinary one."""
        found = _SCENE.search(text)
        return cls(found[1], tuple(found[2].split(":")[1:])) if found else DEFAULT

    def number(self, index: int, default: int) -> int:
        """Return the number at *index*, *default* where there is none."""
        said = self.word(index)
        return min(int(said[:7]), _MOST) if said.isdecimal() else default

    def word(self, index: int, default: str = "") -> str:
        """Return the word at *index*, *default* where there is none."""
        return self.args[index] if index < len(self.args) else default

    def inner(self) -> Scene:
        """Return the scene that the first number is about."""
        return Scene(self.word(1), self.args[2:])


DEFAULT = Scene("default")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an answer, checked and read.

    Attributes:
        body: As JSON, its names in camel case.
        turns: The contents, neighbours of one role made one.
    """

    body: Json
    turns: Sequence[Json]
    model: Model
    owner: Owner
    scene: Scene

    @property
    def text(self) -> str:
        """Return the last text of the message that opened the current turn."""
        return opening_text(self.turns)

    @property
    def step(self) -> int:
        """Return how many steps of the current turn are done."""
        return sum(turn["role"] == "model" for turn in self.turns[current_turn(self.turns) :])

    @property
    def shows_thoughts(self) -> bool:
        """Tell whether thoughts are to be in the answer."""
        return self._thinking.get("includeThoughts") is True

    @property
    def thinks(self) -> bool:
        """Tell whether there are thoughts, shown or not."""
        return self._thinking.get("thinkingBudget") != 0

    @property
    def _thinking(self) -> Json:
        thinking = self._config.get("thinkingConfig")
        return thinking if isinstance(thinking, dict) else {}

    @property
    def _config(self) -> Json:
        config = self.body.get("generationConfig")
        return config if isinstance(config, dict) else {}

    @property
    def response_id(self) -> str:
        """Return the id of the answer: equal requests get equal ones."""
        said = {key: value for key, value in self.body.items() if key != "continuationToken"}
        return "r" + hashlib.sha256(encode([self.model.id, said])).hexdigest()[:20]

    @property
    def hop(self) -> int:
        """Return how often this answer was continued."""
        token = str(self.body.get("continuationToken", ""))
        return int(token.rpartition(".")[2]) if token else 0

    def functions(self) -> list[Json]:
        """Return what may be called."""
        mode, allowed = self._calling()
        if mode == "NONE":
            return []
        declared = [
            function
            for tool in objects(self.body.get("tools"))
            for function in objects(tool.get("functionDeclarations"))
        ]
        return [each for each in declared if not allowed or each["name"] in allowed]

    @property
    def must_call(self) -> bool:
        """Tell whether nothing but a call will do."""
        return self._calling()[0] == "ANY"

    def shape(self) -> Json | None:
        """Return the schema that the answer's JSON has to fit, None where it is text."""
        shape = self._config.get("responseJsonSchema", self._config.get("responseSchema"))
        return shape if isinstance(shape, dict) else None

    def stops(self) -> list[str]:
        """Return the texts that end the answer."""
        stops = self._config.get("stopSequences")
        return [str(stop) for stop in stops] if isinstance(stops, list) else []

    def most(self) -> int | None:
        """Return the most tokens that may be put out, None without a limit."""
        most = self._config.get("maxOutputTokens")
        return most if isinstance(most, int) else None

    def _calling(self) -> tuple[str, list[object]]:
        config = self.body.get("toolConfig")
        calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
        given = calling if isinstance(calling, dict) else {}
        allowed = given.get("allowedFunctionNames")
        return str(given.get("mode", "AUTO")), allowed if isinstance(allowed, list) else []


def opening_text(turns: Sequence[Json]) -> str:
    """Return the last text of the message that opened the current turn."""
    at = current_turn(turns) - 1
    parts = objects(turns[at]["parts"]) if at >= 0 else []
    return next((str(part["text"]) for part in reversed(parts) if "text" in part), "")


def tokens(value: object) -> int:
    """Return a quarter of the bytes of *value* as compact JSON, rounded up."""
    return 0 if value is None else -(-len(encode(value)) // 4)


def input_tokens(body: Json) -> int:
    """Return the tokens of a request's contents, system instruction and tools."""
    return sum(tokens(body.get(part)) for part in ("contents", "systemInstruction", "tools"))


class Count:
    """The usage of an answer while it is given, as ``usageMetadata`` shows it.

    Cached is what stands before the contents, from the second message of a conversation on.
    A piece of text or thought is one token, a call a quarter of its bytes.
    """

    def __init__(self, ask: Ask) -> None:
        fixed = tokens(ask.body.get("systemInstruction")) + tokens(ask.body.get("tools"))
        self._prompt = input_tokens(ask.body)
        self._cached = fixed if len(ask.turns) > 1 else 0
        hidden = ask.thinks and not ask.shows_thoughts
        self._thoughts = len(WORD.findall(THOUGHT)) if hidden else 0
        self._said = 0

    def output_after(self, act: Act) -> int:
        """Count what *act* says; return what was put out up to then."""
        self.add(act)
        return self._thoughts + self._said

    def add(self, act: Act) -> Json:
        """Count what *act* says; return the usage up to then."""
        for part in (act.parts or ()) if isinstance(act, Say) else ():
            if part.get("thought"):
                self._thoughts += 1
            elif "functionCall" in part:
                self._said += tokens(part["functionCall"])
            else:
                self._said += bool(part.get("text"))
        counts = {
            "cachedContentTokenCount": self._cached,
            "candidatesTokenCount": self._said,
            "thoughtsTokenCount": self._thoughts,
        }
        return {
            "promptTokenCount": self._prompt,
            **{name: count for name, count in counts.items() if count},
            "totalTokenCount": self._prompt + self._said + self._thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self._prompt}],
        }


# The order in which counts come where a scene has them come one by one.
_ONE_BY_ONE = (
    "promptTokenCount",
    "totalTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)


def chunks_of(ask: Ask, acts: Sequence[Act]) -> Iterable[Json | Act]:
    """Yield *acts*, each chunk among them as the JSON it is sent as."""
    count = Count(ask)
    for n, act in enumerate(acts):
        usage: Json | None = count.add(act)
        if ask.scene.name == "no-usage":
            usage = None
        elif ask.scene.name == "sparse-usage" and usage is not None:
            last = n >= len(_ONE_BY_ONE) or n == len(acts) - 1
            name = "candidatesTokenCount" if last else _ONE_BY_ONE[n]
            usage = {name: usage.get(name, 0)}
        yield _chunk(ask, act, usage) if isinstance(act, Say) else act


def _chunk(ask: Ask, say: Say, usage: Json | None) -> Json:
    content = {} if say.parts is None else {"content": {"parts": list(say.parts), "role": "model"}}
    ended = {"finishReason": say.finish} if say.finish else {}
    candidate = {**content, **ended, "index": 0, **say.candidate}
    return {
        **({"candidates": [candidate]} if say.is_candidate else {}),
        **say.top,
        **({} if usage is None else {"usageMetadata": usage}),
        "modelVersion": ask.model.id,
        "responseId": ask.response_id,
    }


def folded(ask: Ask, acts: Sequence[Act]) -> Json:
    """Return the answer in one piece: neighbouring texts joined where neither is signed."""
    says = [act for act in acts if isinstance(act, Say)]
    parts: list[Json] = []
    for part in (part for say in says for part in say.parts or ()):
        if parts and _joins(parts[-1], part):
            parts[-1] = {**parts[-1], "text": f"{parts[-1]['text']}{part['text']}"}
        else:
            parts.append(part)
    count = Count(ask)
    usage: Json = {}
    for say in says:
        usage = count.add(say)
    whole = Say(
        tuple(parts) if parts else None,
        next((say.finish for say in reversed(says) if say.finish), ""),
        {key: value for say in says for key, value in say.candidate.items()},
        {key: value for say in says for key, value in say.top.items()},
        is_candidate=any(say.is_candidate for say in says),
    )
    return _chunk(ask, whole, None if ask.scene.name == "no-usage" else usage)


def _joins(left: Json, right: Json) -> bool:
    plain = all("text" in part and "thoughtSignature" not in part for part in (left, right))
    return plain and left.get("thought") == right.get("thought")
