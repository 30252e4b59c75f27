"""What leads to the upstreams, and one exchange on its way there: values of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from passgate.core.auth import Client
from passgate.core.credential import Credential
from passgate.core.exchange import Ask, Outbound
from passgate.core.faults import UpstreamStale
from passgate.core.known import Known
from passgate.core.routing import Route, Routes
from passgate.core.tally import Tally
from passgate.core.upstreams import PassThrough
from passgate.gateway.admission import Slot
from passgate.gateway.interfaces import Answer, Clock, CredentialSource, Downstream, Keys, Pool

_UNAUTHORIZED = 401


class Lane(msgspec.Struct, frozen=True):
    """Everything that leads to one upstream.

    Attributes:
        upstream: What it is sent.
        source: Where its credential comes from.
        pool: The connections to it.
        retry_stale: Whether what a reused connection lost unanswered is repeated once.
        keys: The same source, where it holds the keys of a Gemini upstream.
        optimistic: Whether signatures are shown to it that it issued to another key.
        validates: Whether it is to check the calls of strict tools.
    """

    upstream: PassThrough
    source: CredentialSource
    pool: Pool
    retry_stale: bool
    keys: Keys | None = None
    optimistic: bool = False
    validates: bool = False

    def at_hand(self) -> Credential | None:
        """Return what the next request is shown, where nothing has to be waited for or chosen."""
        if self.keys is None:
            return self.source.cached
        key = self.keys.only
        return None if key is None else self.keys.shown(key)

    def judge(self, credential: Credential, status: int) -> None:
        """Have *credential* fetched anew if the upstream's answer says that it is not good."""
        if status == _UNAUTHORIZED:
            self.source.rejected(credential)


class Snapshot(msgspec.Struct, frozen=True):
    """What the configuration says now; an exchange keeps the one it began with.

    Attributes:
        clients: By SHA-256 of the key.
        routes: Where requests go.
        lanes: By the upstream's name.
    """

    clients: Mapping[bytes, Client]
    routes: Routes
    lanes: Mapping[str, Lane]


class Exchange(msgspec.Struct):
    """One exchange that has its route, for who serves it instead of the pipeline.

    Attributes:
        down: The client's side.
        known: What is known of its head: who asks for what, and the key that was shown,
            which never travels.
        body: The held body, let go as soon as it is needed no more; None where it is
            passed on as it arrives.
        ask: What the body asks for.
        route: Where it goes.
        snapshot: What the configuration says.
        tally: Its record.
        slot: Its place.
    """

    down: Downstream
    known: Known
    body: bytes | bytearray | None
    ask: Ask
    route: Route
    snapshot: Snapshot
    tally: Tally
    slot: Slot

    def commits(self, status: int) -> None:
        """Take note that the client is sent *status*; nothing can be repeated any more."""
        self.tally.status = status
        self.body = None
        self.slot.release()


class Waits(msgspec.Struct, frozen=True):
    """How long a client that waits for a translated answer hears nothing, in seconds.

    Attributes:
        hold_s: From its request on, its status is held: it can still be another.
        ping_s: From then on, at most between two events. Clients give up after 300 s of
            silence, and some networks after a minute.
        key_s: At most that is waited for a key which rests, rather than show another one
            in the middle of a turn.
    """

    hold_s: float = 15.0
    ping_s: float = 15.0
    key_s: float = 10.0


async def repeated(
    outbound: Outbound,
    lane: Lane,
    down: Downstream,
    tally: Tally,
    clock: Clock,
    release: Callable[[], None] = lambda: None,
) -> Answer:
    """Return the answer; after a stale connection once more, as the operator allowed.

    Args:
        outbound: What to send.
        lane: Where to.
        down: The client's side.
        tally: Told of a second attempt.
        clock: The time.
        release: Gives the memory of the body back, which is kept till the answer is there.
    """
    try:
        answer = await lane.pool.open(outbound, down, None)
    except UpstreamStale:
        tally.sent(clock.monotonic())
        answer = await lane.pool.open(outbound, down, None, fresh=True)
    release()
    return answer
