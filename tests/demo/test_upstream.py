"""The simulated upstream: its answers, its misbehaviour, and what it tells of its callers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import re
import signal
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.demo.api import Api, pattern
from passgate.demo.content import DEFAULT, usage_for
from passgate.demo.replies import ERROR_TYPES, Call
from passgate.demo.scenes import SCENES
from passgate.demo.server import Server
from passgate.demo.upstream import Upstream
from passgate.demo.wire import parse_head

COUNT = "/v1/messages/count_tokens"
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
WEATHER_TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
# The grammar of a stream, over the names of its events without pings.
STREAM = re.compile(
    r"message_start( content_block_start( content_block_delta)* content_block_stop)*"
    r" message_delta message_stop"
)


@dataclass(frozen=True)
class Answer:
    """A response, read until the connection ended."""

    raw: bytes

    @property
    def head(self) -> bytes:
        """Return the bytes before the empty line."""
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        """Return the status."""
        return int(self.head.split(b" ")[1])

    @property
    def body(self) -> bytes:
        """Return the body without chunks."""
        body = self.raw.partition(b"\r\n\r\n")[2]
        return unchunked(body) if b"\r\nTransfer-Encoding: chunked" in self.head else body

    @property
    def json(self) -> dict[str, Any]:
        """Return the body as the object that it is."""
        return dict(json.loads(self.body))

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the payloads of the body's events; each names its type twice."""
        return [payload_of(block) for block in self.body.decode().split("\n\n")[:-1]]

    def field(self, name: str) -> list[str]:
        """Return all values of a field."""
        lines = [line.partition(": ") for line in self.head.decode().split("\r\n")]
        return [value for key, _, value in lines if key.lower() == name]


def unchunked(body: bytes) -> bytes:
    """Return what a chunked body says, whole or cut."""
    said = b""
    while body and not body.startswith(b"0\r\n"):
        size, _, body = body.partition(b"\r\n")
        said, body = said + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return said


def payload_of(block: str) -> dict[str, Any]:
    """Return an event's payload, after a look at its form."""
    found = re.fullmatch(r"event: (\w+)\ndata: (.*)", block)

    assert found is not None
    payload = json.loads(found[2])
    assert found[1] == payload["type"]
    return dict(payload)


def post(
    model: object = "claude-sonnet-4-5", *fields: str, path: str = "/v1/messages", **more: object
) -> bytes:
    """Return a request; its connection ends with its answer."""
    body = json.dumps({"model": model, "max_tokens": 64, "messages": [HELLO], **more}).encode()
    return request("POST", path, body, *fields)


def request(method: str, path: str, body: bytes = b"", *fields: str) -> bytes:
    """Return a request; its connection ends with its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: demo", "Connection: close", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def ask(upstream: Server, *requests: bytes) -> Answer:
    """Send the bytes, return everything that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    got = bytearray()
    async with asyncio.timeout(10):
        writer.write(b"".join(requests))
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(1 << 16):
                got += some
    await end(writer)
    return Answer(bytes(got))


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a client's connection."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.002)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A simulated upstream that takes every caller."""
    started = Upstream()
    await started.start()
    yield started
    await started.close()


# What the model says.


