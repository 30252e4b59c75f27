"""What a machine may say of itself, and how all of them are told of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.faults import Refused
from passgate.core.installs import (
    MAX_TOLD_APART,
    InstallCounts,
    as_json,
    as_text,
    install_of,
    told_apart,
    wants_text,
)

ID = "6f9619ff-8b86-4d11-b42d-00c04fc964ff"


def body(**changes: object) -> bytes:
    """Return a report; a value of None leaves that field out."""
    said = {"install_id": ID, "version": "1.4.0", "platform": "linux-x86_64"} | changes
    return json.dumps({k: v for k, v in said.items() if v is not None}).encode()


def test_install() -> None:
    """A report is read as it is."""
    install = install_of(body(install_id=ID.upper(), version="v" * 32, platform="A+z_0.9-x"))

    assert (ID.upper(), "v" * 32, "A+z_0.9-x") == (
        install.install_id,
        install.version,
        install.platform,
    )


WRONG = {
    "no-id": (body(install_id=None), "install_id"),
    "no-version": (body(version=None), "version"),
    "no-platform": (body(platform=None), "platform"),
    "id-is-no-uuid": (body(install_id="me"), "install_id"),
    "id-in-braces": (body(install_id="{" + ID + "}"), "install_id"),
    "id-and-line": (body(install_id=ID + "\n"), "install_id"),
    "id-is-a-number": (body(install_id=7), "install_id"),
    "version-is-empty": (body(version=""), "version"),
    "version-is-long": (body(version="1" * 33), "version"),
    "version-with-space": (body(version="1 0"), "version"),
    "version-with-quote": (body(version='1"} 9'), "version"),
    "version-and-line": (body(version="1\n"), "version"),
    "platform-not-ascii": (body(platform="lin\u00fcx"), "platform"),
    "another-field": (body(hostname="mine"), "hostname"),
    "a-list": (b"[]", "object"),
    "null": (b"null", "object"),
    "no-json": (b"{", "JSON"),
    "nothing": (b"", "JSON"),
    "no-utf-8": (b'{"install_id":"\xff"}', "JSON"),
    "two": (body() + body(), "JSON"),
}


@pytest.mark.parametrize(("said", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong(said: bytes, named: str) -> None:
    """What is not right is refused, and the refusal names what."""
    with pytest.raises(Refused) as refused:
        install_of(said)

    assert (400, "request") == (refused.value.fault.status, refused.value.fault.code)
    assert named in refused.value.fault.message


@given(st.binary(max_size=80))
def test_anything(said: bytes) -> None:
    """No body does anything but be refused."""
    with pytest.raises(Refused):
        install_of(said)


APART = {
    "none": ({}, 0, {}),
    "all": ({"a": 2, "b": 1}, 3, {"a": 2, "b": 1}),
    "others": ({"a": 2}, 5, {"a": 2, "other": 3}),
    "called-other": ({"other": 2}, 5, {"other": 5}),
}


@pytest.mark.parametrize(("counts", "total", "expected"), APART.values(), ids=APART.keys())
def test_told_apart(counts: dict[str, int], total: int, expected: dict[str, int]) -> None:
    """What is not told apart is one sum, and nothing is lost."""
    assert expected == told_apart(counts, total)


def test_so_many_are_told_apart() -> None:
    """The first so many have a name."""
    told = told_apart({str(n): 1 for n in range(80)}, 80)

    assert [*map(str, range(MAX_TOLD_APART)), "other"] == list(told)
    assert 30 == told["other"]


ACCEPTED = {
    "nothing": (b"", False),
    "anything": (b"*/*", False),
    "json": (b"application/json", False),
    "either": (b"text/plain, application/json", False),
    "text": (b"text/plain;version=0.0.4", True),
    "prometheus": (b"application/openmetrics-text;version=1.0.0,text/plain;q=0.3,*/*;q=0.1", True),
}


@pytest.mark.parametrize(("accept", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_wants_text(accept: bytes, *, expected: bool) -> None:
    """JSON, but for who asks for text."""
    assert expected == wants_text(accept)


COUNTS = InstallCounts(3, {"24h": 1}, {"1.0": 2, "other": 1}, {"linux": 3})


def test_as_json() -> None:
    """Programs are told everything by name."""
    assert {
        "installs": 3,
        "active": {"24h": 1},
        "by_version": {"1.0": 2, "other": 1},
        "by_platform": {"linux": 3},
    } == json.loads(as_json(COUNTS))


def test_as_text() -> None:
    """Prometheus is told the same."""
    lines = as_text(COUNTS).decode().splitlines()

    assert [
        "passgate_installs 3",
        'passgate_installs_active{within="24h"} 1',
        'passgate_installs_by_version{version="1.0"} 2',
        'passgate_installs_by_version{version="other"} 1',
        'passgate_installs_by_platform{platform="linux"} 3',
    ] == [line for line in lines if not line.startswith("#")]
    assert as_text(COUNTS).endswith(b"\n")
