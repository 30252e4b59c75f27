"""The blocks of a stream: one at a time, a thought with its signature, no step without a move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.blocks import MOVES, Blocks, Do, Open, Said, Step
from passgate.core.gemini.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Event,
    SignatureDelta,
    ThinkingBlock,
)

STARTS = {Do.START_TEXT: Open.TEXT, Do.START_THINKING: Open.THINKING}


def test_every_step_has_a_move() -> None:
    """Whatever is open, whatever comes next: the table says what to do."""
    assert {(state, step) for state in Open for step in Step} == MOVES.keys()


@pytest.mark.parametrize(("before", "step"), MOVES, ids=str)
def test_moves_end_where_they_say(before: Open, step: Step) -> None:
    """What a move does leaves open what it says, and closes what was open before."""
    todo, then = MOVES[before, step]
    now, signed = before, False
    for do in todo:
        if do in STARTS:
            assert now is Open.NOTHING
            now, signed = STARTS[do], False
        elif do is Do.STOP:
            assert signed or now is Open.TEXT
            now = Open.NOTHING
        elif do in (Do.MARK, Do.SIGN):
            assert now is Open.THINKING
            signed = True
        elif do is Do.USE:
            assert now is Open.NOTHING
        else:
            assert now is (Open.TEXT if do is Do.SAY else Open.THINKING)

    assert then is now


@given(st.lists(st.sampled_from(list(Step)), max_size=20))
def test_any_steps(steps: list[Step]) -> None:
    """Indices have no gaps, one block is open at a time, each thought is signed last."""
    blocks, events = Blocks("gemini-3.8-flash", "9f2c01aa"), list[Event]()
    for step in (*steps, Step.END):
        blocks.move(step, Said("{}", "pg1:x", "toolu_1", "Read"), events)
    open_at, signed, count = None, False, 0
    for event in events:
        match event:
            case BlockStart(index=index):
                assert (None, count) == (open_at, index)
                open_at, count = event, count + 1
                signed = not isinstance(event.content_block, ThinkingBlock)
            case BlockDelta(delta=SignatureDelta()):
                signed = True
            case BlockStop():
                assert signed
                open_at = None
            case _:
                assert open_at is not None

    assert open_at is None
    assert Open.NOTHING is blocks.open
