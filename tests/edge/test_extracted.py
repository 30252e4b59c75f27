"""Our own reading of a body and the library's give the same cost, to the nano-USD."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import genai_prices
import msgspec
import pytest

from passgate.core import messages_meter, pricing
from passgate.core.exchange import Record
from passgate.core.gemini import meter as gemini_meter
from passgate.core.meter import Meter
from passgate.core.pricebook import PriceBook
from tests.edge.test_price_child import schedule

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def claude(model: str = "claude-opus-5-5", **usage: Any) -> dict[str, Any]:
    """Return a message with this usage."""
    told = {"input_tokens": 100, "output_tokens": 700} | usage
    return {"type": "message", "model": model, "content": [], "usage": told}


def gemini(model: str = "gemini-4-argon", **usage: Any) -> dict[str, Any]:
    """Return a response with this usage."""
    content = {"parts": [{"text": "hi"}]}
    candidates = [{"content": content, "finishReason": "STOP"}]
    return {"candidates": candidates, "modelVersion": model, "usageMetadata": usage}


WRITTEN: dict[str, Any] = {
    "cache_creation_input_tokens": 3000,
    "cache_read_input_tokens": 50_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
}
BODIES = [
    pytest.param(claude(), "0.0144", id="claude"),
    pytest.param(claude(**WRITTEN), "0.0454", id="claude, cached"),
    pytest.param(
        claude(**WRITTEN, server_tool_use={"web_search_requests": 2}), "0.0654", id="searches"
    ),
    pytest.param(
        claude(output_tokens_details={"thinking_tokens": 600}), "0.0144", id="claude, thinking"
    ),
    pytest.param(
        claude("claude-haiku-5-5", input_tokens=100_001, output_tokens=0), "0.0500005", id="tier"
    ),
    pytest.param(gemini(promptTokenCount=10, candidatesTokenCount=2), "0.00004", id="gemini"),
    pytest.param(
        gemini(
            promptTokenCount=10_000,
            cachedContentTokenCount=8000,
            candidatesTokenCount=200,
            thoughtsTokenCount=900,
            toolUsePromptTokenCount=50,
        ),
        "0.0159",
        id="gemini, cached, thinking, tools",
    ),
    pytest.param(
        gemini(
            "gemini-3.8-flash",
            promptTokenCount=5200,
            cachedContentTokenCount=4096,
            candidatesTokenCount=106,
        ),
        "0.0015327",
        id="the worked example",
    ),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_same_cost(body: dict[str, Any], expected: str) -> None:
    """From the bytes of an answer to its cost: as the library reads and prices the body."""
    google = "usageMetadata" in body
    provider = pricing.GOOGLE if google else pricing.ANTHROPIC
    meter: Meter = (gemini_meter if google else messages_meter).meter_for(b"{")
    meter.feed(json.dumps(body).encode())
    metered = meter.close(complete=True)
    record = Record(NOON, "1", "a", upstream="up", model_served=metered.model_served)
    record.usage = metered.kind
    for name, count in msgspec.structs.asdict(metered.usage).items():
        setattr(record, name, count)
    book = PriceBook(pytest.fail)
    book.goes_by({"up": provider}, [])
    key = pricing.key_of(provider, record)
    book.learn(key, schedule(key))
    book([record])
    read = genai_prices.extract_usage(body, provider_id=provider)
    total = read.calc_price(genai_request_timestamp=NOON).total_price
    theirs = int(total.scaleb(9).quantize(Decimal(1), ROUND_HALF_EVEN))

    assert Decimal(expected) == Decimal(record.cost_nusd or 0).scaleb(-9)
    assert (theirs, "exact") == (record.cost_nusd, record.price_status)
