"""Which answers are metered, and how many could not be."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from passgate.core.exchange import AnswerHead
from passgate.core.gemini.stream import Translation, Verdict
from passgate.core.meter import NOTHING, Consumption, Metered, MeterFor, Metering
from passgate.core.usage import NO_USAGE, Usage
from passgate.gateway.interfaces import Codings

_FIRST_OK, _FIRST_OTHER = 200, 300


class Meters:
    """Makes the meter of each answer.

    Args:
        codings: Take a content coding off.
        monotonic: Tells the time.

    Attributes:
        failures: Answers that could not be metered: a meter failed, or could not read the
            coding.
    """

    def __init__(self, codings: Codings, monotonic: Callable[[], float]) -> None:
        self._codings = codings
        self._monotonic = monotonic
        self._on_failure = self._failed  # bound once for all meters
        self.failures = 0

    def meter(self, meter_for: MeterFor | None, answer: AnswerHead) -> Metering | None:
        """Return what meters *answer*, or None where there is nothing to meter, or no way.

        Args:
            meter_for: What meters it if it is a good one; see ``PassThrough.meter_for``.
            answer: The upstream's response head.
        """
        if meter_for is None or not _FIRST_OK <= answer.status < _FIRST_OTHER:
            return None
        coding, decode = answer.said.get(b"content-encoding"), None
        if coding is not None and coding.lower() != b"identity":
            decode = self._codings(coding)
            if decode is None:
                self._failed()
                return None
        return Metering(meter_for, decode, self._monotonic, self._on_failure)

    def whole(
        self, meter_for: MeterFor | None, answer: AnswerHead, body: bytes, now_s: float
    ) -> Consumption | None:
        """Return what meters a *body* that came with its head; it is read when that is asked for.

        Args:
            meter_for: As of :meth:`meter`.
            answer: The upstream's response head.
            body: All of it.
            now_s: When it came (monotonic).
        """
        if meter_for is None or not _FIRST_OK <= answer.status < _FIRST_OTHER:
            return None
        if body[:1] == b"{" and b"content-encoding" not in answer.said:
            return _Whole(meter_for, body, now_s, self._on_failure)
        metering = self.meter(meter_for, answer)
        if metering is not None:
            metering.feed(body)
        return metering

    def plain(self, body: bytes, coding: bytes | None) -> bytes:
        """Return *body*, perhaps cut, without its coding; empty where nothing can take it off."""
        if coding is None or coding.lower() == b"identity":
            return body
        decode = self._codings(coding)
        try:
            return b"" if decode is None else decode(body)
        except Exception:  # noqa: BLE001  a copy: what cannot be read tells nothing
            return b""

    def _failed(self) -> None:
        self.failures += 1


class _Whole(msgspec.Struct):
    """The consumption of a JSON answer that came in one piece.

    Attributes:
        meter_for: What meters it.
        body: All of it.
        came_s: When it came (monotonic).
        on_failure: Called if it cannot be metered.
        first_token_s: See ``meter.Consumption``.
    """

    meter_for: MeterFor
    body: bytes
    came_s: float
    on_failure: Callable[[], None]
    first_token_s: float | None = None

    def running(self) -> tuple[int | None, bool]:
        """Return that nothing is known: it is over as soon as it is there."""
        return None, False

    def close(self, *, complete: bool) -> Metered:
        """Return what was consumed; see ``meter.Consumption``."""
        try:
            meter = self.meter_for(b"{")
            if meter.feed(self.body):
                self.first_token_s = self.came_s
            return meter.close(complete=complete)
        except Exception:  # noqa: BLE001  metering never breaks the record; it is counted
            self.on_failure()
            return NOTHING


class Spent:
    """What the attempts and hops of one translated exchange consumed, together.

    A ``Consumption``: an answer that the client never saw was billed all the same.

    Args:
        monotonic: Tells the time.
    """

    __slots__ = ("_attempts", "_monotonic", "first_token_s")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._attempts: list[Translation] = []
        self.first_token_s: float | None = None

    def begins(self, attempt: Translation) -> Translation:
        """Have *attempt* counted from now on."""
        self._attempts.append(attempt)
        return attempt

    def tells(self) -> None:
        """Take note that the client is told something of the answer."""
        if self.first_token_s is None:
            self.first_token_s = self._monotonic()

    def running(self) -> tuple[int | None, bool]:
        """Return the output tokens so far, and whether they are an estimate."""
        return self._usage().output_tokens, False

    def close(self, *, complete: bool) -> Metered:
        """Return what was consumed."""
        usage = self._usage()
        if usage == NO_USAGE:
            return NOTHING
        last = self._attempts[-1]
        final = complete and last.verdict is Verdict.COMPLETE
        reason = last.stop_reason or last.finish
        return Metered(
            "final" if final else "partial", usage, last.model_served or None, reason or None
        )

    def _usage(self) -> Usage:
        """Return the sum of all attempts; a count that none of them told was not told."""
        told = [attempt.tokens.all for attempt in self._attempts]
        if len(told) == 1:
            return told[0]
        sums = {}
        for name in Usage.__struct_fields__:
            counts = [n for usage in told if (n := getattr(usage, name)) is not None]
            sums[name] = sum(counts) if counts else None
        return Usage(**sums)
