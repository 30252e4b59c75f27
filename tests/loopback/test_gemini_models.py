"""The list of models where some are Gemini's, and a conversation that moves to Claude."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from msgspec.structs import replace

from passgate.core.settings import RouteSettings, Settings
from tests.loopback.gateway import Answer, client, message
from tests.loopback.google import MODEL, Google
from tests.loopback.test_gemini_relay import ask, sdk

NARROW = "pg_narrow-" + "k" * 30


def narrowed(settings: Settings) -> Settings:
    """Add a client that may use one Gemini model."""
    more = client("narrow", NARROW, models=("claude-*", MODEL))
    return replace(settings, clients=(*settings.clients, more))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """A gateway to both."""
    with Google(tmp_path_factory.mktemp("google"), change=narrowed) as google:
        yield google


@pytest.fixture
def google(running: Google) -> Google:
    """The gateway, with nothing recorded and nothing seen."""
    running.forget()
    return running


def models(google: Google, path: str = "/v1/models?limit=1000") -> Answer:
    """Return the answer to who asks for models."""
    return google.ask(google.head("GET", path))


def ids(answer: Answer) -> list[str]:
    """Return the ids that a list holds."""
    return [each["id"] for each in answer.json()["data"]]


def test_merged(google: Google) -> None:
    """Claude's models come first, as they are; Gemini's stand behind, under two names each."""
    with sdk(google) as anthropics:
        listed = anthropics.models.list(limit=1000)
    names = [model.id for model in listed.data]
    first = next(i for i, name in enumerate(names) if "gemini" in name)
    [record] = google.recorded()

    assert first > 0
    assert all("gemini" in name for name in names[first:])
    assert {MODEL, f"anthropic/{MODEL}"} <= set(names)
    assert (names[0], names[-1], False) == (listed.first_id, listed.last_id, listed.has_more)
    assert (200, "complete") == (record.status, record.ending.value)
    model = next(model for model in listed.data if model.id == MODEL)
    assert (model.max_input_tokens or 0) > 0


def test_a_page_that_is_not_the_last(google: Google) -> None:
    """While there is more of Claude's list, it passes as it is."""
    answer = models(google, "/v1/models?limit=1")

    assert answer.json()["has_more"]
    assert not any("gemini" in name for name in ids(answer))


def test_a_client_with_a_list(google: Google) -> None:
    """Of Gemini's models a client sees those that it may use."""
    raw = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: {NARROW}\r\n\r\n".encode()
    names = [name for name in ids(google.ask(raw)) if "gemini" in name]

    assert [MODEL, f"anthropic/{MODEL}"] == names


@pytest.mark.parametrize("name", [MODEL, f"anthropic%2F{MODEL}"])
def test_one(google: Google, name: str) -> None:
    """One model is described under the name that was asked for."""
    answer = models(google, f"/v1/models/{name}")

    assert (200, name.replace("%2F", "/")) == (answer.status, answer.json()["id"])


def test_one_that_is_not_there(google: Google) -> None:
    """A Gemini model that Google does not know is Google's 404; Claude's pass as they are."""
    answer = models(google, "/v1/models/gemini-0.1-none")
    claudes = models(google, "/v1/models/claude-sonnet-4-5")

    assert (404, "not_found_error") == (answer.status, answer.json()["error"]["type"])
    assert 200 == claudes.status
    assert "/v1/models/claude-sonnet-4-5" in google.upstream.seen[-1].target


def test_one_of_the_two_is_out(tmp_path: Path) -> None:
    """Where one API gives no list, the other's is there all the same."""
    with Google(tmp_path, ("!bad",)) as google:
        answer = models(google)

        assert 200 == answer.status
        assert not any("gemini" in name for name in ids(answer))
    with Google(tmp_path) as google:
        google.call(google.upstream.close())
        answer = models(google)

        assert 200 == answer.status
        assert ids(answer)
        assert all("gemini" in name for name in ids(answer))


