"""Tool names there and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.names import NameMap

LONG = "mcp__" + "a" * 95
FITS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=90) | st.from_regex(
    r"[a-zA-Z0-9_-]{1,128}", fullmatch=True
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("Read", "Read", id="fits"),
        pytest.param("mcp__git__log-all", "mcp__git__log-all", id="MCP"),
        pytest.param("a" * 64, "a" * 64, id="longest"),
        pytest.param("7zip", "_7zip", id="digit"),
        pytest.param("-v", "_-v", id="hyphen"),
        pytest.param(LONG, f"{LONG[:55]}_[0-9a-f]{{8}}", id="name-128"),
        pytest.param("7" * 64, f"_{'7' * 54}_[0-9a-f]{{8}}", id="a digit too long"),
        pytest.param("two words", "two_words_[0-9a-f]{8}", id="odd"),
        pytest.param("é", "__[0-9a-f]{8}", id="not ASCII"),
    ],
)
def test_up(name: str, expected: str) -> None:
    """A name that Gemini takes stays; any other gets one that tells it apart."""
    got = NameMap([name])

    assert re.fullmatch(expected, got.up(name))
    assert name == got.down(got.up(name))


def test_collision() -> None:
    """Two names that would become one are told apart, and the one that fits keeps its form."""
    for order in (["7zip", "_7zip"], ["_7zip", "7zip"]):
        got = NameMap(order)

        assert "_7zip" == got.up("_7zip")
        assert re.fullmatch("_7zip_[0-9a-f]{8}", got.up("7zip"))


def test_collision_with_the_hash() -> None:
    """Somebody who names a tool as another's name would be told apart does not get it."""
    taken = NameMap(["_7zip", "7zip"]).up("7zip")
    got = NameMap(["_7zip", taken, "7zip"])

    assert taken == got.up(taken) != got.up("7zip")
    assert "7zip" == got.down(got.up("7zip"))


@given(st.lists(names, max_size=12))
def test_any_names(some: list[str]) -> None:
    """Whatever tools are called, each has a name of its own at Gemini, and it leads back."""
    got = NameMap(some)
    ups = {name: got.up(name) for name in some}

    assert len(set(some)) == len(set(ups.values()))
    assert all(FITS.fullmatch(up) for up in ups.values())
    assert ups == {name: NameMap(some).up(name) for name in some}
    assert some == [got.down(ups[name]) for name in some]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("Read", "Read", id="known"),
        pytest.param("default_api:Read", "Read", id="echoed prefix"),
        pytest.param("default_api.Read", "Read", id="echoed with a dot"),
        pytest.param("default_api:_7zip", "7zip", id="echoed and mapped"),
        pytest.param("read", "Read", id="case"),
        pytest.param("default_api:READ", "Read", id="echoed in another case"),
        pytest.param("WRITE", "WRITE", id="case of two"),
        pytest.param("Fly", "Fly", id="unknown"),
        pytest.param("default_api:Fly", "default_api:Fly", id="unknown with the prefix"),
        pytest.param("7ZIP", "7zip", id="case of the client's name"),
    ],
)
def test_down(said: str, expected: str) -> None:
    """What the model calls is understood where only one tool can be meant."""
    assert expected == NameMap(["Read", "Write", "write", "7zip"]).down(said)


def test_a_tool_with_the_prefix() -> None:
    """A tool that is called so is not another one."""
    assert "default_api:Read" == NameMap(["Read", "default_api:Read"]).down("default_api:Read")


def test_history() -> None:
    """A name that only the history has is entered as it comes."""
    got = NameMap(["Read"])

    assert ("_1", "1") == (got.up("1"), got.down("_1"))
