"""The operator's page: what runs, what was spent, how upstreams are. Plain HTML, no scripts.

It is made anew for each request, of values that others took. Whatever is put into it goes
through ``_text``: names can be a client's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from passgate.core import shown
from passgate.core.live import Line
from passgate.core.vitals import Spent, State, Totals, UpstreamState, Vitals

# The page loads nothing but its own style, sends nothing and stands in no frame.
FIELDS = (
    b"\r\ncontent-security-policy: default-src 'none'; style-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
    b"\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer"
    b"\r\ncache-control: no-store"
)
HTML, CSS = "text/html; charset=utf-8", "text/css; charset=utf-8"
_EVERY_S = 10
_MOST_LINES = 50
_MOST_ROWS = 30
_SCARCE = 0.9

STYLE = b"""\
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8883; }
th:first-child, td:first-child { text-align: left; }
td.name { text-align: left; max-width: 16rem; overflow-wrap: anywhere; }
th.name { text-align: left; }
p.warning, td.bad { color: #b3261e; font-weight: 600; }
p.faint { color: #888; }
"""


def page(state: State, spent: Sequence[Spent] | None) -> bytes:
    """Return the whole page.

    Args:
        state: How things stand.
        spent: What the ledger knows, or None where it cannot be read.
    """
    body = "".join([*_head(state), *_running(state), *_upstreams(state), *_spent(state, spent)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_EVERY_S}">'
        '<meta name="viewport" content="width=device-width">'
        '<title>passgate</title><link rel="stylesheet" href="/style.css"></head>'
        f"<body>{body}</body></html>\n"
    ).encode()


def _text(value: str | None) -> str:
    return escape(shown.name(value))


def _head(state: State) -> Iterator[str]:
    vitals = state.vitals
    draining = "<b>stopping</b>, " if vitals.draining else ""
    yield f"<h1>passgate {_text(state.version)}</h1>"
    yield (
        f"<p>{draining}up {shown.span(vitals.wall_s - vitals.started_s)}, "
        f"{vitals.in_flight} of {vitals.max_in_flight} exchanges in flight, "
        f"{vitals.connections} client connections</p>"
    )
    for warning in _warnings(vitals):
        yield f'<p class="warning">{_text(warning)}</p>'


def _warnings(vitals: Vitals) -> Iterator[str]:
    yield from vitals.warnings
    for count, what in (
        (vitals.log_dropped, "log lines were lost to a slow reader of stdout"),
        (vitals.meters_failed, "answers could not be metered"),
        (vitals.watchers_failed, "times a reader of records failed: a bug"),
    ):
        if count:
            yield f"{count} {what}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; *rows* hold whole cells, made by :func:`_cell`."""
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, of: str = "") -> str:
    """Return a cell; *text* is one of ours, or went through :func:`_text`."""
    return f'<td class="{of}">{text}</td>' if of else f"<td>{text}</td>"


def _running(state: State) -> Iterator[str]:
    yield "<h2>Running</h2>"
    if not state.running:
        yield '<p class="faint">nothing runs</p>'
        return
    titles = ("client", "session", "agent", "model", "upstream", "age", "tokens", "bytes", "cost")
    yield _table(titles, map(_run, state.running[:_MOST_LINES]))
    more = state.vitals.in_flight - _MOST_LINES
    if more > 0:
        yield f'<p class="faint">and {more} more</p>'


def _run(line: Line) -> list[str]:
    names = (line.client, (line.session or "-")[:8], line.agent, line.model, line.upstream)
    tokens = ("~" if line.estimated else "") + shown.count(line.tokens)
    numbers = (shown.span(line.running_s), tokens, shown.count(line.bytes_down))
    return [
        *(_cell(_text(name), "name") for name in names),
        *map(_cell, (*numbers, escape(shown.dollars(line.cost_nusd)))),
    ]


def _upstreams(state: State) -> Iterator[str]:
    yield "<h2>Upstreams</h2>"
    titles = ("upstream", "connections", "credential", "rate limits used")
    yield _table(titles, (_upstream(each, state.vitals.wall_s) for each in state.vitals.upstreams))


def _upstream(upstream: UpstreamState, now_s: float) -> list[str]:
    pool = upstream.pool
    credential = _cell("usable") if upstream.usable else _cell("none usable", "bad")
    limits = []
    for limit in upstream.limits:
        told = f"{_text(limit.kind)} {limit.used or 0:.0%}"
        if (limit.used or 0) >= _SCARCE and limit.resets_s is not None:
            told += f", resets in {shown.span(max(0.0, limit.resets_s - now_s))}"
        limits.append(told)
    return [
        _cell(_text(upstream.name), "name"),
        _cell(f"{pool.in_use} in use, {pool.idle} idle"),
        credential,
        _cell("; ".join(limits) or "not told"),
    ]


def _spent(state: State, spent: Sequence[Spent] | None) -> Iterator[str]:
    if spent is None:
        yield "<h2>Since the start</h2>"
        yield '<p class="faint">the ledger holds more, but there is none, or it cannot be read</p>'
        yield _totals("client", state.clients)
        return
    for each in spent:
        yield f"<h2>{_text(each.title)}</h2>"
        yield _totals("client", each.clients)
        yield _totals("model", each.models)


def _totals(what: str, totals: Sequence[Totals]) -> str:
    if not totals:
        return '<p class="faint">no exchange yet</p>'
    titles = (what, "requests", "errors", "input tokens", "output tokens", "cost")
    table = _table(titles, map(_total, totals[:_MOST_ROWS]))
    more = len(totals) - _MOST_ROWS
    return f'{table}<p class="faint">and {more} more</p>' if more > 0 else table


def _total(each: Totals) -> list[str]:
    parts = [escape(shown.dollars(each.cost_nusd))] if each.cost_nusd or not each.unpriced else []
    if each.unpriced:
        parts.append(f"{each.unpriced} without a price")
    cost = " and ".join(parts)
    counts = (str(each.requests), str(each.errors))
    tokens = (shown.count(each.input_tokens), shown.count(each.output_tokens))
    return [_cell(_text(each.name), "name"), *map(_cell, (*counts, *tokens, cost))]
