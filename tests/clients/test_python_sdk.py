"""The official Python SDK through the gateway: it notices no difference.

The oracle is the same SDK at the same upstream without a gateway between them.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from msgspec.structs import replace

from passgate.core.settings import (
    CredentialKind,
    CredentialSettings,
    Limits,
    RouteSettings,
    Settings,
)
from tests.loopback.gateway import Gateway, eventually, running
from tests.loopback.gateway import anthropic as upstream_at
from tests.loopback.gateway import client as client_of

MODEL = "claude-sonnet-5-5"
WEATHER: Any = {
    "name": "get_weather",
    "description": "Say the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own settings out of the SDK."""
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", *PROXIES):
        monkeypatch.delenv(name, raising=False)


class Sdk(Anthropic):
    """The SDK with the pauses between its attempts taken out.

    Attributes:
        pauses_s: What they would have been.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.pauses_s: list[float] = []

    def _calculate_retry_timeout(self, *args: Any, **more: Any) -> float:
        self.pauses_s.append(super()._calculate_retry_timeout(*args, **more))
        return 0.0


def sdk(gateway: Gateway, **more: Any) -> Sdk:
    """Return an SDK that asks the gateway."""
    return Sdk(**{"base_url": gateway.url, "api_key": gateway.key} | more)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Sdk]:
    """An SDK that asks the gateway."""
    with sdk(gateway) as client:
        yield client


@pytest.fixture
def direct(gateway: Gateway) -> Iterator[Sdk]:
    """An SDK that asks the upstream itself."""
    with sdk(gateway, base_url=gateway.upstream.url, api_key=gateway.credential) as client:
        yield client


def ask(model: str = MODEL, text: str = "hello", **more: Any) -> Any:
    """Return the arguments of a Messages call."""
    return {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
    } | more


def events(client: Anthropic, **asked: Any) -> list[Any]:
    """Return every event of a stream, and the message that they make."""
    with client.messages.stream(**asked) as stream:
        seen: list[Any] = [event.model_dump() for event in stream]
        return [*seen, stream.get_final_message().model_dump()]


def batch_of(client: Anthropic) -> Any:
    """Return a new batch; an equal one has the same id."""
    return client.messages.batches.create(requests=[{"custom_id": "one", "params": ask()}])


def file_of(client: Anthropic) -> Any:
    """Return a file's metadata after its upload; its id depends on the boundary."""
    return client.beta.files.upload(file=("a.txt", b"0" * 5000, "text/plain"))


# What a test does with either client; what it returns must be the same.
CALLS: Mapping[str, Callable[[Anthropic], Any]] = {
    "create": lambda client: client.messages.create(**ask()),
    "create-beta": lambda client: client.beta.messages.create(
        **ask(betas=["context-1m-2025-08-07", "files-api-2025-04-14"])
    ),
    "thinking": lambda client: client.messages.create(
        **ask(thinking={"type": "adaptive"}, system="Be brief.")
    ),
    "tools": lambda client: client.messages.create(**ask(text="the weather?", tools=[WEATHER])),
    "refusal": lambda client: client.messages.create(**ask("claude-refusal")),
    "max-tokens": lambda client: client.messages.create(**ask("claude-max-tokens")),
    "gzip": lambda client: client.messages.create(**ask("claude-gzip")),
    "big": lambda client: client.messages.create(**ask("claude-big-3000000")),
    "raw-stream": lambda client: [e.model_dump() for e in raw_stream(client)],
    "stream-text": lambda client: events(client, **ask("claude-text-200")),
    "stream-thinking": lambda client: events(client, **ask("claude-thinking")),
    "stream-tool": lambda client: events(client, **ask(text="the weather?", tools=[WEATHER])),
    "stream-refusal": lambda client: events(client, **ask("claude-refusal")),
    "stream-gzip": lambda client: events(client, **ask("claude-gzip")),
    "stream-pings": lambda client: events(client, **ask("claude-pings")),
    "stream-slices": lambda client: events(client, **ask("claude-slow-500-20")),
    "stream-by-close": lambda client: events(client, **ask("claude-no-length")),
    "count": lambda client: client.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], system="Be brief."
    ),
    "batch-create": batch_of,
    "batch-list": lambda client: (batch_of(client), list(client.messages.batches.list()))[1],
    "batch-retrieve": lambda client: client.messages.batches.retrieve(batch_of(client).id),
    "batch-results": lambda client: [
        line.model_dump()
        for line in client.messages.batches.results(
            client.messages.batches.retrieve(batch_of(client).id).id
        )
    ],
    "batch-cancel": lambda client: client.messages.batches.cancel(batch_of(client).id),
    "batch-delete": lambda client: client.messages.batches.delete(batch_of(client).id),
    "file-upload": lambda client: file_of(client).model_copy(update={"id": ""}),
    "file-metadata": lambda client: client.beta.files.retrieve_metadata("file_size_12345"),
    "file-download": lambda client: client.beta.files.download("file_size_3000000").read(),
    "models": lambda client: list(client.models.list()),
    "models-paged": lambda client: list(client.models.list(limit=2)),
    "model": lambda client: client.models.retrieve("claude-opus-5-5"),
}


