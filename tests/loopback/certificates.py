"""Certificates for the run, made by the ``openssl`` command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")


def openssl(directory: Path, *arguments: str) -> None:
    """Run one of its commands."""
    assert OPENSSL is not None
    subprocess.run(  # noqa: S603  found above
        [OPENSSL, *arguments], cwd=directory, check=True, capture_output=True
    )


def authority(directory: Path, name: str) -> Path:
    """Return the certificate of a new authority; its key lies beside it."""
    (directory / f"{name}.cnf").write_text(
        "[req]\nprompt = no\ndistinguished_name = dn\nx509_extensions = v3\n"
        f"[dn]\nCN = authority {name}\n"
        "[v3]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
        "subjectKeyIdentifier = hash\n"
    )
    files = ["-config", f"{name}.cnf", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files)
    return directory / f"{name}.pem"


def signed(directory: Path, name: str, names: str) -> Path:
    """Return a server's certificate and key, signed by the authority ``one``."""
    (directory / f"{name}.cnf").write_text(
        f"[req]\nprompt = no\ndistinguished_name = dn\n[dn]\nCN = {name}\n"
        f"[v3]\nsubjectAltName = {names}\nextendedKeyUsage = serverAuth\n"
        "authorityKeyIdentifier = keyid\n"
    )
    files = ["-config", f"{name}.cnf", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
    openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", *files)
    by = ["-CA", "one.pem", "-CAkey", "one.key", "-set_serial", "1", "-days", "2"]
    extensions = ["-extfile", f"{name}.cnf", "-extensions", "v3", "-out", f"{name}.crt"]
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", *by, *extensions)
    whole = directory / f"{name}.pem"
    whole.write_text(
        (directory / f"{name}.crt").read_text() + (directory / f"{name}.key").read_text()
    )
    return whole


def server_side(certificate: Path) -> ssl.SSLContext:
    """Return what a server with *certificate* speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
