"""Who is let in, what each may use, and that no key and no credential is ever shown.

Every secret is made for the run. ``<test>`` in a row stands for the key of the client
``test``, ``<%test>`` for the same with every byte percent-encoded.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from passgate.core.credential import Credential
from passgate.core.exchange import Ending
from passgate.core.settings import (
    ClientSettings,
    CredentialKind,
    CredentialSettings,
    RouteSettings,
    Settings,
    UpstreamKind,
)
from passgate.core.tally import Tally
from passgate.edge.credentials import Fixed
from passgate.edge.wire.answers import parse_answer
from passgate.edge.wire.heads import parse_request
from tests.attack import keys
from tests.loopback.gateway import Answer, Gateway, Served, client, connect, message, read_answer
from tests.loopback.upstream import Beside

NAMES = ("expired", "modest", "narrow", "opened", "wide")
KEYS = {name: f"pg_{secrets.token_urlsafe(32)}" for name in (*NAMES, "unknown")}
MORE: dict[str, dict[str, object]] = {
    "expired": {"expires_s": time.time() - 1},  # noqa: TID251  the gateway's clock is the real one
    "modest": {"models": ("claude-*", "gemini-a*")},
    "narrow": {"paths": ("/v1/messages", "/v1/files*", "*/gemini-a:*")},
    "opened": {"paths": ("/v1/organizations/*", "/v1/messages")},
    "wide": {"paths": ("/v1/*", "*")},
}


def change(settings: Settings) -> Settings:
    """Return settings with a client of every sort and an upstream of every kind."""
    [usual] = settings.upstreams
    own = replace(usual, name="own", credential=CredentialSettings(CredentialKind.CLIENT))
    google = replace(usual, name="google", kind=UpstreamKind.GEMINI)
    bare = replace(usual, name="bare", credential=CredentialSettings(CredentialKind.NONE))
    routes = tuple(RouteSettings(f"{name}-*", name) for name in ("own", "bare"))
    others: Iterable[ClientSettings] = (client(name, KEYS[name], **MORE[name]) for name in NAMES)
    return replace(
        settings,
        clients=(*settings.clients, *others),
        upstreams=(usual, own, google, bare),
        routes=(*routes, *settings.routes),
    )


@pytest.fixture(scope="module")
def shared_gateway() -> Iterator[Gateway]:
    """One gateway for the module, with all of these clients."""
    with Gateway(change) as gateway:
        yield gateway


@dataclass(frozen=True)
class Row:
    """A request: its line, its field lines, its body."""

    id: str
    fields: tuple[str, ...] = ()
    line: str = "POST /v1/messages"
    body: bytes = b'{"model":"claude-a","max_tokens":1,"messages":[]}'

    def raw(self, gateway: Gateway) -> bytes:
        """Return it with the keys of this run."""
        length = (f"content-length: {len(self.body)}",) if self.line.startswith("P") else ()
        lines = [f"{self.line} HTTP/1.1", "host: gateway", *self.fields, *length, "", ""]
        head = "\r\n".join(lines)
        for name, key in (KEYS | {"test": gateway.key}).items():
            escaped = "".join(f"%{ord(letter):02x}" for letter in key)
            head = head.replace(f"<{name}>", key).replace(f"<%{name}>", escaped)
        return head.encode() + (self.body if length else b"")


def rows(text: str) -> list[Row]:
    """Return a row for each line ``id | field | field``."""
    split = [[part.strip() for part in line.split(" | ")] for line in text.strip().split("\n")]
    return [Row(id_, tuple(fields)) for id_, *fields in split]


def refused(gateway: Gateway, row: Row, status: int, code: str, who: str | None) -> Answer:
    """Send *row*; check that it is refused as the contract words it, and by nobody but us."""
    with gateway.connect() as connection:
        connection.sendall(row.raw(gateway))
        answer = read_answer(connection)
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert read_answer(connection).json() == {"status": "ok"}
    [record] = gateway.settled()
    kind = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}
    google = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
    body = answer.json()
    text = body["error"].pop("message")
    if re.search("beta/|:generate", row.line):
        assert body == {"error": {"code": status, "status": google[status]}}
    else:
        error = {"type": kind[status]}
        assert body == {"type": "error", "error": error, "request_id": record.id}

    assert (answer.status, answer.get("x-passgate-error")) == (status, [code])
    assert answer.get("x-should-retry") == ([] if status == 400 else ["false"])
    assert answer.get("request-id") == [record.id]
    assert text.startswith("passgate: ")
    assert (status, code, who) == (record.status, record.error, record.client)
    assert record.ending is Ending.REFUSED
    assert gateway.upstream.seen == []
    assert shown_in([answer.head, answer.body, msgspec.json.encode(record)], gateway) == []
    return answer


def shown_in(places: Iterable[object], gateway: Gateway) -> list[bytes]:
    """Return the *places* in which a key or the credential stands, plain or in base64."""
    marks = [mark.encode() for mark in (gateway.key, gateway.credential, *KEYS.values())]
    # Base64 of what stands in a longer text begins at one of three bytes.
    coded = [base64.b64encode(mark[at:])[:32] for mark in marks for at in range(3)]
    texts = [place if isinstance(place, bytes) else str(place).encode() for place in places]
    return [text for text in texts if any(mark in text for mark in (*marks, *coded))]


GOOD = rows(keys.TAKEN)
QUERIES = ("keys=1", "monkey=1", "a=key", "api_keys=&access_tokens", "a=<unknown>")
GOOD += [
    Row(f"?{query}", ("x-api-key: <test>",), f"POST /v1/messages?{query}") for query in QUERIES
]


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.id)
def test_good_key(gateway: Gateway, row: Row) -> None:
    """A key is taken where the contract says; it goes no further, the credential does."""
    answer = gateway.ask(row.raw(gateway))
    [seen], [record] = gateway.upstream.seen, gateway.recorded()
    gone = {b"authorization", b"x-goog-api-key", b"x-passgate-key", b"x-a", b"x-b", b"referer"}
    shown = [value for name, value in seen.fields if name.lower() == b"x-api-key"]

    assert (answer.status, answer.get("x-passgate-error")) == (200, [])
    assert (record.client, record.ending) == ("test", Ending.COMPLETE)
    assert [gateway.credential.encode()] == shown
    assert {name.lower() for name, _ in seen.fields} & gone == set()
    assert gateway.key.encode() not in seen.head + seen.body


BAD = rows(keys.BAD)
TWO = rows(keys.TWO)
IN_QUERY = [
    Row(f"{field.split(':')[0]} ?{query}", (field,), f"POST /v1/messages?{query}")
    for field in ("x-api-key: <test>", "authorization: Bearer <test>", "x-passgate-key: <test>")
    for query in keys.IN_QUERY
]
IN_QUERY += [Row(f"?{name}=", (), f"GET /v1/models?{name}=<test>") for name in ("key", "api_key")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        *((row, "does not know the key") for row in BAD),
        *((row, "two different keys") for row in TWO),
        *((row, "in the query") for row in IN_QUERY),
    ],
    ids=lambda part: part.id if isinstance(part, Row) else "",
)
@pytest.mark.parametrize("native", [False, True], ids=["messages", "native"])
def test_bad_key(gateway: Gateway, row: Row, says: str, *, native: bool) -> None:
    """No good key, two, or one in the query: refused in the words of either API."""
    if native:
        line = re.sub(r"\S+ /v1/\w+", "GET /v1beta/models/gemini-a", row.line)
        row = dataclasses.replace(row, line=line)
    answer = refused(gateway, row, 401, "key", None)

    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["unknown", "modest"])
def test_unsent_body(gateway: Gateway, key: str) -> None:
    """Who is refused by the head alone is never told to go on, and the connection ends."""
    fields = (f"x-api-key: <{key}>", "expect: 100-continue", "content-length: 9")
    with gateway.connect() as connection:
        connection.sendall(Row("", fields, "QUERY /v1/files").raw(gateway))
        answer = read_answer(connection)

        assert (answer.status, answer.interim) == (401 if key == "unknown" else 403, [])
        assert answer.get("connection") == ["close"]
        assert connection.recv(1) == b""


def test_one_answer(gateway: Gateway) -> None:
    """Whoever has no key, a wrong one or an expired one is told the very same."""
    told = set()
    for row in BAD:
        answer = gateway.ask(row.raw(gateway))
        told.add((answer.head + answer.body).replace(answer.get("request-id")[0].encode(), b""))

    assert len(told) == 1


# The gateway's key stands in x-passgate-key; then what an upstream of kind ``client`` gets.
OWN = {
    "a login": ["Authorization: Bearer mine", "="],
    "a key": ["X-API-Key: mine", "="],
    "both": ["x-api-key:  mine", "=", "AUTHORIZATION: Bearer other", "="],
    "another scheme": ["authorization: Basic bWluZQ==", "="],
    "twice": ["x-api-key: one", "=", "x-api-key: two", "="],
    "none": [],
    "the gateway's key in it": ["authorization: Bearer <test>", "x-api-key: mine", "="],
    "the gateway's key elsewhere": ["x-a: <test>", "x-api-key: mine", "=", "x-passgate-a: 1"],
    "twins": ["x_api_key: mine", "X_Passgate_Key: <test>", "x-goog-api-key: mine"],
}


@pytest.mark.parametrize("model", ["own-a", "bare-a", "claude-a"])
@pytest.mark.parametrize("marked", OWN.values(), ids=OWN)
def test_own_credential(gateway: Gateway, marked: list[str], model: str) -> None:
    """A client's own credential goes to an upstream of that kind alone, as it was written."""
    lines = tuple(line for line in marked if line != "=")
    body = json.dumps(message(model)).encode()
    answer = gateway.ask(Row("", ("x-passgate-key: <test>", *lines), body=body).raw(gateway))
    [seen], [record] = gateway.upstream.seen, gateway.recorded()
    _, _, *got = seen.head[:-4].split(b"\r\n")
    forwarded = [marked[i - 1].encode() for i, line in enumerate(marked) if line == "="]
    put = b"x-api-key: " + gateway.credential.encode()
    framing = b"content-length: %d" % len(body)
    expected = {"own-a": [*forwarded, framing], "bare-a": [framing], "claude-a": [framing, put]}

    assert (answer.status, record.client) == (200, "test")
    assert expected[model] == got
    assert gateway.key.encode() not in seen.head


