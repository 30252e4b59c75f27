"""Turn measurements into one table to paste: medians of all rounds, passgate beside nginx."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.rounds import Measurement
from bench.workloads import NO_RATIO

COLUMNS: Final = ("direct", "nginx", "passgate")

_HEAD: Final = ("figure", *COLUMNS, "passgate : nginx")
_NOTHING: Final = "-"

Row = tuple[str, str]
"""A workload's title and the name of one of its figures."""


def medians(measurements: Sequence[Measurement]) -> dict[Row, dict[str, float]]:
    """Return each figure's median for each gateway that has it, in the order measured."""
    found: dict[Row, dict[str, list[float]]] = {}
    for one in measurements:
        for name, figure in one.figures.items():
            by_gateway = found.setdefault((one.title, name), {})
            if figure is not None:
                by_gateway.setdefault(one.gateway, []).append(figure)
    return {
        row: {gateway: median(figures) for gateway, figures in by_gateway.items()}
        for row, by_gateway in found.items()
    }


def markdown(measurements: Sequence[Measurement]) -> str:
    """Return the table, padded so that it can also be read as it is."""
    lines: list[tuple[str, ...]] = [_HEAD]
    for (title, name), by_gateway in medians(measurements).items():
        cells = (_number(by_gateway.get(gateway)) for gateway in COLUMNS)
        lines.append((f"{title}: {name}", *cells, _ratio(name, by_gateway)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])
    return "\n".join(_line(line, widths) for line in (lines[0], rule, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _ratio(name: str, by_gateway: dict[str, float]) -> str:
    ours, theirs = by_gateway.get("passgate"), by_gateway.get("nginx")
    if name in NO_RATIO or ours is None or not theirs:
        return _NOTHING
    return f"{ours / theirs:.2f}"


def _number(figure: float | None) -> str:
    """Return *figure* with three digits, or all of those before the point."""
    if figure is None:
        return _NOTHING
    for least, digits in ((100, 0), (10, 1)):
        if figure >= least:
            return f"{figure:,.{digits}f}"
    return f"{figure:.2f}"
