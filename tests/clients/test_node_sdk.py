"""The official TypeScript SDK on Node.js through the gateway: it notices no difference.

Each script makes all of its calls in one process, since starting one costs more than they do.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.gateway import Gateway, eventually

SCRIPTS = Path(__file__).parents[1] / "node"
NODE = shutil.which("node")
CALLS = re.findall(
    r"\w+",
    """
    create thinking tools refusal gzip deflate big raw
    streamText streamThinking streamTool streamGzip streamPings streamSlow
    toolRunner count batchCreate batchRetrieve batchResults batchCancel batchList
    fileUpload fileMetadata fileDownload fileList fileDelete models modelsPaged model rawResponse
    """,
)

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node command"),
    pytest.mark.skipif(
        not (SCRIPTS / "node_modules").is_dir(), reason="`npm ci` was not run in tests/node"
    ),
]


def run(script: str, url: str, key: str) -> Any:
    """Return what a script prints; it fails if a call in it throws."""
    assert NODE is not None
    ran = subprocess.run(  # noqa: S603  our own script
        [NODE, script],
        cwd=SCRIPTS,
        env={"TEST_URL": url, "TEST_KEY": key},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    return json.loads(ran.stdout)


class Ran:
    """What a script has printed, and what the gateway made of it."""

    def __init__(self, script: str, gateway: Gateway) -> None:
        self.results = run(script, gateway.url, gateway.key)
        gateway.call(gateway._flush())
        self.records = list(gateway.records)
        self.seen = list(gateway.upstream.seen)
        self.gateway = gateway

    def of(self, model: str) -> list[str]:
        """Return how each exchange for a model has ended."""
        return [record.ending.value for record in self.records if record.model == model]


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Any, Ran]]:
    """Every call at the upstream itself, and then through the gateway."""
    with Gateway() as gateway:
        direct = run("calls.mjs", gateway.upstream.url, gateway.credential)
        gateway.upstream.reset()
        yield direct, Ran("calls.mjs", gateway)


@pytest.mark.parametrize("call", CALLS)
def test_as_without_a_gateway(both: tuple[Any, Ran], call: str) -> None:
    """A call through the gateway returns what it returns without one."""
    direct, through = both

    assert direct[call] == through.results[call]
    assert direct[call]


def test_calls(both: tuple[Any, Ran]) -> None:
    """All calls were made, each once, and each was whole."""
    _, through = both
    results, records = through.results, through.records

    assert set(CALLS) == set(results)
    assert results["toolRunner"]["asked"] == ["demo"]
    assert results["toolRunner"]["text"].startswith("Thank you")
    assert results["streamText"]["message"]["content"][0]["text"].endswith("word199 ")
    assert len(results["modelsPaged"]) == 5
    assert sum(name.startswith("anthropic-ratelimit") for name, _ in results["rawResponse"]) == 12
    assert {("complete", 1)} == {(record.ending.value, record.attempts) for record in records}
    # The results of a batch are the one call that leaves the gateway, see the Python SDK's.
    assert len(through.seen) == len(records) + 1


def test_fields(both: tuple[Any, Ran]) -> None:
    """The SDK's own fields arrive, and its key does not."""
    _, through = both
    [first, *_] = through.seen
    sent = {name.lower(): value for name, value in first.fields}

    assert sent[b"anthropic-version"] == b"2026-10-21"
    assert sent[b"user-agent"].startswith(b"Anthropic/JS 1.")
    assert sent[b"x-api-key"] == through.gateway.credential.encode()
    assert b"authorization" not in sent
    assert [s.target for s in through.seen if through.gateway.key.encode() in s.head] == [
        s.target for s in through.seen if s.target.endswith("/results")
    ]


@pytest.fixture(scope="module")
def faulty() -> Iterator[Ran]:
    """All that goes wrong."""
    with Gateway() as gateway:
        yield Ran("faults.mjs", gateway)


ERRORS = {
    "400": ("BadRequestError", "invalid_request_error"),
    "401": ("AuthenticationError", "authentication_error"),
    "402": ("PaymentRequiredError", "billing_error"),
    "403": ("PermissionDeniedError", "permission_error"),
    "404": ("NotFoundError", "not_found_error"),
    "409": ("ConflictError", "conflict_error"),
    "413": ("ContentTooLargeError", "request_too_large"),
    "422": ("UnprocessableEntityError", "invalid_request_error"),
    "429": ("RateLimitError", "rate_limit_error"),
    "500": ("InternalServerError", "api_error"),
    "503": ("ServiceUnavailableError", "api_error"),
    "504": ("GatewayTimeoutError", "timeout_error"),
    "529": ("OverloadedError", "overloaded_error"),
}


