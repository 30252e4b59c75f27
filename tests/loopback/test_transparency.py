"""What goes up: every byte of a request as it came, but for the contract's list.

What comes down is in ``test_transparency_down``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from passgate.core.settings import CredentialKind, CredentialSettings, RouteSettings, Settings
from passgate.demo.upstream import Seen
from tests.loopback.gateway import Gateway, running

# Rows of field lines that a client sends, as a difference: "=" arrives as it is, "-" is
# cut, "+" is what arrives in place of the line before. <key> is the client's key.
FIELDS = """
# an SDK's own
=Accept: application/json
=Content-Type: application/json
=User-Agent: Anthropic/Python 1.0
=anthropic-version: 2023-06-01
=X-Stainless-Retry-Count: 0
# repeated, in mixed case
=X-Twice: b
=x-tWICE: a
=X-Twice: b
=X-Other: c
# empty values
=X-Empty:
=X-Blank:\x20\x20
=x-next: 1
# odd blanks
=X-None:a
=X-Tab:\ta\t b\x20\x20
=X-Wide:    a
# bytes above ASCII
=X-Latin: caf\xe9
=X-Utf8: \xf0\x9f\xa6\x8a
=X-All: \x80\xff
# odd names and values
=!#$%&'*+-.^_`|~09: 1
=x_custom: 1
=X-Odd: a: "b, \\"c", <d>;e=f
=X-Colon: :
# anthropic-beta twice
=anthropic-beta: a-1, b-2
=Anthropic-Beta: c-3
# unknown anthropic fields
=anthropic-new: 1
=anthropic_beta: 1
# sessions and agents
=x-claude-code-session-id: s
=X-Claude-Code-Agent-Id: a
=x-claude-code-new: n
# nearly names that are cut
=cookies: a
=hosts: a
=connections: a
=ten: a
=trailers: a
=upgrade-insecure-requests: 1
=x-api-keys: a
=proxied: a
=x-forward: a
=x-passgates: a
=authorizations: a
=keep-alives: a
# hop-by-hop
-Connection: keep-alive
-Keep-Alive: timeout=5
=X-Kept: 1
-TE: trailers
-Trailer: X-T
-Upgrade: h2c
-Proxy-Authorization: Basic eA==
-proxy-connection: close
-Proxy-New: 1
# named by Connection
-Connection: X-Hop , keep-alive,,x-HIP
-x-hop: 1
-X-Hip: 2
-X-Hop: 3
=X-Hops: 4
# named by two Connection lines
-connection: x-one
-X-One: 1
-CONNECTION: x-two
-X-Two: 2
=X-Three: 3
# Connection names the credential and the framing
-Connection: x-api-key, host, content-length
# an upgrade with a body
-Connection: Upgrade, HTTP2-Settings
-Upgrade: h2c
-HTTP2-Settings: AAMAAABk
# the key, three times
-Authorization: Bearer <key>
-X-Api-Key: <key>
-X-Goog-Api-Key: <key>
# the key elsewhere
-X-Debug: a <key> b
-Referer: http://h/?k=<key>
=X-B: c
# a login that is no key
-Authorization: Basic dTpw
=X-B: c
# who asked whom
-X-Forwarded-For: 1.2.3.4
-x-forwarded-host: h
-X-FORWARDED-NEW: n
-Forwarded: for=1.2.3.4
-Cookie: a=b
-cookie: c=d
-X-Passgate-Error: x
-x-passgate-new: x
# underscore twins
-x_api_key: a
-X_Goog_Api_Key: a
-x-api_key: a
-transfer_encoding: chunked
-Content_Length: 5
-keep_alive: 1
-proxy_authorization: a
-x_forwarded_for: a
-X_Passgate_Key: a
-X-Passgate_Key: a
=x_kept: 1
# expect
-Expect: 100-continue
=X-Kept: 1
# codings we read
=Accept-Encoding: gzip, deflate,br ;q=0.5, zstd, identity
# codings we do not read
-Accept-Encoding: gzip, br, compress, dcb
+Accept-Encoding: gzip, br
# no coding we read
-accept-encoding:  compress;q=1
+accept-encoding: identity
# any coding
-accept-encoding: gzip;q=1.0, *
+accept-encoding: gzip;q=1.0
# no other coding
=accept-encoding: gzip, *;q=0
# codings on two lines
=Accept-Encoding: gzip
=X-Between: 1
-accept-encoding: exi
+accept-encoding: identity
# a body that is coded
=content-encoding: br
"""

ASK = b'{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[]}'


@dataclass(frozen=True)
class Up:
    """A request, and which of its field lines an upstream gets, in order."""

    id: str
    sent: tuple[bytes, ...] = ()
    arrive: tuple[bytes, ...] = ()
    line: bytes = b"POST /v1/messages"
    body: bytes = ASK


def _rows() -> Iterator[Up]:
    for row in FIELDS.strip("\n").removeprefix("# ").split("\n# "):
        id_, *marked = row.split("\n")
        lines = [(line[0], line[1:].encode("latin-1")) for line in marked]
        sent = tuple(line for mark, line in lines if mark in "=-")
        yield Up(id_, sent, tuple(line for mark, line in lines if mark in "=+"))


PARTS = b'--b\r\ncontent-disposition: form-data; filename="f"\r\n\r\n\x00\xff\r\n--b--\r\n'
UP = [
    *_rows(),
    Up("a query", line=b"POST /v1/messages?beta=true"),
    Up("an odd query", line=b"POST /v1/messages?a=%00%2F&&=;x'\"<>{}|\\^`[]/../?b=~#c"),
    Up("an empty query", line=b"POST /v1/messages?"),
    Up("no JSON", body=b"\x00\xff not JSON \r\n\r\n"),
    Up("no UTF-8", body=b'{"model":"claude-x","system":"\xff\xfe"}'),
    Up("a large body", body=b'{"model":"claude-x","pad":"' + b"x" * 3_000_000 + b'"}'),
    Up("count_tokens", line=b"POST /v1/messages/count_tokens?beta=true"),
    Up("multipart", line=b"POST /v1/files", body=PARTS),
    Up("an upload of megabytes", line=b"POST /v1/files", body=bytes(range(256)) * 8000),
    Up("a batch", line=b"POST /v1/messages/batches", body=b'{"requests":[]}'),
    Up("a list", line=b"GET /v1/models?limit=2", body=b""),
    Up("GET", line=b"GET /v1/messages", body=b""),
    Up("GET with a body", line=b"GET /v1/new", body=b"why not"),
    Up("OPTIONS", line=b"OPTIONS /v1/messages", body=b""),
    Up("PUT", line=b"PUT /v1/new/thing", body=b"put"),
    Up("PATCH", line=b"PATCH /v1/new/thing", body=b"patch"),
    Up("DELETE", line=b"DELETE /v1/files/file_1", body=b""),
    Up("QUERY", line=b"QUERY /v1/new", body=b"query"),
    Up("PROPFIND", line=b"PROPFIND /v1/sessions/s_1/events", body=b""),
    Up("an alias", line=b"GET /v1/models/anthropic%2Fclaude-x", body=b""),
    Up("escapes in a path", line=b"GET /v1/a%3Ab%7e/(c)'d'!$&*+,=:~", body=b""),
]


@pytest.mark.parametrize("row", UP, ids=lambda row: row.id)
def test_request(gateway: Gateway, row: Up) -> None:
    """A request goes up line by line as it came, but for what the contract names."""
    framed = [b"CONTENT-length:  %d" % len(row.body)] if row.body else []
    line, got, seen = _sent(gateway, row, framed, row.body)

    assert row.line + b" HTTP/1.1" == line
    assert [*row.arrive, *framed] == got
    assert (row.body[: 1 << 20], len(row.body)) == (seen.body, seen.body_bytes)


@pytest.mark.parametrize("row", [row for row in UP if row.body], ids=lambda row: row.id)
def test_chunked_request(gateway: Gateway, row: Up) -> None:
    """A body sent in chunks arrives whole; its trailer, which could hold a field, does not."""
    _, got, seen = _sent(gateway, row, [b"Transfer-Encoding: Chunked"], chunked(row.body))
    held = row.line.split(b"?")[0] in (b"POST /v1/messages", b"POST /v1/messages/count_tokens")
    framing = b"content-length: %d" % len(row.body) if held else b"transfer-encoding: chunked"

    assert sorted([*row.arrive, framing]) == sorted(got)
    assert (row.body[: 1 << 20], len(row.body)) == (seen.body, seen.body_bytes)


def chunked(body: bytes) -> bytes:
    """Return *body* in uneven chunks, with an extension and a trailer."""
    sizes = [1, 16, 4096, 100_000]
    out, at, turn = b"", 0, 0
    while at < len(body):
        piece = body[at : at + sizes[turn % 4]]
        extension = b";ext=1" if turn == 1 else b""
        out += b"%04X%s\r\n%s\r\n" % (len(piece), extension, piece)
        at, turn = at + len(piece), turn + 1
    return out + b"0\r\nX-Api-Key: smuggled\r\n\r\n"


def _sent(
    gateway: Gateway, row: Up, framed: list[bytes], body: bytes
) -> tuple[bytes, list[bytes], Seen]:
    """Send *row*; return the request line and the client's lines as they arrived, and all."""
    key = gateway.key.encode()
    sent = [row.line + b" HTTP/1.1", b"HOST: gateway:80", b"X-Api-Key: <key>", *row.sent, *framed]
    answer = gateway.ask(b"\r\n".join(sent).replace(b"<key>", key) + b"\r\n\r\n" + body)
    [seen] = gateway.upstream.seen
    line, *lines = seen.head[:-4].split(b"\r\n")
    lines.remove(b"host: 127.0.0.1:%d" % gateway.upstream.port)
    lines.remove(b"x-api-key: " + gateway.credential.encode())

    assert answer.complete
    assert key not in seen.head + seen.body
    return line, lines, seen


