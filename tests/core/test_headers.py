"""What of a head goes on, in either direction, and what is put into it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passgate.core import faults
from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, RequestHead
from passgate.core.faults import Refused
from passgate.core.headers import (
    FIND,
    FIND_IN_ANSWER,
    KEPT,
    KEPT_OF_ANSWER,
    Origin,
    cut,
    downward,
    upward,
)
from passgate.core.settings import CredentialKind

TO = Origin(b"api.test", b"/base", b"x-api-key")
KEY = b"pg_the-client's-key"
SECRET = b"the-operator's-credential"
OAUTH = b"sk-ant-oat-not-a-real-one"
API_KEY = Credential("up", CredentialKind.API_KEY, SECRET)
BEARER = Credential("up", CredentialKind.BEARER, SECRET)
OAUTH_BEARER = Credential("up", CredentialKind.BEARER, OAUTH)
OWN = Credential("up", CredentialKind.CLIENT)
NOTHING = Credential("up", CredentialKind.NONE)

Lines = list[tuple[bytes, bytes]]


def head_of(raw_fields: bytes) -> RequestHead:
    """Return the request head of a POST with these field lines, each with its CRLF in front."""
    fields, said = cut(raw_fields, FIND, KEPT)
    return RequestHead("POST", b"/v1/x?a=b", "/v1/x", b"a=b", raw_fields, fields, said)


def answer_of(raw_fields: bytes) -> AnswerHead:
    """Return a response head with these field lines."""
    fields, said = cut(b"HTTP/1.1 200 OK" + raw_fields, FIND_IN_ANSWER, KEPT_OF_ANSWER)
    return AnswerHead(200, fields, said, None, chunked=True, keep_alive=True)


def up(raw_fields: bytes, shown: Credential = NOTHING, key: bytes = KEY) -> bytes:
    """Return the field lines that an upstream gets, without our Host."""
    got = upward(head_of(raw_fields), TO, key, shown)
    first = b"POST /base/v1/x?a=b HTTP/1.1\r\nhost: api.test"

    assert got.startswith(first)
    return got[len(first) :]


def down(raw_fields: bytes, credential: bytes = SECRET) -> bytes:
    """Return the field lines that a client gets."""
    got = downward(answer_of(raw_fields), credential)

    assert got.startswith(b"HTTP/1.1 200 OK")
    return got[len(b"HTTP/1.1 200 OK") :]


# The rules, one by one.

UP_CUT = [
    b"Connection: keep-alive",
    b"Keep-Alive: timeout=5",
    b"TE: trailers",
    b"Trailer: x",
    b"Transfer-Encoding: chunked",
    b"Upgrade: h2c",
    b"Proxy-Authorization: Basic x",
    b"Proxy-Connection: close",
    b"Proxy-: x",
    b"Host: gateway",
    b"Expect: 100-continue",
    b"X-Api-Key: k",
    b"Authorization: Bearer k",
    b"X-Goog-Api-Key: k",
    b"X-Forwarded-For: 192.0.2.1",
    b"X-Forwarded-Anything: x",
    b"Forwarded: for=192.0.2.1",
    b"Cookie: a=b",
    b"Cookie2: a",
    b"X-Passgate-Key: k",
    b"X-Passgate-Else: k",
    b"x_api_key: k",
    b"X-Api_Key: k",
    b"x_goog_api_key: k",
    b"Keep_Alive: x",
    b"transfer_encoding: chunked",
    b"Content_Length: 5",
    b"proxy_authorization: x",
    b"x_forwarded_for: x",
    b"X_Passgate_Key: k",
    b"HOST:gateway",
    b"hOsT:",
]
UP_KEPT = [
    b"Content-Length: 5",
    b"content-type:application/json",
    b"Content-Encoding: gzip",
    b"anthropic-beta:   a, b  ",
    b"anthropic-version: 2023-06-01",
    b"Anthropic-Anything: \xff\t x",
    b"User-Agent: claude-cli/1.0",
    b"X-Claude-Code-Session-Id: s",
    b"x-claude-code-agent-id: a",
    b"X-Stainless-Arch: x64",
    b"Hosts: x",
    b"X-Host: host: x",
    b"Tee: x",
    b"Connections: x",
    b"X-Api-Keys: x",
    b"X-Forwarded: x",
    b"My-Cookie: x",
    b"Upgrade-Insecure-Requests: 1",
    b"Expect-CT: x",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Accept: a, connection: b",
]


@pytest.mark.parametrize("line", UP_CUT, ids=bytes.decode)
def test_request_field_that_stops_here(line: bytes) -> None:
    """Hop-by-hop fields, keys, cookies and whoever came before us do not go up."""
    assert b"\r\nA: 1\r\nB: 2" == up(b"\r\nA: 1\r\n" + line + b"\r\nB: 2")
    assert up(b"\r\n" + line) == b""


@pytest.mark.parametrize("line", UP_KEPT, ids=lambda line: line.decode("latin-1"))
def test_request_field_that_goes_up(line: bytes) -> None:
    """Every other field goes up to the byte: spelling, spaces, order and repetition."""
    for raw in (b"\r\n" + line, b"\r\nA: 1\r\n" + line + b"\r\nB: 2", (b"\r\n" + line) * 3):
        assert raw == up(raw)


DOWN_CUT = [
    b"Connection: close",
    b"Keep-Alive: timeout=5",
    b"TE: x",
    b"Trailer: x",
    b"Transfer-Encoding: chunked",
    b"Upgrade: h2c",
    b"Proxy-Authenticate: x",
    b"Set-Cookie: a=b",
    b"SET-COOKIE2: a",
    b"X-Echo: " + SECRET,
    b"X-" + SECRET + b": x",
    b"X-Echo: Bearer " + SECRET + b", more",
]
DOWN_KEPT = [
    b"Content-Length: 5",
    b"Request-Id: r",
    b"retry-after: 1",
    b"anthropic-ratelimit-requests-remaining:  7 ",
    b"Content-Encoding: br",
    b"Host: x",
    b"X-Api-Key: x",
    b"x-should-retry: false",
    b"Set-Cookies: x",
    b"X-Echo: " + SECRET[:-1],
    b"Server: \xe9",
]


@pytest.mark.parametrize("line", DOWN_CUT, ids=bytes.decode)
def test_answer_field_that_stops_here(line: bytes) -> None:
    """Hop-by-hop fields, cookies and echoes of the credential do not go down."""
    assert b"\r\nA: 1\r\nB: 2" == down(b"\r\nA: 1\r\n" + line + b"\r\nB: 2")


@pytest.mark.parametrize("line", DOWN_KEPT, ids=lambda line: line.decode("latin-1"))
def test_answer_field_that_goes_down(line: bytes) -> None:
    """Every other field goes down to the byte."""
    for raw in (b"\r\n" + line, b"\r\nA: 1\r\n" + line + b"\r\nB: 2", (b"\r\n" + line) * 3):
        assert raw == down(raw)


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        pytest.param(b"X-A", b"\r\nX-B: 2\r\nContent-Length: 0", id="one"),
        pytest.param(b"close, x-a ,\tX-B", b"\r\nContent-Length: 0", id="several"),
        pytest.param(b"x-a\r\nConnection: x-b", b"\r\nContent-Length: 0", id="in two lines"),
        pytest.param(b"close", b"\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0", id="close"),
        pytest.param(b"Close", b"\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0", id="Close"),
        pytest.param(b"", b"\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0", id="none"),
        pytest.param(
            b"content-length, host", b"\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0", id="ours"
        ),
        pytest.param(b"x-a:", b"\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0", id="no token"),
    ],
)
def test_nominated(connection: bytes, expected: bytes) -> None:
    """What a Connection field names is for one hop; framing cannot be named away."""
    raw = b"\r\nX-A: 1\r\nConnection: " + connection + b"\r\nX-B: 2\r\nContent-Length: 0"

    assert expected == up(raw)
    assert expected == down(raw)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"gzip", None),
        (b"gzip, deflate, br, zstd", None),
        (b"x-gzip;q=0.5, identity", None),
        (b"GZIP ; q=1", None),
        (b"gzip, *;q=0", None),
        (b"*;Q=0.000", None),
        (b"*; q = 0.0", None),
        (b"*", b"identity"),
        (b"*;q=0.001", b"identity"),
        (b"compress", b"identity"),
        (b"gzip, compress, br", b"gzip, br"),
        (b"dcz , gzip;q=0.2", b"gzip;q=0.2"),
        (b"", b"identity"),
        (b"gzip,, br", b"gzip, br"),
        (b"gzipped", b"identity"),
    ],
    ids=lambda value: value.decode() or "empty" if isinstance(value, bytes) else "as it came",
)
def test_accept_encoding(value: bytes, expected: bytes | None) -> None:
    """An upstream is asked for no coding that we could not read; else the field stays."""
    raw = b"\r\nAccept-ENCODING:" + value + b"\r\nB: 2"

    assert (raw if expected is None else b"\r\nAccept-ENCODING: %s\r\nB: 2" % expected) == up(raw)


def test_accept_encoding_in_two_lines() -> None:
    """Each of several lines is looked at by itself."""
    raw = b"\r\naccept-encoding: gzip\r\nA: 1\r\nAccept-Encoding: zz, br"

    assert b"\r\naccept-encoding: gzip\r\nA: 1\r\nAccept-Encoding: br" == up(raw)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (API_KEY, b"\r\nA: 1\r\nx-api-key: " + SECRET),
        (BEARER, b"\r\nA: 1\r\nauthorization: Bearer " + SECRET),
        (NOTHING, b"\r\nA: 1"),
        (
            OAUTH_BEARER,
            b"\r\nA: 1\r\nanthropic-beta: oauth-2025-04-20\r\nauthorization: Bearer " + OAUTH,
        ),
    ],
    ids=["api_key", "bearer", "none", "oauth"],
)
def test_credential(shown: Credential, expected: bytes) -> None:
    """The upstream's credential takes the place of the client's key."""
    raw = b"\r\nX-Api-Key: " + KEY + b"\r\nA: 1\r\nAuthorization: Bearer " + KEY

    assert expected == up(raw, shown)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", b"\r\nanthropic-beta: oauth-2025-04-20"),
        (b"\r\nAnthropic-Beta: a", b"\r\nAnthropic-Beta: a,oauth-2025-04-20"),
        (b"\r\nAnthropic-Beta: a \r\nB: 2", b"\r\nAnthropic-Beta: a,oauth-2025-04-20\r\nB: 2"),
        (b"\r\nAnthropic-Beta:", b"\r\nAnthropic-Beta: oauth-2025-04-20"),
        (
            b"\r\nanthropic-beta: a\r\nanthropic-beta: b",
            b"\r\nanthropic-beta: a\r\nanthropic-beta: b,oauth-2025-04-20",
        ),
        (
            b"\r\nanthropic-beta: a, OAuth-2025-04-20 ,b",
            b"\r\nanthropic-beta: a, OAuth-2025-04-20 ,b",
        ),
        (
            b"\r\nanthropic-beta: oauth-2025-04-20\r\nanthropic-beta: b",
            b"\r\nanthropic-beta: oauth-2025-04-20\r\nanthropic-beta: b",
        ),
        (
            b"\r\nConnection: anthropic-beta\r\nanthropic-beta: oauth-2025-04-20",
            b"\r\nanthropic-beta: oauth-2025-04-20",
        ),
        (
            b"\r\nanthropic-beta-x: oauth-2025-04-20",
            b"\r\nanthropic-beta-x: oauth-2025-04-20\r\nanthropic-beta: oauth-2025-04-20",
        ),
    ],
    ids=["none", "one", "blanks", "empty", "two", "there", "in the first", "named away", "near"],
)
def test_oauth_beta(raw: bytes, expected: bytes) -> None:
    """A plan's or a minted token needs one beta: it is appended to the last line if absent."""
    assert expected + b"\r\nauthorization: Bearer " + OAUTH == up(raw, OAUTH_BEARER)