def raw_stream(client: Anthropic) -> list[Any]:
    """Return the raw events of ``create(stream=True)``."""
    with client.messages.create(**ask(stream=True)) as stream:
        return list(stream)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_as_without_a_gateway(
    client: Sdk, direct: Sdk, gateway: Gateway, call: Callable[[Anthropic], Any]
) -> None:
    """A call through the gateway returns what it returns without one, field by field."""
    expected = call(direct)
    alone = [(seen.method, seen.target) for seen in gateway.upstream.seen]
    got = call(client)
    together = [(seen.method, seen.target) for seen in gateway.upstream.seen]

    assert expected == got
    assert alone * 2 == together
    assert expected


def test_create(client: Sdk, gateway: Gateway) -> None:
    """What the upstream says of a message arrives in the SDK's types, and in the record."""
    message = client.messages.create(**ask())
    [record] = gateway.recorded()

    assert message.content[0].type == "text"
    assert message.content[0].text.startswith("Hello! 👋 Your last message is 5 characters long.")
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 18)
    assert (record.upstream_request_id, record.model) == (message._request_id, MODEL)
    assert (record.stream, record.ending.value, record.attempts) == (False, "complete", 1)


def test_tool_runner(client: Sdk, gateway: Gateway) -> None:
    """The SDK's tool loop runs: the tool's call comes down, its result goes up."""
    asked = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Say the weather.

        Args:
            city: Where.
        """
        asked.append(city)
        return "rain"

    runner = client.beta.messages.tool_runner(
        **ask(text="What is the weather?", tools=[get_weather], stream=True)
    )
    texts = ["".join(stream.text_stream) for stream in runner]
    [_, last] = [json.loads(seen.body) for seen in gateway.upstream.seen]
    betas = [v for s in gateway.upstream.seen for n, v in s.fields if n == b"anthropic-beta"]

    assert asked == ["demo"]
    assert texts[0] == "Let me look that up."
    assert texts[1].startswith("Thank you, that is what the tool found.")
    assert last["messages"][-1]["content"][0]["type"] == "tool_result"
    assert len(betas) == 2
    assert [record.stream for record in gateway.recorded(2)] == [True, True]


def test_thinking_goes_back_up(client: Sdk, gateway: Gateway) -> None:
    """A second turn carries thinking, its signature and the tool's call back unchanged."""
    thinks: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [WEATHER]}
    with client.messages.stream(**ask(text="the weather?", **thinks)) as stream:
        first = stream.get_final_message()
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "rain"}  # type: ignore[union-attr]  # it is a tool_use
    turns = [
        {"role": "user", "content": "the weather?"},
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    with client.messages.stream(**ask(messages=turns, **thinks)) as stream:
        second = stream.get_final_text()
    sent = json.loads(gateway.upstream.seen[-1].body)["messages"][1]["content"]

    assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
    assert [block.to_dict() for block in first.content] == sent
    assert sent[0]["signature"] == "RGVtbyBzaWduYXR1cmUu" * 4
    assert second.startswith("Thank you")


def test_fields_of_the_sdk_arrive(client: Sdk, gateway: Gateway) -> None:
    """Of the SDK's own fields none is lost and none is changed; the key is, and host."""
    client.messages.create(**ask(), extra_headers={"anthropic-beta": "a-1, b-2", "X-Mine": "ö"})
    sent = {name.lower(): value for name, value in gateway.upstream.seen[0].fields}

    assert sent[b"anthropic-version"] == b"2026-10-21"
    assert sent[b"anthropic-beta"] == b"a-1, b-2"
    assert sent[b"user-agent"] == client.user_agent.encode()
    assert sent[b"x-mine"] == "ö".encode()
    assert sent[b"x-stainless-retry-count"] == b"0"
    assert (sent[b"x-api-key"], b"authorization" in sent) == (gateway.credential.encode(), False)


KEY_FIELDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "api_key": lambda key: {"api_key": key},
    "auth_token": lambda key: {"api_key": None, "auth_token": key},
    "x-api-key": lambda key: {"api_key": None, "default_headers": {"x-api-key": key}},
    "both": lambda key: {"api_key": key, "default_headers": {"x-api-key": key}},
    "x-passgate-key": lambda key: {
        "api_key": "not-the-gateways-business",
        "default_headers": {"x-passgate-key": key},
    },
}


