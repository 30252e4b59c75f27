"""``passgate report``: what the ledger's exchanges used, took and cost."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from pathlib import Path

from passgate import app, config
from passgate.cli.moments import ago, span_or_moment
from passgate.config import ConfigError
from passgate.core import flat, pricing, report
from passgate.core.flat import Comparison
from passgate.core.pricing import Key, Override, Rates, Schedule
from passgate.core.report import NOT_TIMED, Branch, Percentiles, Row, Sums

BY = ("client", "model", "session", "agent", "day")
MOST_ROWS = 30  # of a table for people
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MOST_USD = 1_000_000
_MOST_PERIOD_DAYS = 3_660.0


@dataclass(frozen=True, slots=True)
class Timed:
    """Percentiles: to the first byte of an answer, and to its end."""

    first: Percentiles = NOT_TIMED
    whole: Percentiles = NOT_TIMED


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown.

    Attributes:
        by: What it is grouped by.
        since: Its first day, in UTC.
        until: When it was made.
        total: All of it together.
        days: By day, idle ones left out.
        groups: By what it is grouped by, the dearest first; days in order. The label of a
            group is empty where the exchanges have none.
        branches: Sessions with their agents, where it is grouped by these.
        left_out: How many of those were left out: a table shows the dearest.
        timed: All together.
        timed_groups: By group, where that was asked of the ledger.
        sampled: Whether the times are of a sample.
        comparison: A flat price beside it, where one was given.
    """

    by: str
    since: date
    until: datetime
    total: Sums
    days: Mapping[date, Sums]
    groups: Mapping[str, Sums]
    branches: list[Branch]
    left_out: int
    timed: Timed
    timed_groups: Mapping[str, Timed]
    sampled: bool
    comparison: Comparison | None


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "report",
        help="usage, times and cost from the ledger",
        description="What the exchanges of the ledger used, took and cost. Days are UTC. Costs "
        "are estimates from list prices.",
    )
    parser.add_argument(
        "--since",
        type=span_or_moment,
        default=timedelta(days=30),
        metavar="WHEN",
        help="first day: a date such as 2027-01-31, or days ago such as 30d (the default)",
    )
    parser.add_argument("--by", choices=BY, default="client", help="what to group by")
    parser.add_argument(
        "--flat",
        type=_usd,
        metavar="USD",
        help="a flat price of a month, to be compared with what the traffic costs per token",
    )
    parser.add_argument(
        "--period",
        type=_period,
        default=flat.PERIOD_DAYS,
        metavar="DAYS",
        help=f"how long the flat price is for, if not {flat.PERIOD_DAYS} days",
    )
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--config", metavar="FILE", help="passgate.toml to read")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0, or 1 with the reason on stderr."""
    if args.flat is not None and args.format == "csv":
        _tell("--flat is one answer, not rows: use --format table or json")
        return 2
    path = None if args.config is None else Path(args.config)
    environ, cwd = config.process_environ(), Path.cwd()
    progress = _Progress()
    try:
        overrides = config.price_overrides(path, environ, cwd)
        now = datetime.now(UTC)
        since = min(ago(args.since, now), now).astimezone(UTC).date()
        state_dir = cwd / config.state_dir(environ)
        ledger = app.ledger_report(state_dir, since.toordinal() - _EPOCH_DAY, progress)
        most = MOST_ROWS if args.format == "table" else None
        made = gathered(ledger, args.by, since, now, overrides, most)
    except ConfigError as error:
        for problem in error.problems:
            _tell(problem)
        return 1
    except app.LedgerProblem as problem:
        _tell(str(problem))
        return 1
    finally:
        progress.clear()
    if args.flat is not None:
        made = _compared(made, args.flat, args.period)
    _show(made, args.format, plain=bool(environ.get("NO_COLOR")))
    return 0


