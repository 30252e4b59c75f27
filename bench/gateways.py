"""The gateways that are compared: each started between the load and the fake upstream."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Final

from bench import canned, nginx
from bench.bed import Bed, Upstream, free_port
from bench.children import ROOT, ChildFailed, child, last_words
from bench.measure import tree

_START_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.002

_PASSGATE_TOML: Final = """\
[server]
host = "127.0.0.1"
port = {port}

[admin]
host = "127.0.0.1"
port = {admin_port}

[[client]]
name = "bench"
key_sha256 = "{key_sha256}"

[upstream.anthropic]
kind = "anthropic"
base_url = "{base_url}"
credential = {{ kind = "api_key", env = "BENCH_UPSTREAM_KEY" }}
{ca_line}
[upstream.gemini]
kind = "gemini"
base_url = "{base_url}"
credential = {{ kind = "api_key", env = "BENCH_UPSTREAM_KEY" }}
{ca_line}
[[route]]
model = "gemini-*"
upstream = "gemini"

[[route]]
model = "*"
upstream = "anthropic"
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that serves.

    Attributes:
        key: What a request to it has to show.
        pids: Its processes; none where the load goes straight to the upstream.
        cold_start_s: From its start to the end of its first answer; None likewise.
        admin_port: Where passgate's operator asks; 0 for all others.
    """

    port: int
    key: str
    pids: tuple[int, ...] = ()
    cold_start_s: float | None = None
    admin_port: int = 0


Start = Callable[[Bed, Upstream, Path], AbstractContextManager[Running]]
"""Runs a gateway in a new directory, between a load and an upstream."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of those compared: its column, its version, and how it is started."""

    name: str
    version: str
    start: Start


def present(say: Callable[[str], None]) -> list[Gateway]:
    """Return the gateways of this machine, *direct* first; *say* is told what is missing."""
    found = [Gateway("direct", "", _direct)]
    if binary := nginx.find():
        found.append(Gateway("nginx", nginx.version(binary), partial(_nginx, binary)))
    else:
        say("nginx is not installed: its column and the HTTPS upstream are left out")
    if source := source_of_passgate():
        found.append(Gateway("passgate", _passgate_version(), partial(passgate, source)))
    else:
        say("passgate is not installed here: its column is left out")
    return found


def source_of_passgate() -> Path | None:
    """Return where passgate is found, or None where it is not installed."""
    spec = find_spec("passgate")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def _passgate_version() -> str:
    try:
        return version_of("passgate")
    except PackageNotFoundError:
        return "from source"


@contextmanager
def _direct(bed: Bed, upstream: Upstream, _: Path) -> Iterator[Running]:
    yield Running(upstream.port, bed.credential)


@contextmanager
def _nginx(binary: str, bed: Bed, upstream: Upstream, directory: Path) -> Iterator[Running]:
    port = free_port()
    words = {
        "port": str(port),
        "key": bed.key,
        "credential": bed.credential,
        "scheme": upstream.scheme,
        "upstream_port": str(upstream.port),
        "ca": str(bed.ca),
    }
    begun_s = time.monotonic()
    with nginx.running(binary, "nginx.conf", words, directory, bed.cores.gateway) as process:
        yield _once_serving(process, bed, port, begun_s, directory)


@contextmanager
def passgate(
    source: Path,
    bed: Bed,
    upstream: Upstream,
    directory: Path,
    *,
    argv: Sequence[str] = (sys.executable, "-m", "passgate", "serve"),
) -> Iterator[Running]:
    """Run passgate's *source*, by a command that takes ``--config``."""
    directory.mkdir()
    port, admin_port = free_port(), free_port()
    config = directory / "passgate.toml"
    config.write_text(
        _PASSGATE_TOML.format(
            port=port,
            admin_port=admin_port,
            key_sha256=bed.key_sha256,
            base_url=upstream.url,
            ca_line=f'ca_file = "{bed.ca}"\n' if upstream == bed.tls else "",
        )
    )
    environment = {
        "PYTHONPATH": f"{source}:{ROOT}",  # found also where it runs from a checkout
        "PASSGATE_STATE_DIR": str(directory / "state"),
        "BENCH_UPSTREAM_KEY": bed.credential,
    }
    begun_s = time.monotonic()
    with child(
        [*argv, "--config", str(config)],
        bed.cores.gateway,
        directory,
        name="passgate",
        environment=environment,
    ) as process:
        serving = _once_serving(process, bed, port, begun_s, directory)
        yield replace(serving, admin_port=admin_port)


def _once_serving(
    process: Popen[bytes], bed: Bed, port: int, begun_s: float, directory: Path
) -> Running:
    """Ask until the first answer comes.

    Raises:
        ChildFailed: It ended, answered something else, or took too long.
    """
    while True:
        status = _ask(port, bed.key)
        now_s = time.monotonic()
        if status == http.client.OK:
            return Running(port, bed.key, tree(process.pid), now_s - begun_s)
        if status is not None:
            raise ChildFailed(f"it answered {status}: {last_words(directory)}")
        if process.poll() is not None or now_s - begun_s > _START_S:
            raise ChildFailed(f"it does not serve: {last_words(directory)}")
        time.sleep(_LOOK_AGAIN_S)


def _ask(port: int, key: str) -> int | None:
    """Return the status of a small request, or None where none comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    body = json.dumps({"model": canned.MESSAGE_MODEL, "max_tokens": 16, "messages": []})
    fields = {"content-type": "application/json", "x-api-key": key}
    try:
        connection.request("POST", "/v1/messages", body, fields)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return answer.status
    finally:
        connection.close()