def test_reason_that_echoes() -> None:
    """A reason that echoes the credential is cut; the status and the fields stay."""
    said = b"HTTP/1.1 401 not " + SECRET + b"\r\nX-A: 1"
    answer = AnswerHead(401, said, {}, None, chunked=True, keep_alive=True)

    assert downward(answer, SECRET) == b"HTTP/1.1 401 \r\nX-A: 1"


def test_own_credential_goes_up() -> None:
    """A client's own credential goes up where its key for us stands in our own field."""
    raw = (
        b"\r\nX-Passgate-Key: " + KEY + b"\r\nAuthorization: Bearer own\r\nX-API-Key: own"
        b"\r\nx_api_key: own\r\nX-Goog-Api-Key: own\r\nConnection: close\r\nA: " + KEY
    )

    assert b"\r\nAuthorization: Bearer own\r\nX-API-Key: own" == up(raw, OWN)


def test_own_credential_is_not_the_key() -> None:
    """What a client showed as its key for us is not sent up as its own credential."""
    with pytest.raises(Refused) as refused:
        up(b"\r\nX-Api-Key: " + KEY, OWN)

    assert faults.OWN_CREDENTIAL is refused.value.fault


@pytest.mark.parametrize("line", [b"A: %s", b"A: x%sx", b"X-%s: 1", b"A:%s\xff"])
def test_key_in_another_field(line: bytes) -> None:
    """A field that carries the client's key is cut whatever it is called."""
    assert b"\r\nB: 2" == up(b"\r\n" + line % KEY + b"\r\nB: 2")