@pytest.mark.parametrize("field", KEY_FIELDS.values(), ids=KEY_FIELDS.keys())
def test_where_the_key_stands(gateway: Gateway, field: Callable[[str], dict[str, Any]]) -> None:
    """Wherever the SDK puts the key, it opens the gateway and stays there."""
    with sdk(gateway, **field(gateway.key)) as client:
        client.messages.create(**ask())
    [seen] = gateway.upstream.seen
    shown = [v for n, v in seen.fields if n.lower() in (b"x-api-key", b"authorization")]

    assert [gateway.credential.encode()] == shown
    assert gateway.key.encode() not in seen.head
    assert b"x-passgate-key" not in seen.head.lower()


def test_two_keys(gateway: Gateway) -> None:
    """Two keys that differ are refused: the gateway does not choose one."""
    with (
        sdk(gateway, default_headers={"x-api-key": "pg_another"}) as client,
        pytest.raises(anthropic.AuthenticationError, match="two different keys"),
    ):
        client.messages.create(**ask())


def test_raw_response(client: Sdk, direct: Sdk, gateway: Gateway) -> None:
    """A raw response shows every field that the upstream sent, rate limits among them."""
    got = client.messages.with_raw_response.create(**ask())
    expected = direct.messages.with_raw_response.create(**ask())
    limits = {name for name in got.headers if name.startswith("anthropic-ratelimit-")}

    assert list(expected.headers) == list(got.headers)
    assert len(limits) == 12
    assert got.headers["anthropic-ratelimit-requests-remaining"] == "3999"
    assert got.headers["request-id"] == got.request_id == gateway.recorded()[0].upstream_request_id
    assert got.headers["anthropic-organization-id"].startswith("00000000-")


def test_streaming_response(client: Sdk, gateway: Gateway) -> None:
    """A response that is read line by line comes as it was sent."""
    with client.messages.with_streaming_response.create(**ask(stream=True)) as response:
        lines = list(response.iter_lines())

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert lines[0] == "event: message_start"
    assert [line for line in lines if line][-1] == 'data: {"type":"message_stop"}'


def test_batch_results_leave_the_gateway(client: Sdk, gateway: Gateway) -> None:
    """``results_url`` is the upstream's own, and the SDK follows it past the gateway.

    A body passes as it is, so this cannot be mended here; the path itself is served.
    """
    batch = client.messages.batches.retrieve(batch_of(client).id)
    gateway.recorded(2)
    past = [line.model_dump() for line in client.messages.batches.results(batch.id)]
    path = f"/v1/messages/batches/{batch.id}/results"
    through = client.get(path, cast_to=str).splitlines()

    assert batch.results_url == f"{gateway.upstream.url}{path}"
    assert [line["custom_id"] for line in past] == ["one"]
    assert [json.loads(line)["custom_id"] for line in through] == ["one"]
    assert [path] == [r.path for r in gateway.recorded(4) if r.path.endswith("/results")]


def test_files(client: Sdk, gateway: Gateway) -> None:
    """A file goes up and comes down in both namespaces, and can be listed and deleted."""
    mine = file_of(client)
    other = client.files.upload(file=("b.txt", b"1" * 10, "text/plain"))
    listed = {file.id for file in client.beta.files.list()}

    assert {mine.id, other.id} <= listed
    assert (mine.size_bytes, mine.filename, mine.mime_type) == (5000, "a.txt", "text/plain")
    assert client.beta.files.retrieve_metadata(mine.id) == mine
    assert client.beta.files.download(mine.id).read().startswith(b"0000000")
    assert client.beta.files.delete(mine.id).id == mine.id
    assert mine.id not in {file.id for file in client.files.list()}
    with pytest.raises(anthropic.NotFoundError):
        client.beta.files.retrieve_metadata(mine.id)


