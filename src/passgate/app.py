"""The composition root: settings become a running gateway; reload, drain, stop.

Objects that live are made here, and in ``snapshots``; nothing here decides about an exchange.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from passgate import __version__
from passgate.admin.glance import Glance
from passgate.admin.live import Feed, Sources
from passgate.admin.site import Site
from passgate.config import PLAN_NOTICE, ConfigError
from passgate.core.credential import PLAN_TOKEN_PREFIX
from passgate.core.pricebook import PriceBook, Prices
from passgate.core.pricing import ANTHROPIC, GOOGLE, PENDING, Key, Price, Schedule
from passgate.core.report import Row
from passgate.core.settings import LedgerSettings, Listen, Settings, UpstreamKind
from passgate.core.vitals import Spent
from passgate.edge import loop, prices
from passgate.edge.clock import SystemClock
from passgate.edge.codings import decoder_for
from passgate.edge.counts import RecordCounts
from passgate.edge.descriptors import Descriptors
from passgate.edge.gemini_keys import salt_of
from passgate.edge.installs import FILE_NAME as INSTALLS_FILE
from passgate.edge.installs import Installs
from passgate.edge.ledger_file import LedgerFile as LedgerFile
from passgate.edge.ledger_file import LedgerProblem as LedgerProblem
from passgate.edge.ledger_report import LedgerReport as LedgerReport
from passgate.edge.ledger_sql import FILE_NAME
from passgate.edge.ledger_sqlite import LedgerUnusable, SqliteLedger
from passgate.edge.logs import LogLines
from passgate.edge.prices import PriceLookup
from passgate.edge.tasks import TaskOwner
from passgate.edge.wire import Listener, Outbox
from passgate.gateway.admission import Admission
from passgate.gateway.gemini import Gemini
from passgate.gateway.interfaces import Watcher
from passgate.gateway.lanes import Waits
from passgate.gateway.listing import Listing
from passgate.gateway.local import Readiness
from passgate.gateway.metering import Meters
from passgate.gateway.native import Native
from passgate.gateway.pipeline import Pipeline
from passgate.gateway.recorder import Recorder
from passgate.gateway.relay import Relay
from passgate.gateway.signatures import SignatureMemory
from passgate.snapshots import Snapshots
from passgate.standing import Standing

_LOOK_AT_FILES_S = 1.0
_MOST_LOOKS = 20  # at running streams each second: each costs some microseconds
_MOST_OLD_ROWS = 5_000
_PRICE_LISTS = {UpstreamKind.ANTHROPIC: ANTHROPIC, UpstreamKind.GEMINI: GOOGLE}

Notice = Callable[[str], None]
Load = Callable[[], Settings]


class CannotStart(Exception):
    """What keeps the gateway from starting; the text says what to do."""


class App:
    """A gateway that runs from :meth:`start` to the end of :meth:`serve`.

    Args:
        settings: What the operator decided.
        load: Reads the settings again, for a reload.
        notice: Told what the operator should read, a sentence at a time.
        watchers: Told of every record, besides the log.
        log_fd: Where the log lines go, or None for nowhere.
        waits: How long clients of translated answers hear nothing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Load | None = None,
        notice: Notice,
        watchers: Sequence[Watcher] = (),
        log_fd: int | None = 1,
        waits: Waits = Waits(),  # noqa: B008  a value that is never changed
    ) -> None:
        self.settings = settings
        self._load = load
        self._notice = notice
        self._watchers = list(watchers)
        self._log_fd = log_fd
        self._waits = waits
        self._log: LogLines | None = None
        self.ledger: SqliteLedger | None = None
        self._clock = SystemClock()
        self._descriptors = Descriptors(self._clock, notice)
        self._tasks = TaskOwner(self._report)
        self._stop = asyncio.Event()
        self._stopping = 0
        self._reloading = asyncio.Lock()
        self._watched = _stamps(settings)

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            CannotStart: The ledger is not one that we know, or damaged and required.
            OSError: An address cannot be bound.
        """
        settings = self.settings
        limits = settings.limits
        self._admission = Admission(limits.max_in_flight, limits.max_body_memory_mb << 20)
        running = asyncio.get_running_loop()
        if settings.state_dir is not None:
            path = settings.state_dir / FILE_NAME
            self.ledger = await self._open_ledger(path, settings.ledger)
        outbox = Outbox(running)
        self._snapshots = Snapshots(outbox, self._clock, self._tasks)
        if self._log_fd is not None:
            self._log = LogLines(self._log_fd, settings.log_format)
            self._watchers.append(self._log)
        self._counts = RecordCounts()
        self._feed = Feed(running.call_later)
        self._watchers += [self._counts, self._feed]
        book = PriceBook(self._notice)
        book.goes_by(_price_lists(settings), settings.overrides)
        self._prices = PriceLookup(book, self._tasks, self._late_prices, self._notice)
        # The pricer goes first, so that whoever is told next is told the cost as well.
        watchers: list[Watcher] = [self._prices, *self._watchers]
        self._recorder = Recorder(watchers, running.call_later, self.ledger, self._report)
        self._readiness = Readiness(self._problems, self._warnings)
        self._installs = self._open_installs(settings.state_dir)
        meters = Meters(decoder_for, self._clock.monotonic)
        memory = SignatureMemory(self._clock.monotonic)
        relay = Relay(self._clock, memory, self._waits, self._notice)
        self.pipeline = Pipeline(
            self._snapshots.take(settings),
            self._admission,
            self._recorder,
            self._readiness,
            self._clock,
            meters,
            f"req_pg{secrets.token_hex(6)}",
            self._report,
            self._installs,
            Gemini(Native(self._clock, meters), relay, Listing(self._clock, meters)),
        )
        await self._snapshots.refresh()
        self._tell_of_plan_tokens()
        self.data = Listener(self.pipeline.handle, limits, outbox, self._report)
        self._standing = Standing(
            self._clock,
            self._admission,
            self.pipeline,
            self._recorder,
            meters,
            relay,
            book,
            self.ledger,
            self._log,
            self._descriptors,
            lanes=lambda: self._snapshots.lanes,
            connections=lambda: self.data.connections,
            draining=lambda: self._readiness.draining,
            warnings=lambda: [*self._problems(), *self._warnings()],
            started_s=self._clock.wall(),
            feed=self._feed,
        )
        self._feed.sources = Sources(
            __version__,
            self._clock.monotonic,
            self._standing.vitals,
            self._standing.running,
            self._counts.totals,
        )
        self._site = Site(
            settings.admin, self._readiness, self._scrape, self._feed, self._glance(settings)
        )
        self.admin = Listener(self._site.handle, limits, outbox, self._report)
        try:
            await self.data.open(settings.listen)
            await self.admin.open(settings.admin.listen)
        except OSError:
            await self.data.close()
            await self._close_ledger()
            raise
        self._tasks.start(self._watch_files(), "watch files")
        self._tasks.start(self._price_old_rows(), "prices of old rows")
        gc.collect()
        gc.freeze()  # what lives as long as the process is not searched again

    async def _open_ledger(self, path: Path, settings: LedgerSettings) -> SqliteLedger:
        ledger = SqliteLedger(path, settings.keep_days, self._clock, self._notice)
        opening = partial(ledger.open, required=settings.required)
        try:
            await asyncio.get_running_loop().run_in_executor(None, opening)
        except LedgerUnusable as error:
            raise CannotStart(str(error)) from None
        self._admission.required = ledger if settings.required else None
        return ledger

    def _open_installs(self, state_dir: Path | None) -> Installs:
        """Return what counts installs; its files are made by the first report."""
        fresh = secrets.token_bytes(16)
        if state_dir is None:
            return Installs(None, lambda: fresh, self._clock)
        salt = partial(salt_of, state_dir / "installs_salt", fresh)
        return Installs(state_dir / INSTALLS_FILE, salt, self._clock)

    async def _close_ledger(self) -> None:
        if self.ledger is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.ledger.close)

    @property
    def addresses(self) -> tuple[Listen, Listen]:
        """Where clients and the operator reach it."""
        return Listen(*self.data.address), Listen(*self.admin.address)

    # Reload.

    async def reload(self) -> None:
        """Read the settings again; what is broken is refused and the old ones serve on."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        if self._load is None:
            return
        running = asyncio.get_running_loop()
        # Before the files are read: a change in between shows at the next look.
        self._watched = await running.run_in_executor(None, _stamps, self.settings)
        try:
            settings = await running.run_in_executor(None, self._load)
        except ConfigError as error:
            self._notice("the new configuration is refused, the old one serves on:")
            for problem in error.problems:
                self._notice(f"  {problem}")
            return
        self._goes_by(settings)
        # Not waited for: a new source that hangs must not keep the others from being looked at.
        self._tasks.start(self._snapshots.refresh(), "credentials of a new configuration")
        self._notice("the configuration was loaded anew")

    def _goes_by(self, settings: Settings) -> None:
        """Go by *settings* from now on, in all that can change while it runs."""
        old, self.settings = self.settings, settings
        if (old.listen, old.admin.listen) != (settings.listen, settings.admin.listen):
            self._notice("a changed listener needs a restart; all else is in force")
        if old.admin.listen == settings.admin.listen:  # else it suits an address not yet in use
            self._site.goes_by(settings.admin)
        if self._log is not None:
            self._log.goes_by(settings.log_format)
        self.pipeline.snapshot = self._snapshots.take(settings)
        self._admission.max_in_flight = settings.limits.max_in_flight
        self._admission.max_held_bytes = settings.limits.max_body_memory_mb << 20
        self._admission.required = self.ledger if settings.ledger.required else None
        if self.ledger is not None:
            self.ledger.keep_days = settings.ledger.keep_days
        self._prices.book.goes_by(_price_lists(settings), settings.overrides)
        self.data.limits = self.admin.limits = settings.limits

    async def _watch_files(self) -> None:
        """Have a look each second; one that fails is told of, and is not the last."""
        while True:
            await asyncio.sleep(_LOOK_AT_FILES_S)
            self._descriptors.look()
            await asyncio.wait({self._tasks.start(self._look_at_files(), "look at files")})

    async def _look_at_files(self) -> None:
        """Look at every file that settings or credentials come from, and at what runs."""
        self._foresee_prices()
        await self._snapshots.refresh()
        async with self._reloading:
            running = asyncio.get_running_loop()
            stamps = await running.run_in_executor(None, _stamps, self.settings)
            if stamps != self._watched:
                await self._reload()

    async def _price_old_rows(self) -> None:
        """Price what the last process had to leave without a price."""
        if self.ledger is None:
            return
        rows = LedgerFile(self.ledger.path)
        running = asyncio.get_running_loop()
        try:
            records = await running.run_in_executor(None, rows.pending, _MOST_OLD_ROWS)
        except LedgerProblem:
            return  # the ledger tells of it
        for piece in (records[at : at + 100] for at in range(0, len(records), 100)):
            self._prices(piece)
            known = [record for record in piece if record.price_status != PENDING]
            self.ledger.reprice({r.id: Price(r.cost_nusd, r.price_status or "") for r in known})
            await asyncio.sleep(0)  # the others have their turn

    def _foresee_prices(self) -> None:
        """Have prices looked up that streams will need: when they end, they are known."""
        looks = 0
        for tally, _ in self.pipeline.running.values():
            if tally.ask.stream and looks < _MOST_LOOKS:
                looks += self._prices.book.foresee(tally.upstream, tally.ask.model, tally.so_far)
        self._prices.wake()

    def _late_prices(self, prices: Prices) -> None:
        """Take the prices of records that had been handed on without one."""
        self._counts.late(prices)
        if self.ledger is not None:
            self.ledger.reprice(prices)

    def _tell_of_plan_tokens(self) -> None:
        """Say whose traffic a plan's token may carry, where only a command knew what it is."""
        for upstream, lane in self._snapshots.lanes.items():
            credential = lane.source.cached
            told = upstream.credential.source != "command"
            if not told and credential and credential.secret.startswith(PLAN_TOKEN_PREFIX):
                self._notice(f"note: upstream {upstream.name}: {PLAN_NOTICE}")

    # Readiness.

    def _problems(self) -> list[str]:
        said = []
        if not any(source.usable for _, source in self._snapshots.sources()):
            said.append("no upstream has a usable credential")
        if self.settings.ledger.required and self.ledger and self.ledger.problem:
            said.append(f"the ledger: {self.ledger.problem}")
        return said

    def _warnings(self) -> list[str]:
        said = list(self.settings.warnings)
        for name, source in self._snapshots.sources():
            if source.problem is not None:
                said.append(f"upstream {name}: {source.problem}")
        if self._installs.problem is not None:
            said.append(self._installs.problem)
        if self._descriptors.problem is not None:
            said.append(self._descriptors.problem)
        ledger = self.ledger
        if ledger is not None and ledger.problem is not None:
            said.append(f"the ledger: {ledger.problem}; lost so far: {ledger.lost} records")
        return said

    # How things stand, for who asks at the operator's listener.

    async def _scrape(self, accept: str) -> tuple[str, bytes]:
        from passgate.edge import metrics  # when it is needed

        work = metrics.scrape(self._counts, self._standing.vitals(), accept)
        scrape: asyncio.Task[tuple[str, bytes]] = self._tasks.start(work, "metrics")
        return await scrape

    def _glance(self, settings: Settings) -> Callable[[], Awaitable[tuple[Spent, ...] | None]]:
        """Return what looks into the ledger for the operator's page."""
        if settings.state_dir is None:
            return _nothing_spent
        opened = ledger_file(settings.state_dir).opened

        def days(since_day: int) -> list[Row]:
            return LedgerReport(opened, since_day, lambda _done, _parts: None).days()

        return Glance(days, LedgerProblem, self._clock, self._tasks).spent

    def _report(self, error: Exception) -> None:
        """Tell of a bug by its place in our code: its text could hold what must not be shown."""
        trace = error.__traceback__
        places = []
        while trace is not None:
            places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
            trace = trace.tb_next
        self._notice(f"a fault of passgate's own: {type(error).__name__} at {' > '.join(places)}")

    # The end.

    def on_signal(self, signum: int) -> None:
        """Drain at the first call; stop at once at the second."""
        self._stopping += 1
        if self._stopping == 1:
            self._readiness.draining = True
            self.data.draining = True
            self._notice(f"{signal.Signals(signum).name}: draining; again to stop at once")
        self._stop.set()
        if self._stopping > 1:
            self.data.stop_exchanges()
            self._hurry.set()

    async def serve(self, announce: Callable[[], None]) -> None:
        """Serve until told to stop, then drain, then close.

        Args:
            announce: Called once signals are heeded. Until then one ends the process, so
                nobody may be told before that it serves.
        """
        running = asyncio.get_running_loop()
        self._hurry = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(signum, self.on_signal, signum)
        running.add_signal_handler(
            signal.SIGHUP, lambda: self._tasks.start(self.reload(), "reload by SIGHUP")
        )
        announce()
        await self._stop.wait()
        drain = self._tasks.start(self._drain(), "drain")
        hurry = self._tasks.start(self._hurry.wait(), "hurry")
        await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
        await self.close()

    async def _drain(self) -> None:
        limits = self.settings.limits
        await asyncio.sleep(limits.drain_delay_s)
        await self.data.stop_accepting()
        if self.settings.listen.reuse_port:
            await self.admin.stop_accepting()  # whoever comes next is served by the next process
        await self.data.drain(limits.drain_s)

    async def close(self) -> None:
        """Close everything; what is recorded is written."""
        self.data.stop_exchanges()
        await self.data.close()
        await self._feed.close()
        await self.admin.close()
        self._recorder.flush()  # it may start what looks prices up, which then must end, too
        await self._tasks.cancel_all()
        self._snapshots.close()
        await self._close_ledger()
        await asyncio.get_running_loop().run_in_executor(None, self._installs.close)
        if self._log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._log.close)


