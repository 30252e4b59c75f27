"""A client that leaves takes its upstream call with it, at once and in every phase."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from passgate.core.settings import CredentialKind, CredentialSettings, Limits, Settings
from tests.loopback.gateway import WAIT_S, Gateway, eventually, message, read_answer, running
from tests.loopback.peers import Peer, Scripted, reset, rest_of

SOON_S = 1.0


@dataclass(frozen=True)
class Phase:
    """How far an exchange has come when its client leaves.

    Attributes:
        sent: What the client has sent, of the gateway that it is sent to.
        waits: What it waits for before it goes: a substring of its answer, or nothing.
        seen: Whether the upstream has got a request by then.
        status: What is recorded.
        recorded: Whether an exchange had begun.
    """

    id: str
    sent: Callable[[Gateway], bytes]
    waits: bytes = b""
    seen: bool = True
    status: int | None = None
    recorded: bool = True


def _ask(scene: str) -> Callable[[Gateway], bytes]:
    return lambda gateway: gateway.post(message(f"claude-{scene}", stream=True))


def _part(path: str, *fields: str, body: bytes = b"") -> Callable[[Gateway], bytes]:
    return lambda gateway: gateway.head("POST", path, *fields) + body


LENGTH, CHUNKED = "content-length: 1000", "transfer-encoding: chunked"
EXPECT = "expect: 100-continue"
DRIP = "x-demo-scene: slow-50-1000"
# fmt: off
PHASES = [
    Phase("before its head", lambda _: b"", seen=False, recorded=False),
    Phase("in its head", lambda g: g.head()[:-3], seen=False, recorded=False),
    Phase("in a held body", _part("/v1/messages", LENGTH, body=b"{"), seen=False),
    Phase("before a held body", _part("/v1/messages", LENGTH), seen=False),
    Phase("in a held chunked body", _part("/v1/messages", CHUNKED, body=b"9\r\n{"), seen=False),
    Phase("invited", _part("/v1/messages", LENGTH, EXPECT), b"100 Continue", seen=False),
    Phase("before the first chunk", _part("/v1/files", CHUNKED), seen=False),
    Phase("in the first size", _part("/v1/files", CHUNKED, body=b"9"), seen=False),
    Phase("in an upload", _part("/v1/files", LENGTH, body=b"{")),
    Phase("in a chunked upload", _part("/v1/files", CHUNKED, body=b"9\r\n{")),
    Phase("between two chunks", _part("/v1/files", CHUNKED, body=b"1\r\n{\r\n")),
    Phase("before the head", _ask("hang")),
    Phase("before the head of a large body",
          lambda g: g.post(message("claude-hang", pad="x" * 3_000_000))),
    Phase("before a late head", _ask("first-byte-60000")),
    Phase("in a silent stream", _ask("silent"), b"message_start", status=200),
    Phase("in a slow stream", _ask("slow-50-1000"), b"content_block_delta", status=200),
    Phase("in a busy stream", _ask("slow-5000-90000"), b"content_block_delta", status=200),
    Phase("in a stream by HTTP/1.0", lambda g: _ask("silent")(g).replace(b"HTTP/1.1", b"HTTP/1.0"),
          b"message_start", status=200),
    Phase("in a download it does not take",
          lambda g: g.head("GET", "/v1/files/file_size_60000000/content"), b"\r\n\r\n", status=200),
    Phase("with a request sent ahead", lambda g: _ask("silent")(g) + _ask("text-1")(g),
          b"message_start", status=200),
]
# fmt: on
LEAVES: dict[str, Callable[[socket.socket], None]] = {
    "closing": lambda connection: connection.close(),
    "half-closing": lambda connection: connection.shutdown(socket.SHUT_WR),
    "resetting": reset,
}


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
@pytest.mark.parametrize("row", PHASES, ids=lambda row: row.id)
def test_leaves(gateway: Gateway, row: Phase, leave: Callable[[socket.socket], None]) -> None:
    """It is noticed within a second, recorded once, and nothing goes on for nobody."""
    eventually(lambda: _idle(gateway))
    with gateway.connect() as connection:
        connection.sendall(row.sent(gateway))
        got = b""
        while row.waits not in got:
            got += connection.recv(1 << 16)
        eventually(lambda: _under_way(gateway, row))
        leave(connection)
        eventually(lambda: _idle(gateway), SOON_S)
        if connection.fileno() >= 0:
            got += rest_of(connection)[0]
    records = gateway.settled()

    assert not got.endswith(b"\r\n0\r\n\r\n")
    assert [("client_left", row.status, None)] * row.recorded == [
        (record.ending.value, record.status, record.error) for record in records
    ]
    assert gateway.ask(gateway.post(message("claude-close"))).status == 200


def _under_way(gateway: Gateway, row: Phase) -> bool:
    """Return whether an exchange has come as far as it can."""
    work = (gateway.upstream.open, gateway.app._admission.in_flight)
    return (int(row.seen), int(row.recorded)) == work


def _idle(gateway: Gateway) -> bool:
    """Return whether nothing of any exchange is left: no connection, no place, no dial."""
    admission, app = gateway.app._admission, gateway.app
    dials = [task for task in tuple(app._tasks._tasks) if task.get_name().startswith("dial ")]
    left = (
        gateway.upstream.open,
        admission.in_flight,
        admission.held_bytes,
        len(app.data._connections),
        len(dials),
    )
    return not any(left)


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
def test_between_exchanges(gateway: Gateway, leave: Callable[[socket.socket], None]) -> None:
    """A client that leaves after its answer was no client of an exchange."""
    with gateway.connect() as connection:
        connection.sendall(gateway.post(message("claude-close")))
        answer = read_answer(connection)
        leave(connection)
        eventually(lambda: _idle(gateway), SOON_S)

    assert answer.complete
    assert [record.ending.value for record in gateway.settled()] == ["complete"]


def test_many_leave(gateway: Gateway) -> None:
    """Sixty that leave at once, half of them before an answer, end sixty upstream calls."""
    eventually(lambda: _idle(gateway))
    connections = []
    for number in range(60):
        connections.append(connection := gateway.connect())
        connection.sendall(gateway.post(message(f"claude-{('hang', 'silent')[number % 2]}")))
    eventually(lambda: gateway.upstream.open == 60)
    for connection in connections:
        connection.close()
    eventually(lambda: _idle(gateway), SOON_S)

    assert {record.ending.value for record in gateway.settled()} == {"client_left"}
    assert len(gateway.records) == gateway.upstream.hang_ups == 60


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
def test_credential_is_fetched(tmp_path: Path, leave: Callable[[socket.socket], None]) -> None:
    """Who leaves while the credential is fetched ends alone: the fetch serves the next one."""
    pipe = tmp_path / "credential"
    pipe.write_text("up_first")
    fetches = CredentialSettings(CredentialKind.API_KEY, command=("/bin/cat", str(pipe)))

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        return replace(settings, upstreams=(replace(upstream, credential=fetches),))

    with Gateway(change) as gateway:
        pipe.unlink()
        os.mkfifo(pipe)  # whoever reads it waits for the one who writes
        assert (
            gateway.ask(gateway.post(message("claude-error-401"), "connection: close")).status
            == 401
        )
        with gateway.connect() as connection, gateway.connect() as other:
            connection.sendall(gateway.post(message()))
            eventually(lambda: gateway.app._admission.in_flight == 1)
            other.sendall(gateway.post(message()))
            eventually(lambda: gateway.app._admission.in_flight == 2)
            leave(connection)
            eventually(lambda: gateway.app._admission.in_flight == 1, SOON_S)
            pipe.write_text("up_second")
            answer = read_answer(other)
        endings = [record.ending.value for record in gateway.settled()]
        shown = [dict(seen.fields)[b"x-api-key"] for seen in gateway.upstream.seen]

    assert answer.status == 200
    assert endings == ["complete", "client_left", "complete"]
    assert shown == [b"up_first", b"up_second"]


def test_upload_nobody_takes() -> None:
    """Where back-pressure has stopped reading, a client's end is noticed within the limit."""
    limits = Limits(idle_s=0.2, client_stall_s=0.2)

    def script(peer: Peer) -> None:
        peer.over.wait(WAIT_S)

    with (
        Scripted(script) as upstream,
        running(upstreams=(upstream.settings,), limits=limits) as gateway,
    ):
        with gateway.connect() as connection:
            connection.sendall(gateway.head("POST", "/v1/files", "content-length: 60000000"))
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                while True:
                    connection.sendall(b"x" * 65_536)
        eventually(lambda: gateway.app._admission.in_flight == 0, SOON_S)
        eventually(lambda: not gateway.app.data._connections, SOON_S)
        [record] = gateway.settled()

    assert record.ending.value in ("client_left", "timed_out")
    assert record.bytes_up < 60_000_000


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
def test_held_body_nobody_takes(leave: Callable[[socket.socket], None]) -> None:
    """A body that is all here and that the upstream does not take: its client's end is seen."""

    def script(peer: Peer) -> None:
        peer.over.wait(WAIT_S)

    with Scripted(script) as upstream, running(upstreams=(upstream.settings,)) as gateway:
        with gateway.connect() as connection:
            connection.sendall(gateway.post(message(pad="x" * 20_000_000)))
            eventually(lambda: _backed_up(gateway))
            leave(connection)
            eventually(lambda: gateway.app._admission.in_flight == 0, SOON_S)
        [record] = gateway.settled()

    assert ("client_left", None) == (record.ending.value, record.status)
    assert record.bytes_up > 20_000_000


def _backed_up(gateway: Gateway) -> bool:
    """Return whether an upstream connection has more to send than it can."""
    [lane] = gateway.app._snapshots.lanes.values()
    return any(not up.writable for up in lane.pool._all)  # type: ignore[attr-defined]  # as it is
