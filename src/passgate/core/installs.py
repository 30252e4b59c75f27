"""Counting installs: what a machine says of itself, and what the operator is told of all.

The id is a random UUID that the client's program makes; what is kept of it is decided
where it is kept. Nothing here reports anything to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from passgate.core import faults
from passgate.core.faults import Refused

MAX_BODY_BYTES = 4096
MAX_TOLD_APART = 50
OTHER = "other"

_HEX = "[0-9A-Fa-f]"
_UUID = rf"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}\Z"
_Id = Annotated[str, msgspec.Meta(pattern=_UUID)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._+-]{1,32}\Z")]


class Install(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine, as it says."""

    install_id: _Id
    version: _Word
    platform: _Word


_decoder = msgspec.json.Decoder(Install)


class InstallCounts(msgspec.Struct, frozen=True):
    """What is told of all installs.

    Attributes:
        installs: How many are kept.
        active: How many were seen within ``24h``, ``7d`` and ``30d``.
        by_version: At most ``MAX_TOLD_APART``, and ``other``.
        by_platform: As well.
    """

    installs: int
    active: Mapping[str, int]
    by_version: Mapping[str, int]
    by_platform: Mapping[str, int]


def install_of(body: bytes | bytearray) -> Install:
    """Return the install that *body* tells of.

    Raises:
        Refused: It tells of none, naming the field.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(faults.request(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(faults.request("the body is not JSON")) from None


def told_apart(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return *counts*, the first of them, with all else of *total* as ``other``."""
    told = dict(list(counts.items())[:MAX_TOLD_APART])
    rest = total - sum(told.values())
    return told | {OTHER: told.get(OTHER, 0) + rest} if rest else told


def wants_text(accept: bytes) -> bool:
    """Return whether an ``Accept`` asks for Prometheus' text rather than JSON."""
    text = b"text/plain" in accept or b"openmetrics" in accept
    return text and b"application/json" not in accept


def as_json(counts: InstallCounts) -> bytes:
    """Return *counts* for programs."""
    return msgspec.json.encode(counts)


def as_text(counts: InstallCounts) -> bytes:
    """Return *counts* in Prometheus' text format; no value needs an escape in it."""
    lines = [
        "# HELP passgate_installs Machines that have reported to this gateway.",
        "# TYPE passgate_installs gauge",
        f"passgate_installs {counts.installs}",
    ]
    for name, label, told, values in (
        ("active", "within", "Machines seen lately.", counts.active),
        ("by_version", "version", "Machines by what they last ran.", counts.by_version),
        ("by_platform", "platform", "Machines by their platform.", counts.by_platform),
    ):
        lines.append(f"# HELP passgate_installs_{name} {told}")
        lines.append(f"# TYPE passgate_installs_{name} gauge")
        lines += [f'passgate_installs_{name}{{{label}="{k}"}} {n}' for k, n in values.items()]
    return "\n".join([*lines, ""]).encode()