def _price_lists(settings: Settings) -> dict[str, str]:
    """Return by each upstream's name whose price list counts for it."""
    return {upstream.name: _PRICE_LISTS[upstream.kind] for upstream in settings.upstreams}


def _stamps(settings: Settings) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes when a file that settings come from changes."""
    return tuple(_stamp(path) for path in settings.watched)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


async def _nothing_spent() -> None:
    """Return what is known where there is no ledger."""


def ledger_file(state_dir: Path) -> LedgerFile:
    """Return the ledger in *state_dir* for a command that looks into it."""
    return LedgerFile(state_dir / FILE_NAME)


def ledger_report(
    state_dir: Path, since_day: int, progress: Callable[[int, int], None]
) -> LedgerReport:
    """Return what reads the sums of the ledger in *state_dir*, from a day (since 1970) on.

    Whatever it reads may raise ``LedgerProblem``.
    """
    file = ledger_file(state_dir)
    file.settle()
    return LedgerReport(file.opened, since_day, progress)


def look_up_prices(keys: Sequence[Key]) -> dict[Key, Schedule]:
    """Return the rates of *keys* from the price list; empty where it cannot be read."""
    return prices.look_up(keys)


def to_stderr(sentence: str) -> None:
    """Tell the operator; a closed stderr is no reason to stop."""
    try:
        sys.stderr.write(f"passgate: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        pass


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run *main* on the gateway's event loop."""
    return loop.run(main)
