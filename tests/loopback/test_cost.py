"""What exchanges cost, to the nano-dollar: the ledger's sum is that of an independent reading."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import product
from pathlib import Path
from typing import Any

import genai_prices

from passgate import app
from passgate.cli.report import gathered
from passgate.core.exchange import Record
from passgate.demo.content import usage_for
from passgate.edge.ledger_file import LedgerFile
from passgate.edge.ledger_sql import FILE_NAME
from tests.loopback.gateway import eventually, message, running

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5-20261001", "claude-sonnet-4-5")
TTLS = (None, "5m", "1h")
TURNS = (1, 2)


def conversation(model: str, ttl: str | None, turn: int, number: int) -> dict[str, Any]:
    """Return the body of one turn, with a system prompt that is cached or not."""
    cache = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    system = [{"type": "text", "text": f"You answer. {number} " * 40, **cache}]
    said = [{"role": "user", "content": f"hello {number}"}]
    if turn > 1:
        said += [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "go on"}]
    return message(model, system=system, messages=said)


def rows(directory: Path) -> list[Record]:
    """Return what the ledger holds."""
    return [each for page in LedgerFile(directory / FILE_NAME).pages(None, None) for each in page]


def charged(body: dict[str, Any], at: datetime) -> int:
    """Return what the library charges for the answer to *body*, by its own reading of it."""
    answer = {"model": body["model"], "usage": usage_for(body)}
    read = genai_prices.extract_usage(answer, provider_id="anthropic")
    total = read.calc_price(genai_request_timestamp=at).total_price
    return int(total.scaleb(9).quantize(Decimal(1), ROUND_HALF_EVEN))


def test_truth(tmp_path: Path) -> None:
    """Cached or not, streamed or whole, of several models: what was said, at list prices.

    The first ones had to wait for their price, and have it all the same.
    """
    bodies = [
        conversation(*each, number) | {"stream": number % 2 == 0}
        for number, each in enumerate(product(MODELS, TTLS, TURNS))
    ]
    with running(state_dir=tmp_path) as gateway:
        for body in bodies:
            assert gateway.ask(gateway.post(body)).complete
        gateway.recorded(len(bodies))
        kept = eventually(lambda: priced(tmp_path, len(bodies)))
        first = gateway.records[0]
        expected = [
            charged(body, each.ts) for body, each in zip(bodies, gateway.records, strict=True)
        ]
        ids = [each.id for each in gateway.records]

    found = {each.id: (each.cost_nusd, each.price_status) for each in kept}
    assert [(cost, "exact") for cost in expected] == [found[id_] for id_ in ids]
    assert "pending" == first.price_status
    assert sum(expected) == reported(tmp_path)
    assert {None} < {each.cache_write_1h_tokens or None for each in kept}


def priced(directory: Path, count: int) -> list[Record]:
    """Return the rows as soon as none of *count* waits for its price."""
    found = rows(directory)
    done = len(found) == count and all(each.price_status != "pending" for each in found)
    return found if done else []


def reported(directory: Path) -> int:
    """Return what ``passgate report`` says that all of it cost."""
    [first, *_] = kept = rows(directory)
    since = first.ts.date()
    reader = app.ledger_report(directory, since.toordinal() - 719_163, lambda *_: None)
    made = gathered(reader, "client", since, kept[-1].ts, ())

    assert (len(kept), 0) == (made.total.requests, made.total.unpriced)
    return made.total.cost_nusd


def test_unknown(tmp_path: Path) -> None:
    """A model that no list has costs null, never 0, and is told of once."""
    with running(state_dir=tmp_path) as gateway:
        for _ in range(2):
            gateway.ask(gateway.post(message("claude-text-5")))
        kept = eventually(lambda: priced(tmp_path, 2))
        notices = [each for each in gateway.notices if "has no price" in each]

    assert [(None, "unknown")] * 2 == [(each.cost_nusd, each.price_status) for each in kept]
    assert 1 == len(notices)


def test_next_start(tmp_path: Path) -> None:
    """What one process had no time to price, the next one does."""
    with running(state_dir=tmp_path) as gateway:
        gateway.ask(gateway.post(message()))
        gateway.recorded()
    before = rows(tmp_path)
    with running(state_dir=tmp_path):
        [after] = eventually(lambda: priced(tmp_path, 1))

    assert ["pending"] == [each.price_status for each in before]
    assert "exact" == after.price_status
    assert after.cost_nusd


def test_not_metered(tmp_path: Path) -> None:
    """What consumed nothing has no cost and no price status; it waits for nothing."""
    with running(state_dir=tmp_path) as gateway:
        gateway.ask(gateway.head("GET", "/v1/models"))
        gateway.ask(gateway.post(message("claude-error-429")))
        records = gateway.recorded(2)

    assert [(None, None)] * 2 == [(each.cost_nusd, each.price_status) for each in records]


def test_foreseen(tmp_path: Path) -> None:
    """The price of a stream is looked up while it runs, so that its record has it."""
    with running(state_dir=tmp_path) as gateway:
        with gateway.connect() as connection:
            connection.sendall(gateway.post(message("slow-50-1000", stream=True)))
            while b"content_block_delta" not in connection.recv(65_536):
                pass
            gateway.call(gateway.app._look_at_files())
            book = gateway.app._prices.book
            eventually(lambda: any(key.model == "slow-50-1000" for key in book._known))
        [record] = gateway.recorded()

    assert ("partial", "unknown") == (record.usage, record.price_status)
