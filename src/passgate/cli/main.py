"""passgate: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from passgate import __version__

_COMMANDS = ("serve", "demo", "check", "keys", "env", "report", "ledger", "tail", "top", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 found something wrong, 2 usage."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="passgate",
        description="A gateway between AI agents and model APIs: every agent a key of its own, "
        "your credential in one place.",
    )
    parser.add_argument("--version", action="version", version=f"passgate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Only the command that is asked for is loaded: `serve` is ready sooner.
    for name in [given[0]] if given and given[0] in _COMMANDS else _COMMANDS:
        import_module(f"passgate.cli.{name}").add_parser(commands)
    args = parser.parse_args(given)
    try:
        status: int = args.run(args)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return status
