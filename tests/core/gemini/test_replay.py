"""Which signature goes back on which part."""

from __future__ import annotations

from typing import Any

import pytest

from passgate.core.gemini.request import Replay
from passgate.core.gemini.signatures import (
    DUMMY,
    Envelope,
    Kind,
    Place,
    TextSignature,
)
from tests.core.gemini.asks import (
    FLASH,
    HI,
    OLD,
    OTHER_SCOPE,
    PLAIN,
    SCOPE,
    Json,
    Remembering,
    ask,
    asked,
    assistant,
    call,
    result,
    sent,
    signed,
    thinking,
    user,
)

HELD = Remembering(Envelope(Kind.CALL, FLASH, SCOPE, "toolu_g_a", "Held"))
OTHERS = Remembering(Envelope(Kind.CALL, FLASH, OTHER_SCOPE, "toolu_g_a", "Held"))
REPAIR = Replay(SCOPE, HELD, repair=True)
OPTIMIST = Replay(SCOPE, optimistic=True)
CLAUDE = "EqQBCgIYAhIM" * 4
ON_THOUGHT = thinking(Envelope(Kind.THOUGHT, FLASH, SCOPE, None, "Own").encode(), "Hm.")
NOTHING = thinking(Envelope(Kind.NOTHING, FLASH, SCOPE).encode(), "Hm.")


def turn(*blocks: Json | str) -> Json:
    """Return a conversation with one step of these blocks, all calls answered."""
    calls = [each["id"] for each in blocks if isinstance(each, dict) and each["type"] == "tool_use"]
    return ask(HI, assistant(*blocks), user(*(result(each) for each in calls), "go on"))


def signatures(request: Json, model: str = FLASH, replay: Replay = PLAIN) -> list[Any]:
    """Return the signature of each part of the model's turns, None for none."""
    contents = sent(request, model, replay)["contents"]
    model_s = [each for each in contents if each["role"] == "model"]
    return [part.get("thoughtSignature") for each in model_s for part in each["parts"]]


def text_signature(place: Place, scope: str = SCOPE) -> Replay:
    """Return what is remembered of the text "Done."."""
    return Replay(SCOPE, Remembering(texts={"Done.": TextSignature(scope, place, "Txt")}))


TWO = (call(), call("toolu_g_b"))
# Blocks of the step, what is sent with it, the signature of each part.
ROWS = {
    "sig-roundtrip": (turn("a", signed(), call()), PLAIN, [None, "EsoB"]),
    "parallel-two": (turn(signed(), *TWO), PLAIN, ["EsoB", None]),
    "two signatures": (
        turn(signed(), call(), signed("toolu_g_b", "B"), call("toolu_g_b")),
        PLAIN,
        ["EsoB", "B"],
    ),
    "only the second is signed": (
        turn(call(), signed("toolu_g_b", "B"), call("toolu_g_b")),
        PLAIN,
        [DUMMY, "B"],
    ),
    "sig-other-model": (turn(signed(model="gemini-4-argon"), call()), PLAIN, [DUMMY]),
    "sig-other-key": (turn(signed(scope=OTHER_SCOPE), call()), PLAIN, [DUMMY]),
    "another key, optimistic": (turn(signed(scope=OTHER_SCOPE), call()), OPTIMIST, ["EsoB"]),
    "another model, optimistic": (turn(signed(model="gemini-4"), call()), OPTIMIST, [DUMMY]),
    "sig-stripped": (turn(call()), Replay(SCOPE, HELD), ["Held"]),
    "stripped, after a restart": (turn(call()), PLAIN, [DUMMY]),
    "stripped, another key": (turn(call()), Replay(SCOPE, OTHERS), [DUMMY]),
    "the client's before what is held": (turn(signed(), call()), Replay(SCOPE, HELD), ["EsoB"]),
    "sig-corrupt-400": (turn(signed(), *TWO), REPAIR, [DUMMY, None]),
    "repaired thought": (turn(ON_THOUGHT, call()), REPAIR, [DUMMY]),
    "claude-ids": (turn(thinking(CLAUDE, "Hm."), call("toolu_01A")), PLAIN, [DUMMY]),
    "claude-sig-to-gemini": (turn(thinking(CLAUDE, "Hm."), "a"), PLAIN, [None]),
    "broken": (turn(thinking("pg1:f:broken"), call()), PLAIN, [DUMMY]),
    "of a call without a signature": (
        turn(thinking(Envelope(Kind.CALL, FLASH, SCOPE, "toolu_g_a").encode()), call()),
        PLAIN,
        [DUMMY],
    ),
    "of no call": (
        turn(thinking(Envelope(Kind.CALL, FLASH, SCOPE, None, "x").encode()), call()),
        PLAIN,
        [DUMMY],
    ),
    "no signature at all": (turn({"type": "thinking", "thinking": "a"}, "b"), PLAIN, [None]),
    "only to close a block": (turn(NOTHING, "a"), PLAIN, [None]),
    "sig-on-thought": (turn(ON_THOUGHT, "a"), PLAIN, ["Own", None]),
    "on a thought, another key": (turn(ON_THOUGHT, "a"), Replay(OTHER_SCOPE), [None]),
    "on a thought, without it": (
        turn(thinking(Envelope(Kind.THOUGHT, FLASH, SCOPE).encode()), "a"),
        PLAIN,
        [None],
    ),
    "sig-trailing-empty": (turn("Done."), text_signature(Place.OWN_PART), [None, "Txt"]),
    "on the text": (turn("Done."), text_signature(Place.ON_TEXT), ["Txt"]),
    "on the last text": (turn("Do", "ne."), text_signature(Place.ON_TEXT), [None, "Txt"]),
    "on the text before a call": (
        turn("Done.", signed(), call()),
        text_signature(Place.ON_TEXT),
        ["Txt", "EsoB"],
    ),
    "on the text, another key": (
        turn("Done."),
        text_signature(Place.ON_TEXT, OTHER_SCOPE),
        [None],
    ),
    "on another text": (turn("Done"), text_signature(Place.ON_TEXT), [None]),
}


