"""What the environment says: a client, upstreams, and where to listen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from passgate.config.credentials import (
    PLAN_NOTICE,
    PLAN_VARIABLE,
    Surroundings,
    look_at_file,
    usable_value,
)
from passgate.config.grammar import LISTEN_HOST, LISTEN_HOST_RULE, SPAN, is_span
from passgate.config.tables import Findings
from passgate.core.credential import PLAN_TOKEN_PREFIX, Unusable
from passgate.core.settings import (
    ClientSettings,
    CredentialKind,
    CredentialSettings,
    Limits,
    UpstreamKind,
    UpstreamSettings,
    replace,
)

MAKE_A_KEY = "`python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
DEFAULT_CLIENT = "default"

_LEAST_KEY_CHARACTERS = 24
_ANTHROPIC = {
    "ANTHROPIC_API_KEY": CredentialKind.API_KEY,
    "ANTHROPIC_AUTH_TOKEN": CredentialKind.BEARER,
    PLAN_VARIABLE: CredentialKind.BEARER,
}
_GEMINI = ("GEMINI_API_KEY", "GEMINI_KEYS_FILE")
_FOUND_BY_ITSELF = "gemini_keys.txt"
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the environment says to listen; None where it does not say."""

    host: str | None
    port: int | None
    admin_port: int | None


def read_client(environ: Mapping[str, str], findings: Findings) -> tuple[ClientSettings, ...]:
    """Return the client that ``PASSGATE_KEY`` makes, if it is set."""
    if not environ.get("PASSGATE_KEY"):
        return ()
    try:
        key = usable_value(environ["PASSGATE_KEY"])
    except Unusable as why:
        findings.problems.append(f"PASSGATE_KEY: {why}; {MAKE_A_KEY}")
        return ()
    if len(key) < _LEAST_KEY_CHARACTERS:
        findings.problems.append(
            f"PASSGATE_KEY: must have at least {_LEAST_KEY_CHARACTERS} characters; {MAKE_A_KEY}"
        )
        return ()
    return (ClientSettings(DEFAULT_CLIENT, hashlib.sha256(key.encode()).digest()),)


def read_ports(environ: Mapping[str, str], findings: Findings) -> Ports:
    """Return where the environment says to listen."""
    host = environ.get("PASSGATE_HOST") or None
    if host is not None and not LISTEN_HOST.fullmatch(host):
        findings.problems.append(f"PASSGATE_HOST: {LISTEN_HOST_RULE}")
    return Ports(
        host,
        _port(environ, "PASSGATE_PORT", findings),
        _port(environ, "PASSGATE_ADMIN_PORT", findings),
    )


def with_timeout(limits: Limits, environ: Mapping[str, str], findings: Findings) -> Limits:
    """Return *limits* with what ``PASSGATE_HTTP_TIMEOUT_S`` says put over them."""
    said = environ.get("PASSGATE_HTTP_TIMEOUT_S")
    if not said:
        return limits
    if not _NUMBER.fullmatch(said) or not is_span(float(said)):
        findings.problems.append(f"PASSGATE_HTTP_TIMEOUT_S: {SPAN}")
        return limits
    return replace(limits, first_byte_s=float(said), idle_s=float(said))


@dataclass(frozen=True, slots=True)
class Made:
    """The upstreams that the environment makes.

    Attributes:
        upstreams: Those that are right.
        named: Name -> the variables that make it, also where they are wrong.
    """

    upstreams: tuple[UpstreamSettings, ...]
    named: Mapping[str, str]


def read_upstreams(
    around: Surroundings, taken: Collection[str], findings: Findings, *, search: bool
) -> Made:
    """Return the upstreams that credentials in the environment make.

    Args:
        around: What the environment is read in; *base* is the working directory.
        taken: Variables that the file takes a credential from: they make no upstream.
        findings: Where problems go.
        search: Whether ``gemini_keys.txt`` is found by itself.
    """
    held = {name for name, value in around.environ.items() if value} - set(taken)
    claude = [name for name in _ANTHROPIC if name in held]
    google = [name for name in _GEMINI if name in held]
    if not google and search and _exists(around.base / _FOUND_BY_ITSELF):
        google = [_FOUND_BY_ITSELF]
    made, named = [], {}
    for name, variables in (("anthropic", claude), ("gemini", google)):
        if len(variables) > 1:
            said = " and ".join(variables)
            findings.problems.append(f"{said}: are set together; unset all but one")
        elif variables:
            made.append(_made_by(variables[0], around, findings))
        if variables:
            named[name] = " and ".join(variables)
    return Made(tuple(filter(None, made)), named)


def _made_by(name: str, around: Surroundings, findings: Findings) -> UpstreamSettings | None:
    """Return the upstream that the variable, or the file found by itself, makes."""
    if name in _ANTHROPIC:
        kind, host, upstream = _ANTHROPIC[name], "api.anthropic.com", UpstreamKind.ANTHROPIC
        credential = _from_variable(around.environ, name, kind, findings)
    else:
        host, upstream = "generativelanguage.googleapis.com", UpstreamKind.GEMINI
        if name == "GEMINI_API_KEY":
            kind = CredentialKind.API_KEY
            credential = _from_variable(around.environ, name, kind, findings)
        else:
            path = around.base / (around.environ.get("GEMINI_KEYS_FILE") or _FOUND_BY_ITSELF)
            credential = _from_keys_file(path, around, name, findings)
    if credential is None:
        return None
    return UpstreamSettings(upstream.value, upstream, True, host, 443, "", credential)  # noqa: FBT003


def _port(environ: Mapping[str, str], name: str, findings: Findings) -> int | None:
    said = environ.get(name)
    if not said:
        return None
    if said.startswith("tcp://"):
        # Kubernetes sets PASSGATE_PORT=tcp://... in every pod beside a Service "passgate".
        findings.warnings.append(
            f"{name}: is what Kubernetes sets for a Service of that name, and ignored; "
            "`enableServiceLinks: false` keeps it away"
        )
        return None
    if not re.fullmatch(r"[0-9]{1,5}", said) or int(said) > 65_535:
        findings.problems.append(f"{name}: must be a port, 0 to 65535")
        return None
    return int(said)


def _from_variable(
    environ: Mapping[str, str], name: str, kind: CredentialKind, findings: Findings
) -> CredentialSettings | None:
    try:
        value = usable_value(environ[name])
    except Unusable as why:
        findings.problems.append(f"{name}: {why}")
        return None
    if name == PLAN_VARIABLE or value.encode().startswith(PLAN_TOKEN_PREFIX):
        findings.warnings.append(f"{name}: {PLAN_NOTICE}")
    return CredentialSettings(kind, env=name, env_value=value)


def _from_keys_file(
    path: Path, around: Surroundings, named_by: str, findings: Findings
) -> CredentialSettings:
    look_at_file(
        path,
        around,
        lambda what: findings.problems.append(f"{named_by}: {what}"),
        lambda what: findings.warnings.append(f"the file of Gemini keys: {what}"),
    )
    return CredentialSettings(CredentialKind.API_KEY, file=path)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the working directory may not be searched
        return False
