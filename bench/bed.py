"""The test bed: the fake upstream, with and without TLS, and the secrets of this run."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import nginx
from bench.children import ROOT, ChildFailed, Cores, child, last_words

# A certificate authority and one certificate, both gone with the directory they are in.
_CA: Final = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench-ca"
    " -keyout ca.key -out ca.pem"
)
_REQUEST: Final = (
    "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    " -keyout upstream.key -out upstream.csr"
)
_SIGN: Final = (
    "x509 -req -in upstream.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
    " -extfile names.ext -out upstream.pem"
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a gateway finds the fake upstream, and how it talks to it."""

    scheme: str
    port: int

    @property
    def url(self) -> str:
        """Return the origin, as a config names it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Bed:
    """What gateways are put into.

    Attributes:
        directory: Everything that is written during the run.
        key: What a client shows a gateway.
        credential: What a gateway shows the upstream.
        plain: The fake upstream.
        tls: The same behind TLS, or None where it is not wanted or nginx or openssl is missing.
        ca: The certificate authority that vouches for the latter.
    """

    directory: Path
    cores: Cores
    key: str
    credential: str
    plain: Upstream
    tls: Upstream | None
    ca: Path

    @property
    def key_sha256(self) -> str:
        """Return the key as a config holds it."""
        return hashlib.sha256(self.key.encode()).hexdigest()


@contextmanager
def laid_out(directory: Path, cores: Cores, *, tls: bool) -> Iterator[Bed]:
    """Start what every gateway needs, and end it when the block ends.

    Raises:
        ChildFailed: The fake upstream did not start, or nginx or openssl before it.
    """
    credential = f"sk-bench-{secrets.token_urlsafe(32)}"
    with ExitStack() as stack:
        port = stack.enter_context(_upstream(directory, cores, credential))
        tls_port = stack.enter_context(_tls_front(directory, cores, port)) if tls else None
        yield Bed(
            directory=directory,
            cores=cores,
            key=f"pg_{secrets.token_urlsafe(32)}",
            credential=credential,
            plain=Upstream("http", port),
            tls=None if tls_port is None else Upstream("https", tls_port),
            ca=directory / "ca.pem",
        )


@contextmanager
def _upstream(directory: Path, cores: Cores, credential: str) -> Iterator[int]:
    argv = [sys.executable, "-m", "bench.upstream"]
    where = {"PYTHONPATH": str(ROOT)}
    with child(
        argv, cores.load, directory, name="upstream", environment=where, piped=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise ChildFailed("the fake upstream has no pipes")
        process.stdin.write(credential.encode() + b"\n")
        process.stdin.flush()
        said = process.stdout.readline()  # ends with the child, which dies or prints
        if not said:
            raise ChildFailed(f"the fake upstream: {last_words(directory)}")
        yield int(said)


@contextmanager
def _tls_front(directory: Path, cores: Cores, upstream_port: int) -> Iterator[int | None]:
    binary, openssl = nginx.find(), shutil.which("openssl")
    if binary is None or openssl is None:
        yield None
        return
    _make_certificate(openssl, directory)
    port = free_port()
    words = {
        "port": str(port),
        "upstream_port": str(upstream_port),
        "certificate": str(directory / "upstream.pem"),
        "certificate_key": str(directory / "upstream.key"),
    }
    front = directory / "tls"
    with nginx.running(binary, "nginx-tls.conf", words, front, cores.load) as process:
        while not _listens(port):
            if process.poll() is not None:
                raise ChildFailed(f"nginx before the fake upstream: {last_words(front)}")
            time.sleep(0.01)
        yield port


def _make_certificate(openssl: str, directory: Path) -> None:
    (directory / "names.ext").write_text("subjectAltName = DNS:localhost, IP:127.0.0.1\n")
    for arguments in (_CA, _REQUEST, _SIGN):
        argv = [openssl, *arguments.split()]
        ran = subprocess.run(  # noqa: S603  our own arguments
            argv, cwd=directory, capture_output=True, text=True, timeout=20, check=False
        )
        if ran.returncode != 0:
            raise ChildFailed(f"openssl: {ran.stderr.strip()}")


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has; another program might take it meanwhile."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
