"""The meter: what an exchange consumed, read from a side copy of its answer's bytes.

It never touches what is relayed. Whatever goes wrong in it switches it off for that one
exchange; the bytes go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from passgate.core.usage import NO_USAGE, Usage

Decode = Callable[[bytes], bytes]
"""Takes the next bytes of a coded body, returns what they decode to; raises on a bomb."""


class Metered(msgspec.Struct, frozen=True, gc=False):
    """What a meter has read when the exchange is over.

    Attributes:
        kind: ``final`` where the upstream told the end; ``partial`` where it did not, so
            that the output may be an estimate; ``none`` where nothing was told.
        usage: The counts.
        model_served: The model that answered.
        stop_reason: Why it stopped, in the upstream's word.
        speed: What the price depends on besides the model, in the upstream's words.
        service_tier: As *speed*.
        inference_geo: As *speed*.
        iterations: What the sums leave out; see ``core/iterations.py``.
    """

    kind: str = "none"
    usage: Usage = NO_USAGE
    model_served: str | None = None
    stop_reason: str | None = None
    speed: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    iterations: str | None = None


NOTHING = Metered()


class Consumption(Protocol):
    """What is known of an exchange's consumption while it runs, and when it is over.

    Attributes:
        first_token_s: When the first of the content came (monotonic), or None.
    """

    first_token_s: float | None

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""

    def close(self, *, complete: bool) -> Metered:
        """Return what was consumed; never raises.

        Args:
            complete: Whether the answer came to its end.
        """


class Meter(Protocol):
    """Reads the usage out of one answer's body: decoded, without framing, cut anywhere."""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return True once, when the first of the content has come.

        From then on it does not raise: ``close`` does.
        """

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""

    def close(self, *, complete: bool) -> Metered:
        """Return what was read; nothing more comes, or somebody looks on: nothing changes.

        Args:
            complete: Whether the body came to its end.
        """


MeterFor = Callable[[bytes], Meter]
"""Returns the meter of a body, by its first byte that is no space."""


class Metering:
    """A meter that cannot hurt: it takes the coding off its copy, and may fail.

    Args:
        meter_for: Makes the meter.
        decode: Takes the content coding off, or None where there is none.
        monotonic: Tells the time.
        on_failure: Called once if the meter fails.

    Attributes:
        feed: Takes the next bytes of the body; never raises.
        first_token_s: When the first of the content came (monotonic), or None.
    """

    __slots__ = (
        "_decode",
        "_meter",
        "_meter_for",
        "_monotonic",
        "_on_failure",
        "feed",
        "first_token_s",
    )

    def __init__(
        self,
        meter_for: MeterFor,
        decode: Decode | None,
        monotonic: Callable[[], float],
        on_failure: Callable[[], None],
    ) -> None:
        self._meter_for = meter_for
        self._decode = decode
        self._monotonic = monotonic
        self._on_failure = on_failure
        self._meter: Meter | None = None
        self.first_token_s: float | None = None
        self.feed: Callable[[bytes], object] = self._guarded

    def _guarded(self, data: bytes) -> None:
        """Take the next bytes of the body, and whatever the meter makes of them."""
        try:
            if self._decode is not None:
                data = self._decode(data)
            meter = self._meter
            if meter is None:
                data = data.lstrip()
                if not data:
                    return
                self._meter = meter = self._meter_for(data[:1])
            if meter.feed(data):
                self.first_token_s = self._monotonic()
                if self._decode is None:
                    self.feed = meter.feed  # which raises no more
        except Exception:  # noqa: BLE001  metering never breaks the relay; it is counted
            self._switch_off()

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""
        return (None, False) if self._meter is None else self._meter.running()

    def close(self, *, complete: bool) -> Metered:
        """Return what was read, at the end or so far; never raises, and reads on.

        It may be asked a while after the end.

        Args:
            complete: Whether the body came to its end.
        """
        meter = self._meter
        if complete:
            self.feed = _ignore  # which is no part of this: what holds itself waits to be found
        try:
            return NOTHING if meter is None else meter.close(complete=complete)
        except Exception:  # noqa: BLE001  as while it ran
            self._switch_off()
            return NOTHING

    def _switch_off(self) -> None:
        self._meter = self._decode = None
        self.feed = _ignore
        self._on_failure()


def _ignore(_: bytes) -> None:
    pass