@pytest.mark.parametrize("row", GOOD[:6], ids=lambda row: row.id)
def test_no_own_credential(gateway: Gateway, row: Row) -> None:
    """Without ``x-passgate-key`` there is no credential of the client's to forward."""
    body = json.dumps(message("own-a")).encode()
    answer = refused(gateway, dataclasses.replace(row, body=body), 401, "key", "test")

    assert "x-passgate-key" in answer.json()["error"]["message"]


def scoped(text: str) -> list[tuple[str, Row]]:
    """Return client and row for each line ``client | request line | body | further field``."""
    found = []
    for line in text.strip().split("\n"):
        who, request, body, *fields = [part.strip() for part in line.split(" | ")]
        coded = body.encode()
        if fields == ["content-encoding: gzip"]:
            coded = zlib.compress(coded, wbits=31)
        id_ = re.sub(r"\W+", "-", line).strip("-")
        found.append((who, Row(id_, (f"x-api-key: <{who}>", *fields), request, coded)))
    return found


OPEN = scoped("""
modest | POST /v1/messages | {"model":"claude-a"}
modest | POST /v1/messages?beta=true | {"model":"gemini-ab"}
modest | POST /v1/messages | {"model":"claude-a"} | content-encoding: gzip
modest | POST /v1/messages | {"model":"claude-a"} | content-encoding: identity
modest | POST /v1/messages/count_tokens | {"model":"claude-a"}
modest | GET /v1/models | -
modest | GET /v1/models/claude-z | -
modest | POST /v1beta/models/gemini-a:generateContent | {}
modest | POST /v1/models/gemini-ab:streamGenerateContent?alt=sse | {}
narrow | POST /v1/messages | {"model":"any"}
narrow | POST /v1/files | file
narrow | GET /v1/files/f_1 | -
narrow | POST /v1beta/models/gemini-a:generateContent | {}
opened | POST /v1/messages | {"model":"any"}
opened | GET /v1/organizations/me | -
opened | POST /v1/organizations/invites | {}
wide | POST /v1/messages/batches | {"requests":[]}
wide | GET /v1/organizationsx | -
wide | GET /v1/new/oauth | -
wide | POST /v1/messages | coded | content-encoding: odd
""")


