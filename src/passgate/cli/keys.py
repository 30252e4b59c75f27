"""``passgate keys``: make, list, revoke and rotate clients' keys.

A key is shown once. What is kept is its SHA-256, in ``clients.toml`` of the state directory,
which a running gateway looks at each second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from passgate import config
from passgate.cli.keys_file import Clients, Refusal, change, stamp
from passgate.cli.moments import span, span_or_moment
from passgate.config import ConfigError
from passgate.config.grammar import NAME, NAME_RULE
from passgate.core.settings import ClientSettings, replace


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("keys", help="make, list, revoke and rotate clients' keys")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    add = actions.add_parser("add", help="make a key for a client; it is shown once")
    add.add_argument("name", metavar="NAME", type=_name)
    add.add_argument("--models", type=_models, default=("*",), help="globs, with commas between")
    add.add_argument("--paths", type=_paths, default=("*",), help="globs, with commas between")
    add.add_argument(
        "--expires",
        type=span_or_moment,
        metavar="WHEN",
        help="a date such as 2027-01-31, or a time from now such as 30d",
    )
    add.set_defaults(run=run, action=_add)

    list_ = actions.add_parser("list", help="show every client, never a key")
    list_.add_argument("--format", choices=("table", "json"), default="table")
    list_.set_defaults(run=run, action=_list)

    revoke = actions.add_parser("revoke", help="refuse every key of a client from now on")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=run, action=_revoke)

    rotate = actions.add_parser("rotate", help="make a new key; the old one is good for a while")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument(
        "--grace",
        type=span,
        default=timedelta(hours=24),
        metavar="SPAN",
        help="how long the old key is still good, such as 24h (the default), 30m or 0s",
    )
    rotate.set_defaults(run=run, action=_rotate)

    for action in (add, list_, revoke, rotate):
        action.add_argument("--config", metavar="FILE", help="passgate.toml to read")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; 0, or 1 with the reason on stderr."""
    file = config.clients_file(config.process_environ(), Path.cwd())
    try:
        args.action(args, file)
    except ConfigError as error:
        for problem in error.problems:
            _tell(problem)
        return 1
    except Refusal as why:
        _tell(str(why))
        return 1
    except OSError as error:
        _tell(f"{file}: {error.strerror}")
        return 1
    return 0


def _add(args: argparse.Namespace, file: Path) -> None:
    now = datetime.now(UTC)
    expires_s = None if args.expires is None else _moment_s(args.expires, now)
    if expires_s is not None and expires_s <= now.timestamp():
        raise Refusal(f"{stamp(expires_s)} is not in the future")
    key = _new_key()
    client = ClientSettings(args.name, _digest(key), args.models, args.paths, expires_s)
    elsewhere = _elsewhere(args, file)

    def added(clients: Clients) -> Clients:
        if args.name in {client.name for client in clients}:
            raise Refusal(f"{args.name} has a key: `passgate keys rotate` makes a new one")
        if args.name in elsewhere:
            raise Refusal(f"{args.name} stands in {elsewhere[args.name]}")
        return (*clients, client)

    change(file, added)
    _show(key, args.name, file)


def _revoke(args: argparse.Namespace, file: Path) -> None:
    def without(clients: Clients) -> Clients:
        left = tuple(client for client in clients if client.name != args.name)
        if len(left) == len(clients):
            raise _not_here(args, file)
        return left

    change(file, without)
    _tell(
        f"{args.name} is out of {file}; a running gateway refuses its keys within a second or two"
    )
    if args.name in _elsewhere(args, file):
        raise _not_here(args, file)


def _rotate(args: argparse.Namespace, file: Path) -> None:
    key, now_s = _new_key(), math.floor(datetime.now(UTC).timestamp())
    until_s = now_s + args.grace.total_seconds()

    def rotated(clients: Clients) -> Clients:
        mine = [client for client in clients if client.name == args.name]
        if not mine:
            raise _not_here(args, file)
        latest = max(mine, key=_end_s)
        if _end_s(latest) <= now_s:
            raise Refusal(f"{args.name} has expired: revoke it, then add it anew")
        aged = [_until(each, until_s) if each in mine else each for each in clients]
        alive = [each for each in aged if each.name != args.name or _end_s(each) > now_s]
        # With its own end, if it has one: a rotation prolongs nothing.
        return (*alive, replace(latest, digest=_digest(key)))

    change(file, rotated)
    _show(key, args.name, file)
    _tell(f"the old key is good until {stamp(until_s)}, or until its own end if that comes first")