@pytest.fixture(scope="module")
def shared_renaming() -> Iterator[Gateway]:
    """A gateway whose only route gives every model another name."""
    with running(routes=(RouteSettings("*", "anthropic", 'claude-new "é'),)) as gateway:
        yield gateway


@pytest.fixture
def renaming(shared_renaming: Gateway) -> Gateway:
    """The same, with nothing seen."""
    shared_renaming.forget()
    return shared_renaming


# Before the value of "model" and behind it.
# fmt: off
RENAMED = {
    "plain": (b'{"model":', b',"max_tokens":1,"messages":[]}'),
    "odd white space": (b' \t\r\n{ "a"\n:\t1 ,\r"model" \n:\t ', b' \n, \t"b":[ ]\r} \n'),
    "escapes": (b'{"\\u006dodel":', b',"x":"\\""}'),
    "last": (b'{"a":{"model":"b","b":["model"]},"c":"\\"model\\":","model":', b"}"),
    "other keys twice": (b'{"a":1,"a":2,"":3,"model":', b',"a":3,"":[]}'),
    "numbers": (b'{"n":1.0e+2,"model":', b',"n":12345678901234567890.10,"m":-0.0}'),
    "beyond ASCII": (b'{"\xc3\xa4":"\xf0\x9f\xa6\x8a","model":', b',"\xc3\xb6":"\xc3\xa9"}'),
}
# fmt: on


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("before", "after"), RENAMED.values(), ids=RENAMED)
def test_rename(renaming: Gateway, before: bytes, after: bytes, framing: str) -> None:
    """A route that renames a model changes the bytes of that one value, and the length."""
    body = before + b'"cl\\u0061ude-a"' + after
    raw = renaming.post(body, "X-After: 1")
    if framing == "chunked":
        fields = ("transfer-encoding: chunked", "X-After: 1")
        raw = renaming.head("POST", "/v1/messages", *fields) + chunked(body)
    answer = renaming.ask(raw)
    [seen] = renaming.upstream.seen
    lengths = [value for name, value in seen.fields if name.lower() == b"content-length"]

    assert answer.status == 200
    assert before + b'"claude-new \\"\xc3\xa9"' + after == seen.body
    assert [b"%d" % len(seen.body)] == lengths
    assert (b"X-After", b"1") in seen.fields


