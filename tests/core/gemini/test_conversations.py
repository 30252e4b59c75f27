"""Any legal conversation: Google's rules hold, the same gives the same, a longer one goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from passgate.core.gemini.request import Replay
from passgate.core.gemini.signatures import Envelope, Kind, Place, TextSignature
from tests.core.gemini.asks import (
    FLASH,
    OLD,
    OTHER_SCOPE,
    READ_TOOL,
    SCOPE,
    Json,
    Remembering,
    ask,
    asked,
    sent,
    thinking,
)
from tests.core.gemini.rules import broken_rules
from tests.core.gemini.schemas import REAL

CLAUDE = "EqQB" * 9
DATA = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
GO_ON: Json = {"type": "text", "text": "go on"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}

texts = st.sampled_from(
    ["", " ", "Done.", "[a", "é\n", "pg 1", "<system-reminder>x</system-reminder>"]
)
text_blocks: st.SearchStrategy[Json] = texts.map(lambda text: {"type": "text", "text": text})
MEDIA: list[Json] = [
    {"type": "image", "source": DATA},
    {"type": "image", "source": {"type": "url", "url": "https://a/b.webp"}},
    {"type": "document", "source": PDF, "title": "T"},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    {"type": "document", "source": {"type": "content", "content": "y"}},
    {"type": "search_result", "title": "T", "source": "S", "content": []},
]
user_blocks = text_blocks | st.sampled_from(MEDIA)
models = st.sampled_from([FLASH, OLD, "gemini-4-argon"])
scopes = st.sampled_from([SCOPE, OTHER_SCOPE])
inputs = st.none() | st.lists(texts, max_size=2) | st.dictionaries(texts, texts, max_size=2)
result_contents = (
    st.none() | texts | st.lists(user_blocks, max_size=3) | st.just('{"$ref":"#/$defs/X"}')
)
SERVER: list[Json] = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
]


@st.composite
def thoughts(draw: st.DrawFn, tool_id: str) -> list[Json]:
    """Return the thinking blocks in front of a call, or none."""
    made = {
        "call": Envelope(Kind.CALL, draw(models), draw(scopes), tool_id, "EsoB").encode(),
        "thought": Envelope(Kind.THOUGHT, draw(models), draw(scopes), None, "Own").encode(),
        "nothing": Envelope(Kind.NOTHING, FLASH, SCOPE).encode(),
        "Claude's": CLAUDE,
        "broken": "pg1:f:x",
    }
    chosen = draw(st.lists(st.sampled_from(sorted(made)), max_size=2, unique=True))
    return [thinking(made[each], draw(texts)) for each in chosen]


@dataclass
class Talk:
    """A conversation as it is drawn.

    Attributes:
        draw: Draws.
        messages: So far.
        calls: How many calls there were, for their ids.
    """

    draw: st.DrawFn
    messages: list[Json]
    calls: int = 0

    def user(self, blocks: list[Json]) -> None:
        """Let the user say *blocks*, at times in two messages, or with the system's word."""
        at = self.draw(st.integers(0, len(blocks)))
        halves = [blocks[:at], blocks[at:]] if self.draw(st.booleans()) else [blocks]
        self.messages += [{"role": "user", "content": half} for half in halves]
        if self.draw(st.booleans()):
            self.messages.append({"role": "system", "content": self.draw(texts)})

    def turn(self) -> None:
        """Let the model speak, and the user answer all of its calls."""
        blocks: list[Json] = []
        ids: list[str] = []
        for _ in range(self.draw(st.integers(0, 3))):
            self.calls += 1
            kept = f"toolu_g_{self.calls}"
            id_ = self.draw(
                st.sampled_from([kept, f"toolu_p_{self.calls}", f"toolu_0{self.calls}"])
            )
            ids.append(id_)
            blocks += self.draw(thoughts(id_))
            blocks += self.draw(st.lists(text_blocks, max_size=1))
            name = self.draw(st.sampled_from(["Read", "7zip", "mcp__" + "a" * 90]))
            blocks.append({"type": "tool_use", "id": id_, "name": name, "input": self.draw(inputs)})
        blocks += self.draw(st.lists(text_blocks, max_size=2))
        blocks += self.draw(st.sampled_from([[], SERVER, [{"type": "redacted_thinking"}]]))
        self.messages.append({"role": "assistant", "content": blocks})
        results: list[Json] = [
            {
                "type": "tool_result",
                "tool_use_id": id_,
                "content": self.draw(result_contents),
                "is_error": self.draw(st.booleans()),
            }
            for id_ in ids
        ]
        said = [*results, *self.draw(st.lists(user_blocks, max_size=2))]
        self.user([*self.draw(st.permutations(said)), GO_ON])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Json, Json]:
    """Return a legal request, and a longer one of the same conversation."""
    talk = Talk(draw, [])
    if draw(st.booleans()):
        talk.user([*draw(st.lists(user_blocks, max_size=3)), GO_ON])
    else:
        talk.turn()
    for _ in range(draw(st.integers(0, 3))):
        talk.turn()
    more: dict[str, Any] = {
        "system": draw(st.none() | texts),
        "tools": draw(st.sampled_from([None, [READ_TOOL], REAL])),
        "thinking": draw(st.sampled_from([None, {"type": "adaptive"}, {"type": "disabled"}])),
        "max_tokens": draw(st.sampled_from([1, 4096, 100_000])),
    }
    short = ask(*talk.messages, **more)
    talk.turn()
    return short, ask(*talk.messages, **more)


@st.composite
def replays(draw: st.DrawFn) -> Replay:
    """Return a way to send a request: its key, and what the process remembers."""
    held = [
        Envelope(Kind.CALL, draw(models), draw(scopes), f"toolu_g_{n}", "Held")
        for n in draw(st.lists(st.integers(1, 6), max_size=3))
    ]
    signature = TextSignature(draw(scopes), draw(st.sampled_from(Place)), "Txt")
    remembered = Remembering(*held, texts={"Done.": signature})
    return Replay(draw(scopes), remembered, draw(st.booleans()), draw(st.booleans()))


@given(conversations(), replays(), st.sampled_from([FLASH, OLD]))
def test_rules(talk: tuple[Json, Json], replay: Replay, model: str) -> None:
    """Whatever a client may say, Google gets a request that it takes, and no foreign signature."""
    for request in talk:
        got = sent(request, model, replay)

        assert [] == broken_rules(got, current=model == FLASH)
        assert CLAUDE not in json.dumps(got)
        assert "pg1:" not in json.dumps(got)


@given(conversations(), replays(), st.sampled_from([FLASH, OLD]))
def test_deterministic(talk: tuple[Json, Json], replay: Replay, model: str) -> None:
    """The same request gives the same bytes, read anew or not: the case is "deterministic"."""
    once = asked(talk[0], model)

    assert once.body(replay) == once.body(replay) == asked(talk[0], model).body(replay)
    assert once.count_body(replay) == asked(talk[0], model).count_body(replay)


@given(conversations(), replays(), st.sampled_from([FLASH, OLD]))
def test_a_longer_conversation_goes_on(talk: tuple[Json, Json], replay: Replay, model: str) -> None:
    """What was sent is the beginning of what is sent next: Gemini's cache finds it again."""
    short, long = (sent(request, model, replay) for request in talk)
    before, after = (
        [(content["role"], part) for content in got.pop("contents") for part in content["parts"]]
        for got in (short, long)
    )

    assert before == after[: len(before)]
    assert short == long