def gathered(
    ledger: app.LedgerReport,
    by: str,
    since: date,
    now: datetime,
    overrides: tuple[Override, ...],
    most: int | None = None,
) -> Report:
    """Return what *ledger* has from *since* on, without a comparison.

    Args:
        ledger: Reads it.
        by: What it is grouped by.
        since: Its first day.
        now: When it is made.
        overrides: The operator's own prices.
        most: How many sessions with their agents are wanted, the dearest; None for all.
    """
    rows = ledger.days()
    keys = [_key(model) for model in sorted({row.model for row in rows} - {""})]
    with ThreadPoolExecutor(1) as pool:
        # A process of its own loads the price list meanwhile.
        looking = pool.submit(app.look_up_prices, keys)
        times = ledger.times(by if by in ("client", "model", "day") else None)
        schedules = looking.result()
    rates_of = _RatesOf(schedules, overrides)
    days = report.fold(rows, lambda row: row.day, rates_of)
    groups: dict[str, Sums] = {}
    branches: list[Branch] = []
    left_out = 0
    if by == "day":
        groups = {_day(day).isoformat(): sums for day, sums in sorted(days.items())}
    elif by in ("client", "model"):
        label: Callable[[Row], Hashable] = _client if by == "client" else _model
        groups = _dearest_first(report.fold(rows, label, rates_of))
    elif by == "session":
        groups = _dearest_first(report.fold(ledger.sessions(), _client, rates_of))
    else:
        places = report.fold(ledger.sessions(), attrgetter("labels"), rates_of)
        branches = report.tree(places, most)
        left_out = report.branches_of(places) - len(branches)
    firsts, wholes = Counter[int](), Counter[int]()
    for first, whole in times.values():
        firsts += first
        wholes += whole
    return Report(
        by,
        since,
        now,
        report.total(days.values()) if days else Sums(),
        {_day(day): sums for day, sums in sorted(days.items())},
        groups,
        branches,
        left_out,
        _timed(firsts, wholes),
        {_label(by, group): _timed(*each) for group, each in times.items()},
        ledger.sampled,
        None,
    )


class _RatesOf:
    """The usual rates of a row's model on its day: no speed, no tier."""

    def __init__(self, schedules: Mapping[Key, Schedule], overrides: tuple[Override, ...]) -> None:
        own = {pricing.plain_name(each.model): each for each in overrides}
        self._schedules: dict[str, Schedule] = {}
        for key, schedule in schedules.items():
            override = own.get(pricing.plain_name(key.model))
            self._schedules[key.model] = (
                pricing.schedule_of_override(override) if override else schedule
            )

    def __call__(self, row: Row) -> Rates | None:
        """Return the rates, or None where there are none."""
        schedule = self._schedules.get(row.model)
        return pricing.rates_on(schedule, row.day + _EPOCH_DAY) if schedule else None


def _key(model: str) -> Key:
    """Return whose *model* is, by its name: its upstream may have been renamed since."""
    google = pricing.plain_name(model).startswith(("gemini", "gemma"))
    return Key(pricing.GOOGLE if google else pricing.ANTHROPIC, model)


def _client(row: Row) -> str:
    return row.labels[0] or ""


def _model(row: Row) -> str:
    return row.model


def _label(by: str, group: str | int | None) -> str:
    return _day(group).isoformat() if by == "day" and isinstance(group, int) else str(group or "")


def _day(day: int) -> date:
    return date.fromordinal(day + _EPOCH_DAY)


def _timed(first: Counter[int], whole: Counter[int]) -> Timed:
    return Timed(report.percentiles(first), report.percentiles(whole))


def _dearest_first(groups: Mapping[Hashable, Sums]) -> dict[str, Sums]:
    order = sorted(groups.items(), key=lambda each: (-each[1].cost_nusd, -each[1].requests))
    return {str(label): sums for label, sums in order}


def _compared(made: Report, usd: Decimal, period_days: float) -> Report:
    """Return *made* with a flat price beside it; a day that is not over counts for nothing."""
    days = {day.toordinal(): sums for day, sums in made.days.items()}
    last = made.until.date().toordinal() - 1
    comparison = flat.compare(days, last, int(usd * 10**9), period_days)
    return Report(
        **{name: getattr(made, name) for name in Report.__slots__ if name != "comparison"},
        comparison=comparison,
    )


def _show(made: Report, form: str, *, plain: bool) -> None:
    if form == "table":
        from passgate.cli.report_view import show

        show(made, plain=plain)
        return
    from passgate.cli.report_data import as_csv, as_json

    sys.stdout.write(as_json(made) if form == "json" else as_csv(made))
    sys.stdout.flush()


class _Progress:
    """Says on a terminal how far a long scan has come."""

    def __init__(self) -> None:
        self._shown = False

    def __call__(self, done: int, of: int) -> None:
        """Take note that *done* of *of* parts are done."""
        if sys.stderr.isatty() and done < of:
            self._shown = True
            sys.stderr.write(f"\rreading the ledger: {100 * done // of} %")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave nothing on the terminal."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _usd(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD or amount * 10**9 % 1:
        raise argparse.ArgumentTypeError("must be an amount of USD, such as 200")
    return amount


def _period(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 1 <= days <= _MOST_PERIOD_DAYS:
        raise argparse.ArgumentTypeError("must be a number of days, from 1 to 3660")
    return days


def _tell(sentence: str) -> None:
    print(f"passgate: {sentence}", file=sys.stderr)
