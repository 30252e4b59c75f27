"""What each listener answers itself, and to whom: the two never serve each other's paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from passgate.core.settings import (
    AdminSettings,
    CredentialKind,
    CredentialSettings,
    Listen,
    Settings,
)
from tests.loopback.gateway import Answer, Gateway, connect, message, read_answer

ADMIN_KEY = "adm_" + "a" * 43
OPERATORS = ("/healthz", "/readyz", "/metrics", "/dashboard", "/live", "/debug", "/admin")


def ask(port: int, method: str, path: str, *fields: str, body: bytes = b"") -> Answer:
    """Return the answer to one request on a connection of its own."""
    if not any(field.lower().startswith("host:") for field in fields):
        fields = (f"host: 127.0.0.1:{port}", *fields)
    lines = [f"{method} {path} HTTP/1.1", *fields]
    if body:
        lines.append(f"content-length: {len(body)}")
    with connect(port) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return read_answer(connection, method)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Gateway]:
    """A gateway whose operator's listener has a key and a host name."""

    def change(settings: Settings) -> Settings:
        digest = hashlib.sha256(ADMIN_KEY.encode()).digest()
        admin = AdminSettings(Listen(port=0), digest, ("gateway.internal", "fd00::a"))
        return replace(settings, admin=admin)

    with Gateway(change) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def unready() -> Iterator[Gateway]:
    """A gateway without a usable credential."""

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        empty = CredentialSettings(CredentialKind.API_KEY, env="EMPTY", env_value="")
        return replace(settings, upstreams=(replace(upstream, credential=empty),))

    with Gateway(change) as gateway:
        yield gateway


# The data listener.

OWN_PATHS = {
    "health": ("GET", "/health", 200, b'{"status":"ok"}'),
    "health-head": ("HEAD", "/health", 200, b""),
    "health-query": ("GET", "/health?probe=1", 200, b'{"status":"ok"}'),
    "health-post": ("POST", "/health", 404, None),
    "health-delete": ("DELETE", "/health", 404, None),
    "health-slash": ("GET", "/health/", 404, None),
    "health-case": ("GET", "/Health", 404, None),
    "ready": ("GET", "/ready", 200, b'{"status":"ready"}'),
    "ready-head": ("HEAD", "/ready", 200, b""),
    "ready-post": ("POST", "/ready", 404, None),
    "root-head": ("HEAD", "/", 200, b""),
    "root-get": ("GET", "/", 404, None),
    "root-post": ("POST", "/", 404, None),
    "hello": ("GET", "/api/hello", 200, b'{"status":"ok"}'),
    "hello-head": ("HEAD", "/api/hello", 200, b""),
    "hello-put": ("PUT", "/api/hello", 404, None),
    "hello-more": ("GET", "/api/hello/more", 404, None),
    "elsewhere": ("GET", "/api/other", 404, None),
}


@pytest.mark.parametrize(
    ("method", "path", "status", "body"), OWN_PATHS.values(), ids=OWN_PATHS.keys()
)
def test_own_paths(
    gateway: Gateway, method: str, path: str, status: int, body: bytes | None
) -> None:
    """Health, readiness and warm-up are answered at once, without a key, upstream or record."""
    answer = ask(gateway.port, method, path)
    gateway.call(gateway._flush())

    assert answer.status == status
    assert gateway.upstream.seen == []
    assert answer.get("content-type") == ["application/json"]
    if body is None:
        assert answer.json()["error"]["type"] == "not_found_error"
        assert answer.get("x-passgate-error") == ["route"]
        assert [record.ending.value for record in gateway.records] == ["refused"]
    else:
        assert answer.body == body
        assert answer.get("x-passgate-error") == []
        assert gateway.records == []


