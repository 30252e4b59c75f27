"""The configurations that operators are shown are taken by the programs they are for."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from bench import nginx
from tests.attack.targets import free_port
from tests.loopback.certificates import OPENSSL, authority, signed
from tests.loopback.gateway import Gateway, connect, eventually, message, read_answer

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
    """Behind nginx as the page sets it up, over TLS, a stream comes as it is written."""
    binary, port = nginx.find(), free_port()
    assert binary is not None
    authority(tmp_path, "one")
    whole = str(signed(tmp_path, "gateway", "DNS:gateway.example"))
    with Gateway() as gateway:
        server = block("nginx")
        for name, ours in (
            ("/etc/nginx/gateway.pem", whole),
            ("/etc/nginx/gateway.key", whole),
            ("127.0.0.1:8787", f"127.0.0.1:{gateway.port}"),
            ("listen 443", f"listen 127.0.0.1:{port}"),
        ):
            assert name in server
            server = server.replace(name, ours)
        template = tmp_path / "nginx.conf"
        temporary = "".join(
            f"{kind}_temp_path {tmp_path};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        template.write_text(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {}\n"
            f"http {{\naccess_log off;\n{temporary}{server}}}\n"
        )
        command = [binary, "-p", str(tmp_path), "-c", str(template), "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:  # noqa: S603  found above
            try:
                eventually(lambda: process.poll() is not None or listens(port))
                assert process.poll() is None, process.communicate()[1].decode()
                through_nginx(gateway, port, tmp_path / "one.pem")
            finally:
                process.terminate()


def listens(port: int) -> bool:
    """Return whether somebody takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def through_nginx(gateway: Gateway, port: int, authority_file: Path) -> None:
    """Ask twice on one connection, then leave a third answer in the middle."""
    context = ssl.create_default_context(cafile=authority_file)
    stream = gateway.post(message("claude-text-3", stream=True), "accept-encoding: identity")
    with (
        connect(port) as plain,
        context.wrap_socket(plain, server_hostname="gateway.example") as connection,
    ):
        for _ in range(2):
            connection.sendall(stream)
            answer = read_answer(connection)
            assert (200, True) == (answer.status, answer.complete)
            assert b"message_stop" in answer.body
            assert answer.get("request-id")
        connection.sendall(gateway.post(message("claude-slow-50-200", stream=True)))
        first = b""
        while b"message_start" not in first:
            first += connection.recv(1 << 16)  # long before the last: nothing is held back
        assert b"message_stop" not in first
    *_, left = gateway.recorded(3)

    assert "client_left" == left.ending.value


# Where in a Caddyfile a directive may stand, as its manual says: Caddy itself is not at hand.
CADDY = {
    "": {"gateway.example"},
    "gateway.example": {"reverse_proxy"},
    "reverse_proxy": {"flush_interval", "lb_retries", "transport"},
    "transport": {"keepalive", "response_header_timeout", "compression"},
}


def test_caddy() -> None:
    """Caddy's blocks nest as its manual says; nothing is held back, and nothing is repeated."""
    within, said = [""], {}
    for line in block("caddy").splitlines():
        words = line.partition("#")[0].split()
        if words == ["}"]:
            within.pop()
        elif words:
            assert words[0] in CADDY[within[-1]], line
            assert "{" not in words[:-1]
            said[words[0]] = words[1:]
            within += [words[0]] if words[-1] == "{" else []

    assert [""] == within
    assert (["-1"], ["0"]) == (said["flush_interval"], said["lb_retries"])
    assert (["off"], ["http", "{"]) == (said["compression"], said["transport"])
    assert ["127.0.0.1:8787", "{"] == said["reverse_proxy"]
