"""What a gateway is doing at this moment, as values: what metrics, live views and pages share.

``app.py`` takes them when somebody asks; no exchange pays for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from passgate.core.gemini.keys import Counts
from passgate.core.live import Line
from passgate.core.ratelimits import Headroom


class PoolState(msgspec.Struct, frozen=True):
    """The connections to one upstream.

    Attributes:
        idle: Open and waiting.
        in_use: Open and serving an exchange.
        dials: Connections made since the start.
        failed_dials: Connections that could not be made.
    """

    idle: int = 0
    in_use: int = 0
    dials: int = 0
    failed_dials: int = 0


class UpstreamState(msgspec.Struct, frozen=True):
    """One upstream.

    Attributes:
        name: The operator's name for it.
        pool: Its connections.
        usable: Whether a credential could be shown to it now.
        problem: Why the last fetch of the credential failed, or None.
        credential_age_s: Time since the credential was fetched, or None without one.
        limits: What the upstream last said of its rate limits; empty where it said nothing.
        keys: Of a Gemini upstream.
    """

    name: str
    pool: PoolState
    usable: bool
    problem: str | None = None
    credential_age_s: float | None = None
    limits: tuple[Headroom, ...] = ()
    keys: Counts | None = None


class LedgerState(msgspec.Struct, frozen=True):
    """What waits to be written, what was lost since the start, and why, or None."""

    backlog: int = 0
    lost: int = 0
    problem: str | None = None


class Vitals(msgspec.Struct, frozen=True):
    """The whole gateway.

    Attributes:
        wall_s: When they were taken.
        started_s: When the gateway started, by the wall clock.
        in_flight: Exchanges being served, of at most *max_in_flight*.
        held_bytes: Request bodies held, together.
        connections: Of clients, idle ones included.
        draining: Whether the gateway is stopping.
        warnings: What the operator should know, a sentence each.
        upstreams: In the order of the configuration.
        ledger: None where records are kept nowhere.
        log_dropped: Log lines lost to a slow reader of stdout.
        descriptor_shortages: How often no file descriptor was left.
        watchers_failed: How often a reader of records raised.
        meters_failed: Exchanges whose meter was switched off by its own fault.
        live_watchers: Who reads the live feed now.
        live_dropped: Messages of the feed lost to slow readers.
        left_out: How often each kind of thing was left out of requests to Gemini.
        signatures_refused: How often Google refused signatures, and dummies went instead.
    """

    wall_s: float = 0.0
    started_s: float = 0.0
    in_flight: int = 0
    max_in_flight: int = 0
    held_bytes: int = 0
    connections: int = 0
    draining: bool = False
    warnings: tuple[str, ...] = ()
    upstreams: tuple[UpstreamState, ...] = ()
    ledger: LedgerState | None = None
    log_dropped: int = 0
    descriptor_shortages: int = 0
    watchers_failed: int = 0
    meters_failed: int = 0
    live_watchers: int = 0
    live_dropped: int = 0
    left_out: Mapping[str, int] = msgspec.field(default_factory=dict)
    signatures_refused: int = 0


class Totals(msgspec.Struct, frozen=True):
    """What one client did, or one model, of what has ended.

    Attributes:
        errors: Exchanges that failed, the upstream's own errors included.
        cost_nusd: Of what has a price.
        unpriced: Exchanges with usage but without a price.
    """

    name: str
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nusd: int = 0
    unpriced: int = 0


class Spent(msgspec.Struct, frozen=True):
    """What the ledger knows of one span of time, the dearest first.

    Attributes:
        title: Which span.
        clients: By client.
        models: By model.
    """

    title: str
    clients: tuple[Totals, ...]
    models: tuple[Totals, ...]


class State(msgspec.Struct, frozen=True):
    """What the live feed tells once a second.

    Attributes:
        running: What runs, the longest first; not all of it where that is very much.
        dropped: Messages that this reader has missed because it was slow.
    """

    version: str
    vitals: Vitals
    clients: tuple[Totals, ...]
    running: tuple[Line, ...]
    dropped: int = 0
