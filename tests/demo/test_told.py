"""The simulated upstream knows what usage it has told, to the token."""

from __future__ import annotations

import pytest

from passgate.demo.replies import event
from passgate.demo.scenes import chunk
from passgate.demo.told import Told, usage_in

USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 2,
    "service_tier": "standard",
}
COUNTS = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 5,
    "ephemeral_5m_input_tokens": 1,
    "ephemeral_1h_input_tokens": 4,
    "output_tokens": 2,
}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (event("message_start", {"message": {"usage": USAGE}}), COUNTS),
        (chunk(event("message_delta", {"usage": {"output_tokens": 9}})), {"output_tokens": 9}),
        (b'{"id":"m","usage":{"input_tokens":1}}', {"input_tokens": 1}),
        (event("content_block_delta", {"delta": {"text": '"usage":{"input_tokens":1}'}}), {}),
        (b'data: "usage"\n\ndata: {"usage"\n\n', {}),
        (b"", {}),
    ],
)
def test_usage_in(part: bytes, expected: dict[str, int]) -> None:
    """Messages and events tell usage, and nothing else does."""
    assert expected == usage_in(part)


def test_sums() -> None:
    """Answers are added up; one that told nothing is none."""
    told = Told()
    for usage in ({"input_tokens": 1, "output_tokens": 0}, {}, {"input_tokens": 2}):
        told.add(usage)

    assert (2, {"input_tokens": 3}) == (told.answers, dict(told.tokens))
