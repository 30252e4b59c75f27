"""Which machines use this gateway: counted, in a small SQLite file of its own.

Kept of an install is a salted hash of its id, what it runs, and when it was first and last
seen. The file is opened by the first report, and touched by one thread alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from passgate.core import faults
from passgate.core.faults import Refused
from passgate.core.installs import MAX_TOLD_APART, Install, InstallCounts, told_apart
from passgate.gateway.interfaces import Clock

FILE_NAME = "installs.sqlite3"
MAX_KEPT = 100_000
_MAX_WAITING = 1000
_BUSY_S = 5.0
_DAY_S = 86_400
_SPANS = {"24h": _DAY_S, "7d": 7 * _DAY_S, "30d": 30 * _DAY_S}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS installs (
    hash BLOB PRIMARY KEY,
    version TEXT NOT NULL,
    platform TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_last_seen ON installs (last_seen);
"""
_SEEN = """
INSERT INTO installs VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (hash) DO UPDATE SET
    version = excluded.version,
    platform = excluded.platform,
    last_seen = max(last_seen, excluded.last_seen)
"""
# Whoever has been silent for longest gives way, so that a flood of made-up ids passes.
_CAP = """
DELETE FROM installs WHERE hash IN (
    SELECT hash FROM installs ORDER BY last_seen LIMIT max(0, (SELECT count(*) FROM installs) - ?)
)
"""
_ACTIVE = "SELECT count(*) FROM installs WHERE last_seen > ?"
# What is in use comes first; what nobody runs any more need not be told apart.
_BY = """
SELECT {column}, count(*) FROM installs GROUP BY {column}
ORDER BY sum(last_seen > ?) DESC, count(*) DESC, {column} LIMIT ?
"""


class Installs:
    """See ``interfaces.Installs``.

    Args:
        path: The file, or None to keep them in memory alone.
        salt: Returns what ids are hashed with; called by the thread, once.
        clock: The time.
        max_kept: Most installs kept.

    Attributes:
        problem: Why the file could last not be used, or None.
    """

    def __init__(
        self,
        path: Path | None,
        salt: Callable[[], bytes],
        clock: Clock,
        *,
        max_kept: int = MAX_KEPT,
    ) -> None:
        self._path = path
        self._salt_of = salt
        self._salt = b""
        self._clock = clock
        self._max_kept = max_kept
        self._waiting: deque[tuple[Install, int]] = deque()
        self._due = False  # whether the thread was told that something waits
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self.problem: str | None = None

    def note(self, install: Install) -> None:
        """Have *install* kept; see ``interfaces.Installs``."""
        if len(self._waiting) >= _MAX_WAITING:
            raise Refused(faults.BUSY)
        self._waiting.append((install, int(self._clock.wall())))
        if not self._due:
            self._due = True
            self._own_thread().submit(self._write)

    async def counts(self) -> InstallCounts:
        """Return what is told of all; see ``interfaces.Installs``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._own_thread(), self._count, int(self._clock.wall()))

    def close(self) -> None:
        """Write what waits; called off the loop."""
        if self._thread is not None:
            self._thread.submit(self._close)
            self._thread.shutdown()

    def _own_thread(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="installs")
        return self._thread

    # In the thread.

    def _write(self) -> None:
        """Keep what waits, in one transaction; where that fails it is lost, and told again."""
        self._due = False  # first: what comes from now on has the thread called anew
        rows = []
        with suppress(IndexError):
            while True:
                rows.append(self._waiting.popleft())
        try:
            with self._open() as connection:
                connection.executemany(
                    _SEEN,
                    [(self._hash(i.install_id), i.version, i.platform, at_s) for i, at_s in rows],
                )
                connection.execute(_CAP, (self._max_kept,))
        except (OSError, sqlite3.Error) as error:
            self._failed(error)

    def _count(self, now_s: int) -> InstallCounts:
        try:
            connection = self._open()
            # The index is made for this; a scan would be one for each.
            active = {
                name: connection.execute(_ACTIVE, (now_s - span_s,)).fetchone()[0]
                for name, span_s in _SPANS.items()
            }
            [total] = connection.execute("SELECT count(*) FROM installs").fetchone()
            told = [
                told_apart(
                    dict(
                        connection.execute(
                            _BY.format(column=column), (now_s - _SPANS["30d"], MAX_TOLD_APART)
                        )
                    ),
                    total,
                )
                for column in ("version", "platform")
            ]
        except (OSError, sqlite3.Error) as error:
            self._failed(error)
            raise Refused(faults.BUSY) from None
        return InstallCounts(total, active, *told)

    def _open(self) -> sqlite3.Connection:
        """Return the connection.

        Raises:
            OSError: The file cannot be made.
            sqlite3.Error: It cannot be used.
        """
        if self._connection is None:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path or ":memory:", timeout=_BUSY_S)
            try:
                # A report that a power cut takes is told again the next day.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._salt = self._salt_of()
            self._connection = connection
        self.problem = None
        return self._connection

    def _hash(self, install_id: str) -> bytes:
        return hmac.digest(self._salt, install_id.lower().encode(), hashlib.sha256)[:16]

    def _failed(self, error: Exception) -> None:
        """Begin anew the next time, and say what happened, without any path."""
        self.problem = f"installs cannot be counted: {type(error).__name__}"
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