@pytest.mark.parametrize(
    ("model", "stop_reason", "kinds", "more"),
    [
        ("claude-sonnet-4-5", "end_turn", ["text"], {}),
        ("text-3", "end_turn", ["text"], {}),
        ("claude-text-0", "end_turn", ["text"], {}),
        ("thinking", "end_turn", ["thinking", "text"], {}),
        ("any", "end_turn", ["thinking", "text"], {"thinking": {"type": "adaptive"}}),
        ("tool", "tool_use", ["text", "tool_use"], {}),
        ("tool", "tool_use", ["text", "tool_use"], {"tools": [WEATHER_TOOL]}),
        ("refusal", "refusal", [], {}),
        ("max-tokens", "max_tokens", ["text"], {}),
    ],
)
async def test_a_stream_says_what_the_whole_says(
    upstream: Upstream, model: str, stop_reason: str, kinds: list[str], more: dict[str, Any]
) -> None:
    """The events follow the grammar, and add up to the answer without streaming."""
    whole = (await ask(upstream, post(model, **more))).json
    events = (await ask(upstream, post(model, stream=True, **more))).events
    names = " ".join(event["type"] for event in events if event["type"] != "ping")
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "partial_json": ""})
            assert len(blocks) - 1 == event["index"]
        if event["type"] == "content_block_delta":
            [(key, piece)] = [item for item in event["delta"].items() if item[0] != "type"]
            blocks[event["index"]][key] += piece
    for block in blocks:
        if partial := block.pop("partial_json"):
            block["input"] = json.loads(partial)

    assert STREAM.fullmatch(names)
    assert kinds == [block["type"] for block in blocks]
    assert whole["content"] == blocks
    assert stop_reason == whole["stop_reason"] == events[-2]["delta"]["stop_reason"]


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "text-7", "thinking", "tool", "refusal"])
async def test_usage_is_known_beforehand(upstream: Upstream, model: str) -> None:
    """What an answer reports, streamed or not, is what usage_for says of the request."""
    asked = json.loads(post(model).partition(b"\r\n\r\n")[2])
    expected = usage_for(asked)
    whole = (await ask(upstream, post(model))).json
    events = (await ask(upstream, post(model, stream=True))).events
    first, last = events[0]["message"]["usage"], events[-2]["usage"]

    assert expected == whole["usage"]
    assert expected == {**first, **last}


