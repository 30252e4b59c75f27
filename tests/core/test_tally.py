"""What is noted of an exchange while it runs, and what its record says of it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from passgate.core import faults
from passgate.core.exchange import AnswerHead, Ask, Ending, Record, RequestHead
from passgate.core.faults import Fault
from passgate.core.meter import NOTHING, Metered, Metering
from passgate.core.tally import Tally, ending_of
from passgate.core.usage import Usage


def tally(head: RequestHead | None = None, *, opened_s: float = 10.0) -> Tally:
    """Return the tally of an exchange that begins now."""
    head = head or RequestHead(method="POST", target=b"/v1/messages?a=b", path="/v1/messages")
    return Tally("req_1", head, "192.0.2.7", opened_s, 1_700_000_000.25)


def test_opened() -> None:
    """A record begins with who asked for what, when; never with a query."""
    record = tally().so_far()
    expected = ("req_1", "POST", "/v1/messages", "192.0.2.7")

    assert expected == (record.id, record.method, record.path, record.peer)
    assert datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC) == record.ts
    assert (None, None, 0, "none") == (record.client, record.status, record.attempts, record.usage)


def test_path_that_must_not_be_shown() -> None:
    """A path that may hold a key is not recorded; nor does a tally show what it knows."""
    made = tally()
    made.knows("ci", b"its-key")
    made.hides_path = True

    assert ("", "Tally(req_1)") == (made.so_far().path, repr(made))
    assert made.session is None


def test_told_step_by_step() -> None:
    """Every step adds what it knows; times are milliseconds since the exchange began."""
    session = {b"x-claude-code-session-id": b"s", b"x-claude-code-agent-id": b"a"}
    made = tally(RequestHead(said=session))
    made.knows("ci", b"")
    made.goes_to("claude-*", "anthropic", Ask("claude-x", stream=True))
    made.sent(10.0015)
    answered = AnswerHead(429, b"", {}, 0, chunked=False, keep_alive=True, request_id=b"req_up")
    made.answered(answered, 10.25, b"")
    got = made.closed(Ending.COMPLETE, None, 12.5, 7, 8)
    routed = (got.client, got.route, got.upstream, got.model, got.stream)

    assert ("ci", "claude-*", "anthropic", "claude-x", True) == routed
    assert ("s", "a", None) == (got.session, got.agent, got.parent_agent)
    assert (7, 8) == (got.bytes_up, got.bytes_down)
    assert ("s", "a", None) == (made.session, made.agent, made.parent_agent)
    assert (1.5, 250.0, 2500.0) == (got.queued_ms, got.ttfb_ms, got.duration_ms)
    assert (429, "req_up", 1) == (got.status, got.upstream_request_id, got.attempts)
    assert (Ending.COMPLETE, None) == (got.ending, got.error)


class Read:
    """A meter that has read what it is given."""

    def __init__(self, metered: Metered) -> None:
        self._metered = metered

    def feed(self, data: bytes) -> bool:
        """See ``meter.Meter``."""
        return data == b"first"

    def running(self) -> tuple[int | None, bool]:
        """See ``meter.Meter``."""
        return None, False

    def close(self, *, complete: bool) -> Metered:
        """See ``meter.Meter``."""
        return self._metered if complete else NOTHING


METERED = Metered(
    "final",
    Usage(1, 2, 3, 4, 5, 6, 7),
    "served",
    "end_turn",
    "fast",
    "standard",
    "us",
    "[]",
)


def metered(
    ending: Ending, secret: bytes = b"", said: Metered = METERED, first: bytes = b"first"
) -> Record:
    """Return the record of an exchange whose answer said so."""
    made = tally()
    made.answered(AnswerHead(200, b"", {}, 0, chunked=False, keep_alive=True), 10.25, secret)
    made.metering = Metering(lambda _: Read(said), None, lambda: 10.5, lambda: None)
    made.metering.feed(first)
    return made.closed(ending, None, 11.0, 0, 0)


def test_metered() -> None:
    """What the answer told of its usage stands in the record, each in its place."""
    got = msgspec.structs.asdict(metered(Ending.COMPLETE))
    expected = {
        "usage": "final",
        "first_token_ms": 500.0,
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_tokens": 3,
        "cache_write_5m_tokens": 4,
        "cache_write_1h_tokens": 5,
        "thinking_tokens": 6,
        "web_searches": 7,
        "model_served": "served",
        "stop_reason": "end_turn",
        "speed": "fast",
        "service_tier": "standard",
        "inference_geo": "us",
        "iterations": "[]",
    }

    assert expected == {name: got[name] for name in expected}
    assert (None, None) == (got["cost_nusd"], got["price_status"])


def test_nothing_metered() -> None:
    """Where nothing was told, nothing is noted, and never a zero."""
    got = metered(Ending.CLIENT_LEFT)

    assert ("none", None, None, None) == (
        got.usage,
        got.input_tokens,
        got.output_tokens,
        got.model_served,
    )
    assert 500.0 == got.first_token_ms
    assert metered(Ending.COMPLETE, first=b"{").first_token_ms is None


@pytest.mark.parametrize("secret", ["s3cr3t", "s3cr3t" * 9], ids=["short", "long"])
@pytest.mark.parametrize("place", ["model_served", "stop_reason", "speed", "iterations"])
def test_echoed_credential(place: str, secret: str) -> None:
    """An upstream that says its credential where a word is due is not quoted."""
    echo = msgspec.structs.replace(
        METERED, **{place: f"a {secret}"[: None if place[0] in "mi" else 32]}
    )
    got = metered(Ending.COMPLETE, secret.encode(), echo)

    assert secret not in msgspec.json.encode(got).decode()
    assert (1, "final") == (got.input_tokens, got.usage)
    plain = msgspec.structs.replace(METERED, iterations=None)
    for said in (METERED, plain):
        assert "served" == metered(Ending.COMPLETE, secret.encode(), said).model_served


def test_second_attempt_counts() -> None:
    """A repeat is counted, and what came before it was waiting."""
    made = tally()
    made.sent(10.001)
    made.sent(10.003)
    record = made.so_far()

    assert record.queued_ms == pytest.approx(3.0, abs=0.002)
    assert 2 == record.attempts


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, (None, None, None), id="nothing"),
        pytest.param({b"x-claude-code-agent-id": b"a"}, (None, None, None), id="no session"),
        pytest.param(
            {b"x-claude-code-session-id": b"s", b"x-claude-code-parent-agent-id": b"p"},
            ("s", None, "p"),
            id="a parent",
        ),
        pytest.param(
            {b"x-claude-code-session-id": b"\xff" * 500}, ("\xff" * 200, None, None), id="much"
        ),
    ],
)
def test_session(said: dict[bytes, bytes], expected: tuple[str | None, ...]) -> None:
    """Session and agents are taken as they are said, but not at any length."""
    made = tally(RequestHead(said=said))
    made.knows("ci", b"")
    record = made.so_far()

    assert expected == (record.session, record.agent, record.parent_agent)


@pytest.mark.parametrize(
    ("ending", "fault", "expected"),
    [
        (Ending.COMPLETE, None, None),
        (Ending.REFUSED, faults.KEY, "key"),
        (Ending.UPSTREAM_BROKE, faults.UNREACHABLE, "upstream"),
        (Ending.UPSTREAM_BROKE, None, "upstream"),
        (Ending.TIMED_OUT, faults.CLIENT_STALLED, "http"),
        (Ending.TIMED_OUT, None, "timeout"),
        (Ending.FAILED, faults.INTERNAL, "internal"),
        (Ending.CLIENT_LEFT, None, None),
        (Ending.DRAINED, None, None),
    ],
    ids=lambda value: getattr(value, "value", getattr(value, "code", str(value))),
)
def test_error(ending: Ending, fault: Fault | None, expected: str | None) -> None:
    """What went wrong has one word, also where the head was sent and no fault can be told."""
    assert expected == tally().closed(ending, fault, 11.0, 0, 0).error


class Half:
    """A meter that has read something, and may be asked again."""

    def feed(self, data: bytes) -> bool:
        """Take nothing."""
        return False

    def running(self) -> tuple[int | None, bool]:
        """See ``Meter``."""
        return 7, True

    def close(self, *, complete: bool) -> Metered:
        """See ``Meter``."""
        return Metered("final" if complete else "partial", Usage(output_tokens=7))


def test_so_far() -> None:
    """Whoever looks on sees what a cut would leave, and changes nothing."""
    running = tally()
    running.metering = Metering(lambda _: Half(), None, lambda: 0.0, lambda: None)
    running.metering.feed(b"{")
    seen = running.so_far()
    record = running.closed(Ending.COMPLETE, None, 11.0, 0, 0)

    assert ("partial", 7) == (seen.usage, seen.output_tokens)
    assert "final" == record.usage


def test_so_far_without_a_meter() -> None:
    """What nothing reads has used nothing that is known."""
    record = tally().so_far()

    assert isinstance(record, Record)
    assert "none" == record.usage


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.INTERNAL, Ending.FAILED),
        (faults.ANSWER_TIMEOUT, Ending.TIMED_OUT),
        (faults.UNREACHABLE, Ending.UPSTREAM_BROKE),
        (faults.KEY, Ending.REFUSED),
        (faults.CREDENTIAL, Ending.REFUSED),
    ],
    ids=lambda each: getattr(each, "code", ""),
)
def test_ending_of(fault: Fault, expected: Ending) -> None:
    """Who caused a fault decides how the exchange is said to have ended."""
    assert expected is ending_of(fault)