@pytest.mark.parametrize(("who", "row"), OPEN, ids=[row.id for _, row in OPEN])
def test_open(gateway: Gateway, who: str, row: Row) -> None:
    """What a client's entry opens goes up as it is."""
    answer = gateway.ask(row.raw(gateway))
    [seen], [record] = gateway.upstream.seen, gateway.recorded()

    assert answer.get("x-passgate-error") == []
    assert record.client == who
    assert row.line == f"{seen.method} {seen.target}"
    assert KEYS[who].encode() not in seen.head


SHUT = scoped("""
modest | POST /v1/messages | {"model":"gpt"}
modest | POST /v1/messages | {"model":"Claude-a"}
modest | POST /v1/messages | {"model":"x-claude-a"}
modest | POST /v1/messages/count_tokens | {"model":"own-a"}
modest | POST /v1/messages | {"model":"gpt"} | content-encoding: gzip
modest | POST /v1/messages/batches | {"requests":[]}
modest | POST /v1/m%65ssages | {"model":"claude-a"}
modest | GET /v1/messages | -
modest | GET /v1/messages/batches/b_1 | -
modest | POST /v1/files | {"model":"claude-a"}
modest | GET /v1/files | -
modest | GET /v1/new | -
modest | GET /v1/organizations/me | -
modest | POST /v1beta/models/gemini-b:generateContent | {}
modest | POST /v1/models/gemini-b:generateContent | {}
modest | POST /v1beta/models/gemini%2Da:generateContent | {}
modest | POST /upload/v1beta/files | {}
narrow | POST /v1/messages/count_tokens | {"model":"any"}
narrow | POST /v1/messages/batches | {}
narrow | GET /v1/models | -
narrow | POST /v1beta/models/gemini-b:generateContent | {}
opened | GET /v1/oauth/token | -
opened | GET /v1/organizations | -
opened | GET /v1/%6Frganizations/me | -
opened | GET /v1/models | -
wide | GET /v1/organizations | -
wide | POST /v1/organizations/invites | {}
wide | DELETE /v1/organizations/api_keys/k | -
wide | GET /v1/%6frganizations/me | -
wide | POST /v1/oauth/token | {}
""")
UNREAD = scoped("""
modest | POST /v1/messages | {"messages":[]}
modest | POST /v1/messages | {"model":null}
modest | POST /v1/messages | {"model":["claude-a"]}
modest | POST /v1/messages/count_tokens | {model
modest | POST /v1/messages | {"model":"claude-a","model":"gpt"}
modest | POST /v1/messages | {"model":"claude-a","m\\u006fdel":"claude-b"}
modest | POST /v1/messages | {"model":"claude-a"} | content-encoding: br
modest | POST /v1/messages | {"model":"claude-a"} | content-encoding: deflate
modest | POST /v1/messages | {"model":"claude-a"} | content-encoding: gzip, gzip
wide | POST /v1/messages | {"model":"claude-a","model":"claude-a"}
""")


