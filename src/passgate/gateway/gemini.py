"""What goes to a Gemini upstream: Google's own paths, and what has to be translated."""

from __future__ import annotations

from passgate.core import faults
from passgate.core.exchange import Ending
from passgate.core.faults import Refused
from passgate.core.routing import NATIVE_KINDS
from passgate.gateway.lanes import Exchange
from passgate.gateway.native import Native


class Gemini:
    """Serve the exchanges of Gemini's routes.

    Args:
        native: Serves Google's own paths.
    """

    def __init__(self, native: Native) -> None:
        self._native = native

    async def serve(self, exchange: Exchange) -> Ending:
        """Serve one exchange; say how it ended, or raise why it was not served."""
        keys = exchange.snapshot.lanes[exchange.route.upstream].keys
        if keys is not None and exchange.kind in NATIVE_KINDS:
            return await self._native.serve(exchange, keys)
        raise Refused(faults.NOT_FOUND)
