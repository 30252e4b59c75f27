"""The operator's settings as values; ``config`` fills them, nothing here reads anything.

Names and defaults are those of the configuration file. Times are seconds, sizes
are bytes unless the name says otherwise, and the wall clock is seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import msgspec

from passgate.core.pricing import Override

# Settings that differ from others in some values.
replace = msgspec.structs.replace


class UpstreamKind(Enum):
    """Which API an upstream speaks."""

    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


class CredentialKind(Enum):
    """How an upstream is shown that we may use it."""

    API_KEY = "api_key"
    BEARER = "bearer"
    CLIENT = "client"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    """Where one upstream's credential comes from.

    Attributes:
        kind: How it is sent; ``CLIENT`` and ``NONE`` have no source.
        env: Name of an environment variable, or None.
        env_value: What that variable held when the configuration was read; only
            ``config`` reads the environment. Never shown.
        file: Path of a file whose content is the credential, or None.
        command: Program and arguments that print the credential, or None.
        ttl_s: How long the answer of *command* is good for.
    """

    kind: CredentialKind
    env: str | None = None
    env_value: str | None = field(default=None, repr=False)
    file: Path | None = None
    command: tuple[str, ...] | None = None
    ttl_s: float = 300.0

    @property
    def source(self) -> str:
        """What it comes from: ``env``, ``file``, ``command``, ``client`` or ``none``."""
        if self.env is not None:
            return "env"
        if self.file is not None:
            return "file"
        return self.kind.value if self.command is None else "command"


class UpstreamSettings(msgspec.Struct, frozen=True):
    """One model API.

    Attributes:
        name: The operator's name for it.
        kind: Which API it speaks.
        tls: Whether ``https`` is spoken.
        host: Host name or address, without brackets.
        port: TCP port.
        prefix: Path put before every request path, ``""`` or ``"/…"`` without a slash at the end.
        credential: What we show it.
        ca_file: Certificates to trust instead of the system's, or None.
        retry_stale: Repeat once on a fresh connection what a reused one lost unanswered.
        optimistic: Send Gemini also the signatures that it issued to another key.
        validates: Have Gemini check the calls of strict tools.
    """

    name: str
    kind: UpstreamKind
    tls: bool
    host: str
    port: int
    prefix: str
    credential: CredentialSettings
    ca_file: Path | None = None
    retry_stale: bool = False
    optimistic: bool = False
    validates: bool = False


class ClientSettings(msgspec.Struct, frozen=True):
    """One key that may use the gateway; a client in rotation has two, under one name.

    Attributes:
        name: The operator's name for the client.
        digest: SHA-256 of the whole key, 32 bytes.
        models: Globs of the models it may ask for; ``("*",)`` opens every path as well.
        paths: Globs of the paths it may use.
        expires_s: Wall clock from which the key is refused, or None.
    """

    name: str
    digest: bytes
    models: tuple[str, ...] = ("*",)
    paths: tuple[str, ...] = ("*",)
    expires_s: float | None = None


class RouteSettings(msgspec.Struct, frozen=True):
    """Send models that match a glob to an upstream, perhaps under another name."""

    model: str
    upstream: str
    rename: str | None = None


class Limits(msgspec.Struct, frozen=True):
    """Every bound on time, size and number; the keys of ``[server]``."""

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    idle_s: float = 600.0
    client_head_s: float = 10.0
    client_body_idle_s: float = 30.0
    client_stall_s: float = 600.0
    keep_alive_s: float = 75.0
    drain_delay_s: float = 0.0
    drain_s: float = 600.0
    max_connections: int = 4096
    max_in_flight: int = 1000
    max_body_memory_mb: int = 256


class Listen(msgspec.Struct, frozen=True):
    """Where a listener is bound."""

    host: str = "127.0.0.1"
    port: int = 8787
    reuse_port: bool = False


class AdminSettings(msgspec.Struct, frozen=True):
    """The operator's listener.

    Attributes:
        listen: Where it is bound.
        key_digest: SHA-256 of the admin key, or None; needed off loopback.
        allowed_hosts: Host names (without port) it answers to besides loopback's own.
    """

    listen: Listen = Listen(port=8788)
    key_digest: bytes | None = None
    allowed_hosts: tuple[str, ...] = ()


class LedgerSettings(msgspec.Struct, frozen=True):
    """What happens to records."""

    required: bool = False
    keep_days: int = 90


class Settings(msgspec.Struct, frozen=True):
    """One snapshot of everything the operator decided.

    Attributes:
        overrides: The operator's own prices.
        state_dir: Where the ledger and clients are kept, or None where nothing is.
        warnings: What ``check`` and ``serve`` tell the operator, a sentence each.
        watched: Files whose change makes a new snapshot.
    """

    listen: Listen = Listen()
    limits: Limits = Limits()
    admin: AdminSettings = AdminSettings()
    clients: tuple[ClientSettings, ...] = ()
    upstreams: tuple[UpstreamSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()
    ledger: LedgerSettings = LedgerSettings()
    log_format: str = "json"
    overrides: tuple[Override, ...] = ()
    state_dir: Path | None = None
    warnings: tuple[str, ...] = ()
    watched: tuple[Path, ...] = ()