def test_no_key() -> None:
    """Where there is no key, nothing carries it."""
    assert up(b"\r\nA: 1", key=b"") == b"\r\nA: 1"


# Any head, against a slow reading of the rules, a line at a time.

_NAMES = [
    *(line.partition(b":")[0] for line in [*UP_CUT, *UP_KEPT, *DOWN_CUT, *DOWN_KEPT]),
    b"X-A",
    b"x-b",
]
_VALUES = [
    b"",
    b"1",
    b"close",
    b"keep-alive, X-A",
    b"x-a,content-length , te",
    b"X-B",
    b"gzip, zz",
    b"br;q=0.1",
    b"oauth-2025-04-20",
    b"a,b",
    b"host: connection: close",
    KEY,
    b"<" + SECRET + b">",
    b"\xff\t~",
]
_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_KEYS = {b"x-api-key", b"authorization", b"x-goog-api-key"}
_UP = _HOP | _KEYS | {b"host", b"expect", b"forwarded", b"cookie", b"cookie2"}


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """Return field lines: names in any case, any order, repeated; any blanks around values."""
    lines = []
    for name, value in draw(
        st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)), max_size=8)
    ):
        cased = bytes(
            draw(st.sampled_from([byte, byte ^ 32])) if _letter(byte) else byte for byte in name
        )
        blanks = st.sampled_from([b"", b" ", b"\t", b"  "])
        lines.append(b"\r\n" + cased + b":" + draw(blanks) + value + draw(blanks))
    return b"".join(lines)


