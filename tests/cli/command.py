"""A command, run as ``passgate NAME ...`` runs it, and what it answered."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from types import ModuleType

import pytest


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str


class Command:
    """One command of ``passgate.cli``, by its module.

    Args:
        module: The command's; its last name is the command's name.
        capture: What it prints.
    """

    def __init__(self, module: ModuleType, capture: pytest.CaptureFixture[str]) -> None:
        self._module = module
        self._name = module.__name__.rpartition(".")[2]
        self._capture = capture

    def __call__(self, *words: str) -> Said:
        """Run it with *words*."""
        parser = argparse.ArgumentParser()
        self._module.add_parser(parser.add_subparsers())
        try:
            args = parser.parse_args([self._name, *words])
            status = args.run(args)
        except SystemExit as stop:
            status = stop.code
        said = self._capture.readouterr()
        assert isinstance(status, int)
        return Said(status, said.out, said.err)
