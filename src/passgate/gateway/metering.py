"""Which answers are metered, and how many could not be."""

from __future__ import annotations

from collections.abc import Callable

from passgate.core.exchange import AnswerHead, RequestHead
from passgate.core.meter import Metering
from passgate.core.upstreams import PassThrough
from passgate.gateway.interfaces import Codings


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
        self.failures = 0

    def meter(
        self, upstream: PassThrough, head: RequestHead, answer: AnswerHead
    ) -> Metering | None:
        """Return what meters *answer*, or None where there is nothing to meter, or no way.

        Args:
            upstream: What answered.
            head: The client's request head.
            answer: The upstream's response head.
        """
        meter_for = upstream.meter(head, answer)
        if meter_for is None:
            return None
        coding, decode = answer.said.get(b"content-encoding"), None
        if coding is not None and coding.lower() != b"identity":
            decode = self._codings(coding)
            if decode is None:
                self._failed()
                return None
        return Metering(meter_for, decode, self._monotonic, self._failed)

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
