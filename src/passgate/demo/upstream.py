"""The simulated upstream: a Messages API on loopback that behaves as it is asked to.

``python -m passgate.demo.upstream [PORT]`` runs it by itself. What can be asked for is
listed in ``scenes.py``.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from passgate.demo.api import Api
from passgate.demo.content import DEFAULT, Scene
from passgate.demo.replies import HELD_BYTES, Call, credentials_of
from passgate.demo.scenes import SCENES, Stage, early_scene_of, scene_of
from passgate.demo.server import SEEN_BODY_BYTES, Seen, Server, json_object
from passgate.demo.told import Told
from passgate.demo.wire import Connection, Head, Reply

__all__ = ["Seen", "Upstream", "run_alone"]


class Upstream(Server):
    """One simulated upstream.

    Args:
        credential: What callers have to show; None takes every caller.
        pace_s: Seconds before each event of a stream.

    Attributes:
        told: What usage its answers have told, in sums.
    """

    def __init__(self, *, credential: str | None = None, pace_s: float = 0.0) -> None:
        super().__init__()
        self._credential = credential
        self._pace_s = pace_s
        self._api = Api()
        self._calls = 0
        self.told = Told()

    async def _exchange(self, connection: Connection, head: Head) -> None:
        call = await self._receive(connection, head)
        if connection.doomed:
            connection.ending = True
            return
        scene, reply = self._ordinary(call)
        pace_s = self._pace_s if reply.is_stream else 0.0
        play = SCENES.get(scene.name, SCENES["default"])
        stage = Stage(connection, call, reply, pace_s)
        try:
            await play(stage)
        finally:
            if head.path == "/v1/messages":
                self.told.add(stage.told)

    def reset(self) -> None:
        """Forget the requests and hang-ups seen so far, and the usage told."""
        super().reset()
        self.told = Told()

    async def _receive(self, connection: Connection, head: Head) -> Call:
        """Read a request's body, or what of it the scene wants to see."""
        # An upload is counted and hashed, a Messages request has to be understood.
        most = HELD_BYTES if head.path.startswith("/v1/messages") else SEEN_BODY_BYTES
        early: Scene | None = None

        def enough(start: bytes) -> bool:
            nonlocal early
            early = early_scene_of(head, start)
            return early is not None

        body, size = await self._read(connection, head, most, enough)
        ask = json_object(body, head.get(b"content-encoding") or b"", HELD_BYTES)
        scene = early or scene_of(head, (ask or {}).get("model"))
        self._calls += 1
        request_id = f"req_{self._calls:024d}"
        return Call(head, body, size, ask, scene, request_id, scheme=self.url.partition(":")[0])

    def _ordinary(self, call: Call) -> tuple[Scene, Reply]:
        """Return the answer to *call*, and its scene: none is played for who may not call."""
        if self._credential is not None and call.head.path.startswith("/v1/"):
            shown = set(credentials_of(call.head))
            if shown != {self._credential.encode()}:
                said = "invalid x-api-key" if shown else "x-api-key header is required"
                return DEFAULT, call.refused(401, said)
        try:
            return call.scene, self._api.reply(call)
        except RecursionError:
            return DEFAULT, call.refused(400, "The request body is nested too deeply")


async def run_alone(server: Server, port: int) -> None:
    """Run *server* until the process is told to end; print where it listens."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start(port=port)
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    asyncio.run(run_alone(Upstream(pace_s=0.03), int(sys.argv[1]) if len(sys.argv) > 1 else 0))
