"""Where the configuration and the state are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def config_file(path: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Path, bool]:
    """Return the configuration file, and whether it was asked for by name.

    Args:
        path: What the command line says, or None.
        environ: The environment, which may say ``PASSGATE_CONFIG``.
        cwd: Where ``passgate.toml`` is looked for; it need not exist.
    """
    if path is not None:
        return cwd / path, True
    named = environ.get("PASSGATE_CONFIG")
    return (cwd / named, True) if named else (cwd / "passgate.toml", False)


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return where state lives; relative only where ``PASSGATE_STATE_DIR`` is."""
    named = environ.get("PASSGATE_STATE_DIR")
    if named:
        return Path(named)
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # else to be ignored: XDG Base Directory Specification
        return Path(base) / "passgate"
    home = environ.get("HOME")
    return Path(home) / ".local/state/passgate" if home else Path("/var/lib/passgate")


def clients_file(environ: Mapping[str, str], cwd: Path) -> Path:
    """Return the file in which ``passgate keys`` keeps clients."""
    return cwd / state_dir(environ) / "clients.toml"
