"""Requests that are good HTTP and mean harm: a way past the key, elsewhere, or with a secret."""

from __future__ import annotations

import hashlib
import socket
import threading
from dataclasses import dataclass

from tests import strict
from tests.attack import keys
from tests.attack.judge import (
    CLEANED,
    Got,
    Outcome,
    ask,
    leaked,
    probed,
    request_judged,
    say,
    send,
    upstream_saw,
    wrong,
)
from tests.attack.tap import Line
from tests.attack.targets import Target

_BODY = '{"model":"claude-a","max_tokens":1,"messages":[]}'
_SERVED, _FIRST_ERROR = 200, 400


@dataclass(frozen=True)
class Intrusion:
    """A request; ``<key>`` and its like stand for secrets, ``<canary>`` for a listener's port.

    Attributes:
        shut: Whether no good key is in its place, so that it must be refused.
    """

    id: str
    line: str = "POST /v1/messages"
    fields: tuple[str, ...] = ()
    body: str = _BODY
    shut: bool = False

    def raw(self, target: Target, canary: int) -> bytes:
        """Return it with the secrets of this run."""
        host = (
            () if any(field.lower().startswith("host:") for field in self.fields) else ("Host: h",)
        )
        words = _words(target, canary)
        body = _filled(self.body, words) if self.line.startswith("POST") else ""
        length = (f"Content-Length: {len(body)}",) if body else ()
        lines = [f"{self.line} HTTP/1.1", *host, *self.fields, *length, "", body]
        return _filled("\r\n".join(lines), words).encode()


def _filled(text: str, words: dict[str, str]) -> str:
    for word, secret in words.items():
        text = text.replace(word, secret)
    return text


def _words(target: Target, canary: int) -> dict[str, str]:
    secrets = target.keys
    escaped = "".join(f"%{ord(letter):02x}" for letter in secrets.key)
    return {
        "<key>": secrets.key,
        "<test>": secrets.key,
        "<%test>": escaped,
        "<wide>": secrets.other,
        "<expired>": secrets.expired,
        "<unknown>": secrets.unknown,
        "<credential>": secrets.credential,
        "<digest>": hashlib.sha256(secrets.key.encode()).hexdigest(),
        "<short>": secrets.key[:20],
        "<canary>": str(canary),
    }


def _rows(text: str, *, shut: bool) -> list[Intrusion]:
    """Return a row for each line ``id | field | field``."""
    split = [[part.strip() for part in line.split(" | ")] for line in text.strip().split("\n")]
    return [Intrusion(id_, fields=tuple(fields), shut=shut) for id_, *fields in split]


def _common(rows: list[Intrusion]) -> list[Intrusion]:
    """Leave out what only who takes keys from Google's field or our own has to understand."""
    few = {"x-goog-api-key", "x-passgate-key"}
    return [r for r in rows if not few & {f.partition(":")[0].lower() for f in r.fields}]


