"""Where upstream credentials come from: the environment, a file, a command, the client, nowhere.

No login flow, no other program's saved logins, no pool of plan tokens: a source gives the
one value that the operator put there. No problem shows a value, a path or a command.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from passgate.core.credential import (
    MAX_SOURCE_BYTES,
    Credential,
    CredentialMissing,
    Unusable,
    key_list,
    only_secret,
)
from passgate.core.settings import CredentialKind, UpstreamKind, UpstreamSettings
from passgate.gateway.interfaces import Clock, CredentialSource, Tasks

_ANEW_AFTER_S = 1.0  # after a 401: many clients see it at once, the source is asked once
_FIRST_LOOK_S = 15.0  # a start waits for a command's 10 s, and not much longer
_LATER_LOOK_S = 0.5  # the app looks at every file each second
_COMMAND_LIMIT_S = 10.0
_KILLED_WITHIN_S = 1.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_MOST_AHEAD_S = 15.0  # a command's answer is renewed this much before it runs out, or less


class Fixed:
    """A credential that does not change while the process runs.

    Attributes:
        cached: The credential, or None.
        problem: Why there is none, or None.
        fetched_s: Monotonic time at which it was taken, None where there is none.
    """

    def __init__(self, credential: Credential | None, problem: str | None, now_s: float) -> None:
        self.cached = credential
        self.problem = problem
        self.fetched_s = None if credential is None else now_s

    @property
    def usable(self) -> bool:
        """Whether ``current`` would give something now."""
        return self.cached is not None

    async def current(self) -> Credential:
        """Return the credential.

        Raises:
            CredentialMissing: There is none.
        """
        if self.cached is None:
            raise CredentialMissing
        return self.cached

    def rejected(self, credential: Credential) -> None:
        """Do nothing: asked again, it would say the same."""

    async def refresh(self) -> None:
        """Do nothing: it does not change."""


class Reader(Protocol):
    """How a value is fetched; :class:`Fetched` decides when, and keeps it."""

    def due(self) -> bool:
        """Return whether it is time to look, without having been asked to."""

    async def read(self, *, anew: bool) -> bytes | None:
        """Return the value, or None where it is the one read last.

        Args:
            anew: Whether to fetch it even where it seems unchanged.

        Raises:
            Unusable: There is none; the text ends a sentence about the source.
        """


class Fetched:
    """A credential that is fetched, kept while fetching fails, and fetched once for all.

    Fetching runs in a task of its own: an exchange that ends while it waits must take the
    fetch from nobody else, and cannot time it either.

    Attributes:
        cached: The credential; None before the first fetch, and after a 401 until the next.
        problem: Why the last fetch failed, or None.
        fetched_s: Monotonic time of the last fetch that brought a value, or None.
    """

    def __init__(
        self, name: str, kind: CredentialKind, reader: Reader, clock: Clock, tasks: Tasks
    ) -> None:
        self._name = name
        self._kind = kind
        self._reader = reader
        self._clock = clock
        self._tasks = tasks
        self._credential: Credential | None = None
        self._refused = False
        self._anew_s: float | None = None  # when a 401 last made us fetch
        self._fetch: asyncio.Task[None] | None = None
        self.cached: Credential | None = None
        self.problem: str | None = None
        self.fetched_s: float | None = None

    @property
    def usable(self) -> bool:
        """Whether ``current`` would give something now."""
        return self._credential is not None

    async def current(self) -> Credential:
        """Return the credential: at once, except before the first fetch and after a 401.

        Raises:
            CredentialMissing: None was ever fetched.
        """
        if self.cached is None:
            await self._settled()
        if self._credential is None:
            raise CredentialMissing
        return self._credential

    def rejected(self, credential: Credential) -> None:
        """Take note that the upstream refused *credential*, unless it was replaced since."""
        if credential == self._credential:
            self._refused, self.cached = True, None

    async def refresh(self) -> None:
        """Look whether the source has changed, for a bounded time; the fetch may take longer."""
        fetch, limit_s = self._fetch, _FIRST_LOOK_S if self._fetch is None else _LATER_LOOK_S
        if fetch is None or fetch.done():
            if not self._must() and not self._reader.due():
                return
            fetch = self._start()
        await asyncio.wait([fetch], timeout=limit_s)

    async def _settled(self) -> None:
        """Wait for the fetch that is called for, starting it if nobody has.

        One that was under way when the upstream refused may have been too early, so there
        may be two to wait for.
        """
        while True:
            fetch = self._fetch
            if fetch is None or fetch.done():
                if not self._must():
                    return
                fetch = self._start()
            await asyncio.wait([fetch])

    def _must(self) -> bool:
        """Return whether a fetch is called for that cannot wait for the source's own time."""
        if self._fetch is None:
            return True
        early = self._anew_s is not None and self._clock.monotonic() < self._anew_s + _ANEW_AFTER_S
        return self._refused and not early

    def _start(self) -> asyncio.Task[None]:
        anew, self._refused = self._refused, False
        if anew:
            self._anew_s = self._clock.monotonic()
        name = f"credential of {self._name}"
        self._fetch = fetch = self._tasks.start(self._take(anew=anew), name)
        return fetch

    async def _take(self, *, anew: bool) -> None:
        try:
            secret = await self._reader.read(anew=anew)
        except Unusable as why:
            self.problem = str(why)
        else:
            self.problem = None
            if secret is not None:
                self._hold(secret)
        if not self._refused:  # else by a 401 since this fetch began
            self.cached = self._credential

    def _hold(self, secret: bytes) -> None:
        self.fetched_s = self._clock.monotonic()
        if self._credential is None or secret != self._credential.secret:
            self._credential = Credential(self._name, self._kind, secret)
            self._refused = False


