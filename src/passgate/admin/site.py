"""What the operator's listener serves."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace

from passgate.admin.live import Feed
from passgate.core import auth, faults
from passgate.core.exchange import RequestHead
from passgate.core.faults import DownstreamLeft, Drained, Refused
from passgate.core.live import Looks
from passgate.core.settings import AdminSettings
from passgate.core.vitals import Spent
from passgate.gateway.interfaces import Downstream
from passgate.gateway.local import Readiness

_OK = msgspec.json.encode({"status": "ok"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FOREIGN_HOST = faults.scope("a host name that is not in [admin] allowed_hosts")
_KEY = replace(
    faults.KEY,
    message="this needs the admin key, in x-api-key, as Authorization: Bearer, or, from a "
    "browser, as the password",
)
# Browsers then ask for a password; the name does not matter.
_ASK_FOR_KEY = b'\r\nwww-authenticate: Basic realm="passgate", charset="UTF-8"'

Glance = Callable[[], Awaitable[Sequence[Spent] | None]]
Scrape = Callable[[str], Awaitable[tuple[str, bytes]]]


class Site:
    """Health for probes; pages, metrics and the live feed for who has the admin key.

    A page in the operator's browser can reach a loopback address under a name of its own
    (DNS rebinding), so the ``Host`` must be one that we know.

    Args:
        settings: Who may ask.
        readiness: What ``/readyz`` says.
        scrape: Returns the media type and the text of all metrics, for an ``Accept``.
        feed: The live feed.
        spent: Returns what the ledger knows, or None.
    """

    def __init__(
        self,
        settings: AdminSettings,
        readiness: Readiness,
        scrape: Scrape,
        feed: Feed,
        spent: Glance,
    ) -> None:
        self._readiness = readiness
        self._scrape = scrape
        self._feed = feed
        self._spent = spent
        self._open = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/style.css": self._style,
        }
        self._guarded = {"/": self._page, "/metrics": self._metrics, "/live": self._live}
        self.goes_by(settings)

    def goes_by(self, settings: AdminSettings) -> None:
        """Go by *settings* from now on; they suit the address that is listened at."""
        self._key_digest = settings.key_digest
        self._hosts = _LOOPBACK | {
            _said(h) for h in (settings.listen.host, *settings.allowed_hosts)
        }

    async def handle(self, down: Downstream) -> None:
        """Answer one request."""
        try:
            await self._answer(down)
        except Refused as refused:
            _refuse(refused.fault, down)
        except (DownstreamLeft, Drained):
            down.abort()

    async def _answer(self, down: Downstream) -> None:
        head = down.head
        if head.fault is not None:
            raise Refused(head.fault)
        host = head.said.get(b"host", b"").decode().lower()
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            raise Refused(_FOREIGN_HOST)
        if head.method not in ("GET", "HEAD"):
            raise Refused(faults.NOT_FOUND)
        if head.path in self._open:
            self._open[head.path](down)
        elif head.path in self._guarded:
            if not self._knows(head):
                raise Refused(_KEY)
            await self._guarded[head.path](down)
        else:
            raise Refused(faults.NOT_FOUND)

    def _health(self, down: Downstream) -> None:
        _tell(down, 200, _OK)

    def _ready(self, down: Downstream) -> None:
        _tell(down, *self._readiness.state(details=self._knows(down.head)))

    def _style(self, down: Downstream) -> None:
        from passgate.admin import dashboard  # half a megabyte, for who looks at it

        _tell(down, 200, dashboard.STYLE, dashboard.CSS, dashboard.FIELDS)

    async def _page(self, down: Downstream) -> None:
        from passgate.admin import dashboard  # as above

        page = dashboard.page(self._feed.sources.state(Looks()), await self._spent())
        _tell(down, 200, page, dashboard.HTML, dashboard.FIELDS)

    async def _metrics(self, down: Downstream) -> None:
        media_type, text = await self._scrape(down.head.field(b"accept").decode("latin-1"))
        _tell(down, 200, text, media_type)

    async def _live(self, down: Downstream) -> None:
        if down.head.method == "HEAD":
            raise Refused(faults.NOT_FOUND)  # a stream has no end to speak of
        await self._feed.serve(down)

    def _knows(self, head: RequestHead) -> bool:
        if self._key_digest is None:
            return True  # loopback only: the configuration sees to that
        key = auth.presented_key(head.said, None) or _password(head.said.get(b"authorization", b""))
        return hmac.compare_digest(hashlib.sha256(key).digest(), self._key_digest)


def _tell(
    down: Downstream,
    status: int,
    body: bytes,
    media_type: str = "application/json",
    more: bytes = b"",
) -> None:
    down.answer(faults.local_answer(status, body, more, media_type.encode()), body)


def _refuse(fault: faults.Fault, down: Downstream) -> None:
    if down.committed:
        down.abort()  # a reader that took nothing for too long
        return
    head, body = faults.answer(fault, "req_admin", google=False)
    down.answer(head + _ASK_FOR_KEY if fault is _KEY else head, body)


def _password(authorization: bytes) -> bytes:
    """Return the password of a browser's ``Basic`` authorization, empty where there is none."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _said(host: str) -> str:
    """Return *host* as a ``Host`` field names it, in small letters."""
    return f"[{host}]".lower() if ":" in host else host.lower()
