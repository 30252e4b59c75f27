"""What the last request of a connection came to: good for the next one with the same head.

An agent says the same head with every request, but for the length of its body. Who it is,
what it may use and what its upstream is shown were judged once, to the byte.
"""

from __future__ import annotations

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.credential import Credential
from passgate.core.exchange import NO_ASK, Outbound, RequestHead
from passgate.core.faults import Refused
from passgate.core.headers import around_length
from passgate.core.meter import MeterFor
from passgate.core.routing import PathKind, Route
from passgate.core.upstreams import PassThrough

_LENGTH = b"content-length"


class Known:
    """A head that was judged; kept by its connection until another head comes.

    Attributes:
        snapshot: What it was judged by; under another one it is judged anew.
        kind: What is served at its path.
        key: The key that it shows.
        client: Whose key that is.
        route: Where the last request went, or None before the first.
        model: What that one asked for.
        meter_for: What meters the answers from there.
        repeats: Where a request that asks for the same model goes without more thought.
        ask: What such a request asks for, where its path says that.
    """

    __slots__ = (
        "_credential",
        "_parts",
        "_upstream",
        "ask",
        "client",
        "key",
        "kind",
        "meter_for",
        "model",
        "repeats",
        "route",
        "snapshot",
    )

    def __init__(self, snapshot: object, kind: PathKind, key: bytes, client: Client) -> None:
        self.snapshot = snapshot
        self.kind = kind
        self.key = key
        self.client = client
        self.route: Route | None = None
        self.model: str | None = None
        self.meter_for: MeterFor | None = None
        self.repeats: Route | None = None
        self.ask = NO_ASK
        self._upstream: PassThrough | None = None
        self._credential: Credential | None = None
        self._parts = (b"", b"")

    def check(self, now_s: float) -> None:
        """Check that the key is still good.

        Raises:
            Refused: It has expired.
        """
        if self.client.expires_s is not None and now_s >= self.client.expires_s:
            raise Refused(faults.KEY)

    def has_shown(self, upstream: PassThrough, credential: Credential) -> bool:
        """Return whether the last request of a known length went there, with that."""
        return self._upstream is upstream and self._credential is credential

    def again(self, head: RequestHead, body: bytes | bytearray, credential: Credential) -> Outbound:
        """Return the request as the upstream that was shown the last one will see it.

        Args:
            head: The client's request head.
            body: Of the length that *head* declares.
            credential: What was shown.
        """
        return Outbound(head.said[_LENGTH].join(self._parts), body, credential.secret)

    def outbound(
        self,
        upstream: PassThrough,
        head: RequestHead,
        body: bytes | bytearray | None,
        credential: Credential,
        rename: str | None,
    ) -> Outbound:
        """Return the request as *upstream* will see it; see ``PassThrough.prepare``."""
        same = body is not None and len(body) == head.length
        whole = same and rename is None and _LENGTH in head.said
        if whole and body is not None and self.has_shown(upstream, credential):
            return self.again(head, body, credential)
        made = upstream.prepare(head, body, self.key, credential, rename)
        if whole:
            self._upstream, self._credential = upstream, credential
            self._parts = around_length(made.head)
        return made
