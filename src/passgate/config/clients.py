"""Every client, and the three places that name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from passgate.config import environment, places
from passgate.config.file import read_toml
from passgate.config.grammar import NAME, NAME_RULE
from passgate.config.tables import Findings, Table
from passgate.core.settings import ClientSettings

FROM_ENVIRONMENT = "PASSGATE_KEY"

Groups = dict[str, tuple[ClientSettings, ...]]


def clients_by_source(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Groups:
    """Return every client by where it stands: a file's path, or ``PASSGATE_KEY``.

    Raises:
        ConfigError: With every problem of those places; no other table is looked at.
    """
    findings = Findings()
    main, given = places.config_file(path, environ, cwd)
    root = read_toml(main, findings, needed=given)
    groups = gather(root, places.clients_file(environ, cwd), environ, findings)
    findings.check()
    return groups


def clients_in(path: Path) -> tuple[ClientSettings, ...]:
    """Return the clients of one ``clients.toml``, none where it does not exist.

    Raises:
        ConfigError: With every problem of it.
    """
    findings = Findings()
    found = _kept(path, findings)
    findings.problems += _same_digest(found)
    findings.check()
    return found


def gather(
    root: Table | None, kept: Path, environ: Mapping[str, str], findings: Findings
) -> Groups:
    """Return every client by where it stands; the wrong ones are noted and left out.

    Args:
        root: The configuration file, None where it is broken.
        kept: The file that ``passgate keys`` keeps.
        environ: The environment.
        findings: Where problems go.
    """
    groups = {FROM_ENVIRONMENT: environment.read_client(environ, findings)}
    if root is not None:
        groups[root.file] = _rows(root)
    groups[str(kept)] = _kept(kept, findings)
    everyone = [client for group in groups.values() for client in group]
    named = [client.name for client in everyone]
    if groups[FROM_ENVIRONMENT] and named.count(environment.DEFAULT_CLIENT) > 1:
        findings.problems.append(
            f'[[client]] "{environment.DEFAULT_CLIENT}": is also made by PASSGATE_KEY; '
            "give it another name, or unset the variable"
        )
    findings.problems += _same_digest(everyone)
    return groups


def _kept(path: Path, findings: Findings) -> tuple[ClientSettings, ...]:
    root = read_toml(path, findings, needed=False)
    if root is None:
        return ()
    clients = _rows(root)
    root.close()
    return clients


def _rows(root: Table) -> tuple[ClientSettings, ...]:
    return tuple(filter(None, (_client(row) for row in root.tables("client"))))


def _client(row: Table) -> ClientSettings | None:
    name, digest = row.text("name", needed=True), row.digest("key_sha256", needed=True)
    models, paths = row.texts("models", ("*",)), row.texts("paths", ("*",))
    expires_s = row.instant("expires")
    if name is not None and not NAME.fullmatch(name):
        row.problem("name", NAME_RULE)
    if not all(path.startswith(("/", "*")) for path in paths):
        row.problem("paths", "must begin with `/` or `*`")
    row.close()
    if name is None or digest is None:
        return None
    return ClientSettings(name, digest, models, paths, expires_s)


def _same_digest(clients: Collection[ClientSettings]) -> list[str]:
    """Return a problem for each key that two entries share."""
    names: dict[bytes, str] = {}
    problems = []
    for client in clients:
        if client.digest in names:
            both = f'"{names[client.digest]}" and "{client.name}"'
            problems.append(f"[[client]] {both}: have the same key_sha256")
        names[client.digest] = client.name
    return problems
