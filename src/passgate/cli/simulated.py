"""The simulated upstream and the settings of a gateway before it."""

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
from passgate.demo.upstream import Upstream


class Simulated:
    """A simulated upstream, with a client key and a credential made for one run.

    Attributes:
        key: What a client shows the gateway.
    """

    def __init__(self, pace_s: float) -> None:
        self.key = f"pg_{secrets.token_urlsafe(32)}"
        self._credential = secrets.token_urlsafe(32)
        self._upstream = Upstream(credential=self._credential, pace_s=pace_s)

    async def start(self, listens: tuple[Listen, Listen]) -> Settings:
        """Start the upstream; return settings of a gateway that uses it.

        Args:
            listens: Where the gateway and its operator's listener are to be bound.
        """
        await self._upstream.start()
        source = CredentialSettings(
            CredentialKind.API_KEY, env="simulated", env_value=self._credential
        )
        upstream = UpstreamSettings(
            "simulated",
            UpstreamKind.ANTHROPIC,
            tls=False,
            host="127.0.0.1",
            port=self._upstream.port,
            prefix="",
            credential=source,
        )
        client = ClientSettings("demo", hashlib.sha256(self.key.encode()).digest())
        return Settings(
            listen=listens[0],
            admin=AdminSettings(listen=listens[1]),
            clients=(client,),
            upstreams=(upstream,),
            routes=(RouteSettings("*", "simulated"),),
        )

    async def close(self) -> None:
        """End the upstream."""
        await self._upstream.close()
