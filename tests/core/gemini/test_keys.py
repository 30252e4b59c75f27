"""The keys of a Gemini upstream: what a file holds, which one is shown, which rest."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini import keys as keys_module
from passgate.core.gemini.keys import Counts, Key, Ring, keys_in, until_reset_s
from passgate.core.gemini.signatures import scope_of
from passgate.core.gemini.status import GoogleError

ZONE = ZoneInfo("America/Los_Angeles")
NOON = datetime(2026, 11, 24, 20, 0, tzinfo=UTC).timestamp()  # 12:00 in Los Angeles
A, B, C = keys_in(b"a=one\nb=two\nc=three", b"")
BUSY = GoogleError(429, "RESOURCE_EXHAUSTED")
INVALID = GoogleError(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")
DENIED = GoogleError(403, "PERMISSION_DENIED")


def ring(*held: Key) -> Ring:
    """Return a ring with these keys, or with three."""
    made = Ring(ZONE)
    made.holds(held or (A, B, C))
    return made


def test_keys_in() -> None:
    """Each key is held once, named by its label or its place."""
    got = keys_in(b"# mine\nteam-1=AQ.x=y\n\nAQ.plain\nteam-1=AQ.z\nother=AQ.plain\n", b"salt")

    assert [
        Key("team-1", scope_of(b"team-1"), b"AQ.x=y"),
        Key("key 2", scope_of(b"AQ.plain", b"salt"), b"AQ.plain"),
        Key("team-1", scope_of(b"team-1"), b"AQ.z"),
    ] == list(got)


def test_a_label_that_holds_its_key() -> None:
    """Its key would be shown with it: it goes by its place."""
    [key] = keys_in(b"the-AQ_secret-one=AQ_secret", b"salt")

    assert key.name == "key 1"
    assert key.scope == scope_of(b"the-AQ_secret-one")


def test_scope_tells_nothing() -> None:
    """A scope is eight hex digits; without label it depends on the installation."""
    [here], [there] = keys_in(b"AQ.plain", b"1"), keys_in(b"AQ.plain", b"2")

    assert here.scope != there.scope
    assert 8 == len(here.scope) == len(f"{int(here.scope, 16):08x}")
    assert "AQ" not in repr(here)


@pytest.mark.parametrize(
    ("now", "expected_s"),
    [
        ((2026, 11, 24, 20, 0), 12 * 3600),
        ((2026, 11, 25, 7, 59), 60),
        ((2026, 11, 25, 8, 0), 24 * 3600),
        ((2026, 10, 31, 19, 0), 12 * 3600),  # the day before the clocks go back
        ((2026, 11, 1, 7, 30), 25 * 3600 - 1800),  # the day on which they do
    ],
)
def test_reset(now: tuple[int, int, int, int, int], expected_s: int) -> None:
    """Quotas of the day come back at midnight in Los Angeles, also when its clocks change."""
    assert expected_s == until_reset_s(datetime(*now, tzinfo=UTC).timestamp(), ZONE)


@given(st.binary(max_size=20), st.sets(st.sampled_from([A, B, C]), max_size=2))
def test_a_conversation_keeps_its_key(conversation: bytes, gone: set[Key]) -> None:
    """While its key is there a conversation stays with it, whichever others come or go."""
    chosen = ring().choose("m", conversation, None, (), 0)
    left = [key for key in (A, B, C) if key not in gone]
    again = ring(*left).choose("m", conversation, None, (), 0)

    assert chosen is not None
    assert again == chosen or chosen in gone
    assert ring(*left).choose("m", conversation, None, (), 5) == again


def test_conversations_spread() -> None:
    """Many conversations use every key."""
    used = {ring().choose("m", b"%d" % each, None, (), 0) for each in range(50)}

    assert {A, B, C} == used


def test_signatures_choose_the_key() -> None:
    """A conversation with signatures goes to the key that they are good with, if it is ready."""
    held = ring()
    others = [b"%d" % each for each in range(20)]

    assert {B} == {held.choose("m", each, B.scope, (), 0) for each in others}
    held.learn(B, "m", BUSY, 0, NOON)
    assert B not in {held.choose("m", each, B.scope, (), 0) for each in others}
    assert {C} == {held.choose("m", each, scope_of(b"x"), (A,), 0) for each in others}


@pytest.mark.parametrize(
    ("said", "rests_s"),
    [
        pytest.param(GoogleError(429, retry_s=34.5), 34.5, id="as long as Google says"),
        pytest.param(GoogleError(429, retry_s=9e8), 3600, id="but no longer than an hour"),
        pytest.param(GoogleError(429, retry_s=5, daily=True), 12 * 3600, id="until midnight"),
        pytest.param(BUSY, 60, id="a minute where it says nothing"),
        pytest.param(DENIED, 3600, id="an hour where it may not"),
    ],
)
def test_rest(said: GoogleError, rests_s: float) -> None:
    """A key rests for the model it was refused for, and for no other."""
    held = ring(A, B)
    held.learn(A, "m", said, 1000, NOON)

    assert B == held.choose("m", b"", A.scope, (), 1000 + rests_s - 0.01)
    assert A == held.choose("m", b"", A.scope, (), 1000 + rests_s)
    assert A == held.choose("other", b"", A.scope, (), 1000)
    assert Counts(2, 2, 1) == held.counts(1000)
    assert Counts(2, 2, 0) == held.counts(1000 + rests_s)


def test_rest_grows() -> None:
    """Refused in turn without a time, a key rests twice as long each time, at most an hour."""
    held, now_s, got = ring(A, B), 0.0, []
    held.learn(B, "m", DENIED, 1e9, NOON)
    for _ in range(8):
        held.learn(A, "m", BUSY, now_s, NOON)
        rest = held.soonest("m", now_s)
        assert rest is not None
        got.append(rest.until_s - now_s)
        now_s = rest.until_s
    held.learn(A, "m", None, now_s, NOON)
    held.learn(A, "m", BUSY, now_s, NOON)
    last = held.soonest("m", now_s)

    assert [60, 120, 240, 480, 960, 1920, 3600, 3600] == got
    assert last is not None
    assert 60 == last.until_s - now_s


def test_disabled() -> None:
    """A key that is none is shown no more, until the file changes."""
    held = ring(A, B)
    held.learn(A, "m", INVALID, 0, NOON)

    assert B == held.choose("m", b"", A.scope, (), 1e9) == held.first("m", 1e9)
    assert Counts(2, 1, 0) == held.counts(0)
    held.learn(B, "m", INVALID, 0, NOON)
    assert (None, None, A) == (
        held.choose("m", b"", None, (), 0),
        held.soonest("m", 0),
        held.first("m", 0),
    )
    held.holds((A, B))
    assert Counts(2, 2, 0) == held.counts(0)


def test_what_rests_still_rests_when_the_file_changes() -> None:
    """A changed file takes no rest away from a key that stays."""
    held = ring(A, B)
    held.learn(A, "m", BUSY, 0, NOON)
    held.holds((A, C))

    assert C == held.choose("m", b"", A.scope, (), 0)
    held.holds((A,))
    assert A == held.choose("m", b"", A.scope, (), 0)


def test_a_single_key_is_always_tried() -> None:
    """One key has nothing to rotate to: it neither rests nor is disabled."""
    held = ring(A)
    for said in (BUSY, DENIED, INVALID):
        held.learn(A, "m", said, 0, NOON)

        assert A == held.choose("m", b"", None, (), 0) == held.first("m", 0)
        assert Counts(1, 1, 0) == held.counts(0)
    assert None is held.choose("m", b"", None, (A,), 0)


def test_what_is_not_about_the_key() -> None:
    """An overloaded model is no reason to change the key."""
    held = ring(A, B)
    held.learn(A, "m", GoogleError(503, "UNAVAILABLE"), 0, NOON)

    assert A == held.choose("m", b"", A.scope, (), 0)


def test_soonest() -> None:
    """Who finds every key at rest is told when the first of them is back."""
    held = ring(A, B)
    held.learn(A, "m", GoogleError(429, retry_s=90), 0, NOON)
    held.learn(B, "m", GoogleError(429, daily=True), 0, NOON)
    rest = held.soonest("m", 0)

    assert None is held.choose("m", b"", None, (), 0)
    assert rest is not None
    assert (90, False) == (rest.until_s, rest.daily)
    assert A == held.first("m", 0)


def test_nothing_is_learnt_of_a_key_that_is_gone() -> None:
    """An answer that comes after the file has changed is about nobody."""
    held = ring(A, B)
    held.learn(C, "m", INVALID, 0, NOON)

    assert Counts(2, 2, 0) == held.counts(0)
    assert None is Ring(ZONE).first("m", 0)


def test_names_of_models_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that make names of models up fill no memory."""
    monkeypatch.setattr(keys_module, "_MOST_RESTS", 4)
    held = ring(A, B)
    for number in range(4):
        held.learn(A, f"m{number}", GoogleError(429, retry_s=10 + number), 0, NOON)
    held.learn(A, "m4", BUSY, 10, NOON)  # m0 is over
    held.learn(A, "m5", BUSY, 10, NOON)  # m1 is over first

    ready = [model for model in map("m{}".format, range(6)) if held.first(model, 10) == A]
    assert ["m0", "m1"] == ready
