"""What the operator's listener serves."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from passgate.core import auth, faults
from passgate.core.faults import Refused
from passgate.core.settings import AdminSettings
from passgate.gateway.interfaces import Downstream
from passgate.gateway.local import Readiness

_OK = msgspec.json.encode({"status": "ok"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FOREIGN_HOST = faults.scope("a host name that is not in [admin] allowed_hosts")


class Site:
    """Health for probes; more comes with the ledger.

    A page in the operator's browser can reach a loopback address under a name of its own
    (DNS rebinding), so the ``Host`` must be one that we know.
    """

    def __init__(self, settings: AdminSettings, readiness: Readiness) -> None:
        self._readiness = readiness
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
            status, body = self._answer(down)
        except Refused as refused:
            down.answer(*faults.answer(refused.fault, "req_admin", google=False))
        else:
            down.answer(faults.local_answer(status, body), body)

    def _answer(self, down: Downstream) -> tuple[int, bytes]:
        head = down.head
        if head.fault is not None:
            raise Refused(head.fault)
        host = head.said.get(b"host", b"").decode().lower()
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            raise Refused(_FOREIGN_HOST)
        if head.method not in ("GET", "HEAD"):
            raise Refused(faults.NOT_FOUND)
        if head.path == "/healthz":
            return 200, _OK
        if head.path == "/readyz":
            return self._readiness.state(details=self._knows(auth.presented_key(head.said, None)))
        raise Refused(faults.NOT_FOUND)

    def _knows(self, key: bytes) -> bool:
        if self._key_digest is None:
            return True  # loopback only: the configuration sees to that
        return hmac.compare_digest(hashlib.sha256(key).digest(), self._key_digest)


def _said(host: str) -> str:
    """Return *host* as a ``Host`` field names it, in small letters."""
    return f"[{host}]".lower() if ":" in host else host.lower()
