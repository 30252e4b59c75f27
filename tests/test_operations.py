"""The configurations that operators are shown are taken by the programs they are for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import nginx
from tests.loopback.certificates import OPENSSL, authority, signed

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
ANALYZE = shutil.which("systemd-analyze")
# Names of sections and directives that a hardened unit is expected to have.
HARDENED = [
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "CapabilityBoundingSet=",
    "MemoryDenyWriteExecute=yes",
    "RestrictNamespaces=yes",
    "UMask=0077",
    "SystemCallFilter=@system-service",
    "LockPersonality=yes",
    "PrivateTmp=yes",
]


def block(language: str) -> str:
    """Return the one block of the page in a language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_unit_is_hardened() -> None:
    """The unit gives the service nothing that it does not need."""
    assert [] == [line for line in HARDENED if line not in block("ini").splitlines()]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_unit(tmp_path: Path) -> None:
    """Systemd takes each line of the unit."""
    assert ANALYZE is not None
    unit = tmp_path / "passgate.service"
    # What it runs and as whom is not there on this machine.
    text = re.sub(r"^(User|Group)=.*\n", "", block("ini"), flags=re.MULTILINE)
    unit.write_text(text.replace("/opt/passgate/bin/passgate", shutil.which("true") or "/bin/true"))
    said = subprocess.run(  # noqa: S603  found above
        [ANALYZE, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in said.stderr.splitlines() if "passgate.service" in line]

    assert [] == about_ours


@pytest.mark.skipif(
    nginx.find() is None or OPENSSL is None, reason="nginx or openssl is not installed"
)
def test_nginx(tmp_path: Path) -> None:
    """Nginx takes the configuration of the proxy in front."""
    binary = nginx.find()
    assert binary is not None
    authority(tmp_path, "one")
    whole = str(signed(tmp_path, "gateway", "DNS:gateway.example"))
    server = block("nginx")
    for name in ("/etc/nginx/gateway.pem", "/etc/nginx/gateway.key"):
        assert name in server
        server = server.replace(name, whole)
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid nginx.pid; error_log err.log; events {{}}\nhttp {{\n{server}}}\n")
    said = subprocess.run(  # noqa: S603  found above
        [binary, "-t", "-p", str(tmp_path), "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr


def test_caddy_is_well_formed() -> None:
    """Caddy's blocks open and close; nothing is held back and nothing is repeated."""
    text = re.sub(r"#.*", "", block("caddy"))
    depth = 0
    for mark in re.findall(r"[{}]", text):
        depth += 1 if mark == "{" else -1
        assert depth >= 0

    assert depth == 0
    assert re.search(r"flush_interval -1\s", text)
    assert re.search(r"lb_retries 0\s", text)
