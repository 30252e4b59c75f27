"""A running gateway with a simulated Gemini beside it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from google import genai
from google.genai import types
from msgspec.structs import replace

from passgate.core.settings import (
    CredentialKind,
    CredentialSettings,
    RouteSettings,
    Settings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.demo.gemini import Gemini
from tests.loopback.gateway import WAIT_S, Answer, Gateway

MODEL = "gemini-3.8-flash"


class Google(Gateway):
    """The real app, with both simulated upstreams; ``gemini-*`` goes to the second.

    Args:
        directory: Where the keys file and the state are.
        projects: The projects of the keys, in the order of the file; a name that begins
            with ``!`` is of a key that Gemini does not know.
        change: Applied to the settings last.

    Attributes:
        gemini: The simulated Gemini; its lists may be read from here.
        keys: The keys, in the order of the file.
    """

    def __init__(
        self,
        directory: Path,
        projects: tuple[str, ...] = ("one",),
        change: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        super().__init__(lambda settings: change(self._with_gemini(settings)))
        self.keys = [f"AQ.{name.strip('!')}-{secrets.token_urlsafe(16)}" for name in projects]
        self._names = [name.strip("!") for name in projects]
        self.file = directory / "gemini_keys.txt"
        self.state = directory / "state"
        self.lists(dict(zip(projects, self.keys, strict=True)))
        known = {k: p for p, k in zip(projects, self.keys, strict=True) if not p.startswith("!")}
        self.gemini = Gemini(keys=known)

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def lists(self, keys: Mapping[str, str]) -> None:
        """Write a keys file with these labels and keys."""
        lines = [f"{label.strip('!')}={key}\n" for label, key in keys.items()]
        self.file.write_text("".join(lines))

    def _with_gemini(self, settings: Settings) -> Settings:
        source = CredentialSettings(CredentialKind.API_KEY, file=self.file)
        upstream = UpstreamSettings(
            "gemini",
            UpstreamKind.GEMINI,
            tls=False,
            host="127.0.0.1",
            port=self.gemini.port,
            prefix="",
            credential=source,
        )
        return replace(
            settings,
            upstreams=(*settings.upstreams, upstream),
            routes=(RouteSettings("gemini-*", "gemini"), *settings.routes),
            state_dir=self.state,
        )

    async def _start(self) -> None:
        await self.gemini.start()
        await super()._start()

    async def _stop(self) -> None:
        await super()._stop()
        await self.gemini.close()

    def forget(self) -> None:
        """Forget what was recorded and seen so far."""
        super().forget()
        self.gemini.reset()

    def restart(self) -> None:
        """End this gateway and begin another, with the same settings."""
        self.call(self._again())

    async def _again(self) -> None:
        await self.app.close()
        await self._begin()

    def genai(self, **more: Any) -> genai.Client:
        """Return Google's SDK, which speaks to the gateway."""
        options = types.HttpOptions(base_url=self.url, timeout=int(WAIT_S * 1000), **more)
        return genai.Client(api_key=self.key, http_options=options)

    def native(self, method: str, path: str, body: bytes = b"", *fields: str) -> Answer:
        """Return the answer to a request on one of Google's own paths."""
        lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"x-goog-api-key: {self.key}"]
        lines += [*fields, f"content-length: {len(body)}"]
        return self.ask("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def shown(self) -> list[str]:
        """Return the project of every key that Gemini was shown, in order."""
        names = dict(zip(self.keys, self._names, strict=True))
        return [
            names[value.decode()]
            for seen in tuple(self.gemini.seen)
            for name, value in seen.fields
            if name.lower() == b"x-goog-api-key"
        ]
