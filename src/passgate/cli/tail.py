"""``passgate tail``: exchanges as they end, a line each."""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from passgate import config
from passgate.cli import feed
from passgate.cli.feed import CannotRead
from passgate.core import shown
from passgate.core.exchange import Ending, Record

_RED, _YELLOW = "31", "33"
_FIRST_ERROR = 400
_ROOMY = 100
_WIDE = 1 << 16  # no terminal: nothing is cut


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("tail", help="show exchanges as they end")
    feed.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print each record as a line of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print until interrupted; losses and returns of the gateway go to stderr."""
    try:
        place = feed.place_of(args)
        told = _Told(place.url)
        plain = not sys.stdout.isatty() or bool(config.process_environ().get("NO_COLOR"))
        for event in feed.follow(place, told, threading.Event()):
            if event.name == "record":
                print(event.data.decode() if args.json else _line(event.data, plain), flush=True)
    except CannotRead as error:
        print(f"passgate: {error}", file=sys.stderr)
        return 1
    return 0


class _Told:
    """Says on stderr when the gateway is lost and found."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lost = False

    def __call__(self, why: str | None) -> None:
        if why is not None:
            print(f"passgate: {self._url}: {why}; trying again", file=sys.stderr)
        elif self._lost:
            print(f"passgate: {self._url}: connected again", file=sys.stderr)
        self._lost = why is not None


def _line(data: bytes, plain: bool) -> str:  # noqa: FBT001  as the caller has it
    record = msgspec.json.decode(data, type=Record)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    line = line_of(record, width)
    colour = None if plain else _colour_of(record)
    return line if colour is None else f"\x1b[{colour}m{line}\x1b[0m"


def line_of(record: Record, width: int) -> str:
    """Return *record* in one line of at most *width* columns.

    The most telling comes first; what there is no room for is left out, not cut.
    """
    ended = (record.ts + timedelta(milliseconds=record.duration_ms)).astimezone()
    what = shown.name(record.model or f"{record.method} {record.path}")
    client_width, what_width = (12, 28) if width >= _ROOMY else (8, 18)
    line = " ".join(
        (
            f"{ended:%H:%M:%S}",
            f"{shown.cut(shown.name(record.client), client_width):<{client_width}}",
            f"{shown.cut(what, what_width):<{what_width}}",
            f"{record.status or '-':>3}",
            f"{_outcome(record):<10}",
            f"{shown.span(record.duration_ms / 1000):>6}",
        )
    )
    for part in _rest(record):
        if len(line) + 1 + len(part) <= width:
            line += f" {part}"
    return shown.cut(line, width)


def _rest(record: Record) -> Iterator[str]:
    if record.usage != "none":
        yield f"{shown.dollars(record.cost_nusd):>8}"
        yield _tokens(record)
    elif record.bytes_down:
        yield f"{shown.count(record.bytes_down)}B"
    if record.first_token_ms is not None:
        yield f"first {shown.span(record.first_token_ms / 1000):<5}"
    if record.session is not None:
        yield shown.name(record.session)[:8]  # enough to find it by
    if record.agent is not None:
        yield f"agent {shown.cut(shown.name(record.agent), 36)}"


def _outcome(record: Record) -> str:
    ending: str = record.ending.value
    return ending if record.error is None else shown.name(record.error)


def _tokens(record: Record) -> str:
    told = (
        record.input_tokens,
        record.cache_read_tokens,
        record.cache_write_5m_tokens,
        record.cache_write_1h_tokens,
    )
    # What a cut stream has used is not known to its end.
    about = "" if record.usage == "final" else "~"
    output = f"{about}{shown.count(record.output_tokens)}"
    return f"{shown.count(sum(n or 0 for n in told)):>5} in {output:>6} out"


def _colour_of(record: Record) -> str | None:
    if record.ending is not Ending.COMPLETE:
        return _YELLOW if record.ending in (Ending.CLIENT_LEFT, Ending.DRAINED) else _RED
    return _RED if (record.status or 0) >= _FIRST_ERROR else None
