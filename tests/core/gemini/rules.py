"""What Google asks of a generateContent body, told independently of how it is made."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.core.gemini.schemas import wrong_in

Json = dict[str, Any]

_ONE_OF = {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
_EXTRA = {"thought", "thoughtSignature"}
_TOP = {"systemInstruction", "tools", "toolConfig", "contents", "generationConfig"}


def broken_rules(body: Json, *, current: bool) -> list[str]:
    """Return the rules that *body* breaks.

    Args:
        body: As Google would get it.
        current: Whether the model is of generation 3 or later.
    """
    contents = body["contents"]
    roles = [content["role"] for content in contents]
    broken = [f"unknown {key}" for key in body.keys() - _TOP]
    if list(("user", "model") * len(roles))[: len(roles)] != roles:
        broken.append(f"roles: {roles}")
    broken += [] if roles[-1:] == ["user"] else ["does not end with the user"]
    for content in contents:
        broken += [] if content["parts"] else ["a content without parts"]
        broken += [each for part in content["parts"] for each in _of_part(part)]
        if content["role"] == "model":
            broken += _of_signatures(content["parts"], current=current)
    for before, after in pairwise([{"parts": []}, *contents]):
        broken += _of_responses(before["parts"], after["parts"])
    for tool in body.get("tools", []):
        declared = tool["functionDeclarations"]
        broken += [] if declared else ["no declaration"]
        schemas = [each["parametersJsonSchema"] for each in declared if len(each) > 2]
        broken += [wrong for schema in schemas for wrong in wrong_in(schema)]
    thinking = body.get("generationConfig", {}).get("thinkingConfig", {})
    unfit = "thinkingBudget" if current else "thinkingLevel"
    return broken + ([f"{unfit} on this model"] if unfit in thinking else [])


def _of_part(part: Json) -> list[str]:
    fields = part.keys() & _ONE_OF
    broken = [] if len(fields) == 1 and part.keys() <= fields | _EXTRA else [f"fields: {part}"]
    if part.get("text") == "" and "thoughtSignature" not in part:
        broken.append("an empty part")
    if part.get("thought") and "thoughtSignature" not in part:
        broken.append("a thought without its signature")
    if "functionCall" in part and not isinstance(part["functionCall"]["args"], dict):
        broken.append("arguments that are no object")
    if "functionResponse" in part:
        [(key, said)] = part["functionResponse"]["response"].items()
        broken += [] if key in ("output", "error") and isinstance(said, str) else ["a response"]
    return broken


def _of_signatures(parts: list[Json], *, current: bool) -> list[str]:
    calls = [part for part in parts if "functionCall" in part]
    if current and calls and "thoughtSignature" not in calls[0]:
        return ["a step without a signature"]
    dummies = [part for part in parts if "skip_" in part.get("thoughtSignature", "")]
    if dummies and (not current or dummies != calls[:1]):
        return ["a dummy where none belongs"]
    return []


def _of_responses(before: list[Json], after: list[Json]) -> list[str]:
    """Return what is wrong with the responses of *after* to the calls of *before*."""
    calls = [part["functionCall"] for part in before if "functionCall" in part]
    answers = [part["functionResponse"] for part in after if "functionResponse" in part]
    if [(c.get("id"), c["name"]) for c in calls] != [(a.get("id"), a["name"]) for a in answers]:
        return ["calls and responses differ"]
    first = [part for part in after[: len(answers)] if "functionResponse" in part]
    return [] if len(first) == len(answers) else ["a part before a response"]