def _list(args: argparse.Namespace, file: Path) -> None:
    groups = {str(file): config.clients_in(file)}
    groups |= _groups_elsewhere(args, file)
    rows = [(client, source) for source, group in groups.items() for client in group]
    if args.format == "json":
        clients = [_as_json(client, source) for client, source in rows]
        print(json.dumps({"file": str(file), "clients": clients}, indent=2))
        return
    now_s = datetime.now(UTC).timestamp()
    table: list[tuple[str, ...]] = [("NAME", "SHA-256", "MODELS", "PATHS", "EXPIRES", "FROM")]
    table += [_as_row(client, source, now_s) for client, source in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table if rows else ():
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    _tell(f"{len(rows)} keys; those of clients.toml are in {file}")


def _as_json(client: ClientSettings, source: str) -> dict[str, object]:
    return {
        "name": client.name,
        "digest": client.digest.hex()[:8],
        "models": client.models,
        "paths": client.paths,
        "expires": None if client.expires_s is None else stamp(client.expires_s),
        "source": source,
    }


def _as_row(client: ClientSettings, source: str, now_s: float) -> tuple[str, ...]:
    expires = "never" if client.expires_s is None else stamp(client.expires_s)
    return (
        client.name,
        client.digest.hex()[:8],
        ",".join(client.models),
        ",".join(client.paths),
        f"expired {expires}" if _end_s(client) <= now_s else expires,
        Path(source).name,
    )


def _groups_elsewhere(args: argparse.Namespace, file: Path) -> dict[str, Clients]:
    """Return the clients that are not kept in *file*, by where they stand.

    A configuration that is broken must not keep anybody from revoking a key.
    """
    path = None if args.config is None else Path(args.config)
    try:
        groups = config.clients_by_source(path, config.process_environ(), Path.cwd())
    except ConfigError as error:
        _tell("clients that are not in clients.toml are left out:")
        for problem in error.problems:
            _tell(f"  {problem}")
        return {}
    return {source: group for source, group in groups.items() if source != str(file)}


def _elsewhere(args: argparse.Namespace, file: Path) -> dict[str, str]:
    """Return where each client stands that is not kept in *file*."""
    groups = _groups_elsewhere(args, file)
    return {client.name: source for source, group in groups.items() for client in group}


def _not_here(args: argparse.Namespace, file: Path) -> Refusal:
    source = _elsewhere(args, file).get(args.name)
    if source is None:
        return Refusal(f"there is no client {args.name!r} in {file}")
    if source == config.FROM_ENVIRONMENT:
        return Refusal(f"{args.name} is made by {source}: change the variable, and restart")
    return Refusal(f"{args.name} stands in {source}: edit that file")


def _new_key() -> str:
    return "pg_" + secrets.token_urlsafe(32)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _show(key: str, name: str, file: Path) -> None:
    print(key, flush=True)
    _tell(f"this is the key of {name}, shown this once; its SHA-256 is in {file}")
    _tell(f"`passgate env {name}` prints what a client needs")


def _tell(sentence: str) -> None:
    print(f"passgate: {sentence}", file=sys.stderr)


def _end_s(client: ClientSettings) -> float:
    return math.inf if client.expires_s is None else client.expires_s


def _until(client: ClientSettings, until_s: float) -> ClientSettings:
    return replace(client, expires_s=min(until_s, _end_s(client)))


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(NAME_RULE)
    return text


def _models(text: str) -> tuple[str, ...]:
    globs = tuple(glob.strip() for glob in text.split(","))
    if not all(glob and glob.isprintable() for glob in globs):
        raise argparse.ArgumentTypeError("must be globs with commas between")
    return globs


def _paths(text: str) -> tuple[str, ...]:
    globs = _models(text)
    if not all(glob.startswith(("/", "*")) for glob in globs):
        raise argparse.ArgumentTypeError("must begin with `/` or `*`")
    return globs


def _moment_s(when: timedelta | datetime, now: datetime) -> int:
    return math.floor((now + when if isinstance(when, timedelta) else when).timestamp())
