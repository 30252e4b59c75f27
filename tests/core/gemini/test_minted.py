"""What passgate minted is cut from a conversation that moves to Claude, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import messages
from passgate.core.gemini.minted import without_minted

MINTED = {"type": "thinking", "thinking": "é", "signature": "pg1:f:gemini-x:00000000:-:S"}
CLAUDES = {"type": "thinking", "thinking": "", "signature": "EsoB"}
TEXT = {"type": "text", "text": 'says "pg1:" and \\ é'}
USE = {"type": "tool_use", "id": "toolu_g_1", "name": "R", "input": {"a": "pg1:x"}}


LIMIT = 1 << 20


def cut(raw: bytes | bytearray) -> bytes | bytearray:
    """Return *raw*, which is not coded, without what was minted."""
    return without_minted(raw, None, LIMIT, lambda _: None)


def body(*contents: Any, **more: Any) -> bytes:
    """Return a request whose assistant said *contents*, spaced as people do."""
    messages = [{"role": "assistant", "content": content} for content in contents]
    return json.dumps({"model": "claude", "messages": messages, "é": 1} | more).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([MINTED, TEXT, MINTED, USE], [TEXT, USE], id="among others"),
        pytest.param([CLAUDES, TEXT, MINTED], [CLAUDES, TEXT], id="at the end"),
        pytest.param([MINTED], [{"type": "text", "text": "(no content)"}], id="alone"),
    ],
)
def test_cut(before: list[Any], after: list[Any]) -> None:
    """Minted blocks go; a message that would be empty says so instead of vanishing."""
    got = cut(body([TEXT], before, "pg1:", before))

    assert json.loads(body([TEXT], after, "pg1:", after)) == json.loads(got)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(body([CLAUDES, TEXT, USE]), id="no such block"),
        pytest.param(body("pg1:f:gemini-x:00000000:-:S"), id="a text of one"),
        pytest.param(body([TEXT, USE], system="pg1:"), id="only spoken of"),
        pytest.param(body([{"text": "pg1:"}]), id="a block without a type"),
        pytest.param(b'{"pg1:"', id="no JSON"),
        pytest.param(b'["pg1:"]', id="no object"),
        pytest.param(b'{"messages": "pg1:"}', id="no messages"),
        pytest.param(b"{}", id="nothing of it"),
        pytest.param(
            b'{"messages":[{"content":[{"type":"pg1:","x":%s%s}]}]}' % (b"[" * 9999, b"]" * 9999),
            id="too deep",
        ),
    ],
)
def test_untouched(raw: bytes) -> None:
    """A body without such a block is the same object."""
    assert cut(raw) is raw


def test_bytes_outside_stay() -> None:
    """Spelling, order and space stay, but between the blocks of a content that was cut."""
    text = b'{"type":"text", "text":"\\u00e9"}'
    start, end = b'{ "messages" :[ {"content":', b',"role":"a"} ] , "a":1}'
    raw = b"%s[ %s , %s ]%s" % (start, json.dumps(MINTED).encode(), text, end)

    assert b"%s[%s]%s" % (start, text, end) == cut(raw)


@given(st.lists(st.lists(st.sampled_from([MINTED, CLAUDES, TEXT, USE]), min_size=1), max_size=6))
def test_as_a_plain_program_would(contents: list[list[Any]]) -> None:
    """What is left is what a program that knows no bytes would leave, and stays so."""
    got = cut(body(*contents))
    kept = [[b for b in content if b is not MINTED] for content in contents]
    expected = [content or [{"type": "text", "text": "(no content)"}] for content in kept]

    assert json.loads(body(*expected)) == json.loads(got)
    assert got == cut(got)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"identity"])
def test_coded(coding: bytes) -> None:
    """A coded body stays coded; where nothing is cut, and where it cannot be read, to the byte."""
    plain, minted = body([TEXT]), body([TEXT, MINTED])

    def left(raw: bytes) -> bytes | bytearray:
        return without_minted(raw, coding, LIMIT, lambda _: None)

    packed = bytes(messages.recoded(plain, coding))
    got = messages.decoded(
        left(bytes(messages.recoded(minted, coding))), coding, LIMIT, lambda _: None
    )

    assert got == cut(minted)
    assert left(packed) is packed
    assert left(b"pg1: no such coding") == b"pg1: no such coding"
