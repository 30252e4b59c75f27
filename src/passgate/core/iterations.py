"""What the sums of a usage leave out, and what of them is not billed: for the price.

The Messages API may sample several times for one request. Some of these iterations are
in the sums of its ``usage``, others come on top, at the rates of another model.

Source: Claude docs, "Context editing", compaction; "Advisor tool"; "Refusals and fallback".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from passgate.core.usage import NO_USAGE, Usage, of_messages, word

UNBILLED = "unbilled"
_ON_TOP = frozenset({"compaction", "advisor_message"})
_FALLBACK, _MESSAGE = "fallback_message", "message"
_MAX_ENTRIES = 256


class Extra(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the price of an exchange depends on besides its sums.

    Attributes:
        type: ``compaction``, ``advisor_message`` or ``message``: to be added to the sums.
            ``unbilled``: the sums themselves are not billed.
        model: At whose rates; None for the model that answered.
        usage: Its own counts.
    """

    type: str
    model: str | None = None
    usage: Usage = NO_USAGE


_decode = msgspec.json.Decoder(tuple[Extra, ...]).decode


def extras(entries: object, model: str | None, *, refused_empty: bool) -> str | None:
    """Return what a record keeps, as compact JSON, or None where the sums say it all.

    Args:
        entries: ``usage.iterations`` as it came.
        model: The model that answered.
        refused_empty: Whether it was a refusal before any content.
    """
    listed = (
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    fell_back = any(entry.get("type") == _FALLBACK for entry in listed)
    found = [Extra(UNBILLED)] if refused_empty else []
    for entry in listed[:_MAX_ENTRIES]:
        kind, served_by, usage = (
            str(entry.get("type")),
            word(entry.get("model")),
            of_messages(entry),
        )
        declined = kind == _MESSAGE and fell_back and served_by not in (None, model)
        # A model that declined before it said anything is free.
        if kind in _ON_TOP or (declined and usage.output_tokens):
            found.append(Extra(kind, served_by, usage))
    return msgspec.json.encode(found).decode() if found else None


def read(iterations: str | None) -> Sequence[Extra]:
    """Return what :func:`extras` kept."""
    return () if iterations is None else _decode(iterations)


def model_of(entries: object) -> str | None:
    """Return the model to which the request fell back, or None where it did not."""
    for entry in reversed(entries) if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("type") == _FALLBACK:
            return word(entry.get("model"))
    return None
