"""The simulated upstreams and the settings of a gateway before them."""

from __future__ import annotations

import hashlib
import secrets

from passgate.core.settings import (
    AdminSettings,
    ClientSettings,
    CredentialKind,
    CredentialSettings,
    Listen,
    RouteSettings,
    Settings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.demo.gemini import Gemini
from passgate.demo.upstream import Upstream


class Simulated:
    """Two simulated upstreams, with a client key and a credential made for one run.

    Attributes:
        key: What a client shows the gateway.
    """

    def __init__(self, pace_s: float) -> None:
        self.key = f"pg_{secrets.token_urlsafe(32)}"
        self._credential = secrets.token_urlsafe(32)
        self._upstream = Upstream(credential=self._credential, pace_s=pace_s)
        self._gemini = Gemini(keys={self._credential: "demo"}, pace_s=pace_s)

    async def start(self, listens: tuple[Listen, Listen]) -> Settings:
        """Start the upstreams; return settings of a gateway that uses them.

        Args:
            listens: Where the gateway and its operator's listener are to be bound.
        """
        await self._upstream.start()
        await self._gemini.start()
        client = ClientSettings("demo", hashlib.sha256(self.key.encode()).digest())
        return Settings(
            listen=listens[0],
            admin=AdminSettings(listen=listens[1]),
            clients=(client,),
            upstreams=(
                self._settings("simulated", UpstreamKind.ANTHROPIC, self._upstream.port),
                self._settings("gemini", UpstreamKind.GEMINI, self._gemini.port),
            ),
            routes=(RouteSettings("gemini-*", "gemini"), RouteSettings("*", "simulated")),
        )

    def _settings(self, name: str, kind: UpstreamKind, port: int) -> UpstreamSettings:
        source = CredentialSettings(
            CredentialKind.API_KEY, env="simulated", env_value=self._credential
        )
        return UpstreamSettings(
            name, kind, tls=False, host="127.0.0.1", port=port, prefix="", credential=source
        )

    async def close(self) -> None:
        """End the upstreams."""
        await self._upstream.close()
        await self._gemini.close()
