"""Turn measurements into one table to paste: medians of all rounds, passgate beside nginx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from bench.rounds import Measurement
from bench.workloads import NO_RATIO

COLUMNS: Final = ("direct", "nginx", "passgate")

_HEAD: Final = ("figure", *COLUMNS, "passgate : nginx")
_NOTHING: Final = "-"

Row = tuple[str, str]
"""A workload's title and the name of one of its figures."""

ByRound = dict[int, float]
"""A figure of one gateway in each round that has it."""


def markdown(measurements: Sequence[Measurement]) -> str:
    """Return the table, padded so that it can also be read as it is."""
    lines: list[tuple[str, ...]] = [_HEAD]
    for (title, name), by_gateway in _rows(measurements).items():
        cells = (_middle(by_gateway.get(gateway, {})) for gateway in COLUMNS)
        ratio = _NOTHING if name in NO_RATIO else _ratio(by_gateway)
        lines.append((f"{title}: {name}", *cells, ratio))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])
    return "\n".join(_line(line, widths) for line in (lines[0], rule, *lines[1:]))


def _rows(measurements: Sequence[Measurement]) -> dict[Row, dict[str, ByRound]]:
    """Return the figures in the order in which they were first measured."""
    found: dict[Row, dict[str, ByRound]] = {}
    for one in measurements:
        for name, figure in one.figures.items():
            by_gateway = found.setdefault((one.title, name), {})
            if figure is not None:
                by_gateway.setdefault(one.gateway, {})[one.round] = figure
    return found


def _middle(by_round: ByRound) -> str:
    return _number(median(by_round.values())) if by_round else _NOTHING


def _ratio(by_gateway: Mapping[str, ByRound]) -> str:
    """Return the median and the range of the rounds' ratios.

    Each ratio is of two measurements made one after the other, while the medians of the two
    columns may come from different rounds, and so from a quiet and a busy minute.
    """
    ours, theirs = by_gateway.get("passgate", {}), by_gateway.get("nginx", {})
    ratios = [ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)]
    if not ratios:
        return _NOTHING
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _number(figure: float) -> str:
    """Return *figure* with three digits, or all of those before the point."""
    for least, digits in ((100, 0), (10, 1)):
        if figure >= least:
            return f"{figure:,.{digits}f}"
    return f"{figure:.2f}"
