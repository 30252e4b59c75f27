"""``passgate demo``: one conversation through a gateway, without a key or a network."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from passgate import app
from passgate.cli.simulated import Simulated
from passgate.core.exchange import Record
from passgate.core.settings import Listen

_PACE_S = 0.03
_ASK = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 256,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello! What is between us?"}],
}
_SHOWN = (
    ("client", "client"),
    ("model", "model"),
    ("status", "status"),
    ("ended", "ending"),
    ("first byte", "ttfb_ms"),
    ("in all", "duration_ms"),
    ("bytes up", "bytes_up"),
    ("bytes down", "bytes_down"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("demo", help="one simulated conversation; needs no key")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Run the conversation."""
    return app.run(_demo())


async def _demo() -> int:
    simulated = Simulated(_PACE_S)
    records: list[Record] = []
    settings = await simulated.start((Listen(port=0), Listen(port=0)))
    gateway = app.App(settings, notice=app.to_stderr, watchers=[records.extend], log_fd=None)
    await gateway.start()
    try:
        host, port = gateway.data.address
        print("client -> passgate -> simulated upstream; nothing leaves this machine\n")
        print(f"you:   {_ASK['messages'][0]['content']}")  # type: ignore[index]  # made above
        print("model: ", end="")
        await _converse(host, port, simulated.key)
    finally:
        await gateway.close()
        await simulated.close()
    print("\n\nwhat passgate recorded of it (one line of its log):")
    for label, name in _SHOWN:
        value = getattr(records[0], name)
        unit = " ms" if name.endswith("_ms") else ""
        print(f"  {label:<11}{getattr(value, 'value', value)}{unit}")
    print("\nnext: `passgate serve --demo`, and point a client at it")
    return 0


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
