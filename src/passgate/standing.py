"""How things stand: takes, from all parts of a running gateway, what people look at.

Beside ``app`` a place that sees everything. It only reads, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from passgate.admin.live import Feed
from passgate.core.live import Running
from passgate.core.pricebook import PriceBook
from passgate.core.ratelimits import headroom
from passgate.core.settings import CredentialKind, UpstreamSettings
from passgate.core.tally import Tally
from passgate.core.vitals import LedgerState, UpstreamState, Vitals
from passgate.edge.descriptors import Descriptors
from passgate.edge.logs import LogLines
from passgate.gateway.admission import Admission
from passgate.gateway.interfaces import Clock, Downstream, Ledger
from passgate.gateway.lanes import Lane
from passgate.gateway.metering import Meters
from passgate.gateway.pipeline import Pipeline
from passgate.gateway.recorder import Recorder
from passgate.gateway.relay import Relay


@dataclass(slots=True)
class Standing:
    """The parts that are looked at; ``app`` fills it in as it makes them.

    Attributes:
        lanes: Returns every lane by its upstream.
        connections: Returns how many clients are connected.
        warnings: Returns what the operator should know.
        feed: None until there is one.
    """

    clock: Clock
    admission: Admission
    pipeline: Pipeline
    recorder: Recorder
    meters: Meters
    relay: Relay
    book: PriceBook
    ledger: Ledger | None
    log: LogLines | None
    descriptors: Descriptors
    lanes: Callable[[], Mapping[UpstreamSettings, Lane]]
    connections: Callable[[], int]
    draining: Callable[[], bool]
    warnings: Callable[[], list[str]]
    started_s: float
    feed: Feed | None = None

    def vitals(self) -> Vitals:
        """Return how things stand now."""
        ledger, feed, admission = self.ledger, self.feed, self.admission
        return Vitals(
            wall_s=self.clock.wall(),
            started_s=self.started_s,
            in_flight=admission.in_flight,
            max_in_flight=admission.max_in_flight,
            held_bytes=admission.held_bytes,
            connections=self.connections(),
            draining=self.draining(),
            warnings=tuple(self.warnings()),
            upstreams=tuple(self._upstream(*each) for each in self.lanes().items()),
            ledger=None
            if ledger is None
            else LedgerState(ledger.backlog, ledger.lost, ledger.problem),
            log_dropped=0 if self.log is None else self.log.dropped,
            descriptor_shortages=self.descriptors.shortages,
            watchers_failed=self.recorder.failed,
            meters_failed=self.meters.failures,
            live_watchers=0 if feed is None else feed.readers,
            live_dropped=0 if feed is None else feed.dropped,
            left_out=self.relay.dropped,
            signatures_refused=self.relay.repairs,
        )

    def _upstream(self, settings: UpstreamSettings, lane: Lane) -> UpstreamState:
        source, fetched_s = lane.source, lane.source.fetched_s
        # Else each user has limits of his own, and the last one's would be shown for all.
        ours = settings.credential.kind is not CredentialKind.CLIENT
        return UpstreamState(
            settings.name,
            lane.pool.state(),
            source.usable,
            source.problem,
            None if fetched_s is None else self.clock.monotonic() - fetched_s,
            headroom(lane.pool.last_told, self.clock.wall()) if ours else (),
            None if lane.keys is None else lane.keys.counts,
        )

    def running(self, most: int) -> list[Running]:
        """Return what runs of known clients, the oldest *most* of it."""
        exchanges = self.pipeline.running.values()  # in the order in which they began
        known = (each for each in exchanges if each[0].client is not None)
        return [self._one(*each) for each in islice(known, most)]

    def _one(self, tally: Tally, down: Downstream) -> Running:
        tokens, estimated = (None, False) if tally.metering is None else tally.metering.running()
        return Running(
            tally.id,
            tally.opened_s,
            tally.client,
            tally.session,
            tally.agent,
            tally.parent_agent,
            tally.ask.model,
            tally.upstream,
            tally.ask.stream,
            down.bytes_up,
            down.bytes_down,
            tokens,
            estimated,
            # A body that is not read yet tells no tokens, and is not read for this.
            None if tokens is None else self.book.cost_now(tally.so_far()),
        )
