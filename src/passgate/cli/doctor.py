"""``passgate doctor``: whether a gateway does what clients rely on, as a table."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import textwrap
from pathlib import Path

from passgate import config
from passgate.doctor import Row, examine
from passgate.doctor.upstream import Upstream
from passgate.doctor.visit import Found, Verdict, Visit
from passgate.doctor.wire import Place

_COLOURS = {
    Verdict.OK: "32",
    Verdict.FAIL: "31",
    Verdict.UNSEEN: "33",
    Verdict.SKIP: "33",
}
_USAGE = 2
_WIDE = 100


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "doctor",
        help="check any gateway against what clients rely on",
        description="Looks at a gateway from outside, row by row. Without --upstream-port the "
        "requests go to the real API behind it: a few, of at most 32 tokens each.",
    )
    parser.add_argument("url", metavar="URL", help="where clients reach the gateway")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--key", help="a key that the gateway knows; others can see it in `ps`")
    keys.add_argument("--key-env", metavar="NAME", help="the variable that holds it")
    keys.add_argument("--key-file", metavar="FILE", type=Path, help="the file that holds it")
    parser.add_argument("--bearer", action="store_true", help="show it in Authorization")
    parser.add_argument("--model", default="claude-haiku-4-5", help="a model with a route")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates to trust for https")
    parser.add_argument(
        "--upstream-port",
        type=int,
        metavar="N",
        choices=range(1, 1 << 16),
        help="be the gateway's upstream as well, at http://HOST:N, with whatever credential",
    )
    parser.add_argument(
        "--upstream-host", default="127.0.0.1", metavar="HOST", help="the address to listen on"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look and print; return 0 if no row fails, 1 if one does, 2 if there is nothing to ask."""
    try:
        place, key = Place.of(args.url), _key(args)
    except (ValueError, OSError) as error:
        return _refused(str(error))
    with contextlib.ExitStack() as stack:
        upstream = None
        if args.upstream_port is not None:
            try:
                upstream = stack.enter_context(Upstream(args.upstream_host, args.upstream_port))
            except OSError as error:
                return _refused(f"--upstream-port {args.upstream_port}: {error}")
        visit = Visit(place, key, args.model, args.bearer, args.ca_file, upstream)
        return _show(visit, as_json=args.format == "json")


def _key(args: argparse.Namespace) -> str:
    """Return the key.

    Raises:
        ValueError: There is none, or it is no key.
        OSError: The file cannot be read.
    """
    if args.key_env is not None:
        key = config.process_environ().get(args.key_env, "")
    elif args.key_file is not None:
        key = args.key_file.read_text()
    else:
        key = args.key
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key is empty, or has characters that no field can hold")
    return str(key)


def _refused(problem: str) -> int:
    print(f"passgate doctor: {problem}", file=sys.stderr)
    return _USAGE


def _show(visit: Visit, *, as_json: bool) -> int:
    found = []
    if not as_json:
        print(f"{'row':17}{'verdict':9}reason")
    for row, what in examine(visit):
        found.append((row, what))
        if not as_json:
            for line in _lines(row, what):
                print(line, flush=True)
    failed = sum(what.verdict is Verdict.FAIL for _, what in found)
    if as_json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        counts = {v: sum(what.verdict is v for _, what in found) for v in Verdict}
        print(", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count))
    return int(failed > 0)


def _lines(row: Row, found: Found) -> list[str]:
    """Return the lines of one row, its reason folded to the terminal's width."""
    width = min(_WIDE, shutil.get_terminal_size((_WIDE, 24)).columns) - 26
    first, *more = textwrap.wrap(found.reason or row.asks, max(20, width)) or [""]
    word = f"{found.verdict.value:9}"
    if sys.stdout.isatty() and not config.process_environ().get("NO_COLOR"):
        word = f"\x1b[{_COLOURS[found.verdict]}m{word}\x1b[0m"
    return [f"{row.name:17}{word}{first}", *(f"{'':26}{line}" for line in more)]


def _as_json(found: list[tuple[Row, Found]]) -> dict[str, object]:
    return {
        "ok": all(what.verdict is not Verdict.FAIL for _, what in found),
        "rows": [
            {
                "row": row.name,
                "asks": row.asks,
                "verdict": what.verdict.value,
                "reason": what.reason,
            }
            for row, what in found
        ],
    }
