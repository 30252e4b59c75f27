"""What an upstream is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passgate.core import faults
from passgate.core.credential import Credential
from passgate.core.exchange import AnswerHead, RequestHead
from passgate.core.faults import Refused
from passgate.core.settings import (
    CredentialKind,
    CredentialSettings,
    UpstreamKind,
    UpstreamSettings,
)
from passgate.core.upstreams import upstream_of

NONE = CredentialSettings(CredentialKind.NONE)
SHOWN = Credential("up", CredentialKind.API_KEY, b"operators")
BODY = b'{"model": "old", "n": 1}'


def upstream(**more: Any) -> UpstreamSettings:
    """Return the settings of an Anthropic upstream."""
    given: dict[str, Any] = {
        "kind": UpstreamKind.ANTHROPIC,
        "tls": True,
        "host": "api.test",
        "port": 443,
        "prefix": "",
        "credential": NONE,
    } | more
    return UpstreamSettings("up", **given)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, b"api.test", id="https"),
        pytest.param({"tls": False, "port": 80}, b"api.test", id="http"),
        pytest.param({"port": 8443}, b"api.test:8443", id="https, other port"),
        pytest.param({"tls": False, "port": 443}, b"api.test:443", id="http at https's port"),
        pytest.param({"host": "::1"}, b"[::1]", id="IPv6"),
        pytest.param({"host": "::1", "port": 1}, b"[::1]:1", id="IPv6 and port"),
    ],
)
def test_host(more: dict[str, Any], expected: bytes) -> None:
    """The Host field says the port where it is not the scheme's own."""
    assert expected == upstream_of(upstream(**more)).origin.host


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(UpstreamKind.ANTHROPIC, b"x-api-key"), (UpstreamKind.GEMINI, b"x-goog-api-key")],
    ids=["anthropic", "gemini"],
)
def test_key_field(kind: UpstreamKind, expected: bytes) -> None:
    """Each API takes its key in a field of its own."""
    assert expected == upstream_of(upstream(kind=kind)).origin.key_field


def head(length: int | None, fields: bytes = b"", **said: bytes) -> RequestHead:
    """Return a request head; *said* with ``_`` for ``-``."""
    found = {name.replace("_", "-").encode(): value for name, value in said.items()}
    return RequestHead(
        "POST", b"/v1/messages?a", "/v1/messages", b"a", fields, fields, found, length
    )


def test_body_passes_as_it_came() -> None:
    """Without a rename the body is the object that was received, and its length stands."""
    fields = b"\r\nContent-Length: 24"
    got = upstream_of(upstream()).prepare(head(24, fields), BODY, b"key", SHOWN, None)
    expected = (
        b"POST /v1/messages?a HTTP/1.1\r\nhost: api.test"
        b"\r\nContent-Length: 24\r\nx-api-key: operators"
    )

    assert expected == got.head
    assert BODY is got.body
    assert b"operators" == got.secret


def test_prefix() -> None:
    """What the base URL puts before every path goes before the path as received."""
    got = upstream_of(upstream(prefix="/x/y")).prepare(head(0), None, b"", SHOWN, None)

    assert got.head.startswith(b"POST /x/y/v1/messages?a HTTP/1.1\r\n")


def test_streamed_body_is_not_held() -> None:
    """A body that is passed on as it arrives is none here, whatever the route would rename."""
    got = upstream_of(upstream()).prepare(head(None), None, b"", SHOWN, "new")

    assert got.body is None
    assert b"content-length" not in got.head


def test_chunked_body_goes_whole() -> None:
    """A held body that came in chunks goes up with a length."""
    got = upstream_of(upstream()).prepare(head(None), BODY, b"", SHOWN, None)

    assert got.head.count(b"content-length: 24\r\n") == 1


def test_renamed_body_has_its_length() -> None:
    """A body with another model has another length, said once."""
    fields = b"\r\nCONTENT-LENGTH: 24\r\na: b"
    got = upstream_of(upstream()).prepare(head(24, fields), BODY, b"", SHOWN, "longer")
    assert got.body is not None

    assert {"model": "longer", "n": 1} == json.loads(got.body)
    assert b"a: b\r\ncontent-length: %d\r\nx-api-key" % len(got.body) in got.head
    assert b"CONTENT" not in got.head


def test_coded_body_cannot_be_renamed() -> None:
    """A model that stands in a coded body cannot be changed, so the request is refused."""
    coded = head(24, content_encoding=b"gzip")
    with pytest.raises(Refused) as refused:
        upstream_of(upstream()).prepare(coded, b"x", b"", SHOWN, "new")

    assert "request" == refused.value.fault.code
    assert refused.value.fault.message.startswith("content-encoding: ")


def test_own_credential_must_come() -> None:
    """An upstream that takes the client's own credential is sent none without one."""
    own = Credential("up", CredentialKind.CLIENT)
    with pytest.raises(Refused) as refused:
        upstream_of(upstream()).prepare(head(0, x_api_key=b"key"), b"", b"key", own, None)

    assert faults.OWN_CREDENTIAL is refused.value.fault


def test_reply_head() -> None:
    """A response head loses what echoes the credential."""
    fields = b"HTTP/1.1 200 OK\r\na: operators\r\nb: c"
    said = AnswerHead(200, fields, {}, 0, chunked=False, keep_alive=True)
    got = upstream_of(upstream()).reply_head(said, SHOWN)

    assert b"HTTP/1.1 200 OK\r\nb: c" == got


@pytest.mark.parametrize(
    ("method", "path", "metered"),
    [
        pytest.param("POST", "/v1/messages", True, id="an answer"),
        pytest.param("GET", "/v1/messages", False, id="not asked to answer"),
        pytest.param("POST", "/v1/messages/count_tokens", False, id="counting is free"),
        pytest.param("POST", "/v1/messages/batches", False, id="a batch answers later"),
        pytest.param("GET", "/v1/messages/batches/b/results", False, id="batch results"),
        pytest.param("POST", "/v1beta/models/g:generateContent", True, id="Gemini"),
        pytest.param("POST", "/v1/models/g:streamGenerateContent", True, id="its stream"),
        pytest.param("POST", "/v1beta/models/g:countTokens", False, id="its counting"),
        pytest.param("POST", "/v1beta/models/g:batchGenerateContent", False, id="its batch"),
        pytest.param("POST", "/v1beta/files", False, id="its files"),
    ],
)
def test_what_is_metered(method: str, path: str, *, metered: bool) -> None:
    """Answers to Messages requests are metered, and nothing else."""
    head = RequestHead(method, path.encode(), path)

    assert metered == (upstream_of(upstream()).meter_for(head) is not None)


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("GET", None, b""),
        ("POST", b"{}", b"\r\ncontent-type: application/json\r\ncontent-length: 2"),
    ],
)
def test_asks(method: str, body: bytes | None, expected: bytes) -> None:
    """A request of ours says where it goes, what it brings and whose it is, and no more."""
    shown = Credential("up", CredentialKind.API_KEY, b"secret")
    asked = upstream_of(upstream(prefix="/pre"))
    got = asked.asks(method, "/v1beta/models", body, shown)
    host = asked.origin.host
    start = b"%s /pre/v1beta/models HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), host)

    assert (body or b"", b"secret") == (got.body, got.secret)
    assert start + b"accept-encoding: identity" + expected + b"\r\nx-api-key: secret" == got.head
