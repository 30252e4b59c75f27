"""Translated requests and the operator's keys: another one, waiting for one, repairs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from passgate.core.settings import Settings
from passgate.gateway.lanes import Waits
from tests.loopback.gateway import Answer, eventually
from tests.loopback.google import MODEL, Google
from tests.loopback.peers import Peer, Scripted
from tests.loopback.test_gemini_agents import TOOLS, Agent, last_seen
from tests.loopback.test_gemini_faults import events_of


def post(google: Google, text: str, *fields: str, **more: Any) -> Answer:
    """Return the answer to a Messages request."""
    user = {"role": "user", "content": text}
    body = {"model": MODEL, "max_tokens": 8000, "messages": [user], "stream": True} | more
    return google.ask(google.post(body, *fields))


def test_another_key(tmp_path: Path) -> None:
    """A key that is at its limit gives way to another; the client never knows."""
    with Google(tmp_path, ("one", "two", "three")) as google:
        answer = post(google, "demo:times:1:error:429:retry")
        [record] = google.recorded()
        first, second = google.shown()
        again = post(google, "Hello")

        assert (200, 200) == (answer.status, again.status)
        assert (2, "complete") == (record.attempts, record.ending.value)
        assert first != second
        assert first not in google.shown()[2:] or second not in google.shown()[2:]


def test_a_conversation_stays(tmp_path: Path) -> None:
    """One session, one key; many sessions use them all."""
    with Google(tmp_path, ("one", "two", "three")) as google:
        sessions = 36  # that one of three keys is chosen by none has a chance of one in a million
        for session in range(sessions):
            for text in ("Hello", "Hi"):
                post(google, text, f"x-claude-code-session-id: s{session}")
        shown = google.shown()

        assert [shown[2 * n] for n in range(sessions)] == [
            shown[2 * n + 1] for n in range(sessions)
        ]
        assert {"one", "two", "three"} == set(shown)


def test_every_key_rests(tmp_path: Path) -> None:
    """When all are at their limit the client is told when the first is back."""
    with Google(tmp_path, ("one", "two")) as google:
        first = post(google, "demo:error:429:retry")
        second = post(google, "Hello")
        daily = post(google, "demo:error:429:day", model="gemini-2.5-flash")

        assert (429, ["3"]) == (first.status, first.get("retry-after"))
        assert (429, "rate_limit_error") == (second.status, second.json()["error"]["type"])
        assert 1 <= int(second.get("retry-after")[0]) <= 3
        assert (["3600"], ["true"]) != (daily.get("retry-after"), daily.get("x-should-retry"))
        assert ["false"] == daily.get("x-should-retry")
        assert 2 == sum("gemini-3.8-flash" in seen.target for seen in google.gemini.seen)


def test_keys_that_are_none(tmp_path: Path) -> None:
    """A key that Google does not know is left for good; without another it is a 502."""
    with Google(tmp_path, ("!a", "!b", "good")) as google:
        answers = [post(google, f"Hello {number}") for number in range(8)]

        assert {200} == {answer.status for answer in answers}
        assert google.shown().count("a") <= 1
        assert google.shown().count("b") <= 1
    with Google(tmp_path, ("!a", "!b")) as google:
        answers = [post(google, "Hello") for _ in range(2)]
        seen = len(google.gemini.seen)

        assert {(502, "no usable Gemini key")} == {
            (answer.status, answer.json()["error"]["message"]) for answer in answers
        }
        assert 2 == seen  # nobody is asked again
        problems = eventually(lambda: google.app._readiness.problems() or True)
        assert problems


def test_waits_for_the_key_of_its_signatures(tmp_path: Path) -> None:
    """Within a conversation that a key has signed, a short rest is waited for."""
    with Google(tmp_path, ("one", "two", "three")) as google:
        google.waits = Waits(key_s=10.0)
        agent = Agent(google)
        agent.turn("demo:steps:2")
        agent.turn("demo:times:1:error:429:retry")  # it says 3 s
        agent.close()
        record = google.recorded(agent.requests)[-1]

        assert 2 == record.attempts
        assert 2500 < (record.duration_ms or 0) < 8000
        assert 1 == len(set(google.shown()))
        assert {"issued"} == {each.verdict.value for each in last_seen(google)}


def test_another_key_in_a_signed_conversation(tmp_path: Path) -> None:
    """Where the rest is long the conversation moves, with dummies where it has to."""
    with Google(tmp_path, ("one", "two")) as google:
        google.waits = Waits(key_s=0.1)
        google.restart()
        agent = Agent(google)
        agent.turn("demo:steps:2")
        agent.turn("demo:times:1:error:429:retry")
        agent.close()

        assert 2 == len(set(google.shown()))
        assert {0, 429} == {each.refused for each in google.gemini.asked}
        assert {"dummy"} == {each.verdict.value for each in last_seen(google)}


@pytest.mark.parametrize("scene", ["times:1:error:400:signature"])
def test_signatures_that_google_refuses(tmp_path: Path, scene: str) -> None:
    """A refused signature is repaired once, with dummies."""
    with Google(tmp_path) as google:
        agent = Agent(google)
        agent.turn("demo:steps:2")
        agent.turn(f"demo:{scene}")
        agent.close()
        record = google.recorded(agent.requests)[-1]

        assert (2, 200) == (record.attempts, record.status)
        assert {"dummy"} == {each.verdict.value for each in last_seen(google)}


def test_a_schema_that_google_refuses(tmp_path: Path) -> None:
    """A refused schema is told in words, from then on at once."""
    with Google(tmp_path) as google:
        first = post(google, "demo:times:1:error:400:schema", tools=TOOLS)
        post(google, "Hello", tools=TOOLS)
        bodies = [asked.body["tools"] for asked in google.gemini.asked]

        assert 200 == first.status
        assert 3 == len(bodies)
        assert json.dumps(bodies[0]) != json.dumps(bodies[1]) == json.dumps(bodies[2])
        assert any("schema" in notice for notice in google.notices)


def test_slow_first_byte(tmp_path: Path) -> None:
    """A model that thinks for long keeps its client waiting with pings, and is heard."""
    google = Google(tmp_path)
    google.waits = Waits(hold_s=0.1, ping_s=0.05)
    with google:
        answer = post(google, "demo:first-byte:500")
        names = [name for name, _ in events_of(answer)]
        pings = names.index("message_start")

        assert 200 == answer.status
        assert {"ping"} == set(names[:pings])
        assert pings >= 4
        assert "message_stop" == names[-1]


def test_the_status_is_held(tmp_path: Path) -> None:
    """Until there is an event the status can still be another."""
    google = Google(tmp_path)
    google.waits = Waits(hold_s=5.0)
    with google:
        answer = post(google, "demo:times:2:empty")

        assert 200 == answer.status
        assert "message_start" == events_of(answer)[0][0]


@pytest.mark.parametrize("scene", ["hang", "silence:0", "silence:3", "slow:1000:20"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_leaves(google_one: Google, scene: str, stream: bool) -> None:  # noqa: FBT001
    """When a client leaves, Google's answer is closed at once, and recorded as partial."""
    google = google_one
    body = {
        "model": MODEL,
        "max_tokens": 8000,
        "messages": [{"role": "user", "content": f"demo:{scene}"}],
        "stream": stream,
    }
    with google.connect() as connection:
        connection.sendall(google.post(body))
        eventually(lambda: google.gemini.seen)
        if stream and scene not in ("hang", "silence:0"):
            connection.recv(1)
    eventually(lambda: google.gemini.hang_ups == 1, within_s=1)
    [record] = google.recorded()

    assert "client_left" == record.ending.value
    if stream and scene not in ("hang", "silence:0"):
        assert ("partial", True) == (record.usage, (record.input_tokens or 0) > 0)


