"""The pure part is tested to its last branch, by its own tests alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_CORE = ("tests/core", "--cov=passgate.core", "--cov-branch", "--cov-fail-under=100")


@pytest.mark.timeout(300)  # the tests of core/ once more, traced
def test_every_branch_of_core(tmp_path: Path) -> None:
    """What only the rest of the suite happens to run through counts as untested."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_CORE]
    # Not the surrounding run's data file, where that is traced, too.
    env = os.environ | {"COVERAGE_FILE": str(tmp_path / "data")}  # noqa: TID251  a child's
    done = subprocess.run(  # noqa: S603  our own tests
        command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout[-4000:] + done.stderr[-2000:]