# fmt: off
BYPASS = [
    *_common(_rows(keys.BAD, shut=True) + _rows(keys.TWO, shut=True)),
    *(Intrusion(f"?{query}", f"POST /v1/messages?{query}", ("X-Api-Key: <key>",), shut=True)
      for query in keys.IN_QUERY if "test>" in query),
    *_rows("""
the digest for the key | x-api-key: <digest>
the first twenty letters | x-api-key: <short>
the credential for a key | x-api-key: <credential>
the key in capitals | x-api-key: <key>A
a star | x-api-key: *
null | x-api-key: null
undefined | authorization: Bearer undefined
SQL | x-api-key: ' OR '1'='1
from loopback | x-forwarded-for: 127.0.0.1 | x-real-ip: 127.0.0.1
as the health check | x-original-url: /health | x-rewrite-url: /health
as a forwarded path | x-forwarded-uri: /health | x-forwarded-path: /health
as another method | x-http-method-override: GET
as somebody | x-forwarded-user: admin | x-auth-request-user: admin | remote-user: admin
a path in Host | host: h/health?
a nominated key | x-api-key: <key>x | connection: x-api-key
""", shut=True),
    Intrusion("a preflight", "OPTIONS /v1/messages", ("Origin: https://evil.example",
              "Access-Control-Request-Method: POST"), shut=True),
    Intrusion("HEAD", "HEAD /v1/models", shut=True),
    Intrusion("from health", "GET /health/../v1/models", shut=True),
    Intrusion("from health, escaped", "GET /health/%2e%2e/v1/models", shut=True),
    Intrusion("from health, slash escaped", "GET /health%2f..%2fv1/models", shut=True),
    Intrusion("behind health's query", "GET /health?/../v1/models", shut=True),
    Intrusion("two slashes", "GET //v1/models", shut=True),
    Intrusion("a parameter", "GET /health;/../v1/models", shut=True),
    Intrusion("a NUL behind health", "GET /health%00/v1/models", shut=True),
]
HYGIENE = [
    *_rows(keys.TAKEN, shut=False),
    *_rows("""
hop-by-hop | x-api-key: <key> | te: trailers | keep-alive: timeout=9 | proxy-connection: x
an upgrade | x-api-key: <key> | connection: upgrade, x-b | upgrade: h2c | x-b: 1
a nominated field | x-api-key: <key> | connection: x-a, close | x-a: 1
the credential's field, nominated | x-api-key: <key> | connection: keep-alive, x-api-key
Host, nominated | x-api-key: <key> | connection: host, content-length
a login for a proxy | x-api-key: <key> | proxy-authorization: Basic dTpw
a cookie | x-api-key: <key> | cookie: session=1
who asked | x-api-key: <key> | x-forwarded-for: 10.9.9.9 | forwarded: for=10.9.9.9
an underscore for the credential | x-api-key: <key> | x_api_key: evil
an underscore for who asked | x-api-key: <key> | x_forwarded_for: 10.9.9.9
an underscore for the framing | x-api-key: <key> | transfer_encoding: chunked
another underscore | x-api-key: <key> | content_length: 0
""", shut=False),
]
ELSEWHERE = [
    Intrusion("absolute", "GET http://127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("authority", "GET 127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("at", "GET /@127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("no slash, at", "GET @127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("a port and at", "GET :80@127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("two slashes", "GET //127.0.0.1:<canary>/v1/models", ("X-Api-Key: <key>",)),
    Intrusion("a URL behind the path", "GET /v1/http://127.0.0.1:<canary>/", ("X-Api-Key: <key>",)),
    Intrusion("Host", fields=("Host: 127.0.0.1:<canary>", "X-Api-Key: <key>")),
    *(Intrusion(name, fields=(f"{name}: {value}", "X-Api-Key: <key>")) for name, value in {
        "X-Forwarded-Host": "127.0.0.1:<canary>",
        "Forwarded": "host=127.0.0.1:<canary>;proto=http",
        "X-Host": "127.0.0.1:<canary>",
        "X-Original-Host": "127.0.0.1:<canary>",
        "X-Original-URL": "http://127.0.0.1:<canary>/",
        "X-Upstream": "http://127.0.0.1:<canary>",
        "X-Target-URL": "http://127.0.0.1:<canary>",
        "X-Portkey-Custom-Host": "http://127.0.0.1:<canary>/v1",
        "X-Base-Url": "http://127.0.0.1:<canary>",
        "Referer": "http://127.0.0.1:<canary>/",
    }.items()),
    *(Intrusion(f"{name} in the body", fields=("X-Api-Key: <key>",),
                body=f'{{"model":"claude-a","{name}":"http://127.0.0.1:<canary>/v1"}}')
      for name in ("api_base", "base_url", "url", "webhook", "proxy")),
    Intrusion("a model that is a URL", fields=("X-Api-Key: <key>",),
              body='{"model":"http://127.0.0.1:<canary>/v1"}'),
    Intrusion("a URL in the query", "POST /v1/messages?url=http://127.0.0.1:<canary>/",
              ("X-Api-Key: <key>",)),
]
# fmt: on
# What may not go up, in whatever spelling.
_STAYS = frozenset(
    "connection keep-alive te trailer upgrade proxy-connection proxy-authorization cookie "  # noqa: SIM905  as they are read
    "forwarded x-forwarded-for x-forwarded-host x-a x-b x-passgate-key authorization "
    "x-goog-api-key".split()
)


class Canary:
    """A listener that nobody has a reason to call.

    Attributes:
        port: Where it listens.
        calls: How often it was called.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.calls = 0
        self._thread = threading.Thread(target=self._accept, name="canary", daemon=True)

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(1)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self.calls += 1
            accepted.close()


def intrusion_row(target: Target, row: Intrusion) -> Outcome:
    """Judge one request."""
    with Canary() as canary:
        target.tap.begin()
        got = send(target, [row.raw(target, canary.port)])
        outcome = request_judged(target, got, must_refuse=row.shut)
        if canary.calls:
            return wrong("it went where the client said")
    if "origin" in got.data.lower().partition(b"\r\n\r\n")[0].decode("latin-1"):
        return wrong("other sites' pages are let in")
    if outcome is not CLEANED:
        return outcome
    return _passed(target, canary.port) or outcome


def _passed(target: Target, canary: int) -> Outcome | None:
    """Return what is wrong with the request that went up, or None."""
    [request] = upstream_saw(target)
    names = [name.replace(b"_", b"-").decode() for name, _ in request.fields]
    if stays := sorted(_STAYS & set(names)):
        return wrong(f"{', '.join(stays)} went up")
    if len(names) != len([name for name, _ in request.fields if b"_" not in name]):
        return wrong("a twin with an underscore went up")
    if request.get(b"x-api-key") != [target.keys.credential.encode()]:
        return wrong(f"the credential arrived {len(request.get(b'x-api-key'))} times")
    if b"%d" % canary in request.get(b"host")[0]:
        return wrong("the client's Host went up")
    return None


# What an upstream says that must not come down; ``%s`` stands for the credential.
SAID = {
    "the credential in a field": b"X-Echo: %s",
    "the credential as a login": b"WWW-Authenticate: Bearer %s",
    "a cookie": b"Set-Cookie: session=1",
    "hop-by-hop": b"Keep-Alive: timeout=99",
    "a nominated field": b"Connection: x-hop\r\nX-Hop: 1",
    "a login for a proxy": b"Proxy-Authenticate: Basic",
}
_STAYS_UP = (b"set-cookie", b"keep-alive: timeout=99", b"x-hop: 1", b"proxy-authenticate")


def field_row(target: Target, field: bytes) -> Outcome:
    """Judge what comes down of a field that an upstream says."""
    said = field.replace(b"%s", target.keys.credential.encode())

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\n\r\n{}" % said)

    target.tap.begin(script)
    got = send(target, [ask(target)])
    if problem := probed(target) or leaked(target, got):
        return wrong(problem)
    return _came_down(got)


def _came_down(got: Got) -> Outcome:
    try:
        [answer] = got.responses()
    except (strict.NotStrict, ValueError) as error:
        return wrong(f"no valid answer: {error}")
    head = got.data.partition(b"\r\n\r\n")[0].lower()
    for field in _STAYS_UP:
        if field in head:
            return wrong(f"{field.decode()} came down")
    return CLEANED if (answer.status, answer.body) == (_SERVED, b"{}") else wrong("no answer")


def redirect_row(target: Target, status: int) -> Outcome:
    """Judge what is made of an upstream that sends its caller elsewhere."""
    with Canary() as canary:

        def script(line: Line, head: bytes) -> None:
            line.body(head)
            place = b"http://127.0.0.1:%d/v1/messages" % canary.port
            head = b"HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            line.send(head % (status, place))

        target.tap.begin(script)
        with target.connect() as connection:
            got = say(connection, [ask(target)])
        if canary.calls:
            return wrong("it went where the upstream said")
    if problem := probed(target) or leaked(target, got):
        return wrong(problem)
    found = got.responses()
    return CLEANED if found and found[0].status == status else wrong("the redirect did not pass")
