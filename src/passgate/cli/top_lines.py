"""What `top` shows, as lines that fit: no line is wider, and all no more, than the screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from passgate.cli.screen import Text
from passgate.cli.tail import line_of
from passgate.core import shown
from passgate.core.exchange import Record
from passgate.core.live import Line
from passgate.core.ratelimits import Headroom
from passgate.core.vitals import State, Totals

_SILENT_S, _VERY_SILENT_S = 10.0, 60.0
_SCARCE, _VERY_SCARCE = 0.75, 0.9
_BAR = 10
_LIMITS = {"requests": "req", "tokens": "tok", "input_tokens": "in", "output_tokens": "out"}
_HEAD, _BAD, _WARN, _FAINT = "bold", "red", "yellow", "dim"

SORTS: tuple[tuple[str, Callable[[Line], float]], ...] = (
    ("age", lambda each: -each.running_s),
    ("tokens/s", lambda each: -(each.tokens_per_s or 0)),
    ("silence", lambda each: -(each.silent_s or 0)),
    ("cost", lambda each: -(each.cost_nusd or 0)),
)


@dataclass(slots=True)
class View:
    """What is known, and how it is looked at.

    Attributes:
        url: Where the gateway is.
        state: What it last said, or None before it said anything.
        lost: Why it is not read now, or None.
        ended: The last exchanges that have ended, the newest last.
        sort: Which of ``SORTS``.
    """

    url: str
    state: State | None = None
    lost: str | None = None
    ended: deque[Record] = field(default_factory=lambda: deque(maxlen=100))
    sort: int = 0


def lines(view: View, width: int, height: int) -> list[Text]:
    """Return the whole screen."""
    state = view.state
    if state is None:
        rows = [_line("passgate top", width, _HEAD), *_loss(view, width)]
        waiting = [] if view.lost else [_line(f"waiting for {view.url}", width)]
        return [*rows, *waiting][:height]
    rows = [_line(_headline(state), width, _HEAD), *_loss(view, width)]
    rows += [_line(f"! {shown.name(said)}", width, _WARN) for said in state.vitals.warnings[:2]]
    rows += _limits(state, width)
    rows += [Text(""), *_clients(state, width, max(1, (height - 12) // 4)), Text("")]
    running = _running(view, state, width)
    room = height - len(rows) - 1
    # At least a few lines for what has ended, where there is room for both.
    kept = min(len(running), max(1, room - min(6, room // 3) if view.ended else room))
    more = len(running) - kept
    rows += running[:kept]
    if more > 0 and kept > 1:
        rows[-1] = _line(f"... and {more + 1} more", width, _FAINT)
    rows += _ended(view, width, room - kept)
    rows = rows[: height - 1]
    footer = f"q quit   s sort by: {SORTS[view.sort][0]}"
    return [*rows, *[Text("")] * (height - 1 - len(rows)), _line(footer, width, _FAINT)][:height]


def _line(text: str, width: int, style: str = "") -> Text:
    return Text(shown.cut(text, width), style=style, no_wrap=True, overflow="crop")


def _loss(view: View, width: int) -> list[Text]:
    if view.lost is None:
        return []
    return [_line(f"{view.url}: {view.lost}; trying again", width, f"{_BAD} reverse")]


def _headline(state: State) -> str:
    vitals = state.vitals
    rate = sum(each.tokens_per_s or 0 for each in state.running)
    cost = sum(each.cost_nusd for each in state.clients)
    missing = "+" if any(each.unpriced for each in state.clients) else ""
    parts = [
        f"passgate {shown.name(state.version)}",
        f"up {shown.span(vitals.wall_s - vitals.started_s)}",
        f"in flight {vitals.in_flight} of {vitals.max_in_flight}",
        f"{shown.rate(rate)} tok/s",
        f"{shown.dollars(cost)}{missing}",
    ]
    if vitals.draining:
        parts.insert(1, "DRAINING")
    if state.dropped:
        parts.append(f"{shown.count(state.dropped)} messages missed")
    return "   ".join(parts)


# Rate limits.


def _limits(state: State, width: int) -> Iterator[Text]:
    for upstream in state.vitals.upstreams:
        open_ = upstream.pool.idle + upstream.pool.in_use
        row = Text(f"{shown.cut(shown.name(upstream.name), 14):<14}", no_wrap=True)
        row.append(f" {open_:>4} open")
        if not upstream.usable:
            row.append("  no usable credential", style=_BAD)
        for limit in upstream.limits:
            told = _limit(limit, state.vitals.wall_s)
            if len(row) + 2 + len(told) <= width:
                row.append("  ").append_text(told)
        row.truncate(width)
        yield row


def _limit(limit: Headroom, now_s: float) -> Text:
    used = limit.used or 0.0
    style = _BAD if used >= _VERY_SCARCE else _WARN if used >= _SCARCE else ""
    full = min(_BAR, round(used * _BAR))
    text = f"{_LIMITS.get(limit.kind, limit.kind)} [{'|' * full}{' ' * (_BAR - full)}]{used:>5.0%}"
    if used >= _SCARCE and limit.resets_s is not None:
        text += f" {shown.span(max(0.0, limit.resets_s - now_s))}"
    return Text(text, style=style)


# Clients.


def _clients(state: State, width: int, most: int) -> Iterator[Text]:
    yield _line(
        f"{'CLIENT':<20} {'REQUESTS':>9} {'ERRORS':>7} {'INPUT':>6} {'OUTPUT':>6} {'COST':>10}",
        width,
        _HEAD,
    )
    every = sorted(state.clients, key=lambda each: (-each.cost_nusd, -each.requests, each.name))
    shown_ = every if len(every) <= most else every[: max(0, most - 1)]
    for each in shown_:
        yield _client(each, width)
    if len(shown_) < len(every):
        yield _line(f"... and {len(every) - len(shown_)} more", width, _FAINT)
    if not every:
        yield _line("no exchange has ended yet", width, _FAINT)


def _client(each: Totals, width: int) -> Text:
    # What has no price is missing from the sum.
    known = each.cost_nusd or not each.unpriced
    cost = f"{shown.dollars(each.cost_nusd if known else None)}{'+' if each.unpriced else ' '}"
    return _line(
        f"{shown.cut(shown.name(each.name), 20):<20} {each.requests:>9} {each.errors:>7} "
        f"{shown.count(each.input_tokens):>6} {shown.count(each.output_tokens):>6} {cost:>11}",
        width,
    )


# What runs.


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    of: Callable[[Line], str]
    from_width: int = 0  # of the screen that has room for it
    right: bool = False

    def cell(self, text: str) -> str:
        """Return *text* in exactly this column's width."""
        text = shown.cut(text, self.width)
        return text.rjust(self.width) if self.right else text.ljust(self.width)


