"""``passgate env``: the lines that make a client use the gateway."""

from __future__ import annotations

import argparse
import shlex
import sys

from passgate import config
from passgate.config import ConfigError
from passgate.core.settings import CredentialKind, Listen, Settings

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not bound


_KEY_VARIABLE = "$PASSGATE_KEY"

_USUAL = """\
# Claude Code, and every program that reads the same two variables. Unset
# ANTHROPIC_AUTH_TOKEN beside them: two keys that differ are refused.
{lines}

# Python: pip install anthropic
import os
import anthropic

client = anthropic.Anthropic(
    base_url="{url}",
    api_key=os.environ["ANTHROPIC_API_KEY"],
)

// TypeScript: npm install @anthropic-ai/sdk
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{
  baseURL: "{url}",
  apiKey: process.env.ANTHROPIC_API_KEY,
}});

# curl
curl -sS {quoted_url}/v1/models \\
  -H "x-api-key: $ANTHROPIC_API_KEY" \\
  -H "anthropic-version: 2023-06-01"
"""
_WITH_OWN_CREDENTIAL = """\
# This gateway passes each user's own credential on. Its own key goes beside that, in
# x-passgate-key. Claude Code stays logged in as it is:
{lines}

# Python: pip install anthropic (finds your own ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN)
import os
import anthropic

client = anthropic.Anthropic(
    base_url="{url}",
    default_headers={{"x-passgate-key": os.environ["PASSGATE_KEY"]}},
)

// TypeScript: npm install @anthropic-ai/sdk (finds the same two)
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{
  baseURL: "{url}",
  defaultHeaders: {{ "x-passgate-key": process.env.PASSGATE_KEY }},
}});

# curl
curl -sS {quoted_url}/v1/models \\
  -H "x-passgate-key: $PASSGATE_KEY" \\
  -H "x-api-key: $ANTHROPIC_API_KEY" \\
  -H "anthropic-version: 2023-06-01"
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("env", help="the lines to paste for a client")
    parser.add_argument("name", metavar="NAME", help="the client, as `passgate keys list` has it")
    parser.add_argument("--config", metavar="FILE", help="passgate.toml to read")
    parser.add_argument("--url", help="where clients reach the gateway, if not at its own address")
    parser.add_argument(
        "--key-placeholder",
        action="store_true",
        help="never refer to $PASSGATE_KEY: leave a gap to paste a key into",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the lines; notices go to stderr."""
    try:
        settings = config.from_process(args.config)
    except ConfigError as error:
        # A client's lines are not worth refusing for, say, a credential that only the
        # gateway's own environment holds.
        print(
            "passgate: these are the lines for the usual case; the configuration has problems:",
            file=sys.stderr,
        )
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        settings = Settings()
    if settings.clients and args.name not in {client.name for client in settings.clients}:
        print(
            f"passgate: there is no client {args.name!r}; `passgate keys add` makes one, "
            "`passgate keys list` lists them",
            file=sys.stderr,
        )
        return 1
    url = args.url or url_of(settings.listen)
    if url is None or not url.startswith(("http://", "https://")):
        print("passgate: say where clients reach it, as --url http://HOST:PORT", file=sys.stderr)
        return 2
    refers = args.name == "default" and not args.key_placeholder
    key = _KEY_VARIABLE if refers else f"<the key that passgate keys add {args.name} printed>"
    print(_page(url.rstrip("/"), key, settings), end="")
    return 0


def url_of(listen: Listen) -> str | None:
    """Return where this machine reaches a listener, None where its port is not known yet."""
    host = _EVERY_ADDRESS.get(listen.host, listen.host)
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{listen.port}" if listen.port else None


def client_lines(url: str, key: str) -> list[str]:
    """Return the two lines that a client needs, for a shell.

    Args:
        url: Where the client reaches the gateway.
        key: The key, a gap for it, or ``$PASSGATE_KEY``.
    """
    return [
        f"export ANTHROPIC_BASE_URL={shlex.quote(url)}",
        f"export ANTHROPIC_API_KEY={_quoted(key)}",
    ]


def _page(url: str, key: str, settings: Settings) -> str:
    used = {route.upstream for route in settings.routes}
    kinds = {each.credential.kind for each in settings.upstreams if each.name in used}
    if CredentialKind.CLIENT in kinds:
        page = _WITH_OWN_CREDENTIAL
        lines = [f"export ANTHROPIC_BASE_URL={shlex.quote(url)}"]
        if key != _KEY_VARIABLE:
            lines.append(f"export PASSGATE_KEY={_quoted(key)}")
        lines.append(f'export ANTHROPIC_CUSTOM_HEADERS="x-passgate-key: {_KEY_VARIABLE}"')
    else:
        page, lines = _USUAL, client_lines(url, key)
    return page.format(lines="\n".join(lines), url=url, quoted_url=shlex.quote(url))


def _quoted(key: str) -> str:
    return f'"{key}"' if key == _KEY_VARIABLE else shlex.quote(key)