async def test_cached_input_is_counted_apart(upstream: Upstream) -> None:
    """A first request writes its system prompt to the cache, a later one reads it."""
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    hour = [{**system[0], "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    later = [HELLO, {"role": "assistant", "content": "Hello"}, HELLO]
    plain, first, second, long = [
        (await ask(upstream, post("text-7", **more))).json["usage"]
        for more in (
            {},
            {"system": system},
            {"system": system, "messages": later},
            {"system": hour},
        )
    ]
    counted = (await ask(upstream, post("any", path=COUNT, system=system))).json

    assert plain["output_tokens"] == 7
    assert plain["input_tokens"] == first["input_tokens"]
    assert 0 == plain["cache_creation_input_tokens"] == plain["cache_read_input_tokens"]
    assert 0 == first["cache_read_input_tokens"] == second["cache_creation_input_tokens"]
    assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 0
    assert first["cache_creation"]["ephemeral_5m_input_tokens"] > 0
    assert long["cache_creation"]["ephemeral_1h_input_tokens"] > 0
    assert counted["input_tokens"] == (first["input_tokens"] + first["cache_creation_input_tokens"])


async def test_a_tool_is_asked_for_once(upstream: Upstream) -> None:
    """Talk of the weather calls the first tool, and its result is followed by text."""
    talk: list[dict[str, Any]] = [{"role": "user", "content": "How is the weather?"}]
    call = (await ask(upstream, post("any", messages=talk, tools=[WEATHER_TOOL]))).json
    used = call["content"][-1]
    result = {"type": "tool_result", "tool_use_id": used["id"], "content": "sunny weather"}
    talk += [
        {"role": "assistant", "content": call["content"]},
        {"role": "user", "content": [result]},
    ]
    last = (await ask(upstream, post("any", messages=talk, tools=[WEATHER_TOOL]))).json

    assert (used["name"], used["input"]) == ("get_weather", {"city": "demo", "days": 1})
    assert (call["stop_reason"], last["stop_reason"]) == ("tool_use", "end_turn")


async def test_equal_requests_get_equal_bodies(upstream: Upstream) -> None:
    """Nothing in a body is random or depends on the time."""
    first, second = [await ask(upstream, post(stream=True)) for _ in range(2)]

    assert first.body == second.body
    assert first.field("request-id") != second.field("request-id")


async def test_pings_comments_and_unknown_events_stand_between_events(upstream: Upstream) -> None:
    """The scene pings shows all that a reader has to skip; without it the stream is the same."""
    noisy = (await ask(upstream, post("pings", stream=True))).body.split(b"\n\n")
    kept = [block for block in noisy if not re.match(rb":|event: (ping|demo_unknown)", block)]
    plain = (await ask(upstream, post("text-1", stream=True))).body.split(b"\n\n")

    assert any(block.startswith(b": ") for block in noisy)
    assert any(block.startswith(b"event: demo_unknown") for block in noisy)
    assert b"event: message_start" == kept[0].split(b"\n")[0] == plain[0].split(b"\n")[0]
    assert kept[-2].split(b"\n")[0] == b"event: message_stop"


async def test_big_answers_have_the_size_that_was_asked_for(upstream: Upstream) -> None:
    """The scene big-N makes N bytes of JSON, or N bytes of text in events."""
    whole = await ask(upstream, post("big-300000"))
    events = (await ask(upstream, post("big-300000", stream=True))).events
    text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")

    assert len(whole.body) == 300_000
    assert len(whole.json["content"][0]["text"]) > 299_000
    assert len(text) >= 300_000


# How it is sent.


async def test_ordinary_fields(upstream: Upstream) -> None:
    """An answer names its request, the organization and every rate limit."""
    got = await ask(upstream, post())
    names = {line.partition(":")[0] for line in got.head.decode().split("\r\n")[1:]}
    kinds = ("requests", "tokens", "input-tokens", "output-tokens")
    limits = {
        f"anthropic-ratelimit-{k}-{w}" for k in kinds for w in ("limit", "remaining", "reset")
    }

    assert limits | {"request-id", "anthropic-organization-id", "Date"} <= names


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [*ERROR_TYPES, 418, 503])
async def test_errors_come_in_the_envelope(
    upstream: Upstream, status: int, *, stream: bool
) -> None:
    """An error has its documented type, and names the request as its head does."""
    got = await ask(upstream, post(f"error-{status}", stream=stream))
    kind = ERROR_TYPES.get(status, "api_error" if status == 503 else "invalid_request_error")

    assert (status, kind) == (got.status, got.json["error"]["type"])
    assert got.field("request-id") == [got.json["request_id"]]
    assert ([] if status != 429 else ["1"]) == got.field("retry-after")


async def test_an_error_may_be_html_or_come_in_the_middle(upstream: Upstream) -> None:
    """A CDN's error is no JSON; a stream's error comes after status 200 and some events."""
    page = await ask(upstream, post("error-html-502"))
    events = (await ask(upstream, post("mid-error-4", stream=True))).events

    assert (page.status, page.field("content-type")) == (502, ["text/html; charset=UTF-8"])
    assert page.body.startswith(b"<html>")
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "error"]
    assert (len(events), events[-1]["error"]["type"]) == (5, "overloaded_error")


@pytest.mark.parametrize("stream", [True, False])
async def test_cuts_look_cut(upstream: Upstream, *, stream: bool) -> None:
    """A cut body lacks its last chunk, or bytes of its length; a reset shows no end at all."""
    cut, reset, short = [
        await ask(upstream, post(model, stream=stream))
        for model in ("cut-4", "reset-4", "cut-length")
    ]
    claimed = int(short.field("content-length")[0])

    for answer in (cut, reset):
        assert not answer.raw.endswith(b"\r\n0\r\n\r\n")
        assert (4 if stream else 64) == (len(answer.events) if stream else len(answer.body))
    assert claimed - 100 == len(short.body)


async def test_a_reset_is_a_reset(upstream: Upstream) -> None:
    """After the scene reset the peer's read fails; after cut it ends."""
    for model, broken in (("reset-2", True), ("cut-2", False)):
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(post(model, stream=True))
        try:
            await reader.read()
            failed = False
        except ConnectionResetError:
            failed = True
        await end(writer)

        assert broken == failed