@pytest.fixture
def google_one(tmp_path: Path) -> Any:
    """A gateway with one key."""
    with Google(tmp_path) as google:
        yield google


def test_long_decode(tmp_path: Path) -> None:
    """An answer in several hops is one message; all of it is metered."""
    with Google(tmp_path) as google:
        answer = post(google, "demo:continue:2", model="gemini-4-argon", max_tokens=60_000)
        [record] = google.recorded()
        text = "".join(
            data["delta"].get("text", "")
            for name, data in events_of(answer)
            if name == "content_block_delta"
        )

        assert ["hop0", "hop1", "hop2"] == [word for word in text.split() if "hop" in word]
        assert (3, "final") == (record.attempts, record.usage)
        assert 1 == sum(name == "message_start" for name, _ in events_of(answer))


def held_by(down: Any) -> int:
    """Return what is to be sent to a client, a moment later than before."""
    time.sleep(0.03)
    return int(down._transport.get_write_buffer_size())


def test_a_slow_reader_slows_google(google_one: Google) -> None:
    """A client that does not read has its answer wait at Google, not here."""
    google = google_one
    body = {
        "model": MODEL,
        "max_tokens": 65_000,
        "messages": [{"role": "user", "content": "demo:text:60000"}],
        "stream": True,
    }
    with google.connect(receive_buffer=4096) as connection:
        connection.sendall(google.post(body))
        eventually(lambda: google.gemini.seen)
        [down] = eventually(lambda: [c for c in google.app.data._connections if c.committed])
        eventually(lambda: not down._writable)
        sizes = [0, held_by(down)]
        while sizes[-1] != sizes[-2]:
            sizes.append(held_by(down))
        got = b""
        while len(got) < 300_000 and (data := connection.recv(1 << 20)):
            got += data

    assert max(sizes) < 1 << 20
    assert got.count(b"text_delta") > 1000


def test_an_error_in_the_last_piece(tmp_path: Path) -> None:
    """A connection that was given up while its last bytes were read is not used again."""
    error = b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\r\n\r\n'
    fields = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\n" + fields)
            time.sleep(0.05)  # so that the rest comes in a piece of its own
            peer.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(error), error))

    with Scripted(script) as upstream:

        def elsewhere(settings: Settings) -> Settings:
            gemini = replace(settings.upstreams[1], port=upstream.port)
            return replace(settings, upstreams=(settings.upstreams[0], gemini))

        with Google(tmp_path, change=elsewhere) as google:
            got = [post(google, "Hello") for _ in range(3)]
            pools = [lane.pool for lane in google.app._snapshots.lanes.values()]

            assert [529] * 3 == [each.status for each in got]
            assert {"complete"} == {record.ending.value for record in google.recorded(3)}
            assert [0, 0] == [len(pool._idle) for pool in pools]  # type: ignore[attr-defined]