def test_large_file(client: Sdk, gateway: Gateway) -> None:
    """An upload beyond what the gateway may hold passes whole, to the byte."""
    content = bytes(range(256)) * (40 << 12)  # 40 MiB; a Messages body may have 32
    client.beta.files.upload(file=("big.bin", content, "application/octet-stream"))
    [seen] = gateway.upstream.seen
    [record] = gateway.recorded()

    assert seen.body_bytes == record.bytes_up > len(content)
    assert seen.body[:300].count(b"\r\n\r\n") == 1
    before = seen.body.index(b"\r\n\r\n") + 4
    assert content[: len(seen.body) - before] == seen.body[before:]


ERRORS = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    402: (anthropic.PaymentRequiredError, "billing_error"),
    403: (anthropic.PermissionDeniedError, "permission_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    409: (anthropic.ConflictError, "conflict_error"),
    413: (anthropic.RequestTooLargeError, "request_too_large"),
    422: (anthropic.UnprocessableEntityError, "invalid_request_error"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    503: (anthropic.ServiceUnavailableError, "api_error"),
    504: (anthropic.GatewayTimeoutError, "timeout_error"),
    529: (anthropic.OverloadedError, "overloaded_error"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("status", ERRORS)
def test_upstream_error(gateway: Gateway, status: int, *, stream: bool) -> None:
    """An upstream's error is raised as its class, with its own words and request id."""
    expected, kind = ERRORS[status]
    with sdk(gateway, max_retries=0) as client, pytest.raises(expected) as raised:
        client.messages.create(**ask(f"claude-error-{status}", stream=stream))
    error = raised.value
    [record] = gateway.recorded()

    assert type(error) is expected
    assert (error.status_code, error.type) == (status, kind)
    assert error.api_message == f"The demo was asked for a {status}."
    assert error.request_id == error.body["request_id"] == record.upstream_request_id  # type: ignore[index]  # a JSON object
    assert "x-passgate-error" not in error.response.headers
    assert (record.status, record.ending.value, record.error) == (status, "complete", None)


def test_error_of_a_cdn(gateway: Gateway) -> None:
    """An error without the envelope reaches the SDK as the page that it is."""
    with sdk(gateway, max_retries=0) as client, pytest.raises(anthropic.InternalServerError) as got:
        client.messages.create(**ask("claude-error-html-502"))

    assert got.value.response.headers["cf-ray"] == "0123456789abcdef-OSL"
    assert "<h1>502 Bad Gateway</h1>" in got.value.message


@dataclass(frozen=True)
class Own:
    """An error that the gateway itself makes.

    Attributes:
        error: What the SDK raises.
        kind: The error's type.
        code: In ``x-passgate-error``.
        attempts: How often an SDK that repeats twice has then asked.
        call: What is asked.
        change: Of the gateway's settings.
        key: What the client shows, or None for its own key.
        arrives: Whether the upstream has seen it.
    """

    error: type[anthropic.APIStatusError]
    kind: str
    code: str
    attempts: int
    call: Callable[[Anthropic], Any] = lambda client: client.messages.create(**ask())
    change: Callable[[Settings], Settings] = lambda settings: settings
    key: str | None = None
    arrives: bool = False


def limited(settings: Settings) -> Settings:
    """Return the settings with a client that may use one model only."""
    [client] = settings.clients
    return replace(settings, clients=(replace(client, models=("claude-haiku-*",)),))


def one_route(settings: Settings) -> Settings:
    """Return the settings with a route for one model only."""
    return replace(settings, routes=(RouteSettings("claude-haiku-*", "anthropic"),))


def nobody_there(settings: Settings) -> Settings:
    """Return the settings with an upstream where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return replace(settings, upstreams=(upstream_at(port, "up_nobody-sees-this"),))


def no_credential(settings: Settings) -> Settings:
    """Return the settings with an upstream whose credential is empty."""
    [upstream] = settings.upstreams
    empty = CredentialSettings(CredentialKind.API_KEY, env="EMPTY", env_value="")
    return replace(settings, upstreams=(replace(upstream, credential=empty),))


def impatient(settings: Settings) -> Settings:
    """Return the settings with little time for the upstream's first byte."""
    return replace(settings, limits=Limits(first_byte_s=0.04))


def full(settings: Settings) -> Settings:
    """Return the settings with place for no body at all."""
    return replace(settings, limits=Limits(max_body_memory_mb=0))


OWN = {
    "key": Own(
        anthropic.AuthenticationError, "authentication_error", "key", 1, key="pg_of-nobody-at-all"
    ),
    "scope-model": Own(
        anthropic.PermissionDeniedError, "permission_error", "scope", 1, change=limited
    ),
    "scope-path": Own(
        anthropic.PermissionDeniedError,
        "permission_error",
        "scope",
        1,
        call=lambda client: client.get("/v1/organizations/me", cast_to=object),
    ),
    "route": Own(anthropic.NotFoundError, "not_found_error", "route", 1, change=one_route),
    "path": Own(
        anthropic.NotFoundError,
        "not_found_error",
        "route",
        1,
        call=lambda client: client.get("/v2/messages", cast_to=object),
    ),
    "request": Own(
        anthropic.BadRequestError,
        "invalid_request_error",
        "request",
        1,
        call=lambda client: client.messages.create(**ask(extra_body={"model": None})),
        change=limited,
    ),
    "size": Own(
        anthropic.RequestTooLargeError,
        "request_too_large",
        "size",
        1,
        call=lambda client: client.messages.create(**ask(text="x" * (32 << 20))),
    ),
    "busy": Own(
        anthropic.OverloadedError,
        "overloaded_error",
        "busy",
        3,
        # Longer than what comes together with its head, so that it has to be held.
        call=lambda client: client.messages.create(**ask(text="x" * 1_000_000)),
        change=full,
    ),
    "upstream": Own(anthropic.InternalServerError, "api_error", "upstream", 3, change=nobody_there),
    "malformed": Own(
        anthropic.InternalServerError,
        "api_error",
        "upstream",
        3,
        call=lambda client: client.messages.create(**ask("claude-two-lengths")),
        arrives=True,
    ),
    "timeout": Own(
        anthropic.GatewayTimeoutError,
        "timeout_error",
        "timeout",
        3,
        call=lambda client: client.messages.create(**ask("claude-hang")),
        change=impatient,
        arrives=True,
    ),
    "credential": Own(
        anthropic.InternalServerError, "api_error", "credential", 1, change=no_credential
    ),
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN.keys())
def test_own_error(own: Own) -> None:
    """The gateway's own errors are the SDK's classes; what cannot help is not repeated."""
    with Gateway(own.change) as gateway, sdk(gateway) as client:
        if own.key is not None:
            client.api_key = own.key
        with pytest.raises(own.error) as raised:
            own.call(client)
        error, records = raised.value, gateway.recorded(own.attempts)
        seen = len(gateway.upstream.seen)

    assert type(error) is own.error
    assert (error.type, error.response.headers["x-passgate-error"]) == (own.kind, own.code)
    assert error.api_message is not None
    assert error.api_message.startswith("passgate: ")
    assert own.attempts == len(records)
    assert error.request_id == error.body["request_id"] == records[-1].id  # type: ignore[index]  # a JSON object
    assert {own.code} == {record.error for record in records}
    assert seen == (own.attempts if own.arrives else 0)


@pytest.mark.parametrize(
    ("status", "error", "pauses_s"),
    [
        (429, anthropic.RateLimitError, [1.0, 1.0]),  # as the upstream's retry-after says
        (529, anthropic.OverloadedError, None),
        (500, anthropic.InternalServerError, None),
    ],
)
def test_retries_are_the_sdks(
    client: Sdk,
    gateway: Gateway,
    status: int,
    error: type[Exception],
    pauses_s: list[float] | None,
) -> None:
    """The upstream sees as many requests as the gateway got: retries are never multiplied."""
    with pytest.raises(error):
        client.messages.create(**ask(f"claude-error-{status}"))
    counts = [
        value
        for seen in gateway.upstream.seen
        for name, value in seen.fields
        if name == b"x-stainless-retry-count"
    ]

    assert counts == [b"0", b"1", b"2"]
    assert [record.attempts for record in gateway.recorded(3)] == [1, 1, 1]
    assert len(client.pauses_s) == 2
    assert pauses_s in (client.pauses_s, None)


@pytest.mark.parametrize("scene", ["cut-3", "reset-3", "cut-length"])
def test_broken_stream(client: Sdk, gateway: Gateway, scene: str) -> None:
    """A stream that breaks raises; half an answer is never taken for a whole one."""
    with (
        pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"),
        client.messages.stream(**ask(f"claude-{scene}")) as stream,
    ):
        stream.get_final_message()
    [record] = gateway.recorded()

    assert (record.ending.value, record.status) == ("upstream_broke", 200)


def test_error_in_a_stream(client: Sdk, gateway: Gateway) -> None:
    """An error event raises what it says; for the gateway the stream was whole."""
    with (
        pytest.raises(anthropic.APIStatusError) as raised,
        client.messages.stream(**ask("claude-mid-error-3")) as stream,
    ):
        stream.get_final_message()
    [record] = gateway.recorded()

    assert (raised.value.type, raised.value.api_message) == ("overloaded_error", "Overloaded")
    assert (record.ending.value, record.status) == ("complete", 200)


def test_broken_body(gateway: Gateway) -> None:
    """A body that ends before its declared length raises, too."""
    with sdk(gateway, max_retries=0) as client, pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ask("claude-cut-length"))

    assert gateway.recorded()[0].ending.value == "upstream_broke"


def test_timeout_of_the_sdk(gateway: Gateway) -> None:
    """An SDK that waits no longer hangs up, and the upstream's call ends with it."""
    with (
        sdk(gateway, max_retries=0, timeout=0.05) as client,
        pytest.raises(anthropic.APITimeoutError),
    ):
        client.messages.create(**ask("claude-hang"))
    eventually(lambda: gateway.upstream.hang_ups == 1)
    [record] = gateway.recorded()

    assert (record.ending.value, record.status) == ("client_left", None)


def test_stream_closed_early(client: Sdk, gateway: Gateway) -> None:
    """A stream that is closed early ends the upstream's call at once."""
    with client.messages.stream(**ask("claude-slow-50-100000")) as stream:
        got = [next(stream.text_stream) for _ in range(3)]
    eventually(lambda: gateway.upstream.hang_ups == 1)
    [record] = gateway.recorded()

    assert got == ["word0 ", "word1 ", "word2 "]
    assert (record.ending.value, record.status) == ("client_left", 200)
    assert record.bytes_down > 0


def test_first_event_comes_first(client: Sdk, gateway: Gateway) -> None:
    """An event arrives while the upstream still keeps the next one back."""
    with client.messages.create(**ask("claude-silent", stream=True)) as stream:
        first = next(iter(stream))

        assert first.type == "message_start"
        assert gateway.records == []


async def test_twenty_streams_at_once(gateway: Gateway) -> None:
    """Twenty streams at once are twenty answers, each its own."""

    async def told(client: AsyncAnthropic, number: int) -> tuple[int, str]:
        asked = ask(f"claude-slow-200-{10 + number}", text=f"number {number}")
        async with client.messages.stream(**asked) as stream:
            return number, await stream.get_final_text()

    async with AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as client:
        texts = dict(await asyncio.gather(*(told(client, number) for number in range(20))))
    records = gateway.recorded(20)

    assert {n: "".join(f"word{i} " for i in range(10 + n)) for n in range(20)} == texts
    assert {("complete", 200, True)} == {(r.ending.value, r.status, r.stream) for r in records}
    assert len({record.id for record in records}) == 20


async def test_cancelled_task(gateway: Gateway) -> None:
    """A task that is cancelled in a stream hangs up on the upstream."""
    async with AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as client:
        begun = asyncio.Event()

        async def read() -> None:
            async with client.messages.stream(**ask("claude-slow-50-100000")) as stream:
                async for _ in stream:
                    begun.set()

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            await begun.wait()
            reading.cancel()
        await asyncio.to_thread(eventually, lambda: gateway.upstream.hang_ups == 1)

    assert gateway.recorded()[0].ending.value == "client_left"


def test_one_connection(client: Sdk, gateway: Gateway) -> None:
    """Calls one after the other need one connection, on either side."""
    before = gateway.upstream.connections
    for _ in range(10):
        client.messages.create(**ask())

    assert gateway.upstream.connections - before <= 1
    assert len(gateway.recorded(10)) == 10


def test_two_clients() -> None:
    """Each of two keys is recorded under its own client's name."""
    other = "pg_" + "o" * 43
    with (
        running(clients=[client_of("other", other)]) as gateway,
        sdk(gateway) as one,
        sdk(gateway, api_key=other) as two,
    ):
        one.messages.create(**ask())
        two.messages.create(**ask())
        names = [record.client for record in gateway.recorded(2)]

    assert names == ["test", "other"]
