"""What the sums of a usage leave out, and what of them is not billed: for the price.

The Messages API may sample several times for one request. Some of these iterations are
in the sums of its ``usage``, others come on top, at the rates of another model.

Source: Claude docs, "Context editing", compaction; "Advisor tool"; "Refusals and fallback".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from passgate.core.usage import NO_USAGE, Iteration, Usage, usage_of

UNBILLED = "unbilled"
_ON_TOP = frozenset({"compaction", "advisor_message"})
_FALLBACK, _MESSAGE = "fallback_message", "message"
_MAX_KEPT = 256


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


def extras(entries: Sequence[Iteration], model: str | None, *, refused_empty: bool) -> str | None:
    """Return what a record keeps, as compact JSON, or None where the sums say it all.

    Args:
        entries: ``usage.iterations``.
        model: The model that answered.
        refused_empty: Whether it was a refusal before any content.
    """
    fell_back = any(entry.type == _FALLBACK for entry in entries)
    found = [Extra(UNBILLED)] if refused_empty else []
    for entry in entries[:_MAX_KEPT]:
        kind = entry.type
        other = entry.model is not None and entry.model != model
        # A model that declined before it said anything is free.
        declined = kind == _MESSAGE and fell_back and other and bool(entry.output_tokens)
        if kind is not None and (kind in _ON_TOP or declined):
            found.append(Extra(kind, entry.model, usage_of(entry)))
    return msgspec.json.encode(found).decode() if found else None


def read(iterations: str | None) -> Sequence[Extra]:
    """Return what :func:`extras` kept.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        return () if iterations is None else _decode(iterations)
    except RecursionError:
        raise ValueError("iterations: nested too deeply") from None


def model_of(entries: Sequence[Iteration]) -> str | None:
    """Return the model to which the request fell back, or None where it did not."""
    return next((entry.model for entry in reversed(entries) if entry.type == _FALLBACK), None)
