"""``clients.toml``: what ``passgate keys`` keeps, written whole or not at all.

Read by ``config``, which also says what is wrong with it; here it is only changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from passgate import config
from passgate.core.settings import ClientSettings

Clients = tuple[ClientSettings, ...]

_HEADER = "# Kept by `passgate keys`; clients that you write yourself go into passgate.toml.\n"
_LOCK_TRIES, _LOCK_PAUSE_S = 200, 0.05  # 10 s: a writer holds it for milliseconds


class Refusal(Exception):
    """What was asked for cannot be done; the text says why."""


def change(path: Path, to: Callable[[Clients], Clients]) -> None:
    """Replace the clients in *path* by what *to* makes of them.

    Two that do so at once take turns, and whoever reads sees the old file or the new.

    Raises:
        ConfigError: The file is not one that passgate can read.
        Refusal: It holds what writing it would lose, or is locked, or *to* says so.
        OSError: It cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.with_name("clients.lock")):
        clients = config.clients_in(path)
        _refuse_comments(path)
        _write(path, _HEADER + "".join(_entry(client) for client in to(clients)))


def _entry(client: ClientSettings) -> str:
    """Return one client as TOML; what is as by default is left out."""
    lines = ["", "[[client]]"]
    lines.append(f"name = {_text(client.name)}")
    lines.append(f'key_sha256 = "{client.digest.hex()}"')
    if client.models != ("*",):
        lines.append(f"models = [{', '.join(map(_text, client.models))}]")
    if client.paths != ("*",):
        lines.append(f"paths = [{', '.join(map(_text, client.paths))}]")
    if client.expires_s is not None:
        lines.append(f"expires = {stamp(client.expires_s)}")
    return "\n".join(lines) + "\n"


def stamp(wall_s: float) -> str:
    """Return a moment as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat().replace("+00:00", "Z")


def _text(value: str) -> str:
    # A JSON string of printable characters is a TOML string; as escapes it need not be.
    return json.dumps(value, ensure_ascii=False)


def _refuse_comments(path: Path) -> None:
    """Refuse a file with comments: they are all that reading it would lose."""
    with suppress(FileNotFoundError):
        if "#" in path.read_text(encoding="utf-8").removeprefix(_HEADER):
            raise Refusal(
                f"{path} holds comments, which would be lost: take them out, "
                "or change the file by hand"
            )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only writer. The lock is a file of its own: the other one is replaced."""
    # Not truncated, never removed: both would let two hold it.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _owned_as_its_directory(lock, path)
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise Refusal(f"{path} is locked by another program") from None
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    # In the same directory, so that it is renamed and not copied.
    descriptor, name = tempfile.mkstemp(prefix=".clients-", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor
            _owned_as_its_directory(descriptor, path)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # else a power cut could take the new name back
    finally:
        os.close(directory)


def _owned_as_its_directory(descriptor: int, path: Path) -> None:
    """Where root runs this, leave a file that the gateway's own user can read."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
