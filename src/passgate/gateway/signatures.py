"""The signatures that this process has passed on, for clients that do not bring them back.

A second chance only: the client's own thinking blocks come first, and what is forgotten
here is replaced by what Google documents for that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from passgate.core.gemini.signatures import Envelope, TextSignature

_MOST = 20_000
_MOST_BYTES = 64 << 20
_KEPT_S = 86_400.0  # a turn that waits for its tools longer than a day has been left
_ENTRY_BYTES = 400  # what an entry costs beside its signature

Value = Envelope | TextSignature


class SignatureMemory:
    """See ``core.gemini.signatures.Signatures``; the least recently used goes first.

    Args:
        monotonic: Tells the time.
    """

    def __init__(
        self, monotonic: Callable[[], float], most: int = _MOST, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._monotonic = monotonic
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str | bytes, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def call(self, tool_id: str) -> Envelope | None:
        """Return the envelope of the call that a client knows by *tool_id*, or None."""
        found = self._found(tool_id)
        return found if isinstance(found, Envelope) else None

    def text(self, key: bytes) -> TextSignature | None:
        """Return the signature for a ``text_key``, or None."""
        found = self._found(key)
        return found if isinstance(found, TextSignature) else None

    def remember(self, key: str | bytes, value: Value) -> None:
        """Keep *value* by a call's id or a text's key."""
        self._forget(key)
        self._kept[key] = value, self._monotonic() + _KEPT_S
        self._bytes += _size(value)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    def _found(self, key: str | bytes) -> Value | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry[1] <= self._monotonic():
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return entry[0]

    def _forget(self, key: str | bytes) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._bytes -= _size(entry[0])


def _size(value: Value) -> int:
    return len(value.signature or "") + _ENTRY_BYTES