class FileReader:
    """Read a credential's file again when it changes.

    Args:
        path: The file.
        secret_of: Finds the credential in its content.
    """

    def __init__(self, path: Path, secret_of: Callable[[bytes], bytes]) -> None:
        self._path = path
        self._secret_of = secret_of
        self._stamp: tuple[int, int, int] | None = None  # of what was last read with success

    def due(self) -> bool:
        """Return True: a look costs one ``stat``."""
        return True

    async def read(self, *, anew: bool) -> bytes | None:
        """Return the file's credential, or None where the file is as it was."""
        # In a thread: a network file system can make anyone wait.
        return await asyncio.to_thread(self._read, anew=anew)

    def _read(self, *, anew: bool) -> bytes | None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp and not anew:
                return None
            self._stamp = None
            # A pipe would wait for its writer, and a value is read more than once.
            if not stat.S_ISREG(found.st_mode):
                raise Unusable("the credential's file is not a file")
            with self._path.open("rb") as file:
                raw = file.read(MAX_SOURCE_BYTES + 1)
        except OSError as error:
            raise Unusable(f"the credential's file cannot be read: {error.strerror}") from None
        if len(raw) > MAX_SOURCE_BYTES:
            raise Unusable(f"the credential's file is larger than {MAX_SOURCE_BYTES} bytes")
        try:
            secret = self._secret_of(raw)
        except Unusable as why:
            raise Unusable(f"the credential's file {why}") from None
        # Taken before the read: a change in between shows at the next look.
        self._stamp = stamp
        return secret