def _tokens(each: Line) -> str:
    return ("~" if each.estimated else "") + shown.count(each.tokens)


_COLUMNS = (
    _Column("CLIENT", 10, lambda each: shown.name(each.client)),
    _Column("SESSION", 8, lambda each: shown.name(each.session)[:8]),  # enough to find it by
    _Column("AGENT", 12, lambda each: shown.name(each.agent), from_width=100),
    _Column("MODEL", 18, lambda each: shown.name(each.model)),
    _Column("UPSTREAM", 10, lambda each: shown.name(each.upstream), from_width=112),
    _Column("AGE", 6, lambda each: shown.span(each.running_s), right=True),
    _Column("TOKENS", 6, _tokens, right=True),
    _Column("TOK/S", 5, lambda each: shown.rate(each.tokens_per_s), right=True),
    _Column("SILENT", 6, lambda each: shown.span(each.silent_s), right=True),
    _Column("BYTES", 6, lambda each: shown.count(each.bytes_down), from_width=120, right=True),
    _Column("COST", 8, lambda each: shown.dollars(each.cost_nusd), right=True),
)


def _running(view: View, state: State, width: int) -> list[Text]:
    columns = [column for column in _COLUMNS if width >= column.from_width]
    title = " ".join(column.cell(column.title) for column in columns)
    rows = [_line(title, width, _HEAD)]
    for each in sorted(state.running, key=SORTS[view.sort][1]):
        text = " ".join(column.cell(column.of(each)) for column in columns)
        rows.append(_line(text, width, _FAINT if view.lost else _style(each)))
    if not state.running:
        rows.append(_line("nothing runs", width, _FAINT))
    return rows


def _style(each: Line) -> str:
    silent_s = each.silent_s or 0.0
    return _BAD if silent_s >= _VERY_SILENT_S else _WARN if silent_s >= _SILENT_S else ""


def _ended(view: View, width: int, room: int) -> Iterator[Text]:
    if room > 2 and view.ended:
        yield Text("")
        yield _line("ENDED", width, _HEAD)
        for record in list(reversed(view.ended))[: room - 2]:
            yield _line(line_of(record, width), width)
