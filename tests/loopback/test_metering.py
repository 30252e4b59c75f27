"""What an exchange consumed stands in its record, whatever way its answer took."""

from __future__ import annotations

import pytest

from passgate.core.exchange import Ending, Record
from passgate.demo.content import usage_for
from tests.loopback.gateway import Gateway, message

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "thinking_tokens")


def counts(record: Record) -> tuple[int | None, ...]:
    """Return the counts that the simulated upstream tells."""
    return tuple(getattr(record, name) for name in COUNTS)


def told(body: dict[str, object]) -> tuple[object, ...]:
    """Return the counts that it tells in the answer to *body*."""
    usage = usage_for(body)
    details = usage["output_tokens_details"]
    assert isinstance(details, dict)
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    return (*(usage[name] for name in names), details["thinking_tokens"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "events"])
@pytest.mark.parametrize(
    "scene",
    [
        "claude-sonnet-4-5",
        "thinking",
        "tool",
        "refusal",
        "max-tokens",
        "text-300",
        "pings",
        "gzip",
        "deflate",
        "http10",
        "no-length",
        "trailers",
        "big-100000",
        "slow-500-20",
    ],
)
def test_recorded(gateway: Gateway, scene: str, *, stream: bool) -> None:
    """The counts that the upstream told are those of the record, in every framing."""
    body = message(scene, stream=stream)
    answer = gateway.ask(gateway.post(body))
    [record] = gateway.recorded()

    assert answer.complete
    assert told(body) == counts(record)
    assert (Ending.COMPLETE, "final", scene) == (record.ending, record.usage, record.model_served)
    assert (stream and scene != "refusal") or record.first_token_ms is None
    assert record.first_token_ms is None or record.first_token_ms >= (record.ttfb_ms or 0)


def test_http10_client(gateway: Gateway) -> None:
    """A client that knows no chunks changes nothing."""
    body = message("text-30", stream=True)
    answer = gateway.ask(gateway.post(body).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
    [record] = gateway.recorded()

    assert answer.complete
    assert (told(body), "final") == (counts(record), record.usage)
