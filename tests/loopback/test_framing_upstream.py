"""Answers that are not what they seem: a 502, or a connection cut; never a clean end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.answers import AFTER_THE_HEAD, BEFORE_THE_HEAD, INTERIM, Said
from tests.loopback.gateway import (
    Answer,
    Gateway,
    connect,
    eventually,
    message,
    read_answer,
    running,
)
from tests.loopback.peers import Scripted, pieces, rest_of, says


@pytest.fixture
def beside(request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, Scripted]]:
    """A gateway before an upstream that says what the row says."""
    row: Said = request.param
    with (
        Scripted(says(row.answer, row.then)) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
    ):
        yield gateway, upstream


@pytest.mark.parametrize("beside", BEFORE_THE_HEAD, ids=lambda row: row.id, indirect=True)
def test_no_head(beside: tuple[Gateway, Scripted]) -> None:
    """Before a head was passed on it is a 502; nothing is repeated, the client may go on."""
    gateway, upstream = beside
    with gateway.connect() as connection:
        for count in (1, 2):
            connection.sendall(gateway.post(message(stream=True)))
            answer = read_answer(connection)

            assert (answer.status, answer.get("x-passgate-error")) == (502, ["upstream"])
            assert answer.json()["error"]["type"] == "api_error"
            assert answer.rest == b""
            # Each came on a connection of its own: the one before is in doubt.
            assert (count, count) == (upstream.connections, len(upstream.heads))
    records = gateway.settled()

    assert {(record.ending.value, record.status, record.attempts) for record in records} == {
        ("upstream_broke", 502, 1)
    }
    assert len(records) == 2


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("beside", AFTER_THE_HEAD, ids=lambda row: row.id, indirect=True)
def test_cut(beside: tuple[Gateway, Scripted], version: str) -> None:
    """After the head the client's connection is cut, so that what came cannot look whole."""
    gateway, upstream = beside
    ask = gateway.post(message(stream=True)).replace(b"HTTP/1.1", version.encode(), 1)
    with gateway.connect() as connection:
        connection.sendall(ask)
        whole = _looks_whole(*rest_of(connection))
    [record] = gateway.settled()
    eventually(lambda: not _open(gateway))

    assert not whole
    assert (record.ending.value, record.error, record.attempts) == ("upstream_broke", "upstream", 1)
    assert (upstream.connections, len(upstream.heads)) == (1, 1)


def _open(gateway: Gateway) -> int:
    [lane] = gateway.app._snapshots.lanes.values()
    return len(lane.pool._all)  # type: ignore[attr-defined]  # the real pool


def _looks_whole(got: bytes, end: str) -> bool:
    """Return whether a strict reader would take *got* for a whole response."""
    head, blank, body = got.partition(b"\r\n\r\n")
    fields = head.lower()
    if not blank:
        return False
    if b"\r\ntransfer-encoding: chunked" in fields:
        return body.endswith(b"0\r\n\r\n")
    if b"\r\ncontent-length: " in fields:
        return len(body) == int(fields.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    return end == "fin"


SCENES = ["cut-0", "cut-1", "cut-7", "reset-0", "reset-3", "cut-length"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("scene", SCENES)
def test_cut_stream(gateway: Gateway, scene: str, stream: bool) -> None:  # noqa: FBT001
    """What a broken stream has said arrives, and then the connection is cut."""
    answer = _asked(gateway, gateway.post(message(f"claude-{scene}", stream=stream)))
    direct = _asked(gateway, gateway.post(message(f"claude-{scene}", stream=stream)), direct=True)
    [record] = gateway.settled()

    assert (answer.complete, record.ending.value) == (False, "upstream_broke")
    assert direct.body.startswith(answer.body)
    if scene.startswith("cut"):
        assert answer.body == direct.body
    assert gateway.ask(gateway.post(message())).status == 200


def _asked(gateway: Gateway, raw: bytes, *, direct: bool = False) -> Answer:
    with connect(gateway.upstream.port if direct else gateway.port) as connection:
        connection.sendall(raw)
        return read_answer(connection)


def test_early_answer(gateway: Gateway) -> None:
    """An answer that comes before the body was read arrives; the upload stops there."""
    head = gateway.head("POST", "/v1/files", "content-length: 50000000", "x-demo-scene: early-413")
    with gateway.connect() as connection:
        connection.sendall(head)
        pieces(connection, [b"a" * 65_536] * 8)
        answer = read_answer(connection)
        end = rest_of(connection)
    [record] = gateway.settled()

    assert (answer.status, answer.complete) == (413, True)
    assert (answer.get("x-passgate-error"), answer.get("connection")) == ([], ["close"])
    assert (end[0], record.ending.value) == (b"", "complete")
    assert record.bytes_up < 50_000_000


def test_interim_flood_reaches_nobody() -> None:
    """Of thousands of early hints a client sees no more than the few that are usual."""
    with (
        Scripted(says(INTERIM * 20_000)) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
    ):
        answer = gateway.ask(gateway.post(message()))

    assert (answer.status, len(answer.interim)) == (502, 32)
