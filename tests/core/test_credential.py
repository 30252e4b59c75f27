"""What may be a credential, and that it cannot be shown by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import faults
from passgate.core.credential import (
    Credential,
    CredentialMissing,
    Unusable,
    key_lines,
    key_list,
    only_secret,
)
from passgate.core.settings import CredentialKind


def test_repr_shows_no_secret() -> None:
    """A credential in a log line or a traceback shows whose it is, not what it is."""
    got = repr(Credential("claude", CredentialKind.BEARER, b"s3cr3t"))
    expected = "Credential(name='claude', kind=<CredentialKind.BEARER: 'bearer'>)"

    assert expected == got


def test_missing_credential_is_a_refusal() -> None:
    """Without a credential an exchange is refused with the fault that says so."""
    expected = faults.CREDENTIAL
    assert expected == CredentialMissing().fault


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"abc", b"abc", id="plain"),
        pytest.param(b"\r\n\t abc \r\n\n", b"abc", id="white space around"),
        pytest.param(b"!~#=/+", b"!~#=/+", id="any printable character"),
    ],
)
def test_only_secret(raw: bytes, expected: bytes) -> None:
    """What is left without the white space around it is the credential."""
    assert expected == only_secret(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n\t", "is empty", id="white space"),
        pytest.param(b"a\nb", "holds more than one line", id="two lines"),
        pytest.param(b"a\rb", "holds more than one line", id="carriage return"),
        pytest.param(b"a b", "holds a space", id="space"),
        pytest.param(b"a\0b", "holds a space", id="control character"),
        pytest.param(b"a\x7fb", "holds a space", id="DEL"),
        pytest.param("aéb".encode(), "holds a space", id="not ASCII"),
    ],
)
def test_no_secret(raw: bytes, expected: str) -> None:
    """What could not stand in a header field, or is more than one value, is refused."""
    with pytest.raises(Unusable, match=expected):
        only_secret(raw)


@given(raw=st.binary())
def test_no_value_splits_a_header(raw: bytes) -> None:
    """Whatever a source holds, what is taken from it is one run of visible ASCII."""
    try:
        got = only_secret(raw)
    except Unusable:
        return
    expected = (True, True)

    assert expected == (got in raw, all(0x21 <= byte <= 0x7E for byte in got))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"abc", [b"abc"], id="one line"),
        pytest.param(b"# first\n\n  abc  \ndef\n", [b"abc", b"def"], id="comment and empty line"),
        pytest.param(b"\r\nabc\r\n", [b"abc"], id="CRLF"),
        pytest.param(b"team-1=abc", [b"team-1=abc"], id="label"),
        pytest.param(b"abc=", [b"abc="], id="nothing follows"),
        pytest.param(b"bad key\nteam=bad\xff\ngood", [b"good"], id="unusable ones are passed over"),
        pytest.param(b"", [], id="empty"),
        pytest.param(b"\n# only\n", [], id="comments"),
        pytest.param(b"a b\n", [], id="unusable"),
    ],
)
def test_key_lines(raw: bytes, expected: list[bytes]) -> None:
    """Each line that holds a usable key counts; a list of none is no credential."""
    assert expected == key_lines(raw)
    if expected:
        assert b"\n".join(expected) == key_list(raw)
    else:
        with pytest.raises(Unusable, match="holds no usable key"):
            key_list(raw)