def test_head_has_the_length_of_get(gateway: Gateway) -> None:
    """A HEAD says how long the body would have been, and leaves the connection in order."""
    with gateway.connect() as connection:
        for path in ("/health", "/ready", "/api/hello", "/health"):
            connection.sendall(f"HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            head = read_answer(connection, "HEAD")
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            whole = read_answer(connection, "GET")
            assert head.get("content-length") == whole.get("content-length")
            assert whole.complete


@pytest.mark.parametrize("path", OPERATORS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_nothing_of_the_operator_is_served_to_agents(
    gateway: Gateway, method: str, path: str
) -> None:
    """The data listener knows none of the operator's paths, with a good key or without."""
    for fields in ((), (f"x-api-key: {gateway.key}",), (f"x-passgate-key: {ADMIN_KEY}",)):
        assert ask(gateway.port, method, path, *fields).status == 404

    assert gateway.upstream.seen == []


READY_KEYS = {
    "none": ((), False),
    "unknown": (("x-api-key: pg_unknown",), False),
    "x-api-key": (("x-api-key: {key}",), True),
    "bearer": (("authorization: Bearer {key}",), True),
    "google": (("x-goog-api-key: {key}",), True),
    "own": (("x-passgate-key: {key}",), True),
    "two": (("x-api-key: {key}", "authorization: Bearer pg_other"), False),
}


@pytest.mark.parametrize(("fields", "told"), READY_KEYS.values(), ids=READY_KEYS.keys())
def test_details_of_ready(gateway: Gateway, fields: tuple[str, ...], *, told: bool) -> None:
    """What is wrong is told to whoever has a key; to others only whether it serves."""
    answer = ask(gateway.port, "GET", "/ready", *(f.format(key=gateway.key) for f in fields))
    details: dict[str, object] = {"problems": [], "warnings": []} if told else {}

    assert (answer.status, answer.json()) == (200, {"status": "ready"} | details)


def test_key_in_the_query_of_ready(gateway: Gateway) -> None:
    """A key in the query opens nothing, here neither."""
    answer = ask(gateway.port, "GET", f"/ready?key={gateway.key}", f"x-api-key: {gateway.key}")

    assert answer.json() == {"status": "ready"}


def test_not_ready(unready: Gateway) -> None:
    """Without a usable credential it is not ready, and says why to whoever has a key."""
    plain = ask(unready.port, "GET", "/ready")
    known = ask(unready.port, "GET", "/ready", f"x-api-key: {unready.key}")
    operator = ask(unready.admin_port, "GET", "/readyz")
    health = ask(unready.port, "GET", "/health")
    warning = "upstream anthropic: the credential's environment variable is empty"
    problem = "no upstream has a usable credential"

    assert (plain.status, plain.json()) == (503, {"status": "not_ready"})
    assert (known.status, known.json()) == (
        503,
        {"status": "not_ready", "problems": [problem], "warnings": [warning]},
    )
    assert (operator.status, operator.json()) == (503, known.json())
    assert health.status == 200


# The operator's listener.

ADMIN_PATHS = {
    "health": ("GET", "/healthz", 200),
    "health-head": ("HEAD", "/healthz", 200),
    "ready": ("GET", "/readyz", 200),
    "ready-head": ("HEAD", "/readyz", 200),
    "health-post": ("POST", "/healthz", 404),
    "ready-delete": ("DELETE", "/readyz", 404),
    "page": ("GET", "/", 200),
    "page-post": ("POST", "/", 404),
    "style": ("GET", "/style.css", 200),
    "agents-health": ("GET", "/health", 404),
    "agents-ready": ("GET", "/ready", 404),
    "hello": ("GET", "/api/hello", 404),
    "messages": ("POST", "/v1/messages", 404),
    "models": ("GET", "/v1/models", 404),
    "slash": ("GET", "/healthz/", 404),
    "dots": ("GET", "/x/../healthz", 404),
    "trace": ("TRACE", "/healthz", 405),
}


@pytest.mark.parametrize(("method", "path", "status"), ADMIN_PATHS.values(), ids=ADMIN_PATHS.keys())
def test_operators_paths(gateway: Gateway, method: str, path: str, status: int) -> None:
    """The operator's listener serves its own paths, and none of an agent's."""
    answer = ask(gateway.admin_port, method, path, f"x-api-key: {gateway.key}")
    gateway.call(gateway._flush())

    assert answer.status == status
    assert (gateway.upstream.seen, gateway.records) == ([], [])
    assert answer.complete


HOSTS = {
    "address": ("127.0.0.1", 200),
    "address-and-port": ("127.0.0.1:8788", 200),
    "name": ("localhost", 200),
    "name-and-port": ("localhost:1", 200),
    "name-in-capitals": ("LOCALHOST:8788", 200),
    "v6": ("[::1]:8788", 200),
    "v6-alone": ("[::1]", 200),
    "allowed": ("gateway.internal:8788", 200),
    "allowed-in-capitals": ("Gateway.Internal", 200),
    "allowed-v6": ("[fd00::A]:8788", 200),
    "another-v6": ("[fd00::b]:8788", 403),
    "rebound": ("attacker.example:8788", 403),
    "rebound-alone": ("attacker.example", 403),
    "ends-alike": ("x.localhost:8788", 403),
    "begins-alike": ("localhost.attacker.example", 403),
    "ends-with-allowed": ("evil-gateway.internal", 403),
    "every-address": ("0.0.0.0:8788", 403),
    "another-address": ("127.0.0.2:8788", 403),
    "a-list": ("localhost,attacker.example", 403),
    "colon-first": (":8788", 403),
}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nothing"])
@pytest.mark.parametrize(("host", "status"), HOSTS.values(), ids=HOSTS.keys())
def test_rebound_names(guarded: Gateway, host: str, status: int, path: str) -> None:
    """A page that has bound its own name to our address is not answered (DNS rebinding)."""
    answer = ask(guarded.admin_port, "GET", path, f"host: {host}", f"x-api-key: {ADMIN_KEY}")
    expected = 404 if status == 200 and path == "/nothing" else status

    assert answer.status == expected
    if expected == 403:
        assert answer.get("x-passgate-error") == ["scope"]
        assert "ready" not in answer.body.decode()


def test_no_host(gateway: Gateway) -> None:
    """HTTP/1.0 without a host is a foreign one, too."""
    with connect(gateway.admin_port) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = read_answer(connection)

    assert answer.status == 403


ADMIN_KEYS = {
    "none": ((), False),
    "unknown": (("x-api-key: adm_unknown",), False),
    "an-agents": (("x-api-key: {key}",), False),
    "x-api-key": ((f"x-api-key: {ADMIN_KEY}",), True),
    "bearer": ((f"authorization: Bearer {ADMIN_KEY}",), True),
}


@pytest.mark.parametrize(("fields", "told"), ADMIN_KEYS.values(), ids=ADMIN_KEYS.keys())
def test_admin_key(guarded: Gateway, fields: tuple[str, ...], *, told: bool) -> None:
    """Where there is an admin key, details take that one, and an agent's is none."""
    fields = tuple(field.format(key=guarded.key) for field in fields)
    health = ask(guarded.admin_port, "GET", "/healthz", *fields)
    ready = ask(guarded.admin_port, "GET", "/readyz", *fields)
    details: dict[str, object] = {"problems": [], "warnings": []} if told else {}

    assert (health.status, health.json()) == (200, {"status": "ok"})
    assert (ready.status, ready.json()) == (200, {"status": "ready"} | details)


def test_admin_key_opens_no_model(guarded: Gateway) -> None:
    """The operator's key is no client's."""
    body = json.dumps(message()).encode()
    answer = ask(guarded.port, "POST", "/v1/messages", f"x-api-key: {ADMIN_KEY}", body=body)

    assert (answer.status, answer.get("x-passgate-error")) == (401, ["key"])


def test_two_different_admin_keys(guarded: Gateway) -> None:
    """Two keys that differ are refused, as everywhere."""
    fields = (f"x-api-key: {ADMIN_KEY}", "authorization: Bearer other")
    answer = ask(guarded.admin_port, "GET", "/readyz", *fields)

    assert (answer.status, answer.get("x-passgate-error")) == (401, ["key"])


def test_connection_lasts(gateway: Gateway) -> None:
    """A probe may keep its connection; one request that is refused does not end it."""
    with connect(gateway.admin_port) as connection:
        statuses = []
        for path in ("/healthz", "/nothing", "/readyz", "/healthz"):
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            statuses.append(read_answer(connection).status)

    assert statuses == [200, 404, 200, 200]


def test_reachable_from_here_alone(gateway: Gateway) -> None:
    """By default both listeners are bound to loopback."""
    assert {gateway.app.data.address[0], gateway.app.admin.address[0]} == {"127.0.0.1"}
