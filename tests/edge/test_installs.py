"""Installs are counted once each, kept over a restart, bounded, and told by nobody's id."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from passgate.core.faults import Refused
from passgate.core.installs import Install
from passgate.edge.installs import FILE_NAME, Installs

DAY_S = 86_400
SALT = b"s" * 16


class Calendar:
    """A clock that the test moves."""

    wall_s = 1_800_000_000.0

    def monotonic(self) -> float:
        """See ``interfaces.Clock``."""
        return 0.0

    def wall(self) -> float:
        """See ``interfaces.Clock``."""
        return self.wall_s


def install(number: int, version: str = "1.0", platform: str = "linux") -> Install:
    """Return the install of that number."""
    return Install(f"00000000-0000-4000-8000-{number:012x}", version, platform)


@pytest.fixture
def clock() -> Calendar:
    """A clock."""
    return Calendar()


@pytest.fixture
def kept(tmp_path: Path, clock: Calendar) -> Iterator[Installs]:
    """Installs in a file."""
    with closing(Installs(tmp_path / "state" / FILE_NAME, lambda: SALT, clock)) as kept:
        yield kept


async def test_each_is_counted_once(kept: Installs) -> None:
    """A machine that reports again is the same one, however its id is spelt."""
    for number in (10, 11, 10):
        kept.note(install(number))
    again = install(10)
    kept.note(Install(again.install_id.upper(), "1.1", "linux"))
    counts = await kept.counts()

    assert 2 == counts.installs
    assert {"1.0": 1, "1.1": 1} == counts.by_version
    assert {"linux": 2} == counts.by_platform


async def test_active(kept: Installs, clock: Calendar) -> None:
    """Who was seen lately is active, by the time of the question."""
    kept.note(install(1))
    clock.wall_s += 10 * DAY_S
    kept.note(install(2))
    clock.wall_s += 3 * DAY_S
    kept.note(install(3))
    counts = await kept.counts()

    assert {"24h": 1, "7d": 2, "30d": 3} == counts.active

    clock.wall_s += 20 * DAY_S
    assert {"24h": 0, "7d": 0, "30d": 2} == (await kept.counts()).active


async def test_restart(tmp_path: Path, clock: Calendar) -> None:
    """What was noted is there after a restart, the last note included."""
    path = tmp_path / FILE_NAME
    for number in range(3):
        with closing(Installs(path, lambda: SALT, clock)) as kept:
            kept.note(install(number))
    with closing(Installs(path, lambda: SALT, clock)) as kept:
        assert 3 == (await kept.counts()).installs


async def test_in_memory(clock: Calendar) -> None:
    """Without a state directory they are counted as long as the process runs."""
    with closing(Installs(None, lambda: SALT, clock)) as kept:
        kept.note(install(1))

        assert 1 == (await kept.counts()).installs


def test_nothing_is_made_for_nobody(tmp_path: Path, clock: Calendar) -> None:
    """Where nobody reports there is no file and no thread."""
    before = threading.active_count()
    with closing(Installs(tmp_path / FILE_NAME, lambda: SALT, clock)):
        pass

    assert (False, before) == ([*tmp_path.iterdir()] != [], threading.active_count())


async def test_only_a_hash_is_kept(kept: Installs, tmp_path: Path) -> None:
    """No file holds the id, and only their owner reads them."""
    kept.note(install(0xABCDEF))
    await kept.counts()
    files = list((tmp_path / "state").iterdir())

    assert FILE_NAME in {file.name for file in files}
    for file in files:
        assert 0o600 == stat.S_IMODE(file.stat().st_mode)
        data = file.read_bytes().lower()
        assert b"abcdef" not in data
        assert bytes.fromhex("abcdef") not in data


async def test_another_salt_is_another_hash(tmp_path: Path, clock: Calendar) -> None:
    """The same id at another gateway cannot be recognised."""
    path = tmp_path / FILE_NAME
    for salt in (SALT, b"t" * 16):
        with closing(Installs(path, partial(bytes, salt), clock)) as kept:
            kept.note(install(1))
    with closing(Installs(path, lambda: SALT, clock)) as kept:
        assert 2 == (await kept.counts()).installs


async def test_so_many_are_kept(clock: Calendar) -> None:
    """At the cap, whoever has been silent for longest gives way."""
    with closing(Installs(None, lambda: SALT, clock, max_kept=10)) as kept:
        for number in range(12):
            clock.wall_s += 1
            kept.note(install(number, version=f"v{number}"))
        clock.wall_s += 1
        kept.note(install(2, version="v2"))
        kept.note(install(12, version="v12"))
        counts = await kept.counts()

    assert 10 == counts.installs
    assert {f"v{n}" for n in (2, 4, 5, 6, 7, 8, 9, 10, 11, 12)} == set(counts.by_version)


async def test_so_many_are_told_apart(kept: Installs, clock: Calendar) -> None:
    """What is in use has a name, what is not is among the others."""
    for number in range(60):
        kept.note(install(number, version=f"old{number}"))
    clock.wall_s += 40 * DAY_S
    for number in range(60, 80):
        kept.note(install(number, version=f"new{number}"))
    told = (await kept.counts()).by_version

    assert 51 == len(told)
    assert {f"new{n}" for n in range(60, 80)} <= set(told)
    assert (30, 80) == (told["other"], sum(told.values()))


async def test_too_many_wait(kept: Installs) -> None:
    """What comes faster than it can be written is refused, not heaped up."""
    release = threading.Event()
    kept._own_thread().submit(release.wait)
    for number in range(1000):
        kept.note(install(number))
    with pytest.raises(Refused) as refused:
        kept.note(install(1000))
    release.set()

    assert 529 == refused.value.fault.status
    assert 1000 == (await kept.counts()).installs
    kept.note(install(1000))


async def test_broken_file(tmp_path: Path, clock: Calendar) -> None:
    """A file that is none is said so, costs nobody anything, and is used once it is mended."""
    path = tmp_path / FILE_NAME
    path.write_text("no database" * 100)
    with closing(Installs(path, lambda: SALT, clock)) as kept:
        kept.note(install(1))
        with pytest.raises(Refused) as refused:
            await kept.counts()
        problem = kept.problem
        path.unlink()
        kept.note(install(2))
        counts = await kept.counts()

    assert 529 == refused.value.fault.status
    assert "installs cannot be counted: DatabaseError" == problem
    assert (1, None) == (counts.installs, kept.problem)


async def test_no_directory(tmp_path: Path, clock: Calendar) -> None:
    """Where nothing can be made, that is said without naming the place."""
    (tmp_path / "file").write_text("")
    with closing(Installs(tmp_path / "file" / FILE_NAME, lambda: SALT, clock)) as kept:
        with pytest.raises(Refused):
            await kept.counts()

        assert kept.problem is not None
        assert str(tmp_path) not in kept.problem
