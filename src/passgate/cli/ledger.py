"""``passgate ledger``: how big it is, drop what is old, hand out what it holds."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from passgate import app, config
from passgate.cli.moments import ago, span_or_moment
from passgate.config import ConfigError
from passgate.core.exchange import Record

Write = Callable[[Sequence[Record]], bytes]

_FIELDS = Record.__struct_fields__
# A spreadsheet takes these for the beginning of a formula, and clients choose some texts.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("ledger", help="size, prune or export what was recorded")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    size = actions.add_parser("size", help="say how big it is, and how old")
    size.add_argument("--format", choices=("table", "json"), default="table")
    size.set_defaults(run=run, action=_size)

    prune = actions.add_parser("prune", help="delete what is too old, and give the space back")
    prune.add_argument(
        "--keep-days",
        type=_days,
        metavar="DAYS",
        help="how many days stay; by default [ledger] keep_days of the configuration",
    )
    prune.set_defaults(run=run, action=_prune)

    export = actions.add_parser("export", help="write every record, as CSV or JSON lines")
    export.add_argument("--format", choices=("json", "csv"), default="json")
    for name, which in (("--since", "from then on"), ("--until", "before then")):
        export.add_argument(
            name,
            type=span_or_moment,
            metavar="WHEN",
            help=f"what began {which}: a date such as 2027-01-31, or a time ago such as 30d",
        )
    export.add_argument("--output", metavar="FILE", type=Path, help="a new file instead of stdout")
    export.set_defaults(run=run, action=_export)

    for action in (size, prune, export):
        action.add_argument("--config", metavar="FILE", help="passgate.toml to read")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; 0, or 1 with the reason on stderr."""
    path = None if args.config is None else Path(args.config)
    environ, cwd = config.process_environ(), Path.cwd()
    try:
        keep_days = config.ledger_settings(path, environ, cwd).keep_days
        args.action(args, app.ledger_file(cwd / config.state_dir(environ)), keep_days)
    except ConfigError as error:
        for problem in error.problems:
            _tell(problem)
        return 1
    except app.LedgerProblem as problem:
        _tell(str(problem))
        return 1
    except BrokenPipeError:
        # Whoever read had enough. What Python still holds must not be tried again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _tell(f"{error.filename or 'the output'}: {error.strerror}")
        return 1
    return 0


def _size(args: argparse.Namespace, ledger: app.LedgerFile, keep_days: int) -> None:
    size = ledger.size()
    if args.format == "json":
        said = {
            "file": str(ledger.path),
            "bytes": size.file_bytes,
            "free_bytes": size.free_bytes,
            "rows": size.rows,
            "oldest": size.oldest and _stamp(size.oldest),
            "newest": size.newest and _stamp(size.newest),
            "keep_days": keep_days,
        }
        print(json.dumps(said, indent=2))
        return
    free = f", {_megabytes(size.free_bytes)} of them free to be used again"
    print(f"file    {ledger.path}")
    print(f"size    {_megabytes(size.file_bytes)}{free if size.free_bytes else ''}")
    print(f"rows    {size.rows:,}")
    if size.oldest and size.newest:
        print(f"oldest  {_stamp(size.oldest)}")
        print(f"newest  {_stamp(size.newest)}")
    print(f"kept    {keep_days} days")


def _prune(args: argparse.Namespace, ledger: app.LedgerFile, keep_days: int) -> None:
    keep_days = keep_days if args.keep_days is None else args.keep_days
    before = ledger.size()
    rows = 0
    for rows in ledger.prune(datetime.now(UTC) - timedelta(days=keep_days)):
        if sys.stderr.isatty():
            print(f"\r{rows:,} rows deleted", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    given_back = max(0, before.file_bytes - ledger.size().file_bytes)
    print(
        f"deleted: {rows:,} rows older than {keep_days} days; given back: {_megabytes(given_back)}"
    )


def _export(args: argparse.Namespace, ledger: app.LedgerFile, _: int) -> None:
    now = datetime.now(UTC)
    since, until = (None if w is None else ago(w, now) for w in (args.since, args.until))
    write: Write = _csv_lines if args.format == "csv" else msgspec.json.Encoder().encode_lines
    pages = ledger.pages(since, until)
    first = next(pages, [])  # before anything is written: there may be no ledger
    with _output(args.output) as out:
        if args.format == "csv":
            out.write(_csv([_FIELDS]))
        for page in chain([first], pages):
            out.write(write(page))


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Lend where to write; a file is new, for its owner alone, and whole or not there."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _csv_lines(records: Sequence[Record]) -> bytes:
    return _csv([[_cell(getattr(record, name)) for name in _FIELDS] for record in records])


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Return a value as CSV has it: as in JSON, but nothing where it is null."""
    match value:
        case datetime():
            return _stamp(value)
        case Enum():
            return value.value
        case bool():
            return "true" if value else "false"
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
    return value


def _stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 has it, in UTC, as JSON lines have it too."""
    return moment.isoformat().replace("+00:00", "Z")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 36_500:
        raise argparse.ArgumentTypeError("must be from 1 to 36500")
    return int(text)


def _tell(sentence: str) -> None:
    print(f"passgate: {sentence}", file=sys.stderr)
