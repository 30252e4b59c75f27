"""What an exchange consumed, in counts: how the Messages API words it, and what it means.

Raw counts only. What they cost is decided elsewhere, from the stored counts, so that
history can be priced again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

# What JSON readers agree on, and what fits a ledger's column.
_MAX_COUNT = (1 << 53) - 1
_MAX_WORD = 32
_MAX_NAME = 200

Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_COUNT)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_WORD)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_NAME)]

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

S = TypeVar("S", bound=msgspec.Struct)


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


# How the Messages API words it.


class Lifetimes(msgspec.Struct, gc=False):
    """What was written to a cache, by how long it stays."""

    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """What of the output was what."""

    thinking_tokens: Count | None = None


class ServerTools(msgspec.Struct, gc=False):
    """What the upstream's own tools did."""

    web_search_requests: Count | None = None


class Report(msgspec.Struct, gc=False):
    """A ``usage`` of the Messages API; None is what was not told, or told as no count.

    Streamed reports are cumulative: a later one replaces, it is never added.

    Source: Claude docs, "Messages", usage; "Prompt caching", pricing.
    """

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: Lifetimes | None = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerTools | None = None
    speed: Word | None = None
    service_tier: Word | None = None
    inference_geo: Word | None = None
    iterations: list[Iteration] | None = None


class Iteration(msgspec.Struct, gc=False):
    """One of the samplings of a request; see ``core/iterations.py``."""

    type: Word | None = None
    model: Name | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: Lifetimes | None = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerTools | None = None


def put_over(earlier: S, later: S) -> S:
    """Change *earlier* to what *later* tells, where it tells anything, and return it."""
    for name in earlier.__struct_fields__:
        value = getattr(later, name)
        if value is None:
            continue
        known = getattr(earlier, name)
        if isinstance(known, msgspec.Struct):
            put_over(known, value)
        else:
            setattr(earlier, name, value)
    return earlier


def told_in(
    text: bytes | bytearray, kind: type[S], decode: Callable[[bytes | bytearray], S]
) -> S | None:
    """Return what *text* tells of *kind*, or None where it is no JSON object.

    Nothing in it is trusted to be of any type: what is not as it should be was not told.

    Args:
        text: As it came.
        kind: What is looked for.
        decode: Reads one, if all of it is as it should be.
    """
    try:
        return decode(text)
    except msgspec.ValidationError:
        pass
    except NOT_JSON:
        return None
    try:
        said = msgspec.json.decode(text)
    except NOT_JSON:
        return None  # it had not been read to its end
    return leniently(kind, said) if isinstance(said, dict) else None


def leniently(kind: type[S], said: Mapping[str, Any]) -> S:
    """Return what of *said* fits *kind*: what does not was not told."""
    made = kind()
    for field in msgspec.structs.fields(kind):
        value = said.get(field.encode_name)
        try:
            fitting = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            inner = getattr(field.type, "__args__", (None,))[0]
            if not (isinstance(value, dict) and isinstance(inner, type)):
                continue
            fitting = leniently(inner, value)
        setattr(made, field.name, fitting)
    return made


def usage_of(told: Report | Iteration) -> Usage:
    """Return what *told* means."""
    written, split = told.cache_creation_input_tokens, told.cache_creation
    details, tools = told.output_tokens_details, told.server_tool_use
    five, hour = (written, None) if split is None else _split(written, split)
    return Usage(
        told.input_tokens,
        told.output_tokens,
        told.cache_read_input_tokens,
        five,
        hour,
        None if details is None else details.thinking_tokens,
        None if tools is None else tools.web_search_requests,
    )


def _split(written: int | None, split: Lifetimes) -> tuple[int | None, int | None]:
    """Return what was written for 5 minutes and for an hour.

    The sum may be told again, and grow, without its split: then what was for an hour
    stays so, and the rest is for 5 minutes unless all was for an hour.
    """
    five, hour = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
    if written is None or written == (five or 0) + (hour or 0):
        return five, hour
    if hour and not five:
        return five, written
    hour = None if hour is None else min(hour, written)
    return written - (hour or 0), hour
