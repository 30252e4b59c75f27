"""What each kind of upstream is sent, and what of its answer a client gets."""

from __future__ import annotations

import msgspec

from passgate.core import faults, messages_meter
from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, Outbound, RequestHead
from passgate.core.faults import Refused
from passgate.core.gemini import meter as gemini_meter
from passgate.core.headers import Origin, credential_line, downward, upward
from passgate.core.messages import renamed
from passgate.core.meter import MeterFor
from passgate.core.settings import UpstreamKind, UpstreamSettings

KEY_FIELDS = {
    UpstreamKind.ANTHROPIC: b"x-api-key",
    UpstreamKind.GEMINI: b"x-goog-api-key",
}
_GENERATES = (":generateContent", ":streamGenerateContent")  # of Gemini's own API


class PassThrough(msgspec.Struct, frozen=True):
    """An upstream whose own API the client speaks: all but the credential passes 1:1.

    Attributes:
        name: The operator's name for it.
        origin: What it puts into every request head.
    """

    name: str
    origin: Origin

    def prepare(
        self,
        head: RequestHead,
        body: bytes | bytearray | None,
        key: bytes,
        credential: Credential,
        rename: str | None,
    ) -> Outbound:
        """Return the request as this upstream will see it.

        Args:
            head: The client's request head.
            body: The held body, or None where it is passed on as it arrives.
            key: The client's key, which never travels.
            credential: What the upstream is shown.
            rename: The model's name there, or None where it keeps its name.

        Raises:
            Refused: The body's coding hides the model that has to be renamed, or the
                client's own credential is to go up and none came.
        """
        length = None
        if body is not None and rename is not None:
            if b"content-encoding" in head.said:
                raise Refused(faults.request("content-encoding: this route needs a plain body"))
            body = renamed(body, rename)
            length = len(body)
        elif body is not None and len(body) != head.length:
            length = len(body)  # came chunked, goes whole; or something was cut
        up = upward(head, self.origin, key, credential, length)
        return Outbound(up, body, credential.secret)

    def asks(
        self, method: str, target: str, body: bytes | None, credential: Credential
    ) -> Outbound:
        """Return a request of ours: what was translated, or what nobody else has asked.

        Args:
            method: ``GET`` or ``POST``.
            target: Path and query.
            body: JSON, or None.
            credential: What the upstream is shown.
        """
        to = self.origin
        head = b"%s %s%s HTTP/1.1\r\nhost: %s\r\naccept-encoding: identity" % (
            method.encode(),
            to.prefix,
            target.encode(),
            to.host,
        )
        if body is not None:
            head += b"\r\ncontent-type: application/json\r\ncontent-length: %d" % len(body)
        head += credential_line(to.key_field, credential)
        return Outbound(head, body or b"", credential.secret)

    def meter_for(self, head: RequestHead) -> MeterFor | None:
        """Return what meters a good answer to *head*, or None where it tells no billed usage."""
        if head.method != "POST":
            return None
        if head.path == "/v1/messages":
            return messages_meter.meter_for
        return gemini_meter.meter_for if head.path.endswith(_GENERATES) else None

    def reply_head(self, answer: AnswerHead, credential: Credential) -> bytes:
        """Return the response head for the client, without framing."""
        return downward(answer, credential.secret)


def upstream_of(settings: UpstreamSettings) -> PassThrough:
    """Return the upstream that *settings* describe."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.port != (443 if settings.tls else 80):
        host = f"{host}:{settings.port}"
    origin = Origin(host.encode(), settings.prefix.encode(), KEY_FIELDS[settings.kind])
    return PassThrough(settings.name, origin)
