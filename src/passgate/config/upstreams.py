"""The ``upstream`` tables of the configuration file."""

from __future__ import annotations

import re
import ssl
from ipaddress import ip_address
from pathlib import Path

from passgate.config.credentials import Surroundings, read_credential
from passgate.config.grammar import HOST, NAME, NAME_RULE, is_loopback
from passgate.config.tables import Table
from passgate.core.settings import UpstreamKind, UpstreamSettings

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:-]+"
_BASE_URL = re.compile(
    rf"(https?)://({HOST}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?((?:/{_SEGMENT})*)/?"
)
_BASE_URL_RULE = (
    "must be https://host, https://host:port or either with a path, and hold nothing else: "
    "no user, query, fragment or escape"
)

_STRICT, _OPTIMISTIC = _SCOPES = ("strict", "optimistic")


def read_upstreams(root: Table, around: Surroundings) -> tuple[UpstreamSettings, ...]:
    """Return the upstreams of the file; the wrong ones are noted and left out."""
    tables = root.table("upstream")
    if tables is None:
        return ()
    found = []
    for name in tables.keys():  # noqa: SIM118  a method of ours, not a mapping's
        table = tables.table(name)
        if table is not None:
            found.append(_upstream(name, table, around))
    return tuple(filter(None, found))


def named_upstreams(root: Table) -> set[str]:
    """Return the name of every upstream of the file, the wrong ones too."""
    raw = root.peek("upstream")
    return set(raw) if isinstance(raw, dict) else set()


def named_variables(root: Table) -> set[str]:
    """Return every environment variable that the file takes a credential from.

    Such a variable belongs to that credential, and makes no upstream of its own.
    """
    raw = root.peek("upstream")
    tables = raw.values() if isinstance(raw, dict) else ()
    credentials = [table.get("credential") for table in tables if isinstance(table, dict)]
    names = [each.get("env") for each in credentials if isinstance(each, dict)]
    return {name for name in names if isinstance(name, str)}


def _upstream(name: str, table: Table, around: Surroundings) -> UpstreamSettings | None:
    if not NAME.fullmatch(name):
        table.problem(None, f"its name {NAME_RULE}")
    kind = table.choice("kind", tuple(kind.value for kind in UpstreamKind))
    allow_http, retry_stale = table.flag("allow_http"), table.flag("retry_stale")
    for key in ("signature_scope", "strict_tools"):
        if kind == UpstreamKind.ANTHROPIC.value and table.has(key):
            table.problem(key, 'is for an upstream of kind "gemini"')
    scope = table.choice("signature_scope", _SCOPES, _STRICT)
    validates = table.flag("strict_tools")
    origin = _origin(table, allow_http=allow_http)
    credential = read_credential(table, around)
    ca_file = table.text("ca_file")
    table.close()
    certificates = None if ca_file is None else around.base / ca_file
    if certificates is not None:
        _look_at_certificates(table, certificates)
    if kind is None or origin is None or credential is None:
        return None
    tls, host, port, prefix = origin
    if prefix.endswith("/v1"):
        table.warn(
            "base_url", "ends in /v1, which request paths begin with: they will say it twice"
        )
    return UpstreamSettings(
        name,
        UpstreamKind(kind),
        tls,
        host,
        port,
        prefix,
        credential,
        certificates,
        retry_stale,
        scope == _OPTIMISTIC,
        validates,
    )


def _origin(table: Table, *, allow_http: bool) -> tuple[bool, str, int, str] | None:
    """Return whether TLS is spoken, host, port and path prefix of ``base_url``."""
    url = table.text("base_url", needed=True)
    if url is None:
        return None
    found = _BASE_URL.fullmatch(url)
    if found is None:
        table.problem("base_url", _BASE_URL_RULE)
        return None
    scheme, host, digits, prefix = found.groups()
    tls = scheme == "https"
    port = int(digits) if digits else 443 if tls else 80
    if host.startswith("["):
        host = host[1:-1]
        if not _is_address(host):
            table.problem("base_url", "holds something in brackets that is no IPv6 address")
            return None
    if not 1 <= port <= 65_535:
        table.problem("base_url", "its port must be from 1 to 65535")
        return None
    if not tls and not allow_http and not is_loopback(host):
        table.problem(
            "base_url",
            "is http, which sends the credential and every prompt in the open; use https, or "
            "set `allow_http = true` where the network is trusted",
        )
        return None
    return tls, host, port, prefix


def _is_address(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def _look_at_certificates(table: Table, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        table.problem("ca_file", f"{path} holds no certificate in PEM form")
    except OSError as error:
        table.problem("ca_file", f"{path} cannot be read: {error.strerror}")
