"""A report for people: as wide as the terminal, plain where it is piped on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice

from passgate.cli.report import MOST_ROWS, Report, Timed
from passgate.cli.screen import Bar, Console, Table, Text
from passgate.core import shown
from passgate.core.flat import LEAST_ACTIVE_DAYS, Comparison, Variant, Verdict
from passgate.core.report import Branch, Sums

_NUSD = 1_000_000_000
_MOST_DAYS = 31
_PIPED_WIDTH = 160
_LABEL_WIDTH = 26
_BAR_WIDTH = 40
_HEAD, _FAINT, _GOOD, _BAD = "bold", "dim", "green", "yellow"


def show(made: Report, *, plain: bool) -> None:
    """Print *made* on stdout.

    Args:
        made: What is shown.
        plain: Whether colours are not wanted.
    """
    console = Console(no_color=plain, highlight=False)
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH, no_color=True, highlight=False)
    bars = console.encoding.startswith("utf")
    for part in _parts(made, console.width, bars=bars):
        console.print(part)


def _parts(made: Report, width: int, *, bars: bool) -> Iterator[Text | Table]:
    """Yield what is shown, from top to bottom."""
    yield from _summary(made)
    if not made.total.requests:
        return
    tables = [_costs(made, width)]
    if made.timed_groups:
        tables.append(_times(made))
    if len(made.days) > 1 and made.by != "day":
        tables.append(_chart(made.days, bars=bars))
    for table in tables:
        yield Text()
        yield table
    if made.comparison is not None:
        yield Text()
        yield from _compared(made.comparison)
    yield Text()
    yield from (Text(note, style=_FAINT) for note in _notes(made))


# What it comes to.


def _summary(made: Report) -> Iterator[Text]:
    total, until = made.total, made.until.date()
    yield Text(f"{made.since} to {until}, days in UTC", style=_HEAD)
    if not total.requests:
        yield Text("the ledger has no exchange of this time")
        return
    rows = {
        "requests": f"{total.requests:,}, {_share(total.errors, total.requests)} errors",
        "input": f"{shown.count(total.whole_input_tokens)} tokens, {_hits(total)} from a cache",
        "output": f"{shown.count(total.output_tokens)} tokens, "
        f"{_share(total.thinking_tokens, total.output_tokens)} thinking",
        "first byte": _three(made.timed, "first"),
        "whole answer": _three(made.timed, "whole"),
        "cost": f"{shown.dollars(total.known_cost_nusd)}{_doubts(total)}",
        "caching": _saved(total),
    }
    for label, value in rows.items():
        yield Text.assemble((f"{label:<14}", _FAINT), value)


def _three(timed: Timed, which: str) -> str:
    p50, p95, p99 = timed.first if which == "first" else timed.whole
    return f"{_ms(p50)} p50, {_ms(p95)} p95, {_ms(p99)} p99"


def _doubts(total: Sums) -> str:
    """Return what the cost leaves out or guesses."""
    said = {
        "without a price": total.unpriced,
        "with a guessed price": total.approximate,
        "whose end was not told": total.partial,
    }
    told = [f"{_share(count, total.metered)} {what}" for what, count in said.items() if count]
    return f" ({', '.join(told)})" if told else ""


def _saved(total: Sums) -> str:
    if total.known_saved_nusd is None:
        return "no rates are known, so what it saved is not either"
    saved = total.saved_nusd
    return f"saved {shown.dollars(saved)}" if saved >= 0 else f"cost {shown.dollars(-saved)} more"


# Groups.


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table of costs.

    Attributes:
        head: Its heading.
        rank: Columns of a higher one are left out first where the terminal is narrow.
    """

    head: str
    rank: int = 0


_COLUMNS = (
    _Column("requests"),
    _Column("errors", 2),
    _Column("input", 1),
    _Column("read", 1),
    _Column("written", 3),
    _Column("output"),
    _Column("hits", 2),
    _Column("saved", 2),
    _Column("cost"),
    _Column("share", 1),
)
_CELL_WIDTH = 9


def _costs(made: Report, width: int) -> Table:
    label = {"agent": "session and its agents"}.get(made.by, made.by)
    room = (width - _LABEL_WIDTH) // _CELL_WIDTH
    kept = sorted(range(len(_COLUMNS)), key=lambda at: (_COLUMNS[at].rank, at))[: max(3, room)]
    table = _table(label, [_COLUMNS[at].head for at in sorted(kept)])
    for name, sums in islice(_groups(made), MOST_ROWS):
        cells = _cells(sums, made.total)
        table.add_row(name, *(cells[at] for at in sorted(kept)))
    more = len(made.branches) + made.left_out + len(made.groups) - MOST_ROWS
    if more > 0:
        table.add_row(f"and {more:,} more")
    return table


def _groups(made: Report) -> Iterator[tuple[Text, Sums]]:
    for branch in made.branches:
        yield _branch(branch), branch.sums
    for label, sums in made.groups.items():
        yield _name(label or None), sums


