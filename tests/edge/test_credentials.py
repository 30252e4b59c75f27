"""Where credentials come from: what is taken, when, how often, and what is kept meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from passgate.core.credential import MAX_SOURCE_BYTES, Credential, CredentialMissing
from passgate.core.settings import (
    CredentialKind,
    CredentialSettings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.edge.credentials import SOURCES, CommandReader, Fetched, open_source
from passgate.gateway.interfaces import CredentialSource


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    def wall(self) -> float:
        """Return the time."""
        return self.now_s


class RunningTasks:
    """Starts tasks and counts them."""

    def __init__(self) -> None:
        self.started: list[asyncio.Task[Any]] = []

    def start(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *coro* as a task."""
        self.started.append(asyncio.get_running_loop().create_task(coro, name=name))
        return self.started[-1]


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def tasks() -> RunningTasks:
    """The owner of tasks."""
    return RunningTasks()


def upstream(
    credential: CredentialSettings, kind: UpstreamKind = UpstreamKind.ANTHROPIC
) -> UpstreamSettings:
    """Return an upstream that is shown *credential*."""
    return UpstreamSettings(
        "up", kind, tls=True, host="h", port=443, prefix="", credential=credential
    )


def from_file(path: Path) -> UpstreamSettings:
    """Return an upstream whose credential is in a file."""
    return upstream(CredentialSettings(CredentialKind.BEARER, file=path))


def from_command(*command: str, ttl_s: float = 300.0) -> UpstreamSettings:
    """Return an upstream whose credential a command prints."""
    return upstream(CredentialSettings(CredentialKind.BEARER, command=command, ttl_s=ttl_s))


def counting(tally: Path, then: str) -> tuple[str, ...]:
    """Return a command that leaves a mark each time it runs, and then does *then*."""
    return ("sh", "-c", f'echo x >> "$0"; {then}', str(tally))


async def shown(source: CredentialSource) -> bytes | None:
    """Return what an upstream would be shown, None where there is nothing."""
    try:
        return (await source.current()).secret
    except CredentialMissing:
        return None


def at_once(source: CredentialSource) -> Credential:
    """Return the credential of a source that must not wait for anything."""
    coro = source.current()
    try:
        coro.send(None)
    except StopIteration as stop:
        credential: Credential = stop.value
        assert source.cached is credential
        return credential
    raise AssertionError("current() waits")


# Sources that do not change.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(
            CredentialSettings(CredentialKind.API_KEY, env="X", env_value=" secret\n"),
            Credential("up", CredentialKind.API_KEY, b"secret"),
            id="env",
        ),
        pytest.param(
            CredentialSettings(CredentialKind.CLIENT),
            Credential("up", CredentialKind.CLIENT),
            id="client",
        ),
        pytest.param(
            CredentialSettings(CredentialKind.NONE),
            Credential("up", CredentialKind.NONE),
            id="none",
        ),
    ],
)
async def test_fixed(
    settings: CredentialSettings, expected: Credential, clock: FakeClock, tasks: RunningTasks
) -> None:
    """What cannot change is there at once, and a 401 or a look changes nothing."""
    source = open_source(upstream(settings), clock, tasks)
    source.rejected(expected)
    await source.refresh()

    assert (expected, True, None, []) == (
        at_once(source),
        source.usable,
        source.problem,
        tasks.started,
    )


@pytest.mark.parametrize("value", [None, "", "a\nb", "\udcff"])
async def test_unusable_variable(value: str | None, clock: FakeClock, tasks: RunningTasks) -> None:
    """A variable without a credential leaves the upstream without one."""
    settings = CredentialSettings(CredentialKind.API_KEY, env="X", env_value=value)
    source = open_source(upstream(settings), clock, tasks)
    got = (await shown(source), source.usable, source.problem is None)
    expected = (None, False, False)

    assert expected == got


def test_every_source_has_its_row() -> None:
    """The table of sources is what the settings can name."""
    assert {"env", "file", "command", "client", "none"} == SOURCES.keys()


# A file.