@pytest.mark.parametrize(
    ("who", "row", "status"),
    [*((*row, 403) for row in SHUT), *((*row, 400) for row in UNREAD)],
    ids=[row.id for _, row in (*SHUT, *UNREAD)],
)
def test_shut(gateway: Gateway, who: str, row: Row, status: int) -> None:
    """What a client's entry does not open is 403; a body that hides what it asks for is 400."""
    answer = refused(gateway, row, status, "scope" if status == 403 else "request", who)

    coded = any("content-encoding" in field for field in row.fields)
    says = "not open to this key" if status == 403 else "content-encoding: " if coded else "model: "

    assert says in answer.json()["error"]["message"]


# Canaries: whatever happens, no key and no credential is shown.

SCENES = """
text-3 thinking error-400 error-401 error-403 error-429 error-500 error-529 error-html-502
mid-error-2 early-401 echo-credential gzip head-dup interim trailers http10 close no-length
cut-0 cut-2 reset-1 cut-length surplus huge-head bad-status bad-chunk bad-name obs-fold two-lengths
"""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scene", SCENES.split())
def test_scene(
    gateway: Gateway, scene: str, capfd: pytest.CaptureFixture[str], *, stream: bool
) -> None:
    """However an upstream behaves, it alone sees the credential, and nobody the key."""
    raw = gateway.post(message(f"claude-{scene}", stream=stream), "connection: close")
    got = all_of(gateway, raw)
    gateway.recorded()
    seen = [part for seen in gateway.upstream.seen for part in (seen.head, seen.body)]

    assert got.startswith(b"HTTP/1.1 ")
    assert shown_in([got, *told(gateway, capfd)], gateway) == []
    assert [i % 2 == 0 for i in range(len(seen))] == [
        gateway.credential.encode() in part for part in seen
    ]
    assert [part for part in seen if gateway.key.encode() in part] == []


