"""What is remembered of signatures, and how it is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.signatures import Envelope, Kind, Place, TextSignature
from passgate.gateway.signatures import SignatureMemory

CALL = Envelope(Kind.CALL, "gemini-x", "00000000", "toolu_g_1", "S")
TEXT = TextSignature("00000000", Place.ON_TEXT, "S")


class Time:
    """Seconds that a test lets pass."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_found_again() -> None:
    """What was put in is found by its own key, for a day."""
    time = Time()
    memory = SignatureMemory(time)
    memory.remember("toolu_g_1", CALL)
    memory.remember(b"key", TEXT)

    assert (CALL, TEXT) == (memory.call("toolu_g_1"), memory.text(b"key"))
    assert (None, None) == (memory.call("toolu_g_2"), memory.text(b"other"))
    time.now_s = 86_400.0
    assert (None, None, 0) == (memory.call("toolu_g_1"), memory.text(b"key"), len(memory))


def test_the_least_recently_used_goes() -> None:
    """What was asked for lately stays."""
    memory = SignatureMemory(Time(), most=2)
    memory.remember("a", CALL)
    memory.remember("b", CALL)
    memory.call("a")
    memory.remember("c", CALL)

    assert [CALL, None, CALL] == [memory.call(each) for each in "abc"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2000)), max_size=40))
def test_bounded(puts: list[tuple[int, int]]) -> None:
    """Neither their number nor their bytes outgrow their bounds, and what is kept is the last."""
    memory = SignatureMemory(Time(), most=5, most_bytes=4000)
    last: dict[str, Envelope] = {}
    for key, size in puts:
        last[str(key)] = Envelope(Kind.CALL, "m", "00000000", str(key), "s" * size)
        memory.remember(str(key), last[str(key)])
        kept = [memory.call(each) for each in last]

        assert len(memory) <= 5
        assert sum(len(each.signature or "") for each in kept if each) <= 4000
        assert {each.tool_id: each for each in kept if each}.items() <= last.items()
