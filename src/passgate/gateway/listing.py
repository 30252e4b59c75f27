"""The list of models where some are Gemini's: Claude's as its API gives it, and Google's behind."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.exchange import Ending, Outbound
from passgate.core.faults import Refused
from passgate.core.gemini import errors
from passgate.core.gemini.listing import Entry, entry_of, merged, page_of, with_aliases
from passgate.core.gemini.models import is_gemini
from passgate.core.gemini.status import error_in
from passgate.gateway.interfaces import Call, Clock, Keys
from passgate.gateway.lanes import Exchange, Lane
from passgate.gateway.metering import Meters

MODELS_PATH = "/v1/models"
# Claude Code waits for 3 s.
_LIMIT_S = 2.0
_KEPT_S = 600.0
_MOST_BYTES = 4 << 20
_MOST_PAGES = 5
_OK = 200


class Listed(msgspec.Struct, frozen=True):
    """Google's models, as they were when last asked for.

    Attributes:
        entries: All that answer messages.
        until_s: When to ask anew (monotonic).
    """

    entries: tuple[Entry, ...]
    until_s: float


class Listing:
    """Serve the list of models, and what is said of one Gemini model.

    Args:
        clock: The time.
        meters: Take codings off.
    """

    def __init__(self, clock: Clock, meters: Meters) -> None:
        self._monotonic = clock.monotonic
        self._meters = meters
        self._listed: dict[str, Listed] = {}

    async def serve(self, exchange: Exchange, lane: Lane, keys: Keys) -> Ending:
        """Serve one exchange; say how it ended, or raise why it was not served.

        Args:
            exchange: What is served.
            lane: To the Gemini upstream.
            keys: Of that upstream.
        """
        head = exchange.down.head
        if head.path != MODELS_PATH:
            return await self._one(exchange, lane, keys)
        due_s = self._monotonic() + _LIMIT_S
        theirs = self._claudes(exchange)
        try:
            # Both at once: the second has been answering while the first was read.
            google = await self._googles(exchange, lane, keys, due_s)
            page = None if theirs is None else await self._body(theirs, due_s)
        finally:
            if theirs is not None:
                theirs.close()
        backwards = head.query is not None and b"before_id" in head.query
        ours = with_aliases(self._routed(exchange, google), _opener(exchange.known.client))
        answer = merged(page, [] if backwards else ours)
        if answer is None:
            answer = page
        if answer is None:
            raise Refused(faults.UNREACHABLE)
        return self._answer(exchange, answer)

    def _claudes(self, exchange: Exchange) -> Call | None:
        """Ask for Claude's list as the client asked for it; None where there is no such API."""
        rest = exchange.snapshot.routes.rest
        if rest is None or rest.native:
            return None
        lane = exchange.snapshot.lanes[rest.upstream]
        credential = lane.source.cached
        if credential is None:
            return None
        # What a HEAD is told of the list is how long it is, which takes the list.
        head = msgspec.structs.replace(exchange.down.head, method="GET")
        outbound = lane.upstream.prepare(head, None, exchange.known.key, credential, None)
        return self._call(exchange, lane, Outbound(outbound.head, b"", outbound.secret))

    async def _googles(
        self, exchange: Exchange, lane: Lane, keys: Keys, due_s: float
    ) -> tuple[Entry, ...]:
        """Return Google's models; where it does not say in time, what it said before."""
        name = lane.upstream.name
        known = self._listed.get(name)
        if known is not None and self._monotonic() < known.until_s:
            return known.entries
        entries: list[Entry] = []
        target = "/v1beta/models?pageSize=1000"
        token = ""
        for _ in range(_MOST_PAGES):
            body = await self._asked(exchange, lane, keys, f"{target}{token}", due_s)
            page = None if body is None else page_of(body)
            if page is None:
                return known.entries if known is not None else ()
            entries += page.entries
            if not page.next_token:
                break
            token = f"&pageToken={page.next_token}"
        self._listed[name] = Listed(tuple(entries), self._monotonic() + _KEPT_S)
        return tuple(entries)

    async def _asked(
        self, exchange: Exchange, lane: Lane, keys: Keys, target: str, due_s: float
    ) -> bytes | None:
        await keys.ready()
        outbound = lane.upstream.asks("GET", target, None, keys.shown(keys.first("")))
        call = self._call(exchange, lane, outbound)
        try:
            return await self._body(call, due_s)
        finally:
            call.close()

    def _call(self, exchange: Exchange, lane: Lane, outbound: Outbound) -> Call:
        exchange.tally.sent(self._monotonic())
        return lane.pool.call(outbound, "GET")

    async def _body(self, call: Call, due_s: float) -> bytes | None:
        """Return the body of a good answer, None where it is none or does not come in time."""
        try:
            head = await call.answer_head(max(0.0, due_s - self._monotonic()))
            if head is None or head.status != _OK:
                return None
            body = b""
            while len(body) < _MOST_BYTES:
                data = await call.read(max(0.0, due_s - self._monotonic()))
                if not data:
                    break
                body += data
        except Refused:
            return None
        if call.ending is not Ending.COMPLETE:
            return None
        return self._meters.plain(body, head.said.get(b"content-encoding"))

    async def _one(self, exchange: Exchange, lane: Lane, keys: Keys) -> Ending:
        """Answer what is asked of one Gemini model."""
        name = unquote(exchange.down.head.path.removeprefix(f"{MODELS_PATH}/"))
        model = is_gemini(name)
        if model is None or not _opener(exchange.known.client)(name):
            raise Refused(faults.NOT_FOUND)
        await keys.ready()
        outbound = lane.upstream.asks(
            "GET", f"/v1beta/models/{model}", None, keys.shown(keys.first(model))
        )
        call = self._call(exchange, lane, outbound)
        exchange.down.follow(call)
        try:
            head = await call.answer_head(_LIMIT_S)
            if head is None:
                raise Refused(faults.ANSWER_TIMEOUT)
            body = b""
            while len(body) < _MOST_BYTES and (data := await call.read(_LIMIT_S)):
                body += data
        finally:
            call.close()
        if head.status != _OK:
            raise Refused(errors.fault_of(error_in(head.status, body)))
        entry = entry_of(body, name)
        if entry is None:
            raise Refused(errors.NO_ANSWER)
        return self._answer(exchange, entry)

    def _routed(self, exchange: Exchange, entries: tuple[Entry, ...]) -> list[Entry]:
        """Return what of *entries* a request would be sent to Gemini for."""
        rules = exchange.snapshot.routes.rules
        found = []
        for entry in entries:
            fits = (rule for rule in rules if not rule.matches or rule.matches.fullmatch(entry.id))
            rule = next(fits, None)
            if rule is not None and rule.native:
                found.append(entry)
        return found

    def _answer(self, exchange: Exchange, body: bytes) -> Ending:
        exchange.commits(_OK)
        id_ = exchange.tally.id.encode()
        exchange.down.answer(faults.local_answer(_OK, body, b"\r\nrequest-id: " + id_), body)
        return Ending.COMPLETE


def _opener(client: Client) -> Callable[[str], bool]:
    """Return what tells whether a model is open to *client*."""
    models = client.models
    if models is None:
        return lambda name: True
    return lambda name: bool(models.fullmatch(name) or models.fullmatch(is_gemini(name) or name))