async def test_file(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """After the first look a file's credential is there at once."""
    (tmp_path / "token").write_bytes(b" secret\r\n")
    source = open_source(from_file(tmp_path / "token"), clock, tasks)
    usable_before = source.usable
    await source.refresh()

    assert (False, Credential("up", CredentialKind.BEARER, b"secret"), True, None) == (
        usable_before,
        at_once(source),
        source.usable,
        source.problem,
    )


async def test_file_before_the_first_look(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """Who asks before the app has looked waits for the first look."""
    (tmp_path / "token").write_text("secret")
    source = open_source(from_file(tmp_path / "token"), clock, tasks)
    got = await asyncio.gather(*(shown(source) for _ in range(9)))
    expected = ([b"secret"] * 9, 1)

    assert expected == (got, len(tasks.started))


async def test_keys_file_of_gemini(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """For a Gemini upstream the file lists keys, of which ``gemini_keys.py`` chooses."""
    (tmp_path / "keys").write_text("# ours\nteam=first\nsecond\n")
    credential = CredentialSettings(CredentialKind.API_KEY, file=tmp_path / "keys")
    source = open_source(upstream(credential, UpstreamKind.GEMINI), clock, tasks)
    got = await shown(source)
    expected = b"team=first\nsecond"

    assert expected == got


def replaced(path: Path, secret: str) -> None:
    """Write a new file and give it the name, as careful programs do."""
    new = path.with_name("new")
    new.write_text(secret)
    new.replace(path)


def overwritten(path: Path, secret: str) -> None:
    """Write into the same file."""
    path.write_text(secret)


def relinked(path: Path, secret: str) -> None:
    """Point a link elsewhere, as Kubernetes does."""
    other = path.with_name("other")
    other.write_text(secret)
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("change", [replaced, overwritten, relinked])
async def test_changed_file(
    tmp_path: Path,
    change: object,
    clock: FakeClock,
    tasks: RunningTasks,
) -> None:
    """A new value is shown from the next look on, however it came into the file."""
    path = tmp_path / "token"
    path.write_text("old")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    assert callable(change)
    change(path, "newer")
    before = at_once(source).secret
    clock.now_s += 1
    await source.refresh()
    assert isinstance(source, Fetched)

    assert (b"old", b"newer", clock.now_s) == (before, at_once(source).secret, source.fetched_s)


def emptied(path: Path) -> None:
    """Leave nothing in the file."""
    path.write_text("")


def removed(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def made_a_directory(path: Path) -> None:
    """Put a directory in its place: what even root cannot read."""
    path.unlink()
    path.mkdir()


def made_a_pipe(path: Path) -> None:
    """Put a pipe in its place, at which a reader would wait for ever."""
    path.unlink()
    os.mkfifo(path)


def made_unreadable(path: Path) -> None:
    """Put a file in its place that opens and cannot be read, by root neither."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def filled(content: bytes) -> object:
    """Return what writes *content*."""
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        emptied,
        removed,
        made_a_directory,
        made_a_pipe,
        made_unreadable,
        pytest.param(filled(b"two\nlines"), id="two lines"),
        pytest.param(filled(b"a\x00b"), id="control character"),
        pytest.param(filled("é".encode()), id="not ASCII"),
        pytest.param(filled(b"x" * (MAX_SOURCE_BYTES + 1)), id="too large"),
    ],
)
async def test_spoilt_file(
    tmp_path: Path, spoil: object, clock: FakeClock, tasks: RunningTasks
) -> None:
    """While a file is unusable the last good value stays, the problem shows, and it heals."""
    path = tmp_path / "token"
    path.write_text("good")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    assert callable(spoil)
    spoil(path)
    await source.refresh()
    during = (at_once(source).secret, source.usable, source.problem)
    if path.is_dir():
        path.rmdir()
    replaced(path, "better")
    await source.refresh()
    expected = ((b"good", True), True, False, (b"better", None))

    assert expected == (
        during[:2],
        str(during[2]).startswith("the credential's file "),
        str(tmp_path) in str(during[2]),
        (at_once(source).secret, source.problem),
    )


async def test_no_file_at_first(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """A file that comes late is found by a look; until then there is nothing to show."""
    source = open_source(from_file(tmp_path / "token"), clock, tasks)
    await source.refresh()
    before = (await shown(source), source.usable)
    (tmp_path / "token").write_text("late")
    await source.refresh()
    expected = ((None, False), b"late")

    assert expected == (before, at_once(source).secret)


def disguise(path: Path, secret: str) -> None:
    """Change a file's content and nothing that a look at it would see."""
    found = path.stat()
    path.write_text(secret)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


async def test_file_that_looks_unchanged(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A file that looks as it was is not read, but after a 401 it is."""
    path = tmp_path / "token"
    path.write_text("old")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    disguise(path, "new")
    await source.refresh()
    before = at_once(source)
    source.rejected(before)
    expected = (b"old", b"new")

    assert expected == (before.secret, await shown(source))


# After a 401.


async def test_one_fetch_for_all_who_were_refused(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """However many exchanges meet the 401, the source is asked once."""
    tally = tmp_path / "tally"
    source = open_source(from_command(*counting(tally, 'wc -l < "$0"')), clock, tasks)
    await source.refresh()
    old = at_once(source)
    for _ in range(9):
        source.rejected(old)
    got = await asyncio.gather(*(shown(source) for _ in range(9)))
    expected = (b"1", [b"2"] * 9, "x\nx\n")

    assert expected == (old.secret, got, tally.read_text())


async def test_source_that_insists(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """A credential that is refused again and again is fetched once a second, not more."""
    tally = tmp_path / "tally"
    source = open_source(from_command(*counting(tally, "echo same")), clock, tasks)
    for _ in range(4):
        source.rejected(await source.current())
        clock.now_s += 0.4

    # At 0.0 s for the first time, at 0.4 s for the first 401; at 0.8 and 1.2 s too early.
    before = tally.read_text()
    await source.current()  # at 1.6 s
    expected = ("x\nx\n", "x\nx\nx\n")

    assert expected == (before, tally.read_text())


async def test_401_for_a_credential_of_before(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A late 401 for a credential that was replaced since says nothing about the new one."""
    path = tmp_path / "token"
    path.write_text("old")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    old = at_once(source)
    replaced(path, "new")
    await source.refresh()
    source.rejected(old)
    expected = b"new"

    assert expected == at_once(source).secret


async def test_401_while_a_look_is_under_way(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A look that began before the 401 may have been too early: there is another one."""
    path = tmp_path / "token"
    path.write_text("old")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    disguise(path, "new")
    look = tasks.start(source.refresh(), "look")
    await asyncio.sleep(0)
    source.rejected(at_once(source))
    got = await shown(source)
    await look
    expected = b"new"

    assert expected == got


async def test_refused_credential_that_cannot_be_renewed(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """Where nothing better can be had, the refused one is shown again."""
    path = tmp_path / "token"
    path.write_text("old")
    source = open_source(from_file(path), clock, tasks)
    await source.refresh()
    path.unlink()
    source.rejected(at_once(source))
    got = await shown(source)
    expected = (b"old", True)

    assert expected == (got, source.usable)


# Who waits.


async def test_waiter_that_leaves(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """An exchange that ends while it waits takes the fetch from nobody else."""
    tally = tmp_path / "tally"
    source = open_source(from_command(*counting(tally, "echo secret")), clock, tasks)
    first, second = (tasks.start(shown(source), "waiter") for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    got = await second
    expected = (b"secret", "x\n", True)

    assert expected == (got, tally.read_text(), first.cancelled())


async def test_waiter_without_a_task(tmp_path: Path, clock: FakeClock, tasks: RunningTasks) -> None:
    """The pipeline is driven by callbacks: ``current`` needs no task around it."""
    (tmp_path / "token").write_text("secret")
    source = open_source(from_file(tmp_path / "token"), clock, tasks)
    coro, done = source.current(), asyncio.get_running_loop().create_future()

    def step(_: object = None) -> None:
        try:
            awaited = coro.send(None)
        except StopIteration as stop:
            done.set_result(stop.value)
        except CredentialMissing as error:
            done.set_exception(error)
        else:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(step)

    asyncio.get_running_loop().call_soon(step)
    got = await done
    expected = b"secret"

    assert expected == got.secret


# A command.


async def test_command(clock: FakeClock, tasks: RunningTasks) -> None:
    """What a command prints is the credential; no shell reads its arguments."""
    source = open_source(from_command("printf", " %s\n", "$HOME;x"), clock, tasks)
    await source.refresh()
    assert isinstance(source, Fetched)

    assert (b"$HOME;x", None, clock.now_s) == (
        at_once(source).secret,
        source.problem,
        source.fetched_s,
    )


async def test_command_has_nothing_to_read(clock: FakeClock, tasks: RunningTasks) -> None:
    """A command that asks at its standard input gets no answer, instead of waiting for one."""
    source = open_source(from_command("sh", "-c", "cat; echo secret"), clock, tasks)
    await source.refresh()
    expected = b"secret"

    assert expected == at_once(source).secret


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(("false",), "ended with status 1", id="status"),
        pytest.param(("sh", "-c", "kill -9 $$"), "ended with status -9", id="signal"),
        pytest.param(("no-such-program",), "cannot be run: No such file", id="no program"),
        pytest.param(("/",), "cannot be run: Permission denied", id="no program, a directory"),
        pytest.param(("true",), "is empty", id="nothing"),
        pytest.param(("printf", "a\\nb"), "holds more than one line", id="two lines"),
        pytest.param(("printf", "a\\001b"), "holds a space", id="control character"),
        pytest.param(("yes",), f"prints more than {MAX_SOURCE_BYTES} bytes", id="no end"),
        pytest.param(
            ("sh", "-c", "echo secret >&2; echo secret; exit 3"), "ended with status 3", id="says"
        ),
    ],
)
async def test_command_that_fails(
    command: tuple[str, ...], expected: str, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A command that fails leaves a problem which shows nothing of what it printed."""
    source = open_source(from_command(*command), clock, tasks)
    await source.refresh()
    got, problem = await shown(source), str(source.problem)

    assert (None, f"the credential's command {expected}", False) == (
        got,
        problem[: len("the credential's command ") + len(expected)],
        "secret" in problem,
    )


def is_running(pid: int) -> bool:
    """Return whether a process lives; one that only waits to be buried does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().split()[2] not in "ZX"


async def test_command_that_takes_too_long(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A command that does not end is ended, and what it started with it."""
    pid = tmp_path / "pid"
    command = ("sh", "-c", 'sleep 60 & echo $! > "$0"; wait', str(pid))
    reader = CommandReader(command, 300.0, clock, limit_s=0.04)
    source = Fetched("up", CredentialKind.BEARER, reader, clock, tasks)
    await source.refresh()
    # Where the machine is so busy that the shell had no time for it, there is nothing to end.
    running = pid.exists() and is_running(int(pid.read_text()))
    expected = ("the credential's command took longer than 0.04 s", False)

    assert expected == (source.problem, running)


async def test_answer_is_renewed_before_it_runs_out(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A command runs again shortly before its answer is ``ttl_s`` old, and not earlier."""
    tally = tmp_path / "tally"
    command = counting(tally, 'wc -l < "$0"')
    source = open_source(from_command(*command, ttl_s=300.0), clock, tasks)
    await source.refresh()
    clock.now_s += 284
    await source.refresh()
    early = at_once(source).secret
    clock.now_s += 1
    await source.refresh()
    expected = (b"1", b"2")

    assert expected == (early, at_once(source).secret)


async def test_command_that_fails_is_asked_less_often(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """The pause after each failure doubles up to half a minute; success ends that."""
    tally = tmp_path / "tally"
    source = open_source(from_command(*counting(tally, "false")), clock, tasks)
    ran_at_s = []
    for second in range(125):
        before = tally.stat().st_size if tally.exists() else 0
        await source.refresh()
        if tally.stat().st_size > before:
            ran_at_s.append(second)
        clock.now_s += 1
    expected = [0, 1, 3, 7, 15, 31, 61, 91, 121]

    assert expected == ran_at_s


async def test_failing_command_keeps_the_last_answer(
    tmp_path: Path, clock: FakeClock, tasks: RunningTasks
) -> None:
    """A credential that cannot be renewed is shown on, and the problem is told."""
    good = tmp_path / "good"
    good.write_text("secret")
    source = open_source(from_command("cat", str(good)), clock, tasks)
    await source.refresh()
    good.unlink()
    clock.now_s += 300
    await source.refresh()
    expected = (b"secret", "the credential's command ended with status 1")

    assert expected == (
        at_once(source).secret,
        source.problem,
    )
