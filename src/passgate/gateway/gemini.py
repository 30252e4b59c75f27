"""What goes to a Gemini upstream: Google's own paths, and what has to be translated."""

from __future__ import annotations

from passgate.core import faults
from passgate.core.exchange import Ending
from passgate.core.faults import Refused
from passgate.core.routing import NATIVE_KINDS, PathKind
from passgate.gateway.lanes import Exchange
from passgate.gateway.native import Native
from passgate.gateway.relay import Relay


class Gemini:
    """Serve the exchanges of Gemini's routes.

    Args:
        native: Serves Google's own paths.
        relay: Serves Messages requests.
    """

    def __init__(self, native: Native, relay: Relay) -> None:
        self._native = native
        self._relay = relay

    async def serve(self, exchange: Exchange) -> Ending:
        """Serve one exchange; say how it ended, or raise why it was not served."""
        keys = exchange.snapshot.lanes[exchange.route.upstream].keys
        if keys is not None and exchange.kind in NATIVE_KINDS:
            return await self._native.serve(exchange, keys)
        if keys is not None and exchange.kind is PathKind.MESSAGES:
            return await self._relay.serve(exchange, keys)
        raise Refused(faults.NOT_FOUND)
