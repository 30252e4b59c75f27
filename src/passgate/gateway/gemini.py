"""What goes to a Gemini upstream: Google's own paths, and what has to be translated."""

from __future__ import annotations

from passgate.core import faults
from passgate.core.exchange import AnswerHead, Ending
from passgate.core.faults import Refused
from passgate.core.known import Known
from passgate.core.routing import NATIVE_KINDS, PathKind
from passgate.gateway.interfaces import Ear, Keys
from passgate.gateway.lanes import Exchange
from passgate.gateway.listing import Listing
from passgate.gateway.native import Native
from passgate.gateway.relay import Relay

_READING = ("GET", "HEAD")


class Gemini:
    """Serve the exchanges of Gemini's routes.

    Args:
        native: Serves Google's own paths.
        relay: Serves Messages requests.
        listing: Serves the list of models.
    """

    def __init__(self, native: Native, relay: Relay, listing: Listing) -> None:
        self._native = native
        self._relay = relay
        self._listing = listing

    def ear(self, keys: Keys, known: Known, answer: AnswerHead) -> Ear | None:
        """Return what hears what an error says of the key that was shown; see ``Native``."""
        return self._native.ear(keys, known, answer)

    async def serve(self, exchange: Exchange) -> Ending:
        """Serve one exchange; say how it ended, or raise why it was not served.

        Raises:
            Refused: What is asked for belongs to the Messages API, and has no translation.
        """
        native = exchange.snapshot.routes.native
        upstream = exchange.route.upstream
        if exchange.known.kind is PathKind.MODELS and native is not None:
            upstream = native.upstream
        lane = exchange.snapshot.lanes[upstream]
        keys = lane.keys
        if keys is None:
            raise Refused(faults.NOT_FOUND)
        if exchange.known.kind in NATIVE_KINDS:
            return await self._native.serve(exchange, keys)
        if exchange.known.kind is PathKind.MESSAGES:
            return await self._relay.serve(exchange, keys)
        if exchange.known.kind is PathKind.MODELS and exchange.down.head.method in _READING:
            return await self._listing.serve(exchange, lane, keys)
        raise Refused(faults.NOT_FOUND)