def all_of(gateway: Gateway, raw: bytes) -> bytes:
    """Return every byte of the answer to *raw*, after which the connection ends."""
    got = b""
    with gateway.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(raw)
        while data := connection.recv(1 << 18):
            got += data
    return got


def told(gateway: Gateway, capfd: pytest.CaptureFixture[str]) -> list[object]:
    """Return all that the operator could read by now."""
    records = gateway.settled()
    return [*map(msgspec.json.encode, records), *records, *gateway.notices, *capfd.readouterr()]


# ``|`` ends a line.
MALFORMED = """
<test>
<test> /v1/files HTTP/1.1|x-api-key: <test>
GET /v1/models HTTP/<test>|host: g
GET /v1/models HTTP/1.1|x-api-key : <test>
GET /v1/models HTTP/1.1|x-a: 1| x-api-key: <test>
GET /v1/models HTTP/1.1|<test>
GET /v1/models?<many> HTTP/1.1|x-api-key: <test>
GET /v1/models HTTP/1.1|x-api-key: <many>
POST /v1/messages HTTP/1.1|x-api-key: <test>|content-length: <test>
POST /v1/messages HTTP/1.1|x-api-key: <test>|transfer-encoding: <test>
POST /v1/messages HTTP/1.1|x-api-key: <test>|content-length: 1|content-length: 2
POST /v1/messages HTTP/1.1|x-api-key: <test>|transfer-encoding: chunked||<test>
TRACE /v1/models HTTP/1.1|host: g|x-api-key: <test>
CONNECT h:443 HTTP/1.1|host: g|x-api-key: <test>
GET /nothing HTTP/1.1|host: g|x-api-key: <test>|connection: close
"""


