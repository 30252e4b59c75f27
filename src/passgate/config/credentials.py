"""Where an upstream's credential comes from, and what the operator is told about it."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from passgate.config.tables import COMES_LATER, NO_SECRETS_HERE, Table
from passgate.core.credential import PLAN_TOKEN_PREFIX, Unusable, only_secret
from passgate.core.settings import CredentialKind, CredentialSettings

PLAN_VARIABLE = "CLAUDE_CODE_OAUTH_TOKEN"
PLAN_NOTICE = (
    "this is, or may be, the token of a Claude Free, Pro or Max plan. Anthropic's terms allow "
    "it for its purchaser's own ordinary use of Claude Code and Anthropic's own apps only: "
    "serve no other people's traffic with it, and never hold several"
)

Say = Callable[[str], None]

# Docker and Podman mount secrets here, readable for all: there is one user to speak of.
_OF_ONE_CONTAINER = "/run/secrets"

_SOURCES = ("env", "file", "command")
_FROM_CLIENT_OR_NOWHERE = (CredentialKind.CLIENT, CredentialKind.NONE)
_NEEDED = 'is missing; an upstream that takes none has `credential = { kind = "none" }`'
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# How well-known APIs' keys and our own begin: no file or variable of such a name is missed,
# but a secret was put where a name belongs, and must not be shown.
_KEY_LIKE = re.compile(r"(?:sk-|pg_|AIza)[^/]{16,}")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a configuration is read in.

    Attributes:
        environ: The environment.
        base: What relative paths are relative to.
        reloading: Whether a gateway that serves reads it again. A credential's file that
            has gone is then no problem: the last good value stays, and a reload that
            takes a client's key away must not fail for it.
    """

    environ: Mapping[str, str]
    base: Path
    reloading: bool = False


def read_credential(upstream: Table, around: Surroundings) -> CredentialSettings | None:
    """Return the credential of *upstream*, or None where it is wrong."""
    table = upstream.table("credential", needed=_NEEDED)
    if table is None:
        return None
    if table.peek("kind") == "federated":  # its other keys come with it
        table.problem("kind", f"`federated` {COMES_LATER}")
        return None
    named = [source for source in _SOURCES if table.has(source)]
    timed = table.has("ttl_s")
    env, file = table.text("env"), table.text("file")
    command = table.texts("command", ()) or None
    ttl_s = table.seconds("ttl_s", CredentialSettings(CredentialKind.NONE).ttl_s)
    said = table.choice("kind", tuple(kind.value for kind in CredentialKind))
    kind = CredentialKind(said) if said else None
    table.close()
    if timed and "command" not in named:
        table.problem("ttl_s", "is for a `command` only")
    if kind is None or not _has_its_source(table, kind, named):
        return None
    if env is not None:
        return _from_variable(table, kind, env, around)
    if file is not None:
        return _from_file(table, kind, file, around)
    return CredentialSettings(kind, command=command, ttl_s=ttl_s)


def usable_value(value: str) -> str:
    """Return the credential that a variable holds.

    Raises:
        Unusable: It holds none.
    """
    return only_secret(value.encode("utf-8", "surrogateescape")).decode()


def look_at_file(path: Path, around: Surroundings, problem: Say, warn: Say) -> None:
    """Check that a credential's file can be read, and by nobody who should not.

    Its content is judged where it is used: it may change at any time.

    Args:
        path: The file.
        around: What the configuration is read in.
        problem: Told what is wrong.
        warn: Told what is worth knowing; names no file, see ``Findings``.
    """
    try:
        found = path.stat()
        # Before it is opened, which for a pipe would wait for a writer.
        if not stat.S_ISREG(found.st_mode):
            problem(f"{path} is not a file")
            return
        with path.open("rb") as file:
            start = file.read(len(PLAN_TOKEN_PREFIX) + 64).lstrip()
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        why = f"cannot be read: {getattr(error, 'strerror', None) or 'no such name'}"
        if around.reloading:
            warn(why)
        else:
            problem(NO_SECRETS_HERE if _KEY_LIKE.fullmatch(path.name) else f"{path} {why}")
        return
    if start.startswith(PLAN_TOKEN_PREFIX):
        warn(PLAN_NOTICE)
    if found.st_mode & stat.S_IROTH and not path.is_relative_to(_OF_ONE_CONTAINER):
        warn("can be read by every user of this machine; `chmod 600` mends that")


def _has_its_source(table: Table, kind: CredentialKind, named: list[str]) -> bool:
    """Return whether the table names as many sources as its kind takes, and note if not."""
    if kind in _FROM_CLIENT_OR_NOWHERE:
        if named:
            table.problem(named[0], f'has no place beside kind = "{kind.value}"')
        return not named
    if len(named) != 1:
        table.problem(None, "needs exactly one of `env`, `file` and `command`")
    return len(named) == 1


def _from_variable(
    table: Table, kind: CredentialKind, name: str, around: Surroundings
) -> CredentialSettings | None:
    if not _VARIABLE.fullmatch(name) or _KEY_LIKE.fullmatch(name):
        table.problem("env", "must be the name of an environment variable, never its value")
        return None
    if name not in around.environ:
        table.problem("env", f"the environment variable {name} is not set")
        return None
    try:
        value = usable_value(around.environ[name])
    except Unusable as why:
        table.problem("env", f"the environment variable {name} {why}")
        return None
    if name == PLAN_VARIABLE or value.encode().startswith(PLAN_TOKEN_PREFIX):
        table.warn("env", PLAN_NOTICE)
    return CredentialSettings(kind, env=name, env_value=value)


def _from_file(
    table: Table, kind: CredentialKind, name: str, around: Surroundings
) -> CredentialSettings | None:
    path = around.base / name
    look_at_file(
        path,
        around,
        lambda what: table.problem("file", what),
        lambda what: table.warn("file", what),
    )
    return CredentialSettings(kind, file=path)
