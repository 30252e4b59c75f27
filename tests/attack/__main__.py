"""Attack passgate and nginx, and print their scores beside each other.

    python -m tests.attack [--only TEXT] [--target passgate|nginx]
    python -m tests.attack --port 8080 --upstream-port 9100 --key KEY --credential SECRET

The second form attacks what already runs on this machine and sends to the upstream's port,
where this program then listens. Everything stays on loopback and ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence

from tests.attack.judge import Outcome, Verdict
from tests.attack.score import every, played, table
from tests.attack.targets import Target, hardened_nginx, passgate, running_at

TARGETS = {"passgate": passgate, "nginx": hardened_nginx}


def main(argv: Sequence[str] | None = None) -> int:
    """Attack as told; return 1 where the first gateway got something wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--only", default="", help="attacks whose group or name holds this")
    parser.add_argument("--port", type=int, help="attack what runs there")
    parser.add_argument("--upstream-port", type=int, help="where it sends to")
    parser.add_argument("--key", help="a key it knows")
    parser.add_argument("--credential", help="what it shows its upstream")
    asked = parser.parse_args(argv)
    attacks = [each for each in every() if asked.only in f"{each.group}: {each.name}"]
    targets: list[contextlib.AbstractContextManager[Target]] = []
    if asked.port is not None:
        if None in (asked.upstream_port, asked.key, asked.credential):
            parser.error("--port needs --upstream-port, --key and --credential")
        targets = [running_at(asked.port, asked.key, asked.credential, asked.upstream_port)]
    else:
        targets = [TARGETS[name]() for name in asked.target or TARGETS]
    found: dict[str, list[Outcome]] = {}
    for context in targets:
        try:
            with context as target:
                began = time.monotonic()
                found[target.name] = played(target, attacks)
                took_s = time.monotonic() - began
                sys.stderr.write(f"{target.name}: {len(attacks)} attacks in {took_s:.0f} s\n")
        except RuntimeError as error:
            sys.stderr.write(f"skipped: {error}\n")
    sys.stdout.write("".join(f"{line}\n" for line in table(attacks, found)))
    first = next(iter(found.values()), [])
    return int(any(outcome.verdict is Verdict.WRONG for outcome in first))


if __name__ == "__main__":
    sys.exit(main())
