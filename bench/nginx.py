"""nginx: found, given a configuration from a template, and run in a directory of its own."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.children import child

_TEMPLATES: Final = Path(__file__).parent
_HOLE: Final = re.compile(r"@(\w+)@")

# Debian keeps it where only root's PATH looks.
_PATH: Final = f"{os.defpath}:/usr/sbin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin"


def find() -> str | None:
    """Return where nginx is, or None where there is none."""
    return shutil.which("nginx", path=_PATH)


def version(binary: str) -> str:
    """Return the version of *binary*, such as ``1.22.1``."""
    said = subprocess.run(  # noqa: S603  what find() found
        [binary, "-v"], capture_output=True, text=True, timeout=5, check=True
    )
    return said.stderr.strip().rpartition("/")[2]


@contextmanager
def running(
    binary: str, template: str, words: Mapping[str, str], directory: Path, cores: frozenset[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx in *directory* with *template*, its holes filled with *words*."""
    directory.mkdir()
    filled = _filled((_TEMPLATES / template).read_text(), {"user": _user(), **words})
    config = directory / "nginx.conf"
    config.touch(mode=0o600)  # it holds the key and the credential
    config.write_text(filled)
    argv = [binary, "-p", str(directory), "-c", str(config)]
    with child(argv, cores, directory, name="nginx") as process:
        yield process


def _filled(template: str, words: Mapping[str, str]) -> str:
    """Return *template* with its holes filled; each needs a word, so a misspelt one shows."""
    return "\n".join(
        line if line.lstrip().startswith("#") else _HOLE.sub(lambda hole: words[hole[1]], line)
        for line in template.splitlines()
    )


def _user() -> str:
    """Return the directive that keeps the worker in our own directory, where it needs one.

    Started by root, a worker would become ``nobody``, who may not write there.
    """
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};"
