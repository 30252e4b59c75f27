"""Who asks for what: a head is judged, and a body read as far as must be.

An agent's requests have one head, but for its length: it is judged at the first of them.
"""

from __future__ import annotations

from passgate.core import auth, faults, messages, routing
from passgate.core.credential import Credential
from passgate.core.exchange import NO_ASK, Ask, Outbound, RequestHead
from passgate.core.faults import Refused
from passgate.core.gemini.minted import is_minted, without_minted
from passgate.core.known import Known
from passgate.core.routing import PathKind, Route
from passgate.core.tally import Tally
from passgate.gateway import local
from passgate.gateway.admission import Slot
from passgate.gateway.interfaces import Downstream
from passgate.gateway.lanes import Lane, Snapshot
from passgate.gateway.local import Readiness

Body = bytes | bytearray


def judged(
    down: Downstream, snapshot: Snapshot, tally: Tally, readiness: Readiness
) -> Known | None:
    """Return who asks for what, or None if it was one of our own paths and is answered.

    Raises:
        Refused: The head or the key is not good, or nothing is at this path for this key.
    """
    head, now_s = down.head, tally.opened_wall_s
    if head.fault is not None:
        raise Refused(head.fault)
    kind = routing.kind_of(head.method, head.path, google_key=b"x-goog-api-key" in head.said)
    if kind is PathKind.LOCAL:
        local.answer(head, down, readiness, known=_shows_key(head, snapshot, now_s))
        return None
    key = auth.presented_key(head.said, head.query)
    if key and key in head.target:
        tally.hides_path = True  # what is recorded must not hold it
        raise Refused(faults.KEY_IN_QUERY)
    if kind is PathKind.NOTHING:
        raise Refused(faults.NOT_FOUND)
    client = auth.identify(key, snapshot.clients, now_s)
    tally.knows(client.name, key)
    routing.permit(client, kind, head.path)
    return Known(snapshot, kind, key, client)


def _shows_key(head: RequestHead, snapshot: Snapshot, now_s: float) -> bool:
    """Return whether a good key was shown where none is needed."""
    try:
        auth.identify(auth.presented_key(head.said, head.query), snapshot.clients, now_s)
    except Refused:
        return False
    return True


async def read(
    down: Downstream, known: Known, slot: Slot, body: Body | None
) -> tuple[Body | None, Ask]:
    """Return the body, if it must be held to learn the model, and what it asks for.

    *body* is what was at hand and is taken already, or None.

    Raises:
        Refused: It is too large, or cannot be read where it must be.
    """
    head = down.head
    if known.kind is not PathKind.MESSAGES:
        await down.begun()
        if known.kind is PathKind.NATIVE_MODEL:
            streams = ":stream" in head.path
            return body, Ask(model=routing.native_model(head.path), stream=streams)
        return body, NO_ASK
    coding = head.said.get(b"content-encoding")
    if body is None and coding is None:
        body = down.body_at_hand()
    if body is None:
        if head.length is not None and head.length > messages.MAX_BODY_BYTES:
            raise Refused(faults.too_large(messages.MAX_BODY_BYTES))
        body = await down.body(messages.MAX_BODY_BYTES, slot.hold)
    if coding is None:
        return body, messages.peek(body)
    plain = messages.decoded(body, coding, messages.MAX_BODY_BYTES, slot.fits)
    if plain is None and known.client.models is not None:
        raise Refused(faults.request("content-encoding: this key needs a body we can read"))
    return body, NO_ASK if plain is None else messages.peek(plain)


def can_repeat(known: Known, route: Route, lane: Lane, head: RequestHead) -> bool:
    """Return whether a request like this one, but for its body, can be sent without a thought.

    Not where its body has to be changed, or kept for a repetition.
    """
    if known.kind is PathKind.MESSAGES and b"content-encoding" in head.said:
        return False
    one_key = lane.keys is None or lane.keys.only is not None
    repeatable = known.kind in (PathKind.MESSAGES, PathKind.NATIVE_MODEL)
    return repeatable and one_key and route.rename is None and not lane.retry_stale


def again(
    known: Known, lane: Lane, head: RequestHead, body: bytes, snapshot: Snapshot
) -> tuple[Ask, Outbound, Credential] | None:
    """Return what is asked for, sent and shown if all is as with the request before, or None.

    Args:
        known: What is known of *head*; the request before it had the same one.
        lane: Where that one went.
        head: The head.
        body: Of the length that *head* declares.
        snapshot: What the configuration says, as it did then.
    """
    credential = lane.at_hand()
    if credential is None or not known.has_shown(lane.upstream, credential):
        return None
    if known.kind is PathKind.NATIVE_MODEL:
        return known.ask, known.again(head, body, credential), credential
    try:
        ask = messages.peek(body)
    except Refused:
        return None
    if ask.model != known.model or (snapshot.routes.models is not None and is_minted(body)):
        return None
    return ask, known.again(head, body, credential), credential


def cleaned(body: Body | None, head: RequestHead, snapshot: Snapshot, slot: Slot) -> Body | None:
    """Return *body* without what passgate minted for a conversation with Gemini."""
    if body is None or snapshot.routes.models is None:
        return body
    coding = head.said.get(b"content-encoding")
    return without_minted(body, coding, messages.MAX_BODY_BYTES, slot.fits)