@pytest.mark.parametrize(("request_", "replay", "expected"), ROWS.values(), ids=ROWS)
def test_replay(request_: Json, replay: Replay, expected: list[str | None]) -> None:
    """A signature goes back on its part to who made it; a step without one gets the dummy."""
    assert expected == signatures(request_, FLASH, replay)


def test_seq_steps() -> None:
    """Steps of all turns carry theirs: the case is "seq-steps"."""
    messages = [HI]
    for name in "abc":
        messages += [
            assistant(signed(f"toolu_g_{name}", name.upper()), call(f"toolu_g_{name}")),
            user(result(f"toolu_g_{name}")),
        ]

    assert ["A", "B", "C"] == signatures(ask(*messages))
    assert ["A", "B", "C", None] == signatures(ask(*messages, assistant("d"), HI))


def test_thought_part() -> None:
    """A thought that was signed itself is sent as one, where it was."""
    [got, _] = sent(turn(ON_THOUGHT, "a"))["contents"][1]["parts"]

    assert {"text": "Hm.", "thought": True, "thoughtSignature": "Own"} == got


def test_own_part() -> None:
    """A signature that came on an empty part goes back on one: parts must not be merged."""
    replay = text_signature(Place.OWN_PART)

    assert [{"text": "Done."}, {"text": "", "thoughtSignature": "Txt"}] == (
        sent(turn("Done."), FLASH, replay)["contents"][1]["parts"]
    )


def test_texts_of_two_messages() -> None:
    """Each message of a run finds its own text's signature."""
    request = ask(HI, assistant("Done."), assistant("Done."), assistant("x"), HI)

    assert ["Txt", "Txt", None] == signatures(request, FLASH, text_signature(Place.ON_TEXT))


def test_thought_alone() -> None:
    """A message of nothing but a thought is none, whatever key is used."""
    request = ask(HI, assistant(ON_THOUGHT), user("a"))

    assert 1 == len(sent(request)["contents"])


@pytest.mark.parametrize(
    ("blocks", "replay", "expected"),
    [
        pytest.param([signed(model=OLD), call()], PLAIN, ["EsoB"], id="valid"),
        pytest.param([signed(), call()], PLAIN, [None], id="another model"),
        pytest.param([call()], PLAIN, [None], id="none"),
        pytest.param([signed(model=OLD), call()], REPAIR, [None], id="repaired"),
    ],
)
def test_generation_25(blocks: list[Json], replay: Replay, expected: list[str | None]) -> None:
    """Generation 2.5 may get its signatures back, and never a dummy."""
    assert expected == signatures(turn(*blocks), OLD, replay)


def test_claude_ids_on_both_sides() -> None:
    """A call that Claude made keeps its id, in the call and in its response."""
    contents = sent(turn(call("toolu_01A")))["contents"]

    assert "toolu_01A" == contents[1]["parts"][0]["functionCall"]["id"]
    assert "toolu_01A" == contents[2]["parts"][0]["functionResponse"]["id"]


def test_made_id() -> None:
    """A call that came without an id goes back without one."""
    contents = sent(turn(call("toolu_p_" + "0" * 22)))["contents"]

    assert {"name": "Read", "args": {}} == contents[1]["parts"][0]["functionCall"]
    assert "id" not in contents[2]["parts"][0]["functionResponse"]


@pytest.mark.parametrize(
    ("request_", "held", "expected"),
    [
        pytest.param(turn("a"), Remembering(), None, id="nobody signed"),
        pytest.param(turn(signed(), call()), Remembering(), SCOPE, id="a call"),
        pytest.param(turn(ON_THOUGHT, "a"), Remembering(), SCOPE, id="a thought"),
        pytest.param(turn(call()), OTHERS, OTHER_SCOPE, id="remembered"),
        pytest.param(turn(signed(model=OLD), call()), HELD, None, id="another model"),
        pytest.param(
            turn(signed(), call(), signed("toolu_g_b", scope=OTHER_SCOPE), call("toolu_g_b")),
            Remembering(),
            OTHER_SCOPE,
            id="the last",
        ),
    ],
)
def test_scope(request_: Json, held: Remembering, expected: str | None) -> None:
    """The key that signed last is the one to go on with."""
    assert expected == asked(request_).scope(held)
