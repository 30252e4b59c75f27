"""Many exchanges, every tenth client hanging up: the ledger's sums are what was told.

The simulated upstream adds up what it says, the price list says what that costs, and
neither shares a line with the gateway. ``PASSGATE_TOTALS=10000`` runs that many.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from passgate.edge.ledger_sql import FILE_NAME
from tests.loopback.gateway import Gateway, eventually, message, read_answer, running

_EXCHANGES = int(os.environ.get("PASSGATE_TOTALS", "1000"))  # noqa: TID251  the suite's own switch
_CLIENTS = 8
_LEAVE = 10  # each so many
_MODEL = "claude-sonnet-4-5"
# What the upstream calls it -> what the ledger does.
_COLUMNS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "thinking_tokens": "thinking_tokens",
}


def body(number: int) -> dict[str, Any]:
    """Return one of many different requests."""
    said = message(_MODEL, stream=number % 3 != 0)
    said["messages"][0]["content"] = "hello " * (1 + number % 50)
    if number % 4 == 0:
        said["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    if number % 5 == 0:
        control = {"type": "ephemeral", "ttl": "1h" if number % 3 else "5m"}
        said["system"] = [{"type": "text", "text": "be kind " * 90, "cache_control": control}]
    if number % 10 == 5:
        said["messages"] += [{"role": "assistant", "content": "hi"}, said["messages"][0]]
    return said


def client(gateway: Gateway, numbers: range) -> None:
    """Be one client that asks, one after the other; now and then it hangs up."""
    connection = gateway.connect()
    for number in numbers:
        if number % _LEAVE:
            connection.sendall(gateway.post(body(number)))
            assert read_answer(connection).complete
            continue
        asked = body(number) | {"stream": True}
        connection.sendall(gateway.post(asked, "x-demo-scene: silent"))
        got = b""
        while b"message_start" not in got:
            got += connection.recv(1 << 16)
        connection.close()
        connection = gateway.connect()
    connection.close()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Counter[str]]]:
    """All of it, done: where the ledger is, and what the upstream says it has told."""
    directory = tmp_path_factory.mktemp("totals")
    with running(state_dir=directory) as gateway:
        shares = [range(n, _EXCHANGES, _CLIENTS) for n in range(_CLIENTS)]
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for done in [pool.submit(client, gateway, share) for share in shares]:
                done.result()
        eventually(lambda: rows(directory, "count(*)") == _EXCHANGES, within_s=20)
        eventually(lambda: rows(directory, "sum(price_status = 'pending')") == 0, within_s=30)
        assert _EXCHANGES == gateway.upstream.told.answers
        yield directory, gateway.upstream.told.tokens


def rows(directory: Path, expression: str) -> Any:
    """Return *expression* over the whole ledger."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as ledger:
        return ledger.execute(f"SELECT {expression} FROM exchanges").fetchone()[0]  # noqa: S608  ours


def rate(**tokens: int) -> Decimal:
    """Return what one token costs, by the price list."""
    usage = genai_prices.Usage(**tokens)
    price = genai_prices.calc_price(
        usage, _MODEL, provider_id="anthropic", genai_request_timestamp=datetime.now(UTC)
    )
    return price.total_price / 1000


def test_tokens(ran: tuple[Path, Counter[str]]) -> None:
    """To the token: what the upstream told is what the ledger has, each in its bucket."""
    directory, told = ran
    expected = {column: told[name] for name, column in _COLUMNS.items()}

    assert expected == {column: rows(directory, f"sum({column})") for column in expected}
    assert all(expected.values())
    assert told["cache_creation_input_tokens"] == (
        expected["cache_write_5m_tokens"] + expected["cache_write_1h_tokens"]
    )


def test_each_is_there_once(ran: tuple[Path, Counter[str]]) -> None:
    """Nothing is missing or doubled, and who hung up is marked."""
    directory, _ = ran
    left = -(-_EXCHANGES // _LEAVE)

    assert _EXCHANGES == rows(directory, "count(DISTINCT upstream_request_id)")
    assert left == rows(directory, "sum(usage = 'partial' AND ending = 'client_left')")
    assert _EXCHANGES - left == rows(directory, "sum(usage = 'final' AND ending = 'complete')")


def test_cost(ran: tuple[Path, Counter[str]]) -> None:
    """To the nano-dollar: the cost is what the price list says of what was told."""
    directory, told = ran
    write = {"input_tokens": 1000, "cache_write_tokens": 1000}
    expected = (
        told["input_tokens"] * rate(input_tokens=1000)
        + told["output_tokens"] * rate(input_tokens=0, output_tokens=1000)
        + told["cache_read_input_tokens"] * rate(input_tokens=1000, cache_read_tokens=1000)
        + told["ephemeral_5m_input_tokens"] * rate(**write, cache_write_5m_tokens=1000)
        + told["ephemeral_1h_input_tokens"] * rate(**write, cache_write_1h_tokens=1000)
    )

    assert 0 == rows(directory, "sum(cost_nusd IS NULL)")
    assert expected * 10**9 == rows(directory, "sum(cost_nusd)")
