"""One record per exchange, told to every watcher and kept in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from passgate.core.exchange import Record
from passgate.gateway.interfaces import Ledger, Watcher

# Twenty times a second: soon enough for people, and a commit for many records.
_SOON_S = 0.05
# To make and tell so many takes a millisecond, for which the others wait.
_MANY = 64

Make = Callable[[], Record]
Later = Callable[[float, Callable[[], None]], object]


class Recorder:
    """Gather the records and tell the watchers of them soon; never wait, never fail.

    A record is made when its watchers are told: the first of many costs some 50 us, from cold
    caches, each after it 7.

    Args:
        watchers: Whom to tell.
        later: Calls a function after so many seconds; the loop's ``call_later``.
        ledger: Where the records of known callers are kept, or None for nowhere.
        on_bug: Told of the first exception of a watcher or a record; all are counted.

    Attributes:
        failed: How often a watcher raised, or a record could not be made.
    """

    def __init__(
        self,
        watchers: Sequence[Watcher],
        later: Later,
        ledger: Ledger | None = None,
        on_bug: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._watchers = tuple(watchers)
        self._later = later
        self._ledger = ledger
        self._on_bug = on_bug
        self._ended: list[Make] = []
        self._due = False
        self.failed = 0

    def put(self, make: Make) -> None:
        """Have every watcher told of the record that *make* returns."""
        if not self._due:
            self._due = True
            self._later(_SOON_S, self.flush)
        self._ended.append(make)
        if len(self._ended) >= _MANY:
            self._tell()

    def flush(self) -> None:
        """Tell the watchers now, then the ledger."""
        self._due = False
        self._tell()

    def _tell(self) -> None:
        """Tell the watchers, then the ledger; it writes what ended before the next flush together.

        It is given them at once: what a thousand records take up is not in the caches any more
        when the last of them has come.
        """
        ended, self._ended = self._ended, []
        records = []
        for make in ended:
            try:
                records.append(make())
            except Exception as error:  # noqa: BLE001  a bug of one must not lose the others
                self._fails(error)
        for watcher in self._watchers if records else ():
            try:
                watcher(records)
            except Exception as error:  # noqa: BLE001  nor may a watcher's fail an exchange
                self._fails(error)
        if self._ledger is not None:
            kept = [record for record in records if record.client is not None]
            self._ledger.append(kept, more=self._due)

    def _fails(self, error: Exception) -> None:
        self.failed += 1
        if self.failed == 1:
            self._on_bug(error)
