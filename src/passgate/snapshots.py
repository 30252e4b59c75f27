"""Settings become what the pipeline goes by: clients, routes, and a lane to each upstream.

A part of the composition root: a lane is everything that leads to one upstream, and lives as
long as the settings of that one stay the same.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import cast

from passgate.core import routes
from passgate.core.auth import Client
from passgate.core.settings import ClientSettings, Settings, UpstreamKind, UpstreamSettings
from passgate.core.upstreams import upstream_of
from passgate.edge.credentials import lists_keys, open_source
from passgate.edge.gemini_keys import Keyring, salt_of
from passgate.edge.wire import Outbox, Pool
from passgate.gateway import interfaces
from passgate.gateway.interfaces import Clock, CredentialSource, Tasks
from passgate.gateway.lanes import Lane, Snapshot


class Snapshots:
    """Makes a snapshot of each settings, with the lanes that have not changed.

    Attributes:
        lanes: Those of the last snapshot, by the settings of their upstream.
    """

    def __init__(self, outbox: Outbox, clock: Clock, tasks: Tasks) -> None:
        self._outbox = outbox
        self._clock = clock
        self._tasks = tasks
        self.lanes: dict[UpstreamSettings, Lane] = {}

    def take(self, settings: Settings) -> Snapshot:
        """Return what the pipeline goes by; what leads elsewhere from now on is retired."""
        lanes = {}
        for upstream in settings.upstreams:
            lane = self.lanes.get(upstream) or self._lane(upstream, settings)
            lane.pool.limits = settings.limits
            lanes[upstream] = lane
        for upstream in self.lanes.keys() - lanes.keys():
            self.lanes[upstream].pool.retire()
        self.lanes = lanes
        return Snapshot(
            {client.digest: _client(client) for client in settings.clients},
            routes.routes_of(settings.routes, [(u.name, u.kind) for u in settings.upstreams]),
            {upstream.name: lane for upstream, lane in lanes.items()},
        )

    def _lane(self, upstream: UpstreamSettings, settings: Settings) -> Lane:
        pool = Pool(upstream, settings.limits, self._outbox, self._clock, self._tasks)
        source = open_source(upstream, self._clock, self._tasks)
        keys = self._keys(upstream, source, settings.state_dir)
        # Listener and Pool are two halves of one stack: they hand each other their own
        # connections, of which the seams show only what the pipeline needs.
        seam = cast("interfaces.Pool", pool)
        return Lane(
            upstream_of(upstream),
            keys or source,
            seam,
            upstream.retry_stale,
            keys,
            upstream.optimistic,
            upstream.validates,
        )

    def _keys(
        self, upstream: UpstreamSettings, source: CredentialSource, state_dir: Path | None
    ) -> Keyring | None:
        """Return the keys of a Gemini upstream."""
        if upstream.kind is not UpstreamKind.GEMINI:
            return None
        fresh = secrets.token_bytes(16)
        salt = fresh if state_dir is None else salt_of(state_dir / "gemini_salt", fresh)
        kind, listed = upstream.credential.kind, lists_keys(upstream)
        return Keyring(upstream.name, kind, source, self._clock, salt, listed=listed)

    def sources(self) -> list[tuple[str, CredentialSource]]:
        """Return where the credential of each upstream comes from, by the upstream's name."""
        return [(upstream.name, lane.source) for upstream, lane in self.lanes.items()]

    async def refresh(self) -> None:
        """Have every source look whether its credential has changed."""
        await asyncio.gather(*(lane.source.refresh() for lane in self.lanes.values()))

    def close(self) -> None:
        """Close every connection."""
        for lane in self.lanes.values():
            lane.pool.close()


def _client(settings: ClientSettings) -> Client:
    return Client(
        settings.name,
        settings.digest,
        settings.expires_s,
        routes.globs(settings.models),
        routes.globs(settings.paths),
        routes.opened_paths(settings.paths),
    )
