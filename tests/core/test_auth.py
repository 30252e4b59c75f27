"""Whose request it is: the key, where it may stand, and what it may never be."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import faults
from passgate.core.auth import Client, identify, presented_key
from passgate.core.faults import Fault, Refused

KEY = b"pg_only-for-this-test"


def digest(key: bytes) -> bytes:
    """Return how a key is kept."""
    return hashlib.sha256(key).digest()


CLIENTS = {
    digest(key): Client(name, digest(key), expires_s=expires)
    for key, name, expires in [(KEY, "one", None), (b"old", "two", 100.0), (b"new", "two", 200.0)]
}


@pytest.mark.parametrize(
    ("presented", "now_s", "expected"),
    [
        pytest.param(KEY, 1e9, "one", id="a key that never expires"),
        pytest.param(b"old", 99.9, "two", id="just before it expires"),
        pytest.param(b"new", 150.0, "two", id="the second key of one name"),
    ],
)
def test_known(presented: bytes, now_s: float, expected: str) -> None:
    """A known key names its client, as long as it is good."""
    assert expected == identify(presented, CLIENTS, now_s).name


@pytest.mark.parametrize(
    ("presented", "now_s"),
    [
        pytest.param(b"", 0.0, id="none"),
        pytest.param(b"unknown", 0.0, id="unknown"),
        pytest.param(KEY + b"x", 0.0, id="longer"),
        pytest.param(KEY[:-1], 0.0, id="shorter"),
        pytest.param(KEY.upper(), 0.0, id="other case"),
        pytest.param(b"old", 100.0, id="expired at this moment"),
        pytest.param(digest(KEY), 0.0, id="what is kept of a key"),
    ],
)
def test_unknown(presented: bytes, now_s: float) -> None:
    """No key, a wrong one, an expired one: one answer for all."""
    with pytest.raises(Refused) as refused:
        identify(presented, CLIENTS, now_s)

    assert faults.KEY is refused.value.fault


def test_no_key_is_nobody_even_if_configured() -> None:
    """The digest of an empty key, configured by mistake, lets nobody in."""
    empty = Client("empty", digest(b""))

    with pytest.raises(Refused):
        identify(b"", {empty.digest: empty}, 0.0)


def test_digest_that_differs_is_refused() -> None:
    """The client's own digest counts, not the place at which it was found."""
    misplaced = {digest(b"a"): Client("b", digest(b"b"))}

    with pytest.raises(Refused):
        identify(b"a", misplaced, 0.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, b"", id="none"),
        pytest.param({b"x-api-key": b"a"}, b"a", id="x-api-key"),
        pytest.param({b"x-goog-api-key": b"a"}, b"a", id="x-goog-api-key"),
        pytest.param({b"authorization": b"Bearer a"}, b"a", id="bearer"),
        pytest.param({b"authorization": b"bEARER   a"}, b"a", id="bearer, any case and spaces"),
        pytest.param({b"authorization": b"Basic YTpi"}, b"", id="basic is not a key"),
        pytest.param({b"authorization": b"Bearer"}, b"", id="bearer of nothing"),
        pytest.param({b"authorization": b"Bearer a\nBasic b"}, b"", id="bearer and basic"),
        pytest.param({b"authorization": b"Bearer a\nbearer a"}, b"a", id="bearer twice, the same"),
        pytest.param({b"x-api-key": b"a\na\na"}, b"a", id="three times the same"),
        pytest.param({b"x-api-key": b"a", b"authorization": b"Bearer a"}, b"a", id="both the same"),
        pytest.param({b"x-api-key": b"", b"authorization": b"Bearer a"}, b"a", id="one empty"),
        pytest.param({b"x-api-key": b"a", b"x-goog-api-key": b""}, b"a", id="the other empty"),
        pytest.param({b"x-api-key": b"a", b"authorization": b"Basic b"}, b"a", id="and basic"),
        pytest.param(
            {b"x-passgate-key": b"a", b"x-api-key": b"b", b"authorization": b"Bearer c"},
            b"a",
            id="x-passgate-key alone counts",
        ),
        pytest.param({b"x-passgate-key": b"", b"x-api-key": b"b"}, b"", id="even if it is empty"),
        pytest.param({b"x-passgate-key": b"a\na"}, b"a", id="x-passgate-key twice, the same"),
    ],
)
def test_presented_key(said: dict[bytes, bytes], expected: bytes) -> None:
    """The key may stand in three fields, or alone in our own."""
    assert expected == presented_key(said, None)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({b"x-api-key": b"a\nb"}, id="one field twice"),
        pytest.param({b"x-passgate-key": b"a\nb"}, id="our own twice"),
        pytest.param({b"authorization": b"Bearer a\nBearer b"}, id="bearer twice"),
        pytest.param({b"x-api-key": b"a", b"authorization": b"Bearer b"}, id="key and bearer"),
        pytest.param({b"x-api-key": b"a", b"x-goog-api-key": b"b"}, id="two kinds"),
        pytest.param(
            {b"x-api-key": b"a", b"authorization": b"Bearer a", b"x-goog-api-key": b"b"},
            id="the third differs",
        ),
    ],
)
def test_two_keys(said: dict[bytes, bytes]) -> None:
    """Two keys that differ are refused, wherever they stand: one of them would travel on."""
    with pytest.raises(Refused) as refused:
        presented_key(said, None)

    assert faults.TWO_KEYS is refused.value.fault


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"beta=true&after_id=x", None, id="others"),
        pytest.param(b"monkey=1&keys=2&api_keys=3", None, id="names that only contain one"),
        pytest.param(b"a=key", None, id="a value that is such a name"),
        pytest.param(b"key=AIza", faults.KEY_IN_QUERY, id="key"),
        pytest.param(b"alt=sse&key=AIza", faults.KEY_IN_QUERY, id="key behind another"),
        pytest.param(b"KEY=AIza", faults.KEY_IN_QUERY, id="upper case"),
        pytest.param(b"key", faults.KEY_IN_QUERY, id="without a value"),
        pytest.param(b"key&a=b", faults.KEY_IN_QUERY, id="without a value, behind it another"),
        pytest.param(b"api_key=x", faults.KEY_IN_QUERY, id="api_key"),
        pytest.param(b"access_token=x", faults.KEY_IN_QUERY, id="access_token"),
        pytest.param(b"%6Bey=x", faults.KEY_IN_QUERY, id="an escaped letter"),
        pytest.param(b"a=1%26key=x", faults.KEY_IN_QUERY, id="an escaped ampersand"),
        pytest.param(b"x=" + KEY, faults.KEY_IN_QUERY, id="the key itself, by another name"),
        pytest.param(b"x=a" + KEY + b"b", faults.KEY_IN_QUERY, id="the key within a value"),
        pytest.param(
            b"x=" + KEY.replace(b"_", b"%5f"), faults.KEY_IN_QUERY, id="the key with an escape"
        ),
    ],
)
def test_key_in_query(query: bytes, expected: Fault | None) -> None:
    """A query ends in logs and histories: no key may stand in it, by whatever name."""
    fault = None
    try:
        got = presented_key({b"x-api-key": KEY}, query)
    except Refused as refused:
        fault, got = refused.fault, KEY

    assert (expected, KEY) == (fault, got)


def test_query_without_key() -> None:
    """Where no key is shown, the query is still looked at for one, and for nothing else."""
    with pytest.raises(Refused):
        presented_key({}, b"key=x")

    assert presented_key({}, b"a=b") == b""


@given(st.binary(min_size=1, max_size=20).filter(lambda key: b"\n" not in key), st.binary())
def test_any_byte_of_the_key_counts(key: bytes, other: bytes) -> None:
    """Whatever bytes are shown: they are the key, or they are refused."""
    clients = {digest(key): Client("it", digest(key))}
    shown = presented_key({b"x-api-key": key}, None)

    assert key == shown
    assert "it" == identify(shown, clients, 0.0).name
    if other != key:
        with pytest.raises(Refused):
            identify(other, clients, 0.0)
