"""Google's own paths: 1:1, with one of the operator's keys; which one, and what is learnt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.gateway import eventually
from tests.loopback.google import MODEL, Google

GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent"


def say(text: str) -> bytes:
    """Return the body of a native request."""
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": text}]}]}).encode()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Google]:
    """A gateway with one key."""
    with Google(tmp_path) as google:
        yield google


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Google]:
    """A gateway with two keys of two projects."""
    with Google(tmp_path, ("one", "two")) as google:
        yield google


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (GENERATE, "application/json; charset=UTF-8"),
        (f"{STREAM}?alt=sse", "text/event-stream"),
        (STREAM, "application/json; charset=UTF-8"),
        (f"/v1/models/{MODEL}:generateContent", "application/json; charset=UTF-8"),
        (f"/v1alpha/models/{MODEL}:countTokens", "application/json; charset=UTF-8"),
    ],
)
def test_passed_to_the_byte(one: Google, path: str, content_type: str) -> None:
    """Path, query and body go up as they came, but for the key, and the answer comes down."""
    answer = one.native("POST", path, say("Hello"), "x-goog-api-client: mine/1", "X-Odd: 1")
    [seen] = one.gemini.seen
    [record] = one.recorded()

    assert (200, True, [content_type]) == (
        answer.status,
        answer.complete,
        answer.get("content-type"),
    )
    assert (path, say("Hello")) == (seen.target, seen.body)
    assert one.key.encode() not in seen.head
    assert b"x-goog-api-client: mine/1\r\nX-Odd: 1\r\n" in seen.head
    assert [one.keys[0].encode()] == [v for n, v in seen.fields if n == b"x-goog-api-key"]
    assert ("gemini", MODEL, "complete", 200, 1) == (
        record.upstream,
        record.model,
        record.ending.value,
        record.status,
        record.attempts,
    )


def test_googles_errors_pass(one: Google) -> None:
    """What Google says of a request is the client's to read."""
    answer = one.native("POST", GENERATE, say("demo:error:429:retry"))

    assert 429 == answer.status
    assert "RESOURCE_EXHAUSTED" == answer.json()["error"]["status"]
    assert [] == answer.get("x-passgate-error")


def test_our_errors_are_worded_as_googles(one: Google) -> None:
    """A refusal of ours on Google's paths is a ``google.rpc.Status``."""
    for path in ("/v1beta/files", "/v1/models"):
        raw = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-goog-api-key: wrong\r\n\r\n"
        answer = one.ask(raw.encode())

        assert (401, "UNAUTHENTICATED") == (answer.status, answer.json()["error"]["status"])
    by_query = one.native("GET", "/v1beta/models?key=mine")
    assert 401 == by_query.status


def test_a_single_key_is_always_tried(one: Google) -> None:
    """One key neither rests nor is marked."""
    for text in ("demo:error:429:retry", "demo:error:400:key", "demo:error:403", "Hello"):
        one.native("POST", GENERATE, say(text))

    assert ["one"] * 4 == one.shown()
    assert one.app._readiness.problems() == []


def test_a_refused_key_rests(two: Google) -> None:
    """After a 429 the next request shows the next key, for that model only."""
    first = two.native("POST", GENERATE, say("demo:error:429:retry"))
    two.native("POST", GENERATE, say("Hello"))
    two.native("POST", "/v1beta/models/gemini-2.5-flash:generateContent", say("Hello"))
    two.native("GET", "/v1beta/files")

    assert 429 == first.status  # nothing is repeated
    assert ["one", "two", "one", "one"] == two.shown()


def test_a_key_that_is_none(tmp_path: Path) -> None:
    """A key that Google does not know is shown no more, and the operator is told."""
    with Google(tmp_path, ("!bad", "good")) as google:
        codes = [google.native("POST", GENERATE, say("Hello")).status for _ in range(3)]
        warned = google.app._readiness.warnings()

        assert [400, 200, 200] == codes
        assert ["bad", "good", "good"] == google.shown()
        assert [
            "upstream gemini: Google refuses 1 of 2 keys; "
            "they are tried again when the file changes"
        ] == warned
        google.lists({"good": google.keys[1]})
        eventually(lambda: google.app._readiness.warnings() == [])


def test_no_key_left(tmp_path: Path) -> None:
    """Where Google knows none of the keys its own words pass, and nothing is ready."""
    with Google(tmp_path, ("!a", "!b"), lambda s: s) as google:
        codes = [google.native("POST", GENERATE, say("Hello")).status for _ in range(3)]

        assert [400, 400, 400] == codes
        assert ["a", "b", "a"] == google.shown()


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_files_stay_with_their_key(two: Google, coding: str) -> None:
    """A file is asked for with the key that made it, also when that is not the first."""
    two.native("POST", GENERATE, say("demo:error:401:key"))  # the first key is out
    fields = (f"accept-encoding: {coding}", "content-type: application/json")
    made = two.native(
        "POST", "/v1beta/cachedContents", cached("k" * 20_000), *fields
    )  # by the second
    name = two.native("GET", "/v1beta/cachedContents").json()["cachedContents"][0]["name"]
    two.lists({"one": two.keys[0], "two": two.keys[1]})
    two.file.touch()
    eventually(lambda: two.app._readiness.warnings() == [])
    again = two.native("GET", f"/v1beta/{name}")
    body = json.dumps({"cachedContent": name, "contents": [{"parts": [{"text": "x"}]}]}).encode()
    used = two.native("POST", GENERATE, body)

    assert (200, 200, 200) == (made.status, again.status, used.status)
    assert ["one", "two", "two", "two", "two"] == two.shown()


def cached(text: str) -> bytes:
    """Return the body that makes a cached content."""
    parts = [{"role": "user", "parts": [{"text": text}]}]
    return json.dumps({"model": f"models/{MODEL}", "contents": parts}).encode()
