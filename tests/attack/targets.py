"""The gateways that are attacked: passgate, nginx, or whatever runs at some port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import nginx
from tests.attack.tap import Tap
from tests.loopback.gateway import Served, connect

NGINX_CONF = Path(__file__).parent / "nginx.conf"

# Short, so that what is slow is cut while we look.
HEAD_S, BODY_S = 1, 1

_CONFIG = """
[server]
port = 0
client_head_s = {head_s}
client_body_idle_s = {body_s}
first_byte_s = 20
idle_s = 20

[admin]
port = 0

[[client]]
name = "attacker"
key_sha256 = "{digest}"

[[client]]
name = "other"
key_sha256 = "{other}"

[[client]]
name = "expired"
key_sha256 = "{expired}"
expires = 2020-01-01T00:00:00Z

[upstream.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:{port}"
credential = {{ kind = "api_key", file = {file} }}

[[route]]
model = "*"
upstream = "anthropic"
"""


@dataclass(frozen=True)
class Keys:
    """The secrets of a run, made for it.

    Attributes:
        key: Of the client that attacks.
        other: Another client's, good as well.
        expired: One that was good.
        unknown: One that nobody has.
        credential: What the upstream is shown.
    """

    key: str
    other: str
    expired: str
    unknown: str
    credential: str

    @classmethod
    def made(cls, key: str | None = None, credential: str | None = None) -> Keys:
        """Return new ones, but for those that are given."""
        mine, other, expired, unknown = (f"pg_{secrets.token_urlsafe(32)}" for _ in range(4))
        shown = credential or f"up_{secrets.token_urlsafe(32)}"
        return cls(key or mine, other, expired, unknown, shown)


@dataclass(frozen=True)
class Target:
    """A gateway that can be attacked.

    Attributes:
        name: As the table calls it.
        port: Where it listens.
        keys: The secrets of this run.
        tap: Its upstream.
        pid: The process whose memory is looked at; None where it is not ours.
    """

    name: str
    port: int
    keys: Keys
    tap: Tap
    pid: int | None = None

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a new connection to it."""
        return connect(self.port, receive_buffer=receive_buffer)


@contextlib.contextmanager
def passgate() -> Iterator[Target]:
    """Run ``passgate serve``."""
    keys = Keys.made()
    with Tap() as tap, tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        file = directory / "credential"
        file.touch(mode=0o600)
        file.write_text(keys.credential)
        digests = {
            name: hashlib.sha256(key.encode()).hexdigest()
            for name, key in (
                ("digest", keys.key),
                ("other", keys.other),
                ("expired", keys.expired),
            )
        }
        config = _CONFIG.format(
            head_s=HEAD_S, body_s=BODY_S, port=tap.port, file=json.dumps(str(file)), **digests
        )
        with Served(config, directory) as served:
            yield Target("passgate", served.port, keys, tap, served.process.pid)


@contextlib.contextmanager
def hardened_nginx() -> Iterator[Target]:
    """Run nginx with the hardened configuration beside this file.

    Raises:
        RuntimeError: It is not installed, or does not start.
    """
    binary = nginx.find()
    if binary is None:
        raise RuntimeError("nginx is not installed")
    keys = Keys.made()
    with Tap() as tap, tempfile.TemporaryDirectory() as place:
        port = free_port()
        words = {
            "port": str(port),
            "upstream_port": str(tap.port),
            "key": keys.key,
            "other": keys.other,
            "credential": keys.credential,
            "head_s": str(HEAD_S),
            "body_s": str(BODY_S),
        }
        cores = frozenset(os.sched_getaffinity(0))
        directory = Path(place) / "nginx"
        with nginx.running(binary, str(NGINX_CONF), words, directory, cores) as process:
            _listens(port)
            yield Target("nginx", port, keys, tap, process.pid)


@contextlib.contextmanager
def running_at(port: int, key: str, credential: str, upstream_port: int) -> Iterator[Target]:
    """Attack what runs at *port* and sends to *upstream_port*, both on loopback."""
    with Tap(upstream_port) as tap:
        yield Target(f"port {port}", port, Keys.made(key, credential), tap)


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _listens(port: int, within_s: float = 5.0) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise RuntimeError("it does not listen") from None
            time.sleep(0.01)
        else:
            return
