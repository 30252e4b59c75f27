"""What an exchange consumed, in counts: how each API words it, and what it means.

Raw counts only. What they cost is decided elsewhere, from the stored counts, so that
history can be priced again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

# What JSON readers agree on, and what fits a ledger's column.
_MAX_COUNT = (1 << 53) - 1
_MAX_WORD = 200


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens that one exchange consumed, as the upstream last reported them.

    None means "not reported", which is not 0. No bucket is part of another but
    *thinking_tokens*, which is in *output_tokens*: the whole input is the sum of
    *input_tokens*, *cache_read_tokens* and the two *cache_write_* counts.

    Attributes:
        input_tokens: Input that was neither read from a cache nor written to one.
        output_tokens: All that was generated, thinking included.
        cache_read_tokens: Input read from a cache.
        cache_write_5m_tokens: Input written to a cache for 5 minutes, or for a time that
            was not told.
        cache_write_1h_tokens: Input written to a cache for an hour.
        thinking_tokens: What of the output was thinking.
        web_searches: Searches that the upstream made.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    web_searches: int | None = None


NO_USAGE = Usage()


def count(value: object) -> int | None:
    """Return *value* if it is a count, else None: what is no count was not told."""
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def word(value: object) -> str | None:
    """Return *value* if it is a word of sensible length, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_WORD else None


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return *earlier* with everything that *later* states put over it.

    Streamed reports are cumulative: a later one replaces, it is never added. What is
    missing or null was not stated. Objects within are merged the same way.
    """
    stated = dict(earlier)
    for name, value in later.items():
        if value is None:
            continue
        known = stated.get(name)
        both = isinstance(value, dict) and isinstance(known, dict)
        stated[name] = merged(known, value) if both and known is not None else value
    return stated


def of_messages(said: Mapping[str, Any]) -> Usage:
    """Return what ``usage`` of the Messages API says.

    Source: Claude docs, "Messages", usage; "Prompt caching", pricing.
    """
    written = count(said.get("cache_creation_input_tokens"))
    five, hour = _split(written, said.get("cache_creation"))
    details, tools = said.get("output_tokens_details"), said.get("server_tool_use")
    return Usage(
        count(said.get("input_tokens")),
        count(said.get("output_tokens")),
        count(said.get("cache_read_input_tokens")),
        five,
        hour,
        count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
        count(tools.get("web_search_requests")) if isinstance(tools, dict) else None,
    )


def _split(written: int | None, split: object) -> tuple[int | None, int | None]:
    """Return what was written for 5 minutes and for an hour.

    The sum may be told again, and grow, without its split: then what was for an hour
    stays so, and the rest is for 5 minutes unless all was for an hour.
    """
    if not isinstance(split, dict):
        return written, None
    five = count(split.get("ephemeral_5m_input_tokens"))
    hour = count(split.get("ephemeral_1h_input_tokens"))
    if written is None or written == (five or 0) + (hour or 0):
        return five, hour
    if hour and not five:
        return five, written
    hour = None if hour is None else min(hour, written)
    return written - (hour or 0), hour