@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15)])
async def test_each_compressed_event_can_be_read_when_it_comes(
    upstream: Upstream, coding: str, wbits: int
) -> None:
    """A coded stream is flushed event by event, and a coded whole says the same as a plain one."""
    stream = await ask(upstream, post(coding, stream=True))
    whole = await ask(upstream, post(coding))
    unpacker, rest, events = zlib.decompressobj(wbits), stream.raw.partition(b"\r\n\r\n")[2], []
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        events.append(unpacker.decompress(rest[: int(size, 16)]))
        rest = rest[int(size, 16) + 2 :]

    assert [coding] == stream.field("content-encoding") == whole.field("content-encoding")
    assert unpacker.eof
    assert all(event.endswith(b"\n\n") for event in events[:-1])
    assert json.loads(zlib.decompress(whole.body, wbits))["type"] == "message"


async def test_odd_but_correct_responses(upstream: Upstream) -> None:
    """Each scene shows its form; the body is the ordinary one in all of them."""
    plain, old, closed, endless, trailers, interim = [
        await ask(upstream, post(model, "X-Demo-Scene: " + model))
        for model in ("default", "http10", "close", "no-length", "trailers", "interim")
    ]
    final = Answer(interim.raw.partition(b"\r\n\r\n")[2])

    assert old.head.startswith(b"HTTP/1.0 200 ")
    assert [] == old.field("content-length") == endless.field("content-length")
    assert closed.field("connection") == ["close"]
    assert trailers.raw[-39:] == b"\r\n0\r\nX-Trailer: one\r\nx-trailer: two\r\n\r\n"
    assert (interim.status, final.status) == (103, 200)
    for answer in (old, closed, endless, trailers, final):
        assert plain.json["content"] == answer.json["content"]


async def test_fields_may_be_repeated_empty_and_for_one_hop(upstream: Upstream) -> None:
    """The scene head-dup has what a gateway has to pass on, and what it has to keep."""
    got = await ask(upstream, post("head-dup"))

    assert got.field("x-twice") == ["one", "two"]
    assert got.field("x-empty") == [""]
    assert len(got.field("set-cookie")) == 2
    assert "keep-alive, x-hop" in got.field("connection")
    assert got.field("keep-alive") == ["timeout=5"]
    assert len(got.field("x-hop")) == 1


@pytest.mark.parametrize(
    ("model", "sign"),
    [
        ("bad-status", b"HTTP/1.1 2xx OK\r\n"),
        ("bad-chunk", b"\r\nxyz\r\n"),
        ("two-lengths", b"\r\nContent-Length: 2\r\nContent-Length: 3\r\n"),
        ("length-and-chunked", b"\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n"),
        ("obs-fold", b"\r\nX-Fold: one\r\n two\r\n"),
        ("bad-name", b"\r\nX-Name : one\r\n"),
        ("huge-head", b"\r\nX-Filler-130: xxx"),
        ("surplus", b"}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"),
    ],
)
async def test_responses_that_break_the_rules(upstream: Upstream, model: str, sign: bytes) -> None:
    """Each scene breaks the rule that it is named for."""
    got = await ask(upstream, post(model))

    assert sign in got.raw


