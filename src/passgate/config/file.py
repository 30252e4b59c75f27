"""The tables of the configuration file, one function each."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path

from passgate.config.grammar import LISTEN_HOST, LISTEN_HOST_RULE, is_loopback
from passgate.config.tables import Findings, Table
from passgate.core.settings import (
    AdminSettings,
    LedgerSettings,
    Limits,
    Listen,
    RouteSettings,
)

_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound

# The longest a count may be told to be; far above any machine, far below an overflow.
_MOST = 1_000_000
_ZERO_ALLOWED = ("drain_delay_s", "drain_s")


def read_toml(path: Path, findings: Findings, *, needed: bool) -> Table | None:
    """Return the top table of the file at *path*; empty where it is absent, None if broken.

    Args:
        path: The file.
        findings: Where its problems go, now and later.
        needed: Whether its absence is a problem.
    """
    text = ""
    try:
        text = path.read_bytes().decode()
        return Table(str(path), "", tomllib.loads(text), findings)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not needed:
            return Table(str(path), "", {}, findings)
        findings.problems.append(f"{path}: cannot be read: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        findings.problems.append(_where_it_breaks(path, text, error))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        findings.problems.append(f"{path}: line {line}: is not UTF-8")
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, tables in tables in tables.
        findings.problems.append(f"{path}: is not TOML that can be read: {type(error).__name__}")
    return None


def _where_it_breaks(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the problem with its line; the parser's own words end in the place."""
    what, _, place = str(error).partition(" (at ")
    found = re.match(r"line (\d+)", place)
    line = int(found[1]) if found else text.count("\n") + 1
    return f"{path}: line {line}: is not TOML: {what}"


def read_server(root: Table) -> tuple[Listen, Limits]:
    """Return what ``[server]`` says."""
    table, listen, limits = root.table("server"), Listen(), Limits()
    if table is None:
        return listen, limits
    listen = Listen(_host(table, listen), _port(table, listen), table.flag("reuse_port"))
    said: dict[str, float] = {}
    for name in Limits.__struct_fields__:
        default = getattr(limits, name)
        if isinstance(default, int):
            said[name] = table.whole(name, default, 1, _MOST)
        else:
            said[name] = table.seconds(name, default, zero=name in _ZERO_ALLOWED)
    table.close()
    return listen, Limits(**said)  # type: ignore[arg-type]  # by each default's own type


def read_admin(root: Table) -> AdminSettings:
    """Return what ``[admin]`` says."""
    table, admin = root.table("admin"), AdminSettings()
    if table is None:
        return admin
    listen = Listen(_host(table, admin.listen), _port(table, admin.listen))
    digest_there, digest = table.has("key_sha256"), table.digest("key_sha256")
    hosts = tuple(host.lower() for host in table.texts("allowed_hosts", ()))
    if not all(LISTEN_HOST.fullmatch(host) for host in hosts):
        table.problem("allowed_hosts", "must be host names, without port or brackets")
    if not is_loopback(listen.host) and not digest_there:
        table.problem(
            "key_sha256",
            f"is missing: {listen.host} can be reached from other machines, so the admin "
            "listener needs a key; put the SHA-256 of one here",
        )
    table.close()
    return AdminSettings(listen, digest, hosts)


def clash(data: Listen, admin: Listen) -> bool:
    """Return whether two listeners want the same port of the same address."""
    hosts = (data.host, admin.host)
    shared = data.host == admin.host or any(host in _EVERY_ADDRESS for host in hosts)
    return shared and data.port == admin.port and data.port != 0


def read_routes(root: Table, upstreams: Collection[str]) -> tuple[RouteSettings, ...] | None:
    """Return the routes of the file, in order, or None where it has none.

    Args:
        root: The file.
        upstreams: Name of every upstream, of the environment and the wrong ones too.
    """
    if not root.has("route"):
        return None
    routes = []
    for row in root.tables("route"):
        model, upstream = row.text("model", needed=True), row.text("upstream", needed=True)
        rename = row.text("rename")
        row.close()
        if upstream is not None and upstream not in upstreams:
            row.problem("upstream", f'there is no upstream "{upstream}"')
        if model is not None and upstream is not None:
            routes.append(RouteSettings(model, upstream, rename))
    return tuple(routes)


def read_ledger(root: Table) -> LedgerSettings:
    """Return what ``[ledger]`` says."""
    table, ledger = root.table("ledger"), LedgerSettings()
    if table is None:
        return ledger
    keep_days = table.whole("keep_days", ledger.keep_days, 1, 36_500)
    ledger = LedgerSettings(table.flag("required"), keep_days)
    table.close()
    return ledger


def read_log_format(root: Table) -> str:
    """Return the format that ``[log]`` names."""
    table = root.table("log")
    if table is None:
        return "json"
    log_format = table.choice("format", ("json", "text"), "json")
    table.close()
    return log_format or "json"


def _host(table: Table, default: Listen) -> str:
    host = table.text("host")
    if host is None:
        return default.host
    if not LISTEN_HOST.fullmatch(host):
        table.problem("host", LISTEN_HOST_RULE)
    return host


def _port(table: Table, default: Listen) -> int:
    return table.whole("port", default.port, 0, 65_535)