def _branch(branch: Branch) -> Text:
    name = branch.session if branch.agent is None else branch.agent
    return Text(shown.cut(f"{'  ' * min(branch.depth, 4)}{shown.name(name)}", _LABEL_WIDTH))


def _name(label: str | None) -> Text:
    # As text: what looks like rich's own markup is a name that somebody chose.
    return Text(shown.cut(shown.name(label), _LABEL_WIDTH))


def _cells(sums: Sums, total: Sums) -> list[str]:
    written = sums.cache_write_5m_tokens + sums.cache_write_1h_tokens
    return [
        shown.count(sums.requests) if sums.requests >= 100_000 else f"{sums.requests:,}",
        _share(sums.errors, sums.requests),
        shown.count(sums.input_tokens),
        shown.count(sums.cache_read_tokens),
        shown.count(written),
        shown.count(sums.output_tokens),
        _hits(sums),
        _signed(sums.known_saved_nusd),
        shown.dollars(sums.known_cost_nusd),
        _share(sums.cost_nusd, total.cost_nusd),
    ]


def _times(made: Report) -> Table:
    heads = ["first byte p50", "p95", "p99", "whole answer p50", "p95", "p99"]
    table = _table(made.by, heads)
    for label in islice(made.groups, MOST_ROWS):
        timed = made.timed_groups.get(label, Timed())
        table.add_row(_name(label or None), *map(_ms, (*timed.first, *timed.whole)))
    return table


def _table(label: str, heads: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=_HEAD)
    table.add_column(label, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


# Days.


def _chart(days: Mapping[date, Sums], *, bars: bool) -> Table:
    """Return the cost of the last days, each with a bar as long as it is dear."""
    table = _table("day", ["cost"])
    if bars:
        table.add_column("", width=_BAR_WIDTH)
    last = list(days.items())[-_MOST_DAYS:]
    most = max(sums.cost_nusd for _, sums in last)
    for day, sums in last:
        bar = [Bar(max(1, most), 0, sums.cost_nusd, width=_BAR_WIDTH, color="cyan")] if bars else []
        table.add_row(day.isoformat(), shown.dollars(sums.known_cost_nusd), *bar)
    return table


# A flat price.

_VERDICTS = {
    Verdict.NO_DATA: ("no verdict: nothing was consumed", _BAD),
    Verdict.TOO_LITTLE_DATA: (
        f"no verdict: too little data, fewer than {LEAST_ACTIVE_DAYS} whole days with any use",
        _BAD,
    ),
    Verdict.UNPRICED: ("no verdict: more than 5 % of the output has no price", _BAD),
    Verdict.UNDECIDED: ("undecided: the flat price is within the doubt of the figures", _BAD),
    Verdict.FLAT: ("the flat price is cheaper for this traffic", _GOOD),
    Verdict.PER_TOKEN: ("paying per token is cheaper for this traffic", _GOOD),
}


def _compared(it: Comparison) -> Iterator[Text | Table]:
    period = f"{it.period_days:g} days"
    yield Text(f"A flat {_usd(it.flat_nusd)} for {period}, or per token", style=_HEAD)
    yield Text(
        f"by {it.days} whole days, {it.active_days} of them with any use; "
        f"{100 * it.unpriced_share:.1f} % of the output has no price"
    )
    table = _table("per token", ["these days", "a day", period, "hardly less", "hardly more"])
    for name, variant in (
        ("as recorded", it.recorded),
        ("all cache writes for 5 minutes", it.five_minutes),
    ):
        table.add_row(name, *_amounts(variant))
    yield table
    even = it.break_even
    if even.requests is not None:
        yield Text(
            f"the flat price is reached at {even.requests:,} requests, "
            f"{shown.count(even.output_tokens)} output tokens with their input, "
            f"or {even.active_days:,} active days like these in {period}"
        )
    words, style = _VERDICTS[it.verdict]
    yield Text(words, style=style)


def _amounts(variant: Variant) -> list[str]:
    return [*map(_usd, variant)]


# Notes.


def _notes(made: Report) -> Iterator[str]:
    yield "Costs are estimates from list prices, not an invoice."
    if made.by == "agent":
        yield "A line has all that is below it as well, so lines do not add up."
    if made.sampled:
        yield "Times are of an even sample of the exchanges, whole and without an error."
    if made.total.unpriced:
        yield (
            "What has no price is in no cost: `[pricing.override]` in passgate.toml sets one; "
            "--by model shows which."
        )


# Words.


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _hits(sums: Sums) -> str:
    share = sums.hit_share
    return "-" if share is None else f"{100 * share:.1f} %"


def _signed(nusd: int | None) -> str:
    return f"-{shown.dollars(-nusd)}" if nusd is not None and nusd < 0 else shown.dollars(nusd)


def _ms(value: float | None) -> str:
    return shown.span(None if value is None else value / 1000)


def _usd(nusd: int) -> str:
    return f"${nusd / _NUSD:,.2f}"
