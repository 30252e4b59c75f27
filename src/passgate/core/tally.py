"""What is known of an exchange that runs, step by step, and its record when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from passgate.core.exchange import NO_ASK, AnswerHead, Ask, Ending, Record, RequestHead
from passgate.core.faults import CLIENT_STALLED, INTERNAL, Fault, Source
from passgate.core.meter import NOTHING, Consumption, Metered

_MAX_NAME = 200
_MAX_PATH = 1024
_NOTHING_SAID: Mapping[bytes, bytes] = MappingProxyType({})
_COMPLETE = Ending.COMPLETE
# A fault after the head was sent has no Fault to name it.
_ERRORS = {Ending.UPSTREAM_BROKE: "upstream", Ending.TIMED_OUT: "timeout"}
# What the words that a price depends on nearly always are: none of them is a credential.
_USUAL_WORDS = frozenset(
    {None, "end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal"}
    | {"standard", "priority", "batch", "fast", "us", "global", "not_available", "STOP"}
)


class Tally:
    """What is known of an exchange that still runs: its record, when it has ended.

    The only mutable thing of an exchange, written by the pipeline alone.

    Attributes:
        id: Of the exchange.
        opened_s: When it began (monotonic).
        opened_wall_s: The same, in seconds since 1970.
        path: What is recorded of the path.
        client: Whose key it showed, once that is known.
        upstream: Where it goes, once that is known.
        ask: What it asks for.
        status: What the client was told.
        metering: What reads the answer's usage, or None where nothing does.
    """

    __slots__ = (
        "_answered_s",
        "_attempts",
        "_key",
        "_method",
        "_peer",
        "_request_id",
        "_route",
        "_said",
        "_secret",
        "_sent_s",
        "ask",
        "client",
        "id",
        "metering",
        "opened_s",
        "opened_wall_s",
        "path",
        "status",
        "upstream",
    )

    def __init__(
        self, id_: str, head: RequestHead, peer: str, opened_s: float, opened_wall_s: float
    ) -> None:
        self.id = id_
        self.opened_s = opened_s
        self.opened_wall_s = opened_wall_s
        self.path = head.path
        self.client: str | None = None
        self.upstream: str | None = None
        self.ask = NO_ASK
        self.status: int | None = None
        self.metering: Consumption | None = None
        self._method = head.method
        self._peer = peer
        self._said: Mapping[bytes, bytes] = _NOTHING_SAID
        self._key = self._secret = b""
        self._route: str | None = None
        self._attempts = 0
        self._sent_s: float | None = None
        self._answered_s: float | None = None
        self._request_id: str | None = None

    def knows(self, client: str, said: Mapping[bytes, bytes], key: bytes) -> None:
        """Note who asks: the client, and the session and agent it says it is.

        A name that holds the *key* is none.
        """
        self.client = client
        if b"x-claude-code-session-id" in said:
            self._said = said
            self._key = key

    def goes_to(self, route: str, upstream: str, ask: Ask) -> None:
        """Note what was asked for and where it goes."""
        self._route = route
        self.upstream = upstream
        self.ask = ask

    def sent(self, now_s: float) -> None:
        """Note that the request goes to the upstream now."""
        self._attempts += 1
        self._sent_s = now_s

    def answered(self, head: AnswerHead, now_s: float, secret: bytes) -> None:
        """Note that the upstream's response head has come; an id that holds *secret* is none."""
        self._answered_s = now_s
        self.status = head.status
        id_ = head.request_id
        hidden = id_ is None or (secret != b"" and id_.find(secret) >= 0)
        self._request_id = None if hidden or id_ is None else id_[:_MAX_NAME].decode("latin-1")
        self._secret = secret

    @property
    def session(self) -> str | None:
        """The session that the client says it is in."""
        return _named(self._said, b"x-claude-code-session-id", self._key)

    @property
    def agent(self) -> str | None:
        """The agent of that session that it says it is."""
        return _named(self._said, b"x-claude-code-agent-id", self._key)

    @property
    def parent_agent(self) -> str | None:
        """The agent that began that one."""
        return _named(self._said, b"x-claude-code-parent-agent-id", self._key)

    def so_far(self) -> Record:
        """Return what the record would be if the exchange were cut now: for who looks on."""
        return self.closed(Ending.CLIENT_LEFT, None, self.opened_s, 0, 0)

    def closed(
        self, ending: Ending, fault: Fault | None, now_s: float, bytes_up: int, bytes_down: int
    ) -> Record:
        """Return the record of this exchange.

        Args:
            ending: How it ended.
            fault: Why, where that has a fault.
            now_s: When (monotonic).
            bytes_up: Body bytes received from the client.
            bytes_down: Body bytes sent to it.
        """
        complete = ending is _COMPLETE
        opened_s, said = self.opened_s, self._said
        metering, metered, first_s = self.metering, NOTHING, None
        if metering is not None:
            metered, first_s = metering.close(complete=complete), metering.first_token_s
            if self._secret != b"" and _quotes(metered, self._secret):
                metered = Metered(metered.kind, metered.usage)
        usage, sent_s, answered_s = metered.usage, self._sent_s, self._answered_s
        error = None
        if not complete:
            error = fault.code if fault is not None else _ERRORS.get(ending)
        # By place: by name it would cost five times as much. Tests hold each against its name.
        return Record(
            datetime.fromtimestamp(self.opened_wall_s, UTC),
            self.id,
            self.client,
            self._method,
            self.path[:_MAX_PATH],
            self._route,
            self.upstream,
            self.ask.model,
            metered.model_served,
            self.ask.stream,
            self.status,
            ending,
            error,
            # Microseconds; ``round`` would cost five times this.
            None if sent_s is None else int((sent_s - opened_s) * 1e6) / 1000,
            None if answered_s is None else int((answered_s - opened_s) * 1e6) / 1000,
            None if first_s is None else int((first_s - opened_s) * 1e6) / 1000,
            int((now_s - opened_s) * 1e6) / 1000,
            bytes_up,
            bytes_down,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.thinking_tokens,
            None,
            metered.kind,
            metered.stop_reason,
            self.session if said else None,
            self.agent if said else None,
            self.parent_agent if said else None,
            self._request_id,
            self._peer,
            self._attempts,
            usage.web_searches,
            metered.speed,
            metered.service_tier,
            metered.inference_geo,
            None,
            metered.iterations,
        )


def ending_of(fault: Fault) -> Ending:
    """Return how an exchange ended that was not served for *fault*."""
    if fault is INTERNAL:
        return Ending.FAILED
    if fault is CLIENT_STALLED or fault.code == "timeout":
        return Ending.TIMED_OUT
    return Ending.UPSTREAM_BROKE if fault.source is Source.UPSTREAM else Ending.REFUSED


def _quotes(m: Metered, secret: bytes) -> bool:
    """Return whether any word of *m* holds *secret*: an upstream may say what it was shown."""
    text = m.model_served or ""
    words = (m.stop_reason, m.service_tier, m.inference_geo, m.speed, m.iterations)
    if not _USUAL_WORDS.issuperset(words):
        text = f"{text} {' '.join(map(str, words))}"
    return text.encode().find(secret) >= 0  # ``in`` takes twice as long


def _named(said: Mapping[bytes, bytes], field: bytes, secret: bytes) -> str | None:
    value = said.get(field)
    hidden = value is None or (secret != b"" and secret in value)
    return None if hidden or value is None else value[:_MAX_NAME].decode("latin-1")