async def test_slow_answers_take_their_time(upstream: Upstream) -> None:
    """slow-R-N sends R events per second, first-byte-S waits S milliseconds before the head."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    slow = await ask(upstream, post("slow-200-3", stream=True))
    between = loop.time()
    await ask(upstream, post("first-byte-30"))

    assert between - start > (len(slow.events) - 1) / 200
    assert loop.time() - between > 0.029


# What it reads, and what it tells.


async def test_a_request_is_seen_as_it_came(upstream: Upstream) -> None:
    """Spelling, order and repetition of fields, and the exact body, can be looked at later."""
    sent = post("echo", "X-Odd: a", "x-oDD:b", "X-EMPTY:", path="/v1/messages?beta=true")
    head, _, body = sent.partition(b"\r\n\r\n")
    got = await ask(upstream, sent)
    [seen] = upstream.seen

    assert (seen.method, seen.target) == ("POST", "/v1/messages?beta=true")
    assert head + b"\r\n\r\n" == seen.head == base64.b64decode(got.json["echo"])
    assert (body, len(body)) == (seen.body, seen.body_bytes)
    assert hashlib.sha256(body).hexdigest() == seen.body_sha256
    assert seen.fields[2:5] == [(b"X-Odd", b"a"), (b"x-oDD", b"b"), (b"X-EMPTY", b"")]


async def test_only_the_last_thousand_are_remembered() -> None:
    """What is seen is bounded, and reset() forgets it."""
    upstream = Upstream()
    await upstream.start()
    for _ in range(11):
        await ask(upstream, *[b"HEAD / HTTP/1.1\r\n\r\n"] * 99, request("HEAD", "/last"))
    await upstream.close()
    count, last, connections = len(upstream.seen), upstream.seen[-1].target, upstream.connections
    upstream.reset()

    assert (count, last, connections) == (1000, "/last", 11)
    assert (upstream.seen, upstream.hang_ups) == ([], 0)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_uploads_are_counted_and_hashed_but_not_kept(
    upstream: Upstream, framing: str
) -> None:
    """A large body is taken in any framing; of it, the first MiB can be looked at."""
    body = b"".join(pattern(5_000_001))
    sent = body
    if framing == "chunked":
        sent = b"".join(b"%X;x=y\r\n%s\r\n" % (len(p), p) for p in (body[:9], body[9:]))
        sent += b"0\r\nX-Trailer: one\r\n\r\n"
    field = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(body)}"
    head = f"POST /v1/files HTTP/1.1\r\n{field}\r\nConnection: close\r\n\r\n"
    got = await ask(upstream, head.encode(), sent)
    [seen] = upstream.seen

    assert got.status == 200
    assert (len(body), body[: 1 << 20]) == (seen.body_bytes, seen.body)
    assert hashlib.sha256(body).hexdigest() == seen.body_sha256


async def test_expect_is_answered_before_the_body(upstream: Upstream) -> None:
    """A client that waits for 100 Continue gets it, and then its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    head, _, body = post("any", "Expect: 100-continue").partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    first = await reader.readuntil(b"\r\n\r\n")
    writer.write(body)
    second = await reader.read()
    await end(writer)

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert Answer(second).status == 200


@pytest.mark.parametrize("asked_by", ["model", "field"])
async def test_an_early_answer_comes_before_the_body(upstream: Upstream, asked_by: str) -> None:
    """The scene early-CODE answers while the body is still on its way, and closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    model, *field = ("early-413",) if asked_by == "model" else ("any", "X-Demo-Scene: early-413")
    writer.write(post(model, *field, padding="x" * 1000)[:-900])
    async with asyncio.timeout(5):
        got = Answer(await reader.read())
    await end(writer)

    assert (got.status, got.field("connection")) == (413, ["close"])
    assert upstream.hang_ups == 0


async def test_only_our_credential_is_let_in() -> None:
    """With a credential set, callers with another, two, or none get the API's 401."""
    upstream = Upstream(credential="sk-demo")
    await upstream.start()
    field, bearer, other = "x-api-key: sk-demo", "Authorization: Bearer sk-demo", "x-api-key: pg_no"
    shown: list[list[str]] = [[field], [bearer], [other], [], [bearer, other]]
    got = [await ask(upstream, post("echo-credential", *fields)) for fields in shown]
    await upstream.close()

    assert [answer.status for answer in got] == [200, 200, 401, 401, 401]
    assert ["sk-demo"] == got[0].field("x-echo") == got[1].field("x-echo")
    assert got[2].json["error"]["type"] == "authentication_error"


# Connections.


@pytest.mark.parametrize("model", ["hang", "silent", "slow-20-1000", "big-900000000"])
async def test_a_peer_that_leaves_is_noticed(upstream: Upstream, model: str) -> None:
    """A hang-up ends the answer at once, in silence and in full flow, and is counted once."""
    _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(post(model, stream="big" not in model))
    await until(lambda: len(upstream.seen) == 1)
    await asyncio.sleep(0.02)
    before = upstream.hang_ups
    await end(writer)
    await until(lambda: upstream.open == 0)

    assert (before, upstream.hang_ups) == (0, 1)


