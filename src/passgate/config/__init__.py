"""TOML and environment become Settings; every problem is reported at once.

The one place that reads the environment. What a credential's source holds is judged
where it is used, since it may change at any time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from passgate.config import clients, environment, file, places, pricing, upstreams
from passgate.config.clients import FROM_ENVIRONMENT, clients_by_source, clients_in
from passgate.config.credentials import PLAN_NOTICE, Surroundings
from passgate.config.places import clients_file, state_dir
from passgate.config.tables import ConfigError, Findings, Table
from passgate.core.pricing import Override
from passgate.core.settings import (
    AdminSettings,
    LedgerSettings,
    Limits,
    Listen,
    RouteSettings,
    Settings,
    UpstreamKind,
    UpstreamSettings,
    replace,
)

__all__ = [
    "FROM_ENVIRONMENT",
    "PLAN_NOTICE",
    "ConfigError",
    "clients_by_source",
    "clients_file",
    "clients_in",
    "from_process",
    "ledger_settings",
    "listen_of",
    "load",
    "price_overrides",
    "process_environ",
    "state_dir",
]

_NO_CLIENT = (
    "no client key: `passgate keys add NAME` makes one and keeps its hash; "
    f"or set PASSGATE_KEY ({environment.MAKE_A_KEY})"
)
_NO_UPSTREAM = (
    "no upstream: set ANTHROPIC_API_KEY or another credential, or write an [upstream.NAME] "
    "table; `passgate serve --demo` runs without"
)


def process_environ() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ  # noqa: TID251  the one place


def listen_of(environ: Mapping[str, str]) -> tuple[Listen, Listen]:
    """Return where the environment alone says to listen: for clients, for the operator.

    Raises:
        ConfigError: It says something that cannot be.
    """
    findings = Findings()
    said = environment.read_ports(environ, findings)
    if findings.problems:
        raise ConfigError(tuple(findings.problems))
    data, admin = Listen(), AdminSettings().listen
    return (
        Listen(said.host or data.host, data.port if said.port is None else said.port),
        Listen(admin.host, admin.port if said.admin_port is None else said.admin_port),
    )


def ledger_settings(path: Path | None, environ: Mapping[str, str], cwd: Path) -> LedgerSettings:
    """Return what ``[ledger]`` says; no other table is looked at. Arguments as of :func:`load`.

    Raises:
        ConfigError: The file cannot be read, or that table is wrong.
    """
    findings = Findings()
    main, given = places.config_file(path, environ, cwd)
    root = file.read_toml(main, findings, needed=given)
    ledger = LedgerSettings() if root is None else file.read_ledger(root)
    findings.check()
    return ledger


def price_overrides(
    path: Path | None, environ: Mapping[str, str], cwd: Path
) -> tuple[Override, ...]:
    """Return what ``[pricing]`` says; no other table is looked at. Arguments as of :func:`load`.

    Raises:
        ConfigError: The file cannot be read, or that table is wrong.
    """
    findings = Findings()
    main, given = places.config_file(path, environ, cwd)
    root = file.read_toml(main, findings, needed=given)
    overrides = () if root is None else pricing.read_overrides(root)
    findings.check()
    return overrides


def admin_listen(config: str | None) -> Listen:
    """Return where this process's configuration says that the operator is listened to.

    What else is wrong in it does not matter: a service's credentials need not be in the
    operator's shell.

    Raises:
        ConfigError: The file, or one of the tables of listeners, cannot be read.
    """
    findings, environ = Findings(), process_environ()
    path = None if config is None else Path(config)
    main, given = places.config_file(path, environ, Path.cwd())
    root = file.read_toml(main, findings, needed=given) or Table(str(main), "", {}, findings)
    _, _, admin = _listeners(root, environ)
    if findings.problems:
        raise ConfigError(tuple(findings.problems))
    return admin.listen


def from_process(config: str | None, *, reloading: bool = False) -> Settings:
    """Return the settings of this process, see :func:`load`."""
    path = None if config is None else Path(config)
    return load(path, process_environ(), Path.cwd(), reloading=reloading)


def load(
    path: Path | None, environ: Mapping[str, str], cwd: Path, *, reloading: bool = False
) -> Settings:
    """Return what the operator decided.

    Args:
        path: The configuration file; None for ``PASSGATE_CONFIG``, else ``passgate.toml``
            in *cwd* if there is one.
        environ: The environment.
        cwd: What paths in *path* and *environ* are relative to.
        reloading: Whether a gateway that serves asks. A credential's file that has gone
            and the last client's leaving are then no problems: to refuse the reload
            would keep a revoked key good.

    Raises:
        ConfigError: With every problem.
    """
    findings = Findings()
    main, given = places.config_file(path, environ, cwd)
    kept = places.clients_file(environ, cwd)
    read = file.read_toml(main, findings, needed=given)
    groups = clients.gather(read, kept, environ, findings)
    everyone = tuple(client for group in groups.values() for client in group)
    if not everyone and not findings.problems:
        (findings.warnings if reloading else findings.problems).append(_NO_CLIENT)
    root = Table(str(main), "", {}, findings) if read is None else read
    found, named = _upstreams(root, Surroundings(environ, cwd, reloading), main.parent)
    if not named and read is not None:  # else it may well stand in the broken file
        findings.problems.append(_NO_UPSTREAM)
    routes = file.read_routes(root, named)
    listen, limits, admin = _listeners(root, environ)
    settings = Settings(
        listen,
        limits,
        admin,
        everyone,
        found,
        _usual_routes(found, findings) if routes is None else routes,
        file.read_ledger(root),
        file.read_log_format(root),
        pricing.read_overrides(root),
        kept.parent,
        watched=(main, kept),
    )
    root.close()
    findings.check()
    return replace(settings, warnings=tuple(findings.warnings))


def _upstreams(
    root: Table, around: Surroundings, base: Path
) -> tuple[tuple[UpstreamSettings, ...], set[str]]:
    """Return every upstream that is right, the file's first, and all names, also of the wrong.

    Args:
        root: The configuration file.
        around: What the environment is read in.
        base: What paths in the file are relative to.
    """
    names, taken = upstreams.named_upstreams(root), upstreams.named_variables(root)
    written = upstreams.read_upstreams(root, dataclasses.replace(around, base=base))
    search = "gemini" not in names and all(u.kind is not UpstreamKind.GEMINI for u in written)
    made = environment.read_upstreams(around, taken, root.findings, search=search)
    for name, variable in made.named.items():
        if name in names:
            root.problem(
                None,
                f"[upstream.{name}] is also made by {variable}: unset the variable, or name "
                "it as `env` of this table's credential",
            )
    return (*written, *made.upstreams), names | made.named.keys()


def _usual_routes(
    found: tuple[UpstreamSettings, ...], findings: Findings
) -> tuple[RouteSettings, ...]:
    """Return the routes of a configuration that has none of its own."""
    of_kind = {kind: [u.name for u in found if u.kind is kind] for kind in UpstreamKind}
    google, messages = of_kind[UpstreamKind.GEMINI], of_kind[UpstreamKind.ANTHROPIC]
    if len(messages) > 1:
        findings.warnings.append(
            f'[[route]]: there is none, so every model goes to "{messages[0]}", the first of '
            f"{len(messages)} upstreams of its kind"
        )
    routes = [RouteSettings("gemini-*", name) for name in google[:1]]
    return (*routes, *(RouteSettings("*", name) for name in messages[:1]))


def _listeners(root: Table, environ: Mapping[str, str]) -> tuple[Listen, Limits, AdminSettings]:
    """Return listeners and limits; what the environment says counts over the file."""
    findings = root.findings
    (listen, limits), admin = file.read_server(root), file.read_admin(root)
    limits = environment.with_timeout(limits, environ, findings)
    ports = environment.read_ports(environ, findings)
    listen = replace(
        listen,
        host=listen.host if ports.host is None else ports.host,
        port=listen.port if ports.port is None else ports.port,
    )
    if ports.admin_port is not None:
        admin = replace(admin, listen=replace(admin.listen, port=ports.admin_port))
    if listen.reuse_port:  # the next process cannot start first with only one of the two
        admin = replace(admin, listen=replace(admin.listen, reuse_port=True))
    if file.clash(listen, admin.listen):
        root.problem(None, "[server] port and [admin] port are the same; each needs its own")
    return listen, limits, admin
