"""passgate: the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from passgate import __version__
from passgate.cli import check, demo, env, keys, serve


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 found something wrong, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="passgate",
        description="A gateway between AI agents and model APIs: every agent a key of its own, "
        "your credential in one place.",
    )
    parser.add_argument("--version", action="version", version=f"passgate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, demo, check, keys, env):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return status