NAMELESS = (b"not JSON", b'{"max_tokens":1}', b'{"model":null}', b'{"model":["claude-a"]}', b"")


@pytest.mark.parametrize("body", NAMELESS)
@pytest.mark.parametrize("coding", ["", "content-encoding: br"])
def test_nothing_to_rename(renaming: Gateway, body: bytes, coding: str) -> None:
    """What names no model goes as it is to the upstream, which says what is wrong."""
    answer = renaming.ask(renaming.post(body, *([coding] if coding else [])))
    [seen] = renaming.upstream.seen

    assert body == seen.body
    assert answer.get("x-passgate-error") == []


def test_hidden_model(renaming: Gateway) -> None:
    """A model that has to be renamed and stands in a coded body is refused, not mistaken."""
    body = zlib.compress(b'{"model":"claude-a"}')
    answer = renaming.ask(renaming.post(body, "content-encoding: deflate"))

    assert (answer.status, answer.get("x-passgate-error")) == (400, ["request"])
    assert "content-encoding" in answer.json()["error"]["message"]
    assert renaming.upstream.seen == []


def _bearer(token: str) -> CredentialSettings:
    return CredentialSettings(CredentialKind.BEARER, env="UPSTREAM_TOKEN", env_value=token)


OAUTH = "sk-ant-" + "oat01-of-the-operator"
BETA = b"oauth-2025-04-20"
BETAS = {
    "absent": ((), (b"anthropic-beta: " + BETA,)),
    "one": ((b"Anthropic-Beta: a-1, b-2 ",), (b"Anthropic-Beta: a-1, b-2," + BETA,)),
    "two": (
        (b"anthropic-beta: a-1", b"X-A: 1", b"ANTHROPIC-BETA: b-2"),
        (b"anthropic-beta: a-1", b"X-A: 1", b"ANTHROPIC-BETA: b-2," + BETA),
    ),
    "empty": ((b"anthropic-beta:",), (b"anthropic-beta: " + BETA,)),
    "there": ((b"anthropic-beta: a-1,OAuth-2025-04-20", b"anthropic-beta: b-2"),) * 2,
    "nearly there": (
        (b"anthropic-beta: " + BETA + b"0",),
        (b"anthropic-beta: " + BETA + b"0," + BETA,),
    ),
    "named by Connection": (
        (b"connection: anthropic-beta", b"anthropic-beta: " + BETA),
        (b"anthropic-beta: " + BETA,),
    ),
}


