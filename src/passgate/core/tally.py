"""What is known of an exchange that runs, step by step, and its record when it has ended."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from passgate.core.exchange import NO_ASK, AnswerHead, Ask, Ending, Record, RequestHead
from passgate.core.faults import CLIENT_STALLED, INTERNAL, Fault, Source
from passgate.core.meter import NOTHING, Consumption, Metered

_MAX_NAME = 200
_MAX_PATH = 1024
_SESSION = b"x-claude-code-session-id"
_COMPLETE = Ending.COMPLETE
# A fault after the head was sent has no Fault to name it.
_ERRORS = {Ending.UPSTREAM_BROKE: "upstream", Ending.TIMED_OUT: "timeout"}
# What the words that a price depends on nearly always are: none of them is a credential.
_USUAL_WORDS = frozenset(
    {None, "end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal"}
    | {"standard", "priority", "batch", "fast", "us", "global", "not_available", "STOP"}
)


class Tally(msgspec.Struct):
    """What is known of an exchange that still runs: its record, when it has ended.

    The only mutable thing of an exchange, written by the pipeline alone.

    Attributes:
        id: Of the exchange.
        head: As the client sent it.
        peer: The client's address.
        opened_s: When it began (monotonic).
        opened_wall_s: The same, in seconds since 1970.
        client: Whose key it showed, once that is known.
        key: That key, which is recorded nowhere.
        route: Where it goes, by the label of the route.
        upstream: The same, by its name.
        ask: What it asks for.
        attempts: How often it was sent.
        sent_s: When it was last sent (monotonic).
        answered_s: When the head of the answer had come.
        status: What the client was told.
        request_id: What the upstream calls it.
        secret: What the upstream was shown, which is recorded nowhere.
        metering: What reads the answer's usage, or None where nothing does.
        hides_path: Whether the path must not be recorded.
    """

    id: str
    head: RequestHead
    peer: str
    opened_s: float
    opened_wall_s: float
    client: str | None = None
    key: bytes = b""
    route: str | None = None
    upstream: str | None = None
    ask: Ask = NO_ASK
    attempts: int = 0
    sent_s: float | None = None
    answered_s: float | None = None
    status: int | None = None
    request_id: bytes | None = None
    secret: bytes = b""
    metering: Consumption | None = None
    hides_path: bool = False

    def knows(self, client: str, key: bytes) -> None:
        """Note who asks."""
        self.client = client
        self.key = key

    def goes_to(self, route: str, upstream: str, ask: Ask) -> None:
        """Note what was asked for and where it goes."""
        self.route = route
        self.upstream = upstream
        self.ask = ask

    def sent(self, now_s: float) -> None:
        """Note that the request goes to the upstream now."""
        self.attempts += 1
        self.sent_s = now_s

    def answered(self, head: AnswerHead, now_s: float, secret: bytes) -> None:
        """Note that the upstream's response head has come; an id that holds *secret* is none."""
        self.answered_s = now_s
        self.status = head.status
        self.request_id = head.request_id
        self.secret = secret

    @property
    def path(self) -> str:
        """What is recorded of the path."""
        return "" if self.hides_path else self.head.path[:_MAX_PATH]

    @property
    def session(self) -> str | None:
        """The session that the client says it is in; a name that holds its key is none."""
        return self._named(_SESSION)

    @property
    def agent(self) -> str | None:
        """The agent of that session that it says it is."""
        return self._named(b"x-claude-code-agent-id")

    @property
    def parent_agent(self) -> str | None:
        """The agent that began that one."""
        return self._named(b"x-claude-code-parent-agent-id")

    def _named(self, field: bytes) -> str | None:
        said = self.head.said
        if self.client is None or _SESSION not in said:
            return None  # a stranger's words, or nobody's agent
        return _shown(said.get(field), self.key)

    def __repr__(self) -> str:
        return f"Tally({self.id})"  # the rest holds what is secret

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
        opened_s, head, secret = self.opened_s, self.head, self.secret
        metering, metered, first_s = self.metering, NOTHING, None
        if metering is not None:
            metered, first_s = metering.close(complete=complete), metering.first_token_s
            if secret != b"" and _quotes(metered, self.ask.model, secret):
                metered = Metered(metered.kind, metered.usage)
        usage, sent_s, answered_s = metered.usage, self.sent_s, self.answered_s
        says = _SESSION in head.said
        error = None
        if not complete:
            error = fault.code if fault is not None else _ERRORS.get(ending)
        # By place: by name it would cost five times as much. Tests hold each against its name.
        return Record(
            datetime.fromtimestamp(self.opened_wall_s, UTC),
            self.id,
            self.client,
            head.method,
            self.path,
            self.route,
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
            self.session if says else None,
            self.agent if says else None,
            self.parent_agent if says else None,
            _shown(self.request_id, secret),
            self.peer,
            self.attempts,
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


def _quotes(m: Metered, asked: str | None, secret: bytes) -> bool:
    """Return whether any word of *m* holds *secret*: an upstream may say what it was shown.

    The model that was *asked* for is the client's word, who was not shown it.
    """
    text = "" if m.model_served is None or m.model_served == asked else m.model_served
    words = (m.stop_reason, m.service_tier, m.inference_geo, m.speed, m.iterations)
    if not _USUAL_WORDS.issuperset(words):
        text = f"{text} {' '.join(map(str, words))}"
    return text != "" and secret in text.encode()


def _shown(value: bytes | None, secret: bytes) -> str | None:
    """Return a name as it is recorded: one that holds *secret* is none."""
    if value is None or (secret != b"" and value.find(secret) >= 0):
        return None
    return value[:_MAX_NAME].decode("latin-1")