@pytest.mark.parametrize("status", ERRORS)
def test_upstream_error(faulty: Ran, status: str) -> None:
    """An upstream's error is thrown as its class, with its own words and request id."""
    got = faulty.results["errors"][status]
    ids = [r.upstream_request_id for r in faulty.records if r.model == f"claude-error-{status}"]

    assert (got["class"], got["type"]) == ERRORS[status]
    assert (got["status"], got["fault"]) == (int(status), None)
    assert f"The demo was asked for a {status}." in got["message"]
    assert got["requestID"] == ids[0]


@pytest.mark.parametrize("status", ["429", "500", "529"])
def test_retries_are_the_sdks(faulty: Ran, status: str) -> None:
    """The upstream sees each attempt of the SDK once; retries are never multiplied."""
    got = faulty.results["retried"][status]
    after = "1" if status == "429" else None

    assert [
        {"status": int(status), "retryAfter": after, "attempt": str(number)} for number in range(3)
    ] == got["answers"]
    # One more is the error's own test.
    assert faulty.of(f"claude-error-{status}") == ["complete"] * 4
    bodies = [json.loads(seen.body).get("model") for seen in faulty.seen if seen.body]
    assert bodies.count(f"claude-error-{status}") == 4


def test_own_errors(faulty: Ran) -> None:
    """The gateway's own errors are the SDK's classes; what cannot help is not repeated."""
    results = faulty.results
    key, malformed = results["unknownKey"], results["malformed"]

    assert key["fault"]["class"] == "AuthenticationError"
    assert (key["fault"]["fault"], len(key["answers"])) == ("key", 1)
    assert results["elsewhere"]["class"] == "NotFoundError"
    assert results["elsewhere"]["fault"] == "route"
    assert (results["closed"]["class"], results["closed"]["fault"]) == (
        "PermissionDeniedError",
        "scope",
    )
    assert malformed["fault"]["class"] == "InternalServerError"
    assert (malformed["fault"]["fault"], len(malformed["answers"])) == ("upstream", 3)
    for got in (key["fault"], results["elsewhere"], results["closed"], malformed["fault"]):
        assert "passgate: " in got["message"]
        assert got["requestID"] in {record.id for record in faulty.records}


def test_error_of_a_cdn(faulty: Ran) -> None:
    """An error without the envelope reaches the SDK as the page that it is."""
    got = faulty.results["cdn"]

    assert (got["class"], got["status"], got["type"]) == ("InternalServerError", 502, None)
    assert "<h1>502 Bad Gateway</h1>" in got["message"]


@pytest.mark.parametrize("scene", ["cut", "reset"])
def test_broken_stream(faulty: Ran, scene: str) -> None:
    """A stream that breaks throws; half an answer is never taken for a whole one."""
    # So Node.js words a body that was cut; a clean end without the last event is another error.
    assert faulty.results[scene]["message"] == "terminated"
    assert faulty.of(f"claude-{scene}-3") == ["upstream_broke"]


def test_error_in_a_stream(faulty: Ran) -> None:
    """An error event throws what it says."""
    assert faulty.results["midError"]["type"] == "overloaded_error"
    assert faulty.of("claude-mid-error-3") == ["complete"]


def test_hang_ups(faulty: Ran) -> None:
    """A timeout and a stream that is left end their upstream calls."""
    eventually(lambda: faulty.gateway.upstream.hang_ups == 2)

    assert faulty.results["timeout"]["class"] == "APIConnectionTimeoutError"
    assert faulty.results["cancelled"] == ["word0 ", "word1 ", "word2 "]
    assert faulty.of("claude-hang") == ["client_left"]
    assert faulty.of("claude-slow-50-100000") == ["client_left"]


def test_twenty_streams_at_once(faulty: Ran) -> None:
    """Twenty streams at once are twenty answers, each its own."""
    assert faulty.results["streams"] == [10 + number for number in range(20)]


def test_where_the_key_stands(faulty: Ran) -> None:
    """Wherever the SDK puts the key, it opens the gateway and stays there."""
    assert set(faulty.results["keys"].values()) == {"message"}
    assert [s for s in faulty.seen if faulty.gateway.key.encode() in s.head] == []
