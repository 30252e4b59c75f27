"""``passgate check``: what would run, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from passgate import config
from passgate.config import ConfigError
from passgate.core.settings import (
    ClientSettings,
    CredentialSettings,
    Listen,
    Settings,
    UpstreamSettings,
    replace,
)
from passgate.probe import Finding, probe

_RED, _YELLOW, _GREEN = "31", "33", "32"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("check", help="say what would run, and what is wrong")
    parser.add_argument("--config", metavar="FILE", help="passgate.toml to read")
    parser.add_argument(
        "--live", action="store_true", help="ask each upstream for something free as well"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is found; return 0 if the gateway would serve, else 1."""
    try:
        settings = config.from_process(args.config)
    except ConfigError as error:
        _print_problems(args.format, error.problems)
        return 1
    findings = asyncio.run(probe(settings, live=args.live))
    problems = [
        f"upstream {found.upstream}: {found.problem}" for found in findings if found.problem
    ]
    notices = (*settings.warnings, *_late_notices(settings, findings))
    settings = replace(settings, warnings=notices)
    if args.format == "json":
        print(json.dumps(_as_json(settings, findings, problems), indent=2))
    else:
        for line in _as_text(settings, findings):
            print(line)
        _print_verdict(problems, settings.warnings)
    return 1 if problems else 0


def _late_notices(settings: Settings, findings: list[Finding]) -> Iterator[str]:
    """Return the notice of each plan's token that only a command has brought to light."""
    for upstream, found in zip(settings.upstreams, findings, strict=True):
        if found.plan_token and upstream.credential.command is not None:
            yield f"upstream {upstream.name}: {config.PLAN_NOTICE}"


def _print_problems(form: str, problems: tuple[str, ...]) -> None:
    if form == "json":
        print(json.dumps({"ok": False, "problems": problems, "warnings": []}, indent=2))
    else:
        _print_verdict(list(problems), ())


def _print_verdict(problems: list[str], warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"{_coloured('warning', _YELLOW)}   {warning}")
    for problem in problems:
        print(f"{_coloured('problem', _RED)}   {problem}")
    if not problems:
        print(_coloured("all is well", _GREEN))


def _as_text(settings: Settings, findings: list[Finding]) -> Iterator[str]:
    yield f"config    {_present(settings) or 'the environment alone'}"
    yield f"state     {settings.state_dir}"
    yield f"data      {_address(settings.listen)}"
    admin = "" if settings.admin.key_digest is None else ", with a key"
    yield f"admin     {_address(settings.admin.listen)}{admin}"
    for client in settings.clients:
        yield f"client    {client.name}: {_rights(client)}"
    for upstream, found in zip(settings.upstreams, findings, strict=True):
        yield f"upstream  {upstream.name}: {_url(upstream)}, {_state(upstream, found)}"
    for route in settings.routes:
        renamed = "" if route.rename is None else f" as {route.rename}"
        yield f"route     {route.model} -> {route.upstream}{renamed}"


def _as_json(settings: Settings, findings: list[Finding], problems: list[str]) -> dict[str, object]:
    return {
        "ok": not problems,
        "problems": problems,
        "warnings": settings.warnings,
        "config": _present(settings),
        "state_dir": str(settings.state_dir),
        "data": _address(settings.listen),
        "admin": _address(settings.admin.listen),
        "clients": [
            {
                "name": client.name,
                "models": client.models,
                "paths": client.paths,
                "expires": _expiry(client),
            }
            for client in settings.clients
        ],
        "upstreams": [
            {
                "name": upstream.name,
                "kind": upstream.kind.value,
                "base_url": _url(upstream),
                "credential": upstream.credential.kind.value,
                "source": upstream.credential.source,
                "usable": found.usable,
                "status": found.status,
                "keys": None if found.keys is None else found.keys[0],
                "usable_keys": None if found.keys is None else found.keys[1],
            }
            for upstream, found in zip(settings.upstreams, findings, strict=True)
        ],
        "routes": [
            {"model": route.model, "upstream": route.upstream, "rename": route.rename}
            for route in settings.routes
        ],
    }


def _present(settings: Settings) -> str | None:
    """Return the configuration file, None where the environment is all there is."""
    file = settings.watched[0]
    return str(file) if file.exists() else None


def _address(listen: Listen) -> str:
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"http://{host}:{listen.port}"


def _url(upstream: UpstreamSettings) -> str:
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    port = "" if upstream.port == (443 if upstream.tls else 80) else f":{upstream.port}"
    return f"{'https' if upstream.tls else 'http'}://{host}{port}{upstream.prefix}"


def _state(upstream: UpstreamSettings, found: Finding) -> str:
    answered = "" if found.status is None else f", answered {found.status}"
    usable = _coloured("usable", _GREEN) if found.usable else _coloured("not usable", _RED)
    if found.keys is not None:
        total, good = found.keys
        usable += f", {good} of {total} keys" if total > 1 else ", 1 key"
    return f"{_origin(upstream.credential)}: {usable}{answered}"


def _origin(credential: CredentialSettings) -> str:
    """Return a credential's kind and where it comes from."""
    if credential.env is not None:
        return f"{credential.kind.value} of the variable {credential.env}"
    if credential.file is not None:
        return f"{credential.kind.value} of the file {credential.file}"
    if credential.command is not None:
        # Its arguments stay out: some programs take a secret there.
        return f"{credential.kind.value} of the command {credential.command[0]}"
    return "the client's own credential" if credential.source == "client" else "no credential"


def _rights(client: ClientSettings) -> str:
    models = "every model" if client.models == ("*",) else ", ".join(client.models)
    paths = "" if client.paths == ("*",) else f" at {', '.join(client.paths)}"
    return f"{models}{paths}, expires {_expiry(client) or 'never'}"


def _expiry(client: ClientSettings) -> str | None:
    if client.expires_s is None:
        return None
    return datetime.fromtimestamp(client.expires_s, UTC).isoformat().replace("+00:00", "Z")


def _coloured(text: str, colour: str) -> str:
    plain = not sys.stdout.isatty() or config.process_environ().get("NO_COLOR")
    return text if plain else f"\x1b[{colour}m{text}\x1b[0m"