class CommandReader:
    """Run a program, without a shell, whose output is the credential.

    Args:
        command: Program and arguments.
        ttl_s: How long an answer is good for.
        clock: The time.
        limit_s: Most time it may take.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        ttl_s: float,
        clock: Clock,
        limit_s: float = _COMMAND_LIMIT_S,
    ) -> None:
        self._command = command
        self._good_for_s = ttl_s - min(_MOST_AHEAD_S, ttl_s / 4)
        self._clock = clock
        self._limit_s = limit_s
        self._next_s = clock.monotonic()
        self._retry_s = _FIRST_RETRY_S

    def due(self) -> bool:
        """Return whether the last answer runs out soon, or the pause after a failure is over."""
        return self._clock.monotonic() >= self._next_s

    async def read(self, *, anew: bool) -> bytes | None:
        """Return what the command prints."""
        try:
            secret = only_secret(await self._output())
        except OSError as error:
            self._failed()
            raise Unusable(f"the credential's command cannot be run: {error.strerror}") from None
        except Unusable as why:
            self._failed()
            raise Unusable(f"the credential's command {why}") from None
        self._retry_s = _FIRST_RETRY_S
        self._next_s = self._clock.monotonic() + self._good_for_s
        return secret

    def _failed(self) -> None:
        """Put the next run off, each time twice as long: who is asked may be overloaded."""
        self._next_s = self._clock.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    async def _output(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a program that fails may print what it was given
            start_new_session=True,  # so that what it has started ends with it
        )
        finished = False
        try:
            async with asyncio.timeout(self._limit_s):
                output = await _read_all(process)
                finished = await process.wait() is not None
        except TimeoutError:
            raise Unusable(f"took longer than {self._limit_s:g} s") from None
        finally:
            if not finished:
                await _kill(process)
        if process.returncode:
            raise Unusable(f"ended with status {process.returncode}")
        return output


async def _read_all(process: asyncio.subprocess.Process) -> bytes:
    """Return what *process* prints, up to its end.

    Raises:
        Unusable: It prints too much.
    """
    assert process.stdout is not None  # noqa: S101  it was asked for
    output = b""
    while chunk := await process.stdout.read(MAX_SOURCE_BYTES):
        output += chunk
        if len(output) > MAX_SOURCE_BYTES:
            raise Unusable(f"prints more than {MAX_SOURCE_BYTES} bytes")
    return output


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End *process* and what it started, and wait until that is done."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # What has left its session lives on, and may hold our pipe open.
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILLED_WITHIN_S):
            await process.communicate()


def lists_keys(settings: UpstreamSettings) -> bool:
    """Return whether the credential's source is a list of keys, of which each will do."""
    source = settings.credential
    google = settings.kind is UpstreamKind.GEMINI and source.kind is CredentialKind.API_KEY
    return google and source.file is not None


def _from_env(settings: UpstreamSettings, clock: Clock, tasks: Tasks) -> CredentialSource:
    credential, problem = None, None
    source = settings.credential
    try:
        secret = only_secret((source.env_value or "").encode("utf-8", "surrogateescape"))
        credential = Credential(settings.name, source.kind, secret)
    except Unusable as why:
        problem = f"the credential's environment variable {why}"
    return Fixed(credential, problem, clock.monotonic())


def _from_file(settings: UpstreamSettings, clock: Clock, tasks: Tasks) -> CredentialSource:
    source = settings.credential
    assert source.file is not None  # noqa: S101  by SOURCES
    reader = FileReader(source.file, key_list if lists_keys(settings) else only_secret)
    return Fetched(settings.name, source.kind, reader, clock, tasks)


def _from_command(settings: UpstreamSettings, clock: Clock, tasks: Tasks) -> CredentialSource:
    source = settings.credential
    assert source.command is not None  # noqa: S101  by SOURCES
    reader = CommandReader(source.command, source.ttl_s, clock)
    return Fetched(settings.name, source.kind, reader, clock, tasks)


def _without_value(settings: UpstreamSettings, clock: Clock, tasks: Tasks) -> CredentialSource:
    return Fixed(Credential(settings.name, settings.credential.kind), None, clock.monotonic())


Open = Callable[[UpstreamSettings, Clock, Tasks], CredentialSource]
SOURCES: dict[str, Open] = {
    "env": _from_env,
    "file": _from_file,
    "command": _from_command,
    "client": _without_value,
    "none": _without_value,
}


def open_source(settings: UpstreamSettings, clock: Clock, tasks: Tasks) -> CredentialSource:
    """Return where the credential of an upstream comes from; its first fetch is ``refresh``."""
    return SOURCES[settings.credential.source](settings, clock, tasks)