def _letter(byte: int) -> bool:
    return chr(byte).isascii() and chr(byte).isalpha()


def lines_of(raw: bytes) -> Lines:
    """Return name, in lower case, and whole line of each field."""
    return [(line.partition(b":")[0].lower(), line) for line in raw.split(b"\r\n")[1:]]


def value_of(line: bytes) -> bytes:
    """Return what a line says."""
    return line.partition(b":")[2].strip(b" \t")


def members(lines: Lines, name: bytes) -> set[bytes]:
    """Return the members of a field that is a list, over all of its lines."""
    joined = b",".join(value_of(line) for each, line in lines if each == name)
    return {part.strip(b" \t").lower() for part in joined.split(b",")}


def stops_up(name: bytes) -> bool:
    """Return whether a request field of this name never goes up."""
    plain = name.replace(b"_", b"-")
    if plain.startswith((b"proxy-", b"x-passgate-", b"x-forwarded-")):
        return True
    return plain in _UP or (plain == b"content-length" and plain != name)


def stops_down(name: bytes) -> bool:
    """Return whether a response field of this name never goes down."""
    return name in _HOP | {b"set-cookie", b"set-cookie2"} or name.startswith(b"proxy-")


def passed(lines: Lines, stops: Callable[[bytes], bool], secret: bytes) -> Lines:
    """Return what of *lines* passes by the rules that both directions share."""
    named = members(lines, b"connection") - {b"content-length", b"content-encoding", b"host"}
    return [
        (name, line)
        for name, line in lines
        if not stops(name) and name not in named and secret not in line
    ]


def asked_for(line: bytes) -> bytes:
    """Return an accept-encoding line as it goes up; the generated ones name no ``*``."""
    known = [
        coding
        for part in value_of(line).split(b",")
        if (coding := part.strip()).split(b";")[0].lower()
        in {b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"identity"}
    ]
    if len(known) == len(value_of(line).split(b",")):
        return line
    return line.partition(b":")[0] + b": " + (b", ".join(known) or b"identity")


@given(fields(), st.sampled_from([API_KEY, BEARER, NOTHING]))
@settings(max_examples=200)
def test_any_request(raw: bytes, shown: Credential) -> None:
    """What goes up of any head is what a reader would let through, line by line."""
    lines = [(n, asked_for(line) if n == b"accept-encoding" else line) for n, line in lines_of(raw)]
    credential = {
        API_KEY: [b"x-api-key: " + SECRET],
        BEARER: [b"authorization: Bearer " + SECRET],
        NOTHING: [],
    }[shown]
    kept = [line for _, line in passed(lines, stops_up, KEY)]
    expected = b"".join(b"\r\n" + line for line in [*kept, *credential])

    assert expected == up(raw, shown)


@given(fields())
@settings(max_examples=200)
def test_any_answer(raw: bytes) -> None:
    """And so is what comes down."""
    expected = b"".join(b"\r\n" + line for _, line in passed(lines_of(raw), stops_down, SECRET))

    assert expected == down(raw)


@given(fields())
@settings(max_examples=200)
def test_any_cut(raw: bytes) -> None:
    """What is said is found wherever it stands, every repetition of it in order."""
    left, said = cut(raw, FIND, KEPT)
    lines = lines_of(raw)
    looked_at = {name for name, _ in lines if stops_up(name)} | KEPT | {b"accept-encoding"}
    expected = {
        name: b"\n".join(value_of(line) for each, line in lines if each == name)
        for name in dict.fromkeys(name for name, _ in lines)
        if name in looked_at
    }

    assert expected == said
    assert [line for _, line in lines_of(left)] == [
        asked_for(line) if name == b"accept-encoding" else line
        for name, line in lines
        if not stops_up(name)
    ]
