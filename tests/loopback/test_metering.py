"""What an exchange consumed stands in its record, whatever way its answer took."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from passgate.core.exchange import Ending, Record
from passgate.demo.content import usage_for
from tests.core import oracle
from tests.edge.wire.plays import chunked
from tests.loopback.gateway import Gateway, eventually, message, read_answer, running
from tests.loopback.peers import Peer, Scripted

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "thinking_tokens")
FIRST, DELTA = b"message_start", b"content_block_delta"


def counts(record: Record) -> tuple[int | None, ...]:
    """Return the counts that the simulated upstream tells."""
    return tuple(getattr(record, name) for name in COUNTS)


def told(body: dict[str, object]) -> tuple[object, ...]:
    """Return the counts that it tells in the answer to *body*."""
    usage = usage_for(body)
    details = usage["output_tokens_details"]
    assert isinstance(details, dict)
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    return (*(usage[name] for name in names), details["thinking_tokens"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "events"])
@pytest.mark.parametrize(
    "scene",
    [
        "claude-sonnet-4-5",
        "thinking",
        "tool",
        "refusal",
        "max-tokens",
        "text-300",
        "pings",
        "gzip",
        "deflate",
        "http10",
        "no-length",
        "trailers",
        "big-700000",
        "slow-500-20",
    ],
)
def test_recorded(gateway: Gateway, scene: str, *, stream: bool) -> None:
    """The counts that the upstream told are those of the record, in every framing."""
    body = message(scene, stream=stream)
    answer = gateway.ask(gateway.post(body))
    [record] = gateway.recorded()

    assert answer.complete
    assert told(body) == counts(record)
    assert (Ending.COMPLETE, "final", scene) == (record.ending, record.usage, record.model_served)
    assert (stream and scene != "refusal") == (record.first_token_ms is not None)
    assert record.first_token_ms is None or record.first_token_ms >= (record.ttfb_ms or 0)


def test_http10_client(gateway: Gateway) -> None:
    """A client that knows no chunks changes nothing."""
    body = message("text-30", stream=True)
    answer = gateway.ask(gateway.post(body).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
    [record] = gateway.recorded()

    assert answer.complete
    assert (told(body), "final") == (counts(record), record.usage)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(lambda g: g.post(message("error-529")), 529, id="an error"),
        pytest.param(
            lambda g: g.post(message(), path="/v1/messages/count_tokens"), 200, id="counting"
        ),
        pytest.param(lambda g: g.head("GET", "/v1/models"), 200, id="models"),
        pytest.param(lambda g: g.post(message("error-html")), 502, id="no JSON"),
        pytest.param(lambda g: g.post(b"{}", path="/v1/nowhere"), 404, id="no path"),
    ],
)
def test_free(gateway: Gateway, raw: Callable[[Gateway], bytes], status: int) -> None:
    """What costs nothing has no usage, and no zero either."""
    assert status == gateway.ask(raw(gateway)).status
    [record] = gateway.recorded()

    assert ("none", (None,) * 4) == (record.usage, counts(record))


# Where it is cut off.


def test_client_leaves(gateway: Gateway) -> None:
    """A client that hangs up is charged for what came: the input as told, the output guessed."""
    body = message("slow-1000-5000", stream=True)
    with gateway.connect() as leaves:
        leaves.sendall(gateway.post(body))
        got = b""
        while got.count(DELTA) < 60:  # the name and the type of each event
            got += leaves.recv(1 << 16)
        [(tally, down)] = gateway.app.pipeline.running.values()
        assert tally.metering is not None
        now = tally.metering.running()
        assert down.bytes_down > 1000
    [record] = gateway.recorded()
    output, words = record.output_tokens or 0, got.count(DELTA) // 2

    assert (Ending.CLIENT_LEFT, "partial") == (record.ending, record.usage)
    assert told(body)[0] == record.input_tokens
    assert words < output < 40 * words  # "word17 " is about two tokens; more may have come
    assert now[1] and (now[0] or 0) > 0
    assert record.first_token_ms is not None
    assert {} == gateway.app.pipeline.running


def test_client_leaves_at_once(gateway: Gateway) -> None:
    """What was told before any content is in the record to the token."""
    body = message("silent", stream=True)
    with gateway.connect() as leaves:
        leaves.sendall(gateway.post(body))
        while FIRST not in leaves.recv(1 << 16):
            pass
    [record] = gateway.recorded()

    assert ("partial", told(body)[0], 1) == (
        record.usage,
        record.input_tokens,
        record.output_tokens,
    )
    assert record.first_token_ms is None


@pytest.mark.parametrize("scene", ["cut-5", "reset-5"])
def test_upstream_breaks(gateway: Gateway, scene: str) -> None:
    """So is what an upstream had told before it broke off."""
    body = message(scene, stream=True)
    assert not gateway.ask(gateway.post(body)).complete
    [record] = gateway.recorded()

    assert (Ending.UPSTREAM_BROKE, "partial") == (record.ending, record.usage)
    assert (told(body)[0], True) == (record.input_tokens, (record.output_tokens or 0) > 0)


def test_error_midway(gateway: Gateway) -> None:
    """A stream that ends in an error is whole, and does not tell its end."""
    body = message("mid-error-6", stream=True)
    assert gateway.ask(gateway.post(body)).complete
    [record] = gateway.recorded()

    assert (Ending.COMPLETE, "partial") == (record.ending, record.usage)
    assert told(body)[0] == record.input_tokens


def test_stopped() -> None:
    """So has an exchange that the gateway itself ends, and each leaves one record."""
    with running() as gateway:
        body = message("silent", stream=True)
        waits = [gateway.connect() for _ in range(3)]
        for connection in waits:
            connection.sendall(gateway.post(body))
        eventually(lambda: len(gateway.app.pipeline.running) == 3)
        for connection in waits:
            assert connection.recv(1)
        eventually(
            lambda: all(
                tally.metering and tally.metering.running()[0]
                for tally, _ in list(gateway.app.pipeline.running.values())
            )
        )
        gateway._loop.call_soon_threadsafe(gateway.app.data.stop_exchanges)
        records = gateway.recorded(3)
        for connection in waits:
            connection.close()

    assert {(Ending.DRAINED, "partial", told(body)[0])} == {
        (each.ending, each.usage, each.input_tokens) for each in records
    }
    assert 3 == len({each.id for each in records})


def test_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours in the midst of an exchange leaves one record, too."""

    def fails(*_: object) -> object:
        raise ZeroDivisionError

    with running() as gateway:
        monkeypatch.setattr("passgate.core.upstreams.downward", fails)
        assert 500 == gateway.ask(gateway.post(message())).status
        [record] = gateway.recorded()

        assert {} == gateway.app.pipeline.running
    assert (Ending.FAILED, "internal", "none") == (record.ending, record.error, record.usage)


