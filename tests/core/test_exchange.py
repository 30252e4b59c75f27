"""The values of an exchange: what is public of them, and what they do not show."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest

from passgate.core.exchange import AnswerHead, Ending, Outbound, Record, RequestHead

# The contract's list, in its order, and what re-pricing needs besides.
FIELDS = re.findall(
    r"\w+",
    """
    ts id client method path route upstream model model_served stream status ending error
    queued_ms ttfb_ms first_token_ms duration_ms bytes_up bytes_down input_tokens output_tokens
    cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens thinking_tokens cost_nusd usage
    stop_reason session agent parent_agent upstream_request_id peer attempts web_searches speed
    service_tier inference_geo price_status iterations
    """,
)


def test_fields_of_a_record() -> None:
    """A record's fields are public: operators' queries hang on their names."""
    assert FIELDS == list(json.loads(msgspec.json.encode(Record(datetime.now(UTC), "req_1"))))


def test_endings_are_public() -> None:
    """And so are the words for how an exchange ended."""
    expected = "complete refused client_left upstream_broke timed_out drained failed"

    assert expected.split() == [ending.value for ending in Ending]


def test_nothing_secret_is_shown() -> None:
    """A value in a traceback or a debugger's line shows no key, credential or prompt."""
    head = RequestHead(
        "POST", b"/p?s3cr3t", "/p", b"s3cr3t", b"s3cr3t", b"s3cr3t", {b"x": b"s3cr3t"}
    )
    outbound = Outbound(b"s3cr3t", b"s3cr3t", b"s3cr3t")

    answered = AnswerHead(200, b"s3cr3t", {b"x": b"s3cr3t"}, 0, chunked=False, keep_alive=True)

    assert "RequestHead(POST /p)" == repr(head)
    assert "AnswerHead(200)" == repr(answered)
    assert "Outbound(...)" == repr(outbound)


def test_values_do_not_change() -> None:
    """What was read once stays as it was read."""
    with pytest.raises(AttributeError):
        RequestHead().method = "GET"  # type: ignore[misc]  # that it cannot be is the point


ASKED = {
    "none": ("", b""),
    "one": ("\r\nAccept: text/plain", b"text/plain"),
    "spelling": ("\r\nACCEPT:text/plain ", b"text/plain"),
    "two": ("\r\naccept: a\r\nX: y\r\nAccept: b", b"a,b"),
    "longer-name": ("\r\naccept-encoding: gzip", b""),
}


@pytest.mark.parametrize(("raw", "expected"), ASKED.values(), ids=ASKED.keys())
def test_field(raw: str, expected: bytes) -> None:
    """Any field can be asked for by its name, however it is spelt and repeated."""
    assert expected == RequestHead(raw_fields=raw.encode()).field(b"accept")
