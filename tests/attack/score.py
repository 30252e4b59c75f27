"""All attacks on one gateway, and the table of two or more beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.attack import answers, intrusions, phases, requests
from tests.attack.judge import Outcome, Verdict, answer_row, request_row, wrong
from tests.attack.targets import Target


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    Attributes:
        group: What it is about.
        name: Which one.
        play: Plays it against a target and judges.
    """

    group: str
    name: str
    play: Callable[[Target], Outcome]


def every() -> Iterator[Attack]:
    """Return every attack."""
    for row in requests.ATTACKS:
        group = "paths" if row.code == "route" else "requests"
        yield Attack(group, row.id, partial(request_row, row=row))
    for group, rows in {
        "bypass": intrusions.BYPASS,
        "hygiene": intrusions.HYGIENE,
        "elsewhere": intrusions.ELSEWHERE,
    }.items():
        for each in rows:
            yield Attack(group, each.id, partial(intrusions.intrusion_row, row=each))
    for status in (301, 307):
        play = partial(intrusions.redirect_row, status=status)
        yield Attack("elsewhere", f"a redirect, {status}", play)
    for name, field in intrusions.SAID.items():
        yield Attack("answers", name, partial(intrusions.field_row, field=field))
    for said in (*answers.BEFORE_THE_HEAD, *answers.AFTER_THE_HEAD):
        yield Attack("answers", said.id, partial(answer_row, row=said))
    for name, phase in phases.PHASES.items():
        yield Attack("phases", name, phase)


def played(target: Target, attacks: Sequence[Attack]) -> list[Outcome]:
    """Return what came of each."""
    return [_played(target, attack) for attack in attacks]


def _played(target: Target, attack: Attack) -> Outcome:
    try:
        return attack.play(target)
    except Exception as error:  # noqa: BLE001  whatever it did to us is an outcome too
        return wrong(f"{type(error).__name__}: {error}")


def table(attacks: Sequence[Attack], found: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Return the scores by group, and each row in which the gateways differ or one is wrong."""
    groups = list(dict.fromkeys(attack.group for attack in attacks))
    yield f"| attacks | {' | '.join(found)} |"
    yield f"| --- |{' --- |' * len(found)}"
    for group in (*groups, "all"):
        which = [n for n, attack in enumerate(attacks) if group in (attack.group, "all")]
        scores = [_score([outcomes[n] for n in which]) for outcomes in found.values()]
        yield f"| {group} | {' | '.join(scores)} |"
    yield ""
    yield f"| differ | {' | '.join(found)} |"
    yield f"| --- |{' --- |' * len(found)}"
    for attack, *row in zip(attacks, *found.values(), strict=True):
        verdicts = {outcome.verdict for outcome in row}
        if len(verdicts) > 1 or Verdict.WRONG in verdicts:
            yield f"| {attack.group}: {_plain(attack.name)} | {' | '.join(map(_word, row))} |"


def _score(outcomes: Sequence[Outcome]) -> str:
    """Return how many were withstood, and of how many."""
    well = [outcome for outcome in outcomes if outcome.verdict is not Verdict.WRONG]
    return f"{len(well)}/{len(outcomes)}"


def _word(outcome: Outcome) -> str:
    if outcome.verdict is Verdict.WRONG:
        return f"**wrong**: {_plain(outcome.why)}"
    return str(outcome.verdict.value)


def _plain(text: str) -> str:
    """Return *text* so that it breaks no table and no terminal."""
    return "".join(c if c.isprintable() and c != "|" else "." for c in text)
