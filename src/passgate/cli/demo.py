"""``passgate demo``: one conversation through a gateway, without a key or a network."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from passgate import app
from passgate.cli.simulated import Simulated
from passgate.core import shown
from passgate.core.exchange import Record
from passgate.core.settings import Listen, replace

_PACE_S = 0.03
_ASK = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 256,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello! What is between us?"}],
}
# A label, and what of the record it shows.
_SHOWN = (
    ("client", "client"),
    ("model", "model_served"),
    ("status", "status"),
    ("ended", "ending"),
    ("first byte", "ttfb_ms"),
    ("first token", "first_token_ms"),
    ("in all", "duration_ms"),
    ("input", "input_tokens"),
    ("output", "output_tokens"),
    ("cost", "cost_nusd"),
)
_UNITS = {"ms": " ms", "tokens": " tokens"}
# The row is there within a tenth of a second; its price comes from a process of its own.
_ROW_S, _LOOK_S = 5.0, 0.05


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("demo", help="one simulated conversation; needs no key")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Run the conversation."""
    return app.run(_demo())


async def _demo() -> int:
    with TemporaryDirectory(prefix="passgate-demo-") as state:
        record = await _recorded(Path(state))
    if record is None:
        print(
            "\n\nthe ledger has no row of it: is there room in the directory for temporary files?"
        )
        return 1
    print("\n\nwhat the ledger made of it (`passgate ledger export` shows all of a row):")
    for label, name in _SHOWN:
        print(f"  {label:<12}{_shown(name, getattr(record, name))}")
    print("\nnext: `passgate serve --demo`, and point a client at it")
    return 0


async def _recorded(state: Path) -> Record | None:
    """Run one conversation through a gateway with a ledger in *state*; return its row."""
    simulated = Simulated(_PACE_S)
    settings = await simulated.start((Listen(port=0), Listen(port=0)))
    settings = replace(settings, state_dir=state)
    gateway = app.App(settings, notice=app.to_stderr, log_fd=None)
    await gateway.start()
    try:
        host, port = gateway.data.address
        print("client -> passgate -> simulated upstream; nothing leaves this machine\n")
        print(f"you:   {_ASK['messages'][0]['content']}")  # type: ignore[index]  # made above
        print("model: ", end="")
        await _converse(host, port, simulated.key)
        return await _row(app.ledger_file(state))
    finally:
        await gateway.close()
        await simulated.close()


async def _row(ledger: app.LedgerFile) -> Record | None:
    """Return the first row of *ledger*, with its price, if either is there in time."""
    rows: list[Record] = []
    for _ in range(round(_ROW_S / _LOOK_S)):
        await asyncio.sleep(_LOOK_S)
        rows = [record for page in ledger.pages(None, None) for record in page]
        if rows and rows[0].price_status != "pending":
            break
    return rows[0] if rows else None


def _shown(name: str, value: object) -> str:
    if name == "cost_nusd":
        return shown.dollars(value if isinstance(value, int) else None)
    return f"{getattr(value, 'value', value)}{_UNITS.get(name.rpartition('_')[2], '')}"


async def _converse(host: str, port: int, key: str) -> None:
    """Ask, and print the answer's text as it comes."""
    body = json.dumps(_ASK).encode()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /v1/messages HTTP/1.1\r\nhost: %s\r\nx-api-key: %s\r\nconnection: close\r\n"
        b"anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (host.encode(), key.encode(), len(body), body)
    )
    async for line in reader:
        if line.startswith(b"data:"):
            delta = json.loads(line[5:]).get("delta", {})
            sys.stdout.write(delta.get("text", ""))
            sys.stdout.flush()
    writer.close()