def test_without_a_gemini_route(tmp_path: Path) -> None:
    """Without one the list is Claude's to the byte."""

    def claude_only(settings: Settings) -> Settings:
        return replace(settings, routes=(RouteSettings("*", "anthropic"),))

    with Google(tmp_path, change=claude_only) as google:
        answer = models(google)
        credential = google.credential
        body = google.upstream

        assert not any("gemini" in name for name in ids(answer))
        assert [] == answer.get("x-passgate-error")
        assert [credential.encode()] == [v for n, v in body.seen[0].fields if n == b"x-api-key"]


def test_a_session_that_moves_to_claude(google: Google) -> None:
    """What passgate minted is cut from what goes to Claude; a body without it is untouched."""
    with sdk(google) as anthropics:
        answer = anthropics.messages.create(**ask("demo:tool", thinking={"type": "adaptive"}))
    said: list[Any] = [block.model_dump(exclude_none=True) for block in answer.content]
    body = message(
        messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": said}]
    )
    moved = google.ask(google.post(body))
    got = json.loads(google.upstream.seen[-1].body)
    plain = message()
    google.ask(google.post(plain))

    assert "pg1:" in json.dumps(body)
    assert 200 == moved.status
    assert [b for b in said if b["type"] != "thinking"] == got["messages"][1]["content"]
    assert json.dumps(plain).encode() == google.upstream.seen[-1].body


def test_a_session_that_moves_to_claude_in_gzip(google: Google) -> None:
    """So it is from a body that is coded, which stays coded; one without it passes to the byte."""
    minted = {"type": "thinking", "thinking": "", "signature": "pg1:f:gemini-x:00000000:-:S"}
    said = [minted, {"type": "text", "text": "one"}]
    moved = json.dumps(message(messages=[{"role": "assistant", "content": said}])).encode()
    plain = gzip.compress(json.dumps(message()).encode())
    answers = [
        google.ask(google.post(each, "content-encoding: gzip"))
        for each in (gzip.compress(moved), plain)
    ]
    first, second = google.upstream.seen
    got = json.loads(gzip.decompress(first.body))

    assert [200, 200] == [answer.status for answer in answers]
    assert said[1:] == got["messages"][0]["content"]
    assert plain == second.body


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_coded_body_for_gemini(
    google: Google, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """What is translated is unpacked before."""
    body = pack(json.dumps(ask("demo:text")).encode())
    answer = google.ask(google.post(body, f"content-encoding: {coding}"))

    assert (200, 1) == (answer.status, len(google.gemini.seen))


def test_head_of_the_list(google: Google) -> None:
    """Who asks for the head of the list is told how long the list is, and not the list."""
    whole = models(google)
    with google.connect() as connection:
        connection.sendall(google.head("HEAD", "/v1/models?limit=1000", "connection: close"))
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = raw.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d\r\n" % len(whole.body) in head.lower() + b"\r\n"
    assert b"" == body


def test_what_has_no_translation(tmp_path: Path) -> None:
    """Batches and files of the Messages API are not served where all there is is Gemini."""

    def all_to_gemini(settings: Settings) -> Settings:
        return replace(settings, routes=(RouteSettings("*", "gemini"),))

    with Google(tmp_path, change=all_to_gemini) as google:
        batches = google.ask(google.post({}, path="/v1/messages/batches"))
        unnamed = google.ask(google.post({"max_tokens": 1}))
        other = google.ask(google.post(message()))
        packed = google.ask(google.post(b"\x8b\x00", "content-encoding: br"))

        assert [404, 400, 400] == [batches.status, unnamed.status, other.status]
        assert "content-encoding" in packed.json()["error"]["message"]
        assert [] == google.gemini.seen


def test_sdk_sees_no_difference(google: Google) -> None:
    """An SDK pages through both lists."""
    with anthropic.Anthropic(api_key=google.key, base_url=google.url, max_retries=0) as client_:
        names = [model.id for model in client_.models.list(limit=3)]

    assert len(names) == len(set(names))
    assert any("claude" in name for name in names)
    assert f"anthropic/{MODEL}" in names
