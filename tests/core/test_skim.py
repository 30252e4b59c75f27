"""Objects come out of a stream as another parser reads them, however it is cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.skim import Held, Skimmer, TooManyMembers

_TEXT = st.text(st.sampled_from('ab"\\{}[],:\n\té👍'), max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(_TEXT, _VALUES, max_size=4)
_INDENTS = st.sampled_from([None, 0, 2])


def skimmed(pieces: list[bytes], **most: int) -> list[Any]:
    """Return the objects in *pieces*."""
    skimmer = Skimmer(**most)
    return [json.loads(text) for piece in pieces for text in skimmer.feed(piece)]


@given(st.lists(_OBJECTS, max_size=3), _INDENTS, st.data())
def test_array(objects: list[dict[str, Any]], indent: int | None, data: st.DataObject) -> None:
    """The elements of an array come one by one, equal to what was written."""
    text = json.dumps(objects, indent=indent, ensure_ascii=data.draw(st.booleans())).encode()
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))

    assert objects == skimmed([text[a:b] for a, b in pairwise([0, *cuts, len(text)])])
    assert objects == skimmed([bytes([byte]) for byte in text])


@given(st.lists(_OBJECTS, max_size=3), _INDENTS, st.sampled_from([b"\r\n", b"\n"]))
def test_events(objects: list[dict[str, Any]], indent: int | None, end: bytes) -> None:
    """So does the data of events of which each is one object, also over many lines."""
    stream = b""
    for each in objects:
        lines = json.dumps(each, indent=indent).encode().splitlines()
        stream += b"".join(b"data: " + line + end for line in lines) + end
    got = [json.loads(text.replace(end + b"data:", b"")) for text in Skimmer().feed(stream)]

    assert objects == got


@given(_OBJECTS, st.integers(4, 40), st.integers(1, 9))
def test_long_members(given: dict[str, Any], most: int, size: int) -> None:
    """What is too long is left out, and nothing else."""
    text = json.dumps(given).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    [got] = skimmed(pieces, max_member_bytes=most)
    sizes = {name: len(json.dumps({name: value})) - 2 for name, value in given.items()}
    # A space may stand before a member.
    assert {name for name in given if sizes[name] < most} <= set(got)
    assert {name for name in given if sizes[name] <= most} >= set(got)
    assert {name: given[name] for name in got} == got


def test_memory_is_bounded() -> None:
    """However large an object is, little of it is held."""
    skimmer = Skimmer(max_member_bytes=100)
    most = 0
    got = []
    for piece in (b'{"a":1,"content":["', *[b"x" * 1000] * 1000, b'"],"usage":{"b":2}', b"}"):
        got += skimmer.feed(piece)
        most = max(most, len(skimmer._member))

    assert [{"a": 1, "usage": {"b": 2}}] == [json.loads(text) for text in got]
    assert most <= 100
    assert skimmer.between


def test_endless_members() -> None:
    """Nor does an endless row of short members fill the memory."""
    skimmer = Skimmer(max_object_bytes=1000)
    skimmer.feed(b"{")

    with pytest.raises(TooManyMembers):
        for number in range(1000):
            skimmer.feed(b'"%d":1,' % number)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"1", b'"{"', b'"a\\"{"', b"}]", b"[[1,2],[]]", b'{"a":1', b'{"a":"}', b'{"a\\'],
)
def test_no_object(text: bytes) -> None:
    """What is no object, or only the beginning of one, is none."""
    assert [] == skimmed([text])


def test_between() -> None:
    """It knows whether an object has begun."""
    skimmer = Skimmer()
    seen = []
    for piece in (b"[", b"{", b'"a"', b":1", b"}", b",", b'"', b'{"'):
        skimmer.feed(piece)
        seen.append(skimmer.between)

    assert [True, False, False, False, True, True, False, True] == seen


@pytest.mark.parametrize("size", [1, 100, 1000, 5000, 100_000])
@pytest.mark.parametrize("content", [100, 3000, 200_000])
def test_held(size: int, content: int) -> None:
    """An object of ordinary size is held as it came, a large one is skimmed."""
    size = max(size, content // 1000)
    said = {"model": "m", "content": "x" * content, "usage": {"input_tokens": 1}}
    text = json.dumps(said).encode()
    held = Held(most=4000)
    for at in range(0, len(text), size):
        held.feed(text[at : at + size])
    expected = said if content < 150_000 or size > content else said | {"content": None}

    assert expected == {"content": None} | json.loads(held.text)


def test_held_nothing() -> None:
    """Nothing is nothing, and half an object too large to hold is nothing either."""
    held = Held(most=10)
    nothing = held.text
    held.feed(b'{"usage":')
    held.feed(b'{"input_tokens":')

    assert (b"", b"") == (nothing, held.text)
