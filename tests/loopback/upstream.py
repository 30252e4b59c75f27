"""A simulated upstream in a thread, for a gateway that is a process of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from passgate.demo.upstream import Upstream
from tests.loopback.gateway import WAIT_S

T = TypeVar("T")


class Beside:
    """A simulated upstream that can be stopped and started again at its port.

    Attributes:
        upstream: It; its lists may be read from here.
        port: Where it listens, also while it does not.
    """

    def __init__(
        self, upstream: Upstream | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.upstream = Upstream() if upstream is None else upstream
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coro: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coro, self._loop).result(WAIT_S)

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._call(self.upstream.start(port=self.port, ssl=self._tls))
        self.port = self.upstream.port

    def stop(self) -> None:
        """Drop every connection and listen no more."""
        self._call(self.upstream.close())

    def credentials(self) -> list[bytes]:
        """Return the API key that each request has shown, in order."""
        return [
            value
            for seen in tuple(self.upstream.seen)
            for name, value in seen.fields
            if name.lower() == b"x-api-key"
        ]