@pytest.fixture(scope="module")
def oauth() -> Iterator[Gateway]:
    """A gateway whose upstream is shown the token of a Claude login."""

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        return replace(settings, upstreams=(replace(upstream, credential=_bearer(OAUTH)),))

    with Gateway(change) as gateway:
        yield gateway


@pytest.mark.parametrize(("sent", "arrive"), BETAS.values(), ids=BETAS)
def test_oauth_beta(oauth: Gateway, sent: tuple[bytes, ...], arrive: tuple[bytes, ...]) -> None:
    """The token of a Claude login goes up with the beta that it needs, said once."""
    oauth.forget()
    oauth.ask(oauth.head("GET", "/v1/models", *(line.decode() for line in sent)))
    [seen] = oauth.upstream.seen
    got = seen.head[:-4].split(b"\r\n")[1:]
    got.remove(b"host: 127.0.0.1:%d" % oauth.upstream.port)
    got.remove(f"authorization: Bearer {OAUTH}".encode())

    assert [*arrive] == got


SHOWN = {
    "none": (CredentialSettings(CredentialKind.NONE), []),
    "bearer": (_bearer("of-another-gateway"), [b"authorization: Bearer of-another-gateway"]),
}


@pytest.mark.parametrize(("credential", "shown"), SHOWN.values(), ids=SHOWN)
def test_prefix(credential: CredentialSettings, shown: list[bytes]) -> None:
    """An upstream's path prefix stands before the path; nothing else is added."""

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        changed = replace(upstream, prefix="/team/a%20b", credential=credential)
        return replace(settings, upstreams=(changed,))

    with Gateway(change) as gateway:
        gateway.ask(gateway.head("GET", "/v1/models?a=/v1/b", "anthropic-beta: a-1"))
        [seen] = gateway.upstream.seen

    line, host, *rest = seen.head[:-4].split(b"\r\n")

    assert line == b"GET /team/a%20b/v1/models?a=/v1/b HTTP/1.1"
    assert host == b"host: 127.0.0.1:%d" % gateway.upstream.port
    assert [b"anthropic-beta: a-1", *shown] == rest
