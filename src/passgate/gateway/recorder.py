"""One record per exchange, told to every watcher."""

from __future__ import annotations

from collections.abc import Sequence

from passgate.core.exchange import Record
from passgate.gateway.interfaces import Watcher


class Recorder:
    """Hand each record to the watchers; never wait, never fail.

    Attributes:
        lost: Records that a watcher failed on, by raising.
    """

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)
        self.lost = 0

    def put(self, record: Record) -> None:
        """Tell every watcher of *record*."""
        for watcher in self._watchers:
            try:
                watcher(record)
            except Exception:  # noqa: BLE001  a watcher's bug must not fail an exchange; it is counted
                self.lost += 1