async def test_a_peer_that_leaves_in_its_request_is_noticed(upstream: Upstream) -> None:
    """Half a body counts as a hang-up, and what came of it was seen."""
    _, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(post()[:-5])
    await asyncio.sleep(0.02)
    await end(writer)
    await until(lambda: upstream.open == 0)

    assert (1, len(post().partition(b"\r\n\r\n")[2]) - 5) == (
        upstream.hang_ups,
        upstream.seen[0].body_bytes,
    )


async def test_an_idle_peer_may_leave(upstream: Upstream) -> None:
    """Closing a connection between two exchanges is no hang-up; it serves many before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    for target in (b"/v1/models", b"/v1/models?limit=1"):
        writer.write(b"GET %s HTTP/1.1\r\n\r\n" % target)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(Answer(head).field("content-length")[0]))
    opened = upstream.open
    await end(writer)
    await until(lambda: upstream.open == 0)

    assert (opened, upstream.connections, upstream.hang_ups) == (1, 1, 0)


async def test_idle_connections_end_in_their_scenes(upstream: Upstream) -> None:
    """After fin the connection ends by itself; after race the next request ends it, unanswered."""
    keep = (b"Connection: close", b"Connection: keep-alive")
    fin = await ask(upstream, post("fin").replace(*keep))
    race = await ask(upstream, post("race").replace(*keep), post("any"))

    assert fin.json["content"] == race.json["content"]
    assert len(upstream.seen) == 3
    assert upstream.hang_ups == 0


async def test_close_ends_everything(upstream: Upstream) -> None:
    """Nothing survives close(): no listener, no connection, however busy."""
    readers = []
    for model in ("hang", "silent", "slow-20-1000"):
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(post(model, stream=True))
        readers.append((reader, writer))
    await until(lambda: len(upstream.seen) == 3)
    await upstream.close()
    for reader, writer in readers:
        async with asyncio.timeout(1):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await end(writer)

    assert (upstream.open, upstream.hang_ups) == (0, 0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", upstream.port)


# Paths.


async def test_an_unknown_path_is_not_found(upstream: Upstream) -> None:
    """What the API does not know gets its 404, naming the request."""
    for method, path in (("GET", "/v1/what"), ("PUT", "/v1/messages"), ("GET", "/v1/models/no")):
        got = await ask(upstream, request(method, path))

        assert (got.status, got.json["error"]["type"]) == (404, "not_found_error")
        assert got.field("request-id") == [got.json["request_id"]]


async def test_head_answers_like_get_without_a_body(upstream: Upstream) -> None:
    """HEAD has the status and the length that GET has."""
    for path in ("/", "/api/hello", "/v1/models", "/v1/what", "/v1/files/file_size_70000/content"):
        got, head = [await ask(upstream, request(method, path)) for method in ("GET", "HEAD")]

        assert (got.status, str(len(got.body))) == (head.status, head.field("content-length")[0])
        assert head.body == b""


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_001])
async def test_files_of_any_size_can_be_downloaded(upstream: Upstream, size: int) -> None:
    """The file file_size_N has N bytes, the same each time, and no two blocks alike."""
    got = await ask(upstream, request("GET", f"/v1/files/file_size_{size}/content"))
    blocks = [got.body[at : at + 65_536] for at in range(0, size, 65_536)]

    assert b"".join(pattern(size)) == got.body
    assert (size, len(blocks)) == (len(got.body), len(set(blocks)))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files/file_size_9000/content"])
async def test_any_request_can_ask_for_a_scene(upstream: Upstream, path: str) -> None:
    """The field x-demo-scene works where there is no model to name."""
    whole = (await ask(upstream, request("GET", path))).body
    cut = await ask(upstream, request("GET", path, b"", "x-demo-scene: cut-2"))
    packed = await ask(upstream, request("GET", path, b"", "x-demo-scene: gzip"))
    error = await ask(upstream, request("GET", path, b"", "x-demo-scene: error-529"))

    assert whole[:32] == cut.body
    assert whole == gzip.decompress(packed.body)
    assert error.status == 529


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
async def test_what_is_no_message_is_refused(upstream: Upstream, body: bytes) -> None:
    """A body that is no JSON object, or names no model, gets a 400 in the envelope."""
    got = await ask(upstream, request("POST", "/v1/messages", body))

    assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("depth", [10, 900, 980, 985, 1000])
async def test_a_deeply_nested_message_is_answered(upstream: Upstream, depth: int) -> None:
    """What Python's JSON can just about read, or not any more, is answered or refused."""
    body = b'{"model":"text-1","messages":%s%s}' % (b"[" * depth, b"]" * depth)
    got = await ask(upstream, request("POST", "/v1/messages", body))

    assert got.status in (200, 400)