# Codings.

EVENTS = [part + b"\n\n" for part in oracle.recorded("messages", "sse")["thinking"].split(b"\n\n")]
EXPECTED = oracle.of_stream(b"".join(EVENTS[:-1]), complete=True)


def _codings() -> dict[str, Callable[[bytes, bool], bytes]]:
    """Return coders: each takes an event and whether it is the last, and flushes."""
    gzipped, framed, raw = (zlib.compressobj(wbits=bits) for bits in (31, 15, -15))
    brotlied, zstded = brotli.Compressor(), zstandard.ZstdCompressor().compressobj()

    def zipped(machine: Any, event: bytes, last: bool) -> bytes:  # noqa: FBT001  a coder
        return machine.compress(event) + machine.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)  # type: ignore[no-any-return]

    return {
        "gzip": lambda event, last: zipped(gzipped, event, last),
        "deflate": lambda event, last: zipped(framed, event, last),
        "Deflate": lambda event, last: zipped(raw, event, last),
        "br": lambda event, last: (
            brotlied.process(event) + (brotlied.finish() if last else brotlied.flush())
        ),
        "zstd": lambda event, last: (
            zstded.compress(event)
            + zstded.flush(
                zstandard.COMPRESSOBJ_FLUSH_FINISH if last else zstandard.COMPRESSOBJ_FLUSH_BLOCK
            )
        ),
    }


def coded(coding: str) -> list[bytes]:
    """Return the events, each coded and flushed."""
    code = _codings()[coding]
    events = EVENTS[:-1]
    return [code(event, event is events[-1]) for event in events]


def coded_answer(coding: str, body: bytes) -> bytes:
    """Return a response whose body, which is chunked already, has *coding*."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br", "zstd", "identity"])
def test_codings(coding: str) -> None:
    """A coded stream passes as it came, and its usage is read all the same."""
    parts = EVENTS[:-1] if coding == "identity" else coded(coding)

    def script(peer: Peer) -> None:
        for body in (chunked(*parts), chunked(b"".join(parts))):
            peer.request()
            peer.send(coded_answer(coding, body))
        peer.hold()

    with (
        Scripted(script) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
        gateway.connect() as connection,
    ):
        bodies = []
        for _ in range(2):
            connection.sendall(gateway.post(message(stream=True)))
            bodies.append(read_answer(connection).body)
        records = gateway.recorded(2)
        failures = gateway.app._standing.vitals().meters_failed

    assert [b"".join(parts)] * 2 == bodies
    assert 0 == failures
    for record in records:
        assert "final" == record.usage
        assert {name: EXPECTED[name] for name in COUNTS} == dict(
            zip(COUNTS, counts(record), strict=True)
        )


def _bomb() -> bytes:
    return zlib.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("deflate", _bomb, id="a bomb"),
        pytest.param("gzip", lambda: b"this is not gzip", id="not in its coding"),
        pytest.param("compress", lambda: b"x", id="unknown"),
        pytest.param("gzip, br", lambda: b"x", id="two"),
    ],
)
def test_not_metered(coding: str, body: Callable[[], bytes]) -> None:
    """What cannot be read passes all the same; it is counted, and has no usage."""
    sent = body()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(coded_answer(coding, chunked(sent)))
        peer.hold()

    with Scripted(script) as upstream, running(upstreams=(upstream.settings,)) as gateway:
        answer = gateway.ask(gateway.post(message(stream=True)))
        [record] = gateway.recorded()
        failures = gateway.app._standing.vitals().meters_failed

    assert (sent, True) == (answer.body, answer.complete)
    assert (Ending.COMPLETE, "none", None) == (record.ending, record.usage, record.input_tokens)
    assert 1 == failures
