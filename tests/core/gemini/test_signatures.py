"""Envelopes, scopes and ids: what travels through a client comes back as it was."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.signatures import (
    DUMMY,
    Envelope,
    Forgetful,
    Kind,
    base62,
    decode,
    scope_of,
    taken_by,
    text_key,
    tool_id_down,
    tool_id_up,
)

MODEL = "gemini-3.8-flash"
SCOPE = "9f2c01aa"
CARRIED = "pg1:f:gemini-3.8-flash:9f2c01aa:toolu_g_k3x9:EsoB"

models = st.from_regex(r"gemini-[a-z0-9.-]{1,20}", fullmatch=True)
scopes = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
tool_ids = st.from_regex(r"toolu_[gp]_[A-Za-z0-9_-]{1,40}", fullmatch=True)
signatures = st.from_regex(r"[A-Za-z0-9+/_-]{2,200}={0,2}", fullmatch=True)
envelopes = st.builds(
    Envelope, st.sampled_from(Kind), models, scopes, st.none() | tool_ids, st.none() | signatures
)


@given(envelopes)
def test_there_and_back(envelope: Envelope) -> None:
    """An envelope is read as it was written, and is ASCII without a space."""
    written = envelope.encode()

    assert envelope == decode(written)
    assert re.fullmatch(r"[!-~]+", written)


@given(st.text() | st.text().map("pg1:".__add__) | st.text(":-fhn019a", max_size=40))
def test_any_signature(signature: str) -> None:
    """Whatever a client calls a signature, reading it does not fail."""
    got = decode(signature)

    assert got is None or signature == got.encode()


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        pytest.param(
            CARRIED, Envelope(Kind.CALL, MODEL, SCOPE, "toolu_g_k3x9", "EsoB"), id="of a call"
        ),
        pytest.param(
            "pg1:h:gemini-4-argon:9f2c01aa:-:a+/b==",
            Envelope(Kind.THOUGHT, "gemini-4-argon", SCOPE, None, "a+/b=="),
            id="of a thought",
        ),
        pytest.param(
            "pg1:n:gemini-3.8-flash:9f2c01aa:-:-",
            Envelope(Kind.NOTHING, MODEL, SCOPE),
            id="of nothing",
        ),
        pytest.param("EqQBCgIYAhIM", None, id="claude"),
        pytest.param("", None, id="empty"),
        pytest.param("pg2:n:m:9f2c01aa:-:-", None, id="a later version"),
        pytest.param("pg1:x:m:9f2c01aa:-:-", None, id="unknown kind"),
        pytest.param("pg1:f:m:9f2c01aa:toolu_g_a:", None, id="cut"),
        pytest.param("pg1:f:m:9f2c01aa:toolu_g_a:a b", None, id="a space"),
        pytest.param("pg1:f:m:9f2c01:toolu_g_a:ab", None, id="short scope"),
    ],
)
def test_decode(signature: str, expected: Envelope | None) -> None:
    """What passgate did not write, or somebody broke, is no envelope."""
    assert expected == decode(signature)


def test_scope() -> None:
    """A scope stands for a project, and with a salt tells nothing of the key."""
    got = scope_of(b"first")

    assert re.fullmatch("[0-9a-f]{8}", got)
    assert got == scope_of(b"first") != scope_of(b"second")
    assert got != scope_of(b"first", salt=b"x")


def test_text_key() -> None:
    """A text's signature is found by model and text; half a character is a text, too."""
    got = text_key(MODEL, "a\ud800")

    assert 32 == len(got)
    assert got == text_key(MODEL, "a\ud800") != text_key("gemini-4-argon", "a\ud800")


def test_forgetful() -> None:
    """A process that has just started remembers nothing."""
    forgetful = Forgetful()

    assert (None, None) == (forgetful.call("toolu_g_a"), forgetful.text(b"k"))


def test_dummy() -> None:
    """The documented value, in its literal form."""
    assert "skip_thought_signature_validator" == DUMMY


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 42))
def test_base62(of: str, length: int) -> None:
    """As long as asked for, the same for the same."""
    got = base62(of, length)

    assert re.fullmatch(f"[0-9A-Za-z]{{{length}}}", got)
    assert got == base62(of, length)


@pytest.mark.parametrize(
    ("gemini_id", "taken", "expected"),
    [
        pytest.param("k3x9", (), r"toolu_g_k3x9", id="kept"),
        pytest.param("a" * 40, (), "toolu_g_" + "a" * 40, id="longest"),
        pytest.param("a" * 41, (), r"toolu_p_[0-9A-Za-z]{22}", id="too long"),
        pytest.param(None, (), r"toolu_p_[0-9A-Za-z]{22}", id="no-id"),
        pytest.param("", (), r"toolu_p_[0-9A-Za-z]{22}", id="empty"),
        pytest.param("call:1/2", (), r"toolu_p_[0-9A-Za-z]{22}", id="id-odd-chars"),
        pytest.param("k3x9", ("toolu_g_k3x9",), r"toolu_p_[0-9A-Za-z]{22}", id="id-collision"),
    ],
)
def test_id_down(gemini_id: str | None, taken: tuple[str, ...], expected: str) -> None:
    """A client's id is short, legal, and new in its conversation."""
    got = tool_id_down(gemini_id, "r1", 0, 0, taken)

    assert re.fullmatch(expected, got)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", got)
    assert got == tool_id_down(gemini_id, "r1", 0, 0, taken)


def test_made_ids_differ() -> None:
    """Calls without an id differ by answer, hop and place, and from all that were."""
    made = {tool_id_down(None, r, hop, n, ()) for r in "ab" for hop in (0, 1) for n in (0, 1)}
    first = tool_id_down(None, "", 0, 0, ())
    second = tool_id_down(None, "", 0, 0, {first})

    assert 8 == len(made)
    assert first != second != tool_id_down(None, "", 0, 0, {first, second})


@pytest.mark.parametrize(
    ("tool_id", "expected"),
    [
        pytest.param("toolu_g_k3x9", "k3x9", id="kept"),
        pytest.param("toolu_p_abc", None, id="made"),
        pytest.param("toolu_01AbC", "toolu_01AbC", id="claude-ids"),
    ],
)
def test_id_up(tool_id: str, expected: str | None) -> None:
    """Gemini gets back its own id, none where it gave none, and a stranger's as it is."""
    assert expected == tool_id_up(tool_id)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True))
def test_id_there_and_back(gemini_id: str) -> None:
    """An id that Gemini gave comes back to it."""
    assert gemini_id == tool_id_up(tool_id_down(gemini_id, "r", 0, 0, ()))


def test_taken() -> None:
    """Gemini must not give a call the id that a call of Claude's already has there."""
    taken = taken_by("toolu_01") | taken_by("toolu_p_x") | taken_by("toolu_g_a")

    assert {"toolu_01", "toolu_g_toolu_01", "toolu_p_x", "toolu_g_a"} == taken
    assert tool_id_down("toolu_01", "r", 0, 0, taken).startswith("toolu_p_")