async def test_a_compressed_request_is_understood(upstream: Upstream) -> None:
    """The model is found in a body that came with a content coding."""
    body = gzip.compress(post("text-2").partition(b"\r\n\r\n")[2])
    got = await ask(upstream, request("POST", "/v1/messages", body, "Content-Encoding: gzip"))

    assert got.json["content"][0]["text"] == "word0 word1 "


@pytest.mark.parametrize("sent", [b"GET\r\n\r\n", b"x" * 600_000, b"\r\n\r\nA B\r\n\r\n"])
async def test_what_is_no_request_is_refused(upstream: Upstream, sent: bytes) -> None:
    """Bytes that are no HTTP get a 400, and the next caller is served."""
    got = await ask(upstream, sent)

    assert got.raw == b"" or got.status == 400
    assert (await ask(upstream, post())).status == 200


@pytest.mark.parametrize("name", sorted({*SCENES, "slow-500"} - {"hang", "silent", "slow"}))
async def test_no_scene_harms_the_next(upstream: Upstream, name: str) -> None:
    """Every scene can be asked for by any request, and the upstream goes on."""
    field = f"X-Demo-Scene: {name}"
    for sent in (
        post(name),
        post(name, stream=True),
        request("GET", "/v1/models", b"", field),
        request("HEAD", "/v1/models", b"", field),
        request("POST", "/v1/files", b"x", field),
        request("GET", "/what", b"", field).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        await ask(upstream, sent)

    assert (await ask(upstream, post())).status == 200
    assert (len(upstream.seen), upstream.hang_ups) == (7, 0)


_NAMES = st.sampled_from(
    [
        *("model", "messages", "tools", "system", "thinking", "role", "content", "type", "text"),
        *("name", "input_schema", "required", "properties", "enum", "cache_control"),
        *("requests", "params", "custom_id"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | _NAMES | st.just("tool_result user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(_NAMES, _VALUES), st.sampled_from(["", "/count_tokens", "/batches"]))
def test_no_content_breaks_it(said: dict[str, Any], path: str) -> None:
    """Any JSON object gets an answer or a refusal."""
    head = parse_head(b"POST /v1/messages%s HTTP/1.1\r\n\r\n" % path.encode())
    call = Call(head, b"", 0, said, DEFAULT, "req_1", "http")
    for stream in (True, False):
        said["stream"] = stream
        reply = Api().reply(call)

        assert reply.status in (200, 400)
        assert b"".join(reply.parts)


# Real clients.


async def test_the_official_sdk_talks_to_it(upstream: Upstream) -> None:
    """Messages, streams, tools, errors and token counts work with Anthropic's own client."""
    hello: Any = [HELLO]
    tools: Any = [WEATHER_TOOL]
    async with anthropic.AsyncAnthropic(
        api_key="sk-demo", base_url=upstream.url, max_retries=0
    ) as client:
        message: Any = await client.messages.create(model="text-4", max_tokens=64, messages=hello)
        async with client.messages.stream(
            model="pings", max_tokens=2048, messages=hello, thinking={"type": "adaptive"}
        ) as stream:
            texts = [text async for text in stream.text_stream]
            streamed: Any = await stream.get_final_message()
        async with client.messages.stream(
            model="tool", max_tokens=64, messages=hello, tools=tools
        ) as stream:
            tool = (await stream.get_final_message()).content[-1]
        count = await client.messages.count_tokens(model="any", messages=hello)
        with pytest.raises(anthropic.RateLimitError) as limited:
            await client.messages.create(model="error-429", max_tokens=64, messages=hello)
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            async with client.messages.stream(
                model="mid-error", max_tokens=64, messages=hello
            ) as stream:
                await stream.get_final_message()

    assert (
        message.content[0].text,
        message.usage.output_tokens,
    ) == ("word0 word1 word2 word3 ", 4)
    assert [block.type for block in streamed.content] == ["thinking", "text"]
    assert "".join(texts) == streamed.content[1].text
    assert tool.type == "tool_use"
    assert tool.input == {"city": "demo", "days": 1}
    assert message.usage.input_tokens == count.input_tokens
    assert limited.value.request_id == limited.value.response.headers["request-id"]
    assert overloaded.value.type == "overloaded_error"


async def test_the_official_sdk_keeps_things_in_it(upstream: Upstream) -> None:
    """Models, batches and files can be made, listed, read and deleted with the same client."""
    hello: Any = [HELLO]
    async with anthropic.AsyncAnthropic(
        api_key="sk-demo", base_url=upstream.url, max_retries=0
    ) as client:
        models = [model.id async for model in client.models.list(limit=2)]
        model = await client.models.retrieve("claude-sonnet-4-5")
        batches = client.messages.batches
        made = await batches.create(
            requests=[
                {"custom_id": c, "params": {"model": "text-2", "max_tokens": 9, "messages": hello}}
                for c in ("a", "b")
            ]
        )
        listed = [batch.id async for batch in batches.list()]
        results = [result async for result in await batches.results(made.id)]
        canceled = await batches.cancel(made.id)
        await batches.delete(made.id)
        with pytest.raises(anthropic.NotFoundError):
            await batches.retrieve(made.id)
        file = await client.files.upload(file=("a.txt", b"x" * 3_000_000, "text/plain"))
        files = [item.id async for item in client.files.list()]
        content = await (await client.files.download(file.id)).read()
        await client.files.delete(file.id)
        with pytest.raises(anthropic.NotFoundError):
            await client.files.retrieve_metadata(file.id)

    assert (len(set(models)), model.display_name) == (5, "Claude Sonnet 4.5")
    assert ("in_progress", [made.id]) == (made.processing_status, listed)
    assert [result.custom_id for result in results] == ["a", "b"]
    assert [result.result.type for result in results] == ["succeeded", "succeeded"]
    assert canceled.processing_status == "canceling"
    assert (file.filename, file.mime_type, file.size_bytes) == ("a.txt", "text/plain", 3_000_000)
    assert ([file.id], 3_000_000) == (files, len(content))


async def test_it_speaks_tls(tmp_path: Path) -> None:
    """With an SSL context the same answers come over TLS, and hang-ups are noticed too."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-subj", "/CN=demo", "-addext", "subjectAltName=IP:127.0.0.1"]
    made += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)  # noqa: ASYNC221, S603  nothing runs yet
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    upstream = Upstream()
    await upstream.start(ssl=context)
    trusted = ssl.create_default_context(cafile=cert)
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, ssl=trusted)
    writer.write(post("text-2").replace(b"close", b"keep-alive") + post("hang"))
    head = await reader.readuntil(b"\r\n\r\n")
    await until(lambda: len(upstream.seen) == 2)
    await end(writer)
    await until(lambda: upstream.open == 0)
    await upstream.close()

    assert (Answer(head).status, upstream.hang_ups) == (200, 1)
    assert f"https://127.0.0.1:{upstream.port}" == upstream.url


def test_it_runs_by_itself() -> None:
    """``python -m passgate.demo.upstream`` prints its address, and SIGTERM ends it cleanly."""
    command = [sys.executable, "-W", "error", "-m", "passgate.demo.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  our own
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)

    assert re.fullmatch(rb"http://127\.0\.0\.1:\d+\n", said)
    assert process.returncode == 0