@pytest.mark.parametrize("lines", MALFORMED.strip().split("\n"))
def test_malformed(gateway: Gateway, lines: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a request that is not HTTP, or not served, no part that could be a key is shown."""
    lines = lines.replace("<many>", "<test>" * 900)
    raw = lines.replace("<test>", gateway.key).replace("|", "\r\n").encode() + b"\r\n\r\n"
    got = all_of(gateway, raw)
    [record] = gateway.recorded()

    assert b"\r\nx-passgate-error: " in got
    assert record.error in ("http", "route")
    assert shown_in([got, *told(gateway, capfd)], gateway) == []
    assert gateway.upstream.seen == []


SESSION, AGENT = "x-claude-code-session-id", "x-claude-code-agent-id"
MISPLACED = {
    "a session": ("POST", "/v1/messages", f"{SESSION}: <key>"),
    "an agent": ("POST", "/v1/messages", f"{SESSION}: s", f"{AGENT}: <key>"),
    "the path": ("POST", "/v1/files/<key>"),
    "the path of nothing": ("GET", "/<key>"),
    "no path": ("GET", "<key>"),
}


@pytest.mark.parametrize("request_", MISPLACED.values(), ids=MISPLACED)
def test_misplaced_key(
    gateway: Gateway, request_: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """A key that stands where it should not is neither recorded nor passed on."""
    parts = [part.replace("<key>", gateway.key) for part in (*request_, "connection: close")]
    head = gateway.head(*parts)
    got = all_of(gateway, head)
    seen = [seen.head for seen in gateway.upstream.seen if gateway.key.encode() in seen.head]

    assert [] == seen
    assert shown_in([got, *told(gateway, capfd)], gateway) == []


ECHOES = {
    "a field": b"200 OK|x-echo: <it>|content-length: 0",
    "the reason": b"401 Not <it>|content-length: 0",
    "amid a field": b"401 No|www-authenticate: Bearer a=<it>, b|content-length: 0",
    "two fields": b"200 OK|X-A: <it>|x-b: 1|X-C: <it>|content-length: 0",
    "a redirect": b"302 Found|location: https://h/?key=<it>|content-length: 0",
    "a cookie": b"200 OK|set-cookie: a=<it>|content-length: 0",
    "a 103": b"103 Early|link: <it>||HTTP/1.1 200 OK|content-length: 0",
    "a trailer": b"200 OK|transfer-encoding: chunked|trailer: x-a||2|{}|0|x-a: <it>",
    "no HTTP": b"<it>",
    "a bad name": b"200 OK|<it>|content-length: 0",
    "a bad length": b"200 OK|content-length: <it>",
}
RECORDED = {"a request id": b"200 OK|request-id: <it>|content-length: 0"}


@pytest.mark.parametrize(
    "lines",
    [
        *(pytest.param(lines, id=id_) for id_, lines in ECHOES.items()),
        *(pytest.param(lines, id=id_) for id_, lines in RECORDED.items()),
    ],
)
def test_echo(lines: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """A credential that an upstream shows in its head comes to nobody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def elsewhere(settings: Settings) -> Settings:
            [upstream] = settings.upstreams
            return replace(settings, upstreams=(replace(upstream, port=port),))

        with Gateway(elsewhere) as gateway, gateway.connect() as connection:
            connection.sendall(gateway.head("GET", "/v1/models", "connection: close"))
            up, _ = server.accept()
            with up:
                asked = up.recv(1 << 16)
                answer = b"HTTP/1.1 " + lines.replace(b"<it>", gateway.credential.encode())
                up.sendall(answer.replace(b"|", b"\r\n") + b"\r\n\r\n")
                got = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            gateway.recorded()

            assert gateway.credential.encode() in asked
            assert got.startswith(b"HTTP/1.1 ")
            assert shown_in([got, *told(gateway, capfd)], gateway) == []


class Raising(Fixed):
    """A source whose error says what it should not."""

    async def current(self) -> Credential:
        """Raise what no source should."""
        raise RuntimeError(self.problem)


@pytest.mark.parametrize("fault", ["a bug", "no credential", "nobody there"])
def test_fault_of_ours(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault of our own is told by its place alone, one of the operator's by its kind."""
    with Gateway() as gateway:
        pipeline = gateway.app.pipeline
        [(name, lane)] = pipeline.snapshot.lanes.items()
        text = f"{gateway.key} {gateway.credential}"
        if fault == "nobody there":
            gateway.call(gateway.upstream.close())
        else:
            source = (Raising if fault == "a bug" else Fixed)(None, text, 0.0)
            lanes = {name: replace(lane, source=source)}
            pipeline.snapshot = replace(pipeline.snapshot, lanes=lanes)
        got = all_of(gateway, gateway.post(message(), "connection: close"))
        [record] = gateway.recorded()
        shown = told(gateway, capfd)
    expected = {"a bug": "internal", "no credential": "credential", "nobody there": "upstream"}

    assert f"x-passgate-error: {expected[fault]}\r\n".encode() in got
    assert expected[fault] == record.error
    assert ["RuntimeError" in notice for notice in gateway.notices] == [True] * (fault == "a bug")
    assert shown_in([got, *shown], gateway) == []


def test_values(gateway: Gateway) -> None:
    """No value that holds a key or a credential shows it when it is printed."""
    key, secret = gateway.key, gateway.credential.encode()
    head = parse_request(Row("", ("x-api-key: <test>", "x-a: <test>"), "GET /v1/a").raw(gateway))
    answer = parse_answer(b"HTTP/1.1 401 No\r\nx-echo: %s\r\n\r\n" % secret, "POST")
    source = CredentialSettings(CredentialKind.BEARER, env="A", env_value=secret.decode())
    snapshot = gateway.app.pipeline.snapshot
    lane = snapshot.lanes["anthropic"]
    credential = Credential("a", CredentialKind.BEARER, secret)
    outbound = lane.upstream.prepare(head, b"", key.encode(), credential, None)
    tally = Tally("id", head, "", 0.0, 0.0)
    values: list[object] = [
        *(head, answer, source, credential, outbound, tally, tally.so_far()),
        *(gateway.settings, *gateway.settings.upstreams, *gateway.settings.clients),
        *(snapshot, *snapshot.clients.values(), *snapshot.lanes.values(), lane.source, lane.pool),
        *(gateway.app, gateway.app.pipeline, lane.upstream, Fixed(credential, None, 0.0)),
    ]
    shapes: list[Callable[[object], str]] = [repr, str, "{}".format]

    assert secret in outbound.head
    assert key.encode() in head.raw_fields
    assert shown_in([shape(value) for value in values for shape in shapes], gateway) == []


# What an operator may put into [upstream.anthropic], or behind it, by mistake.
BROKEN = (
    'ca_file = "<it>',
    'credential = "<it>"',
    'credential = { kind = "api_key", value = "<it>" }',
    'credential = { kind = "<it>", file = "credential" }',
    'credential = { kind = "api_key", env = "<it>" }',
    'credential = { kind = "api_key", command = "<it>" }',
    'credential = { kind = "api_key", command = ["<it>"], ttl_s = "<it>" }',
    'base_url = "https://u:<it>@host"',
    'base_url = "https://host/?key=<it>"',
    '[[client]]\nname = "a"\nkey_sha256 = "<it>"',
    '[[client]]\nname = "a"\nkey = "<it>"',
    '[server]\nmax_in_flight = "<it>"',
)


def config(port: int, key: str, form: str, more: str = "") -> str:
    """Return a configuration; *more* takes the place of the line it is about."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    lines = [
        'kind = "anthropic"',
        f'base_url = "http://127.0.0.1:{port}"',
        'credential = { kind = "api_key", file = "credential" }',
    ]
    named = more.split(" = ")[0]
    upstream = "\n".join(line for line in lines if not line.startswith(named + " "))
    listen = "" if more.startswith("[server]") else "[server]\nport = 0\n"
    return (
        f'{listen}[admin]\nport = 0\n[log]\nformat = "{form}"\n[[client]]\nname = "test"\n'
        f'key_sha256 = "{digest}"\n[upstream.anthropic]\n{upstream}\n{more}\n'
    )


READY = b'{"status":"ready"'


@pytest.mark.parametrize("form", ["json", "text"])
def test_process(tmp_path: Path, form: str) -> None:
    """Nothing that the process writes anywhere holds a key or a credential."""
    # As our own keys and Google's begin; each could be the name of a variable.
    key, secret = (f"{start}{secrets.token_hex(32)}" for start in ("pg_", "AIza"))
    (tmp_path / "credential").write_text(secret)
    (tmp_path / "credential").chmod(0o600)
    with Beside() as beside:
        text = config(beside.port, key, form)
        with Served(text, tmp_path) as served:
            got = [_ask(served.port, raw) for raw in _requests(key, f"{key}x")]
            for times, (broken, it) in enumerate(product(BROKEN, (secret, key)), 1):
                new = config(beside.port, key, form, broken.replace("<it>", it))
                _reload(served, new, "is refused, the old one serves on", times)
            (tmp_path / "credential").write_text(f"{secret}\n{secret}")
            _reload(served, text, "was loaded anew", 1)
            got += [_ask(served.port, raw) for raw in _requests(key, f"{key}x")]
            pages = ("/", "/metrics", "/live", "/readyz")
            got += [_ask(served.admin_port, _ADMIN % page.encode(), b"\n\n") for page in pages]
            served.process.send_signal(signal.SIGTERM)
            served.process.wait(10)
            lines = served.lines()
        files = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
        told = list(_commands(served, tmp_path))
        shown = [*got, *lines, *files, *told, *(line.encode() for line in served.all_said())]
        marks = [key.encode(), secret.encode()]
        coded = [base64.b64encode(mark[at:])[:32] for mark in marks for at in range(3)]

        assert secret.encode() in beside.credentials()
        assert [seen.head for seen in beside.upstream.seen if key.encode() in seen.head] == []
    assert len(lines) > 10
    assert files
    assert all(b"test" in text for text in told)
    assert [True, False, False] * 2 + [True] == [b"warnings" in it for it in got if READY in it]
    assert b"holds more than one line" in got[-1]
    assert [text for text in shown if any(mark in text for mark in (*marks, *coded))] == []


_ADMIN = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"


def _ask(port: int, raw: bytes, enough: bytes = b"") -> bytes:
    """Return an answer; of events, which do not end, what comes up to *enough*."""
    got = b""
    with connect(port) as connection:
        connection.sendall(raw.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        while data := connection.recv(1 << 18):
            got += data
            if enough in got and b"text/event-stream" in got and enough:
                break
    return got


def _commands(served: Served, directory: Path) -> Iterator[bytes]:
    """Yield what commands of the operator say of what was served."""
    environ = {"PASSGATE_STATE_DIR": str(directory / "state")}
    for words in (
        "check --format json",
        "report --format json",
        "ledger export",
        "keys list --format json",
    ):
        command = [sys.executable, "-m", "passgate", *words.split(), "--config", str(served.file)]
        done = subprocess.run(  # noqa: S603  our own program
            command, env=environ, cwd=directory, capture_output=True, check=False
        )
        yield done.stdout + done.stderr


def _requests(good: str, wrong: str) -> Iterator[bytes]:
    for key in (good, wrong):
        for scene in ("text-3", "error-401", "error-500", "echo-credential", "bad-status"):
            body = json.dumps(message(scene, stream=True)).encode()
            head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: {key}\r\nhost: g\r\ncontent-length: "
            yield head.encode() + b"%d\r\n\r\n" % len(body) + body
        for line in ("/ready HTTP/1.1", "/v1/models HTTP/1.2", f"/v1/models?key={key} HTTP/1.1"):
            yield f"GET {line}\r\nhost: g\r\nx-api-key: {key}\r\n\r\n".encode()
    yield b"GET /ready HTTP/1.1\r\nhost: g\r\n\r\n"


def _reload(served: Served, text: str, says: str, times: int) -> None:
    new = served.file.with_suffix(".new")
    new.write_text(text)
    new.replace(served.file)
    served.process.send_signal(signal.SIGHUP)
    served.said(says, times)
