"""The tests of ``core/known.py``."""

from __future__ import annotations

import pytest

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.credential import Credential
from passgate.core.exchange import RequestHead
from passgate.core.faults import Refused
from passgate.core.headers import FIND, KEPT, Origin, cut
from passgate.core.known import Known
from passgate.core.routing import PathKind
from passgate.core.settings import CredentialKind
from passgate.core.upstreams import PassThrough

KEY = b"a-key-that-only-this-test-knows"
UPSTREAM = PassThrough("a", Origin(b"api", b"", b"x-api-key"))
CREDENTIAL = Credential("a", CredentialKind.API_KEY, b"the-credential")


def head(length: bytes, *, between: bytes = b": ") -> RequestHead:
    """Return the head of a request with a body of *length*."""
    raw = b"\r\nHost: g\r\nX-Api-Key: " + KEY + b"\r\nContent-Length" + between + length
    raw += b"\r\nX-Last: 1"
    fields, said = cut(raw, FIND, KEPT)
    path = "/v1/messages"
    return RequestHead("POST", path.encode(), path, None, raw, fields, said, int(length))


def known(expires_s: float | None = None) -> Known:
    """Return what is known of a client's first request."""
    return Known(object(), PathKind.MESSAGES, KEY, Client("c", b"", expires_s))


@pytest.mark.parametrize(("expires_s", "good"), [(None, True), (101.0, True), (100.0, False)])
def test_expiry(expires_s: float | None, good: bool) -> None:  # noqa: FBT001
    """A key that was identified before is refused from the second it expires."""
    if good:
        known(expires_s).check(100.0)
        return
    with pytest.raises(Refused) as caught:
        known(expires_s).check(100.0)

    assert faults.KEY is caught.value.fault


@pytest.mark.parametrize("between", [b": ", b":", b":\t "])
@pytest.mark.parametrize("length", [b"1", b"7", b"0012345"])
def test_same_as_prepared(between: bytes, length: bytes) -> None:
    """The second request is to the byte what it would have been without the first."""
    remembering, body = known(), b"x" * int(length)
    remembering.outbound(UPSTREAM, head(b"3", between=between), b"abc", CREDENTIAL, None)
    second = head(length, between=between)
    got = remembering.outbound(UPSTREAM, second, body, CREDENTIAL, None)

    assert UPSTREAM.prepare(second, body, KEY, CREDENTIAL, None) == got
    assert KEY not in got.head


def test_another_credential_or_upstream() -> None:
    """After a rotation, and where another model goes elsewhere, nothing old is sent."""
    remembering = known()
    other = Credential("a", CredentialKind.API_KEY, b"the-next-credential")
    elsewhere = PassThrough("b", Origin(b"other", b"/p", b"x-api-key"))
    for upstream, credential in (
        (UPSTREAM, CREDENTIAL),
        (UPSTREAM, other),
        (elsewhere, other),
        (UPSTREAM, CREDENTIAL),
    ):
        got = remembering.outbound(upstream, head(b"3"), b"abc", credential, None)

        assert upstream.prepare(head(b"3"), b"abc", KEY, credential, None) == got


def test_renamed_streamed_and_without_length() -> None:
    """What is not the ordinary request is prepared anew each time."""
    remembering = known()
    body = b'{"model":"m"}'
    length = str(len(body)).encode()
    remembering.outbound(UPSTREAM, head(length), body, CREDENTIAL, None)
    renamed = remembering.outbound(UPSTREAM, head(length), body, CREDENTIAL, "longer-name")
    streamed = remembering.outbound(UPSTREAM, head(length), None, CREDENTIAL, None)
    bare = RequestHead("POST", b"/v1/messages", "/v1/messages", fields=b"", said={})
    empty = remembering.outbound(UPSTREAM, bare, b"", CREDENTIAL, None)

    assert (b'{"model":"longer-name"}', None, b"") == (renamed.body, streamed.body, empty.body)
    assert b"Content-Length" not in empty.head
