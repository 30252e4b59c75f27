"""What the gateway answers itself: health, readiness, warm-up calls, telemetry, refusals."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from passgate.core import faults, installs, routing
from passgate.core.exchange import Ending, RequestHead
from passgate.core.faults import DownstreamLeft, Drained, Fault, Refused, Told
from passgate.core.tally import Tally, ending_of
from passgate.gateway.admission import Slot
from passgate.gateway.interfaces import Downstream, Installs

_OK = msgspec.json.encode({"status": "ok"})
_READERS = ("GET", "HEAD")


class Readiness:
    """Whether requests can be served now, as the app keeps it.

    Attributes:
        draining: The gateway is stopping.
        problems: Returns what keeps it from serving, a sentence each.
        warnings: Returns what the operator should know, a sentence each.
    """

    def __init__(
        self, problems: Callable[[], list[str]], warnings: Callable[[], list[str]]
    ) -> None:
        self.draining = False
        self.problems = problems
        self.warnings = warnings

    def state(self, *, details: bool) -> tuple[int, bytes]:
        """Return status and JSON body of the answer.

        Args:
            details: Whether the asker showed a key.
        """
        problems = self.problems()
        ready = not self.draining and not problems
        word = "draining" if self.draining else "ready" if ready else "not_ready"
        said: dict[str, object] = {"status": word}
        if details:
            said |= {"problems": problems, "warnings": self.warnings()}
        return (200 if ready else 503), msgspec.json.encode(said)


def answer(head: RequestHead, down: Downstream, readiness: Readiness, *, known: bool) -> None:
    """Answer a request for one of our own paths.

    Args:
        head: What was asked.
        down: Who asked.
        readiness: What ``/ready`` says.
        known: Whether a good key was shown.

    Raises:
        Refused: There is nothing for this method at this path.
    """
    status, body = 200, _OK
    if head.path == "/ready":
        status, body = readiness.state(details=known)
    allowed = ("HEAD",) if head.path == "/" else _READERS
    if head.method not in allowed:
        raise Refused(faults.NOT_FOUND)
    down.answer(faults.local_answer(status, body), body)


async def telemetry(down: Downstream, slot: Slot, kept: Installs) -> int:
    """Count an install, or say how many there are; return the status that was answered.

    Raises:
        Refused: There is nothing for this method at this path, or what was said is not right.
    """
    head = down.head
    body, media_type = _OK, b"application/json"
    if head.path == "/api/telemetry/installs" and head.method == "POST":
        kept.note(installs.install_of(await _small_body(down, slot)))
    elif head.path == "/api/telemetry/metrics" and head.method in _READERS:
        counts = await kept.counts()
        body = installs.as_json(counts)
        if installs.wants_text(head.field(b"accept")):
            body, media_type = installs.as_text(counts), b"text/plain; version=0.0.4"
    else:
        raise Refused(faults.NOT_FOUND)
    down.answer(faults.local_answer(200, body, media_type=media_type), body)
    return 200


async def _small_body(down: Downstream, slot: Slot) -> bytes | bytearray:
    if b"content-encoding" in down.head.said:
        raise Refused(faults.request("content-encoding: send it as it is"))
    if (down.head.length or 0) > installs.MAX_BODY_BYTES:
        raise Refused(faults.too_large(installs.MAX_BODY_BYTES))
    return await down.body(installs.MAX_BODY_BYTES, slot.hold)


def refuse(fault: Fault, down: Downstream, tally: Tally) -> None:
    """Answer with *fault*, or cut what was begun: a status cannot be taken back."""
    if down.committed:
        down.abort()
        return
    tally.status = fault.status
    google_key = b"x-goog-api-key" in down.head.said
    google = routing.speaks_google(down.head.path, google_key=google_key)
    down.answer(*faults.answer(fault, tally.id, google=google))


def stopped(down: Downstream, tally: Tally, error: Exception) -> tuple[Ending, Fault | None]:
    """Answer with what stopped an exchange, or cut it; return how it ended, and why."""
    if isinstance(error, DownstreamLeft | Drained):
        down.abort()
        return (Ending.DRAINED if isinstance(error, Drained) else Ending.CLIENT_LEFT), None
    fault = error.fault if isinstance(error, Refused) else faults.INTERNAL
    if not isinstance(error, Told):
        refuse(fault, down, tally)
    return ending_of(fault), fault
