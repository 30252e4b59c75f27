"""What a Messages body asks for, and how one value of it is changed."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passgate.core import faults, messages
from passgate.core.exchange import NO_ASK, Ask
from passgate.core.faults import Refused
from passgate.core.messages import decoded, peek, recoded, renamed

Pairs = list[tuple[str, Any]]

spaces = st.text(" \t\r\n", max_size=3)
# Surrogates are no text; JSON can escape them, which has its own test below.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["model", "stream", "max_tokens", "Model", "model ", ""]) | texts


@st.composite
def strings(draw: st.DrawFn, value: str) -> str:
    """Return JSON for a string, with any of its characters escaped."""
    escaped = draw(st.lists(st.booleans(), min_size=len(value), max_size=len(value)))
    parts = [
        "".join(f"\\u{unit:04x}" for unit in _units(char)) if escape else json.dumps(char)[1:-1]
        for char, escape in zip(value, escaped, strict=True)
    ]
    return '"' + "".join(parts) + '"'


def _units(char: str) -> list[int]:
    raw = char.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@st.composite
def members(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return what stands before a value of an object, the value, and what stands behind it."""
    name = draw(names)
    value = draw(values if name != "model" else values | st.text("abc-", max_size=300))
    raw = draw(strings(value)) if isinstance(value, str) else _spaced(value, draw(spaces))
    before = draw(spaces) + draw(strings(name)) + draw(spaces) + ":" + draw(spaces)
    return before, raw, draw(spaces)


def _spaced(value: object, space: str) -> str:
    return json.dumps(value, separators=("," + space, ":" + space), ensure_ascii=False)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[slice]]:
    """Return an object as text, and where in it the values of its ``model`` keys stand."""
    text, models = draw(spaces) + "{" + draw(spaces), []
    for count, (before, raw, behind) in enumerate(draw(st.lists(members(), max_size=5))):
        text += "," + before if count else before
        if json.loads(f"{{{before}0}}").keys() == {"model"}:
            models.append(slice(len(text), len(text) + len(raw)))
        text += raw + behind
    return text + "}" + draw(spaces), models


def pairs_of(text: str) -> Pairs:
    """Return the top level of an object, with every repetition."""
    found: list[Pairs] = []

    def note(pairs: Pairs) -> Pairs:
        found.append(pairs)
        return pairs

    json.loads(text, object_pairs_hook=note)
    return found[-1]


@given(bodies())
def test_peek(made: tuple[str, list[slice]]) -> None:
    """A slow parser that sees every pair finds the same model, or the same repetition."""
    text, places = made
    pairs = pairs_of(text)
    models = [value for name, value in pairs if name == "model"]
    streams = [value for name, value in pairs if name == "stream"]
    if len(models) > 1:
        with pytest.raises(Refused, match="request"):
            peek(text.encode())
        return
    known = models and isinstance(models[0], str) and len(text[places[0]].encode()) <= 256
    expected = Ask(models[0] if known else None, stream=bool(streams) and streams[-1] is True)

    assert expected == peek(text.encode())
    assert expected == peek(bytearray(text.encode()))


@given(bodies(), texts)
def test_renamed(made: tuple[str, list[slice]], model: str) -> None:
    """Another model takes the place of that one value; every other byte stays."""
    text, places = made
    if len(places) != 1:
        return
    before, behind = text[: places[0].start], text[places[0].stop :]
    got = renamed(text.encode(), model).decode()
    expected = [(name, model if name == "model" else value) for name, value in pairs_of(text)]

    assert expected == pairs_of(got)
    assert (before, behind) == (got[: len(before)], got[len(got) - len(behind) :])
    assert model == json.loads(got[len(before) : len(got) - len(behind)])


@given(st.binary(max_size=60))
@example(b'{"model":"\xff"}')
@example(b'{"model":"\\ud800"}')
@example(b'{"model":1e999}')
@example(b'{"\xff":1,"model":"a"}')
@example(b'{"model":"a"}\xff')
@example(b"[" * 5000)
@example(b'{"a":' * 5000)
@example(b'{"model":' + b"[" * 5000 + b"]" * 5000 + b"}")
def test_any_bytes(body: bytes) -> None:
    """Whatever is sent as a body, looking at it does not fail."""
    try:
        got = peek(body)
    except Refused:
        return

    assert got.model is None or isinstance(got.model, str)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"model":"m"}', Ask("m"), id="plain"),
        pytest.param(b'{"model":"m","stream":true}', Ask("m", stream=True), id="stream"),
        pytest.param(b'{"stream":true}', Ask(None, stream=True), id="a stream of no model"),
        pytest.param(b'{"model":"m","stream":false}', Ask("m"), id="no stream"),
        pytest.param(b'{"model":"m","stream":1}', Ask("m"), id="one is not true"),
        pytest.param(b'{"stream":true,"stream":false,"model":"m"}', Ask("m"), id="stream twice"),
        pytest.param(b'{"mod\\u0065l":"m"}', Ask("m"), id="an escaped letter in the key"),
        pytest.param(b'{"a":{"model":"x"},"model":"m"}', Ask("m"), id="a model further down"),
        pytest.param(b'{"model":"\\u006d"}', Ask("m"), id="an escaped letter in the name"),
        pytest.param(b'{"model":""}', Ask(""), id="a name without letters"),
        pytest.param(b'{"model":null}', NO_ASK, id="null"),
        pytest.param(b'{"model":["m"]}', NO_ASK, id="a list"),
        pytest.param(b'{"model":"' + b"m" * 254 + b'"}', Ask("m" * 254), id="a long name"),
        pytest.param(b'{"model":"' + b"m" * 255 + b'"}', NO_ASK, id="too long a name"),
        pytest.param(b"{}", NO_ASK, id="empty object"),
        pytest.param(b"", NO_ASK, id="nothing"),
        pytest.param(b'["model","m"]', NO_ASK, id="a list of all"),
        pytest.param(b'"model"', NO_ASK, id="a string"),
        pytest.param(b'{"model":"m"', NO_ASK, id="cut"),
        pytest.param(b'{"model":"m"}{"model":"n"}', NO_ASK, id="two objects"),
        pytest.param(b'\xef\xbb\xbf{"model":"m"}', NO_ASK, id="a byte order mark"),
        pytest.param('{"model":"m"}'.encode("utf-16"), NO_ASK, id="UTF-16"),
        pytest.param(b'{"model":"\\ud800"}', NO_ASK, id="half a character"),
        pytest.param(b'{"model":"\xff"}', NO_ASK, id="not UTF-8"),
    ],
)
def test_ask(body: bytes, expected: Ask) -> None:
    """A body asks for a model by a string at its top level, and by nothing else."""
    assert expected == peek(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"model":null,"x":1,"model":"b"}',
    ],
    ids=["the same", "escaped", "null first"],
)
def test_two_models(body: bytes) -> None:
    """Parsers disagree on which of two counts, so neither does."""
    with pytest.raises(Refused) as refused:
        peek(body)

    assert (400, "model: the body names it twice") == (
        refused.value.fault.status,
        refused.value.fault.message,
    )


def test_renamed_needs_a_model() -> None:
    """To rename in a body without a model is our own mistake, and looks like one."""
    with pytest.raises(AssertionError):
        renamed(b'{"a":1}', "m")


def test_too_many_keys() -> None:
    """A body of a million keys is no request, and costs no more than one."""
    few, many = (b"{" + b'"a":1,' * count + b'"model":"m"}' for count in (9_999, 2_000_000))
    few += b" " * (1 << 16)
    tracemalloc.start()
    try:
        got = peek(few), peek(many)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert got == (Ask("m"), NO_ASK)
    assert peak < 5_000_000


# Content codings.

CODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"X-GZip": gzip.compress,
    b" deflate ": zlib.compress,
    b"identity": bytes,
    b"": bytes,
}
LIMIT = 1000


def room(_: int) -> None:
    """Have room for everything."""


@given(st.sampled_from(list(CODERS)), st.binary(max_size=LIMIT - 1))
def test_decoded(coding: bytes, plain: bytes) -> None:
    """What was coded comes out as it went in."""
    coded = CODERS[coding](plain)

    assert plain == decoded(coded, coding, LIMIT, room)
    assert plain == decoded(bytearray(coded), coding, LIMIT, room)


@given(st.sampled_from(list(CODERS)), st.binary(max_size=LIMIT - 1))
def test_recoded(coding: bytes, plain: bytes) -> None:
    """What was decoded is coded again in the same way."""
    assert plain == decoded(recoded(plain, coding), coding, LIMIT, room)


@given(st.sampled_from([b"gzip", b"deflate"]), st.binary(max_size=200), st.data())
def test_not_whole(coding: bytes, plain: bytes, data: st.DataObject) -> None:
    """A coded body that is cut, or followed by something, is one that we cannot read."""
    coded = CODERS[coding if coding in CODERS else b" deflate "](plain)
    cut = coded[: data.draw(st.integers(0, len(coded) - 1))]

    assert decoded(cut, coding, LIMIT, room) is None
    assert decoded(coded + b"x", coding, LIMIT, room) is None
    assert decoded(coded + coded, coding, LIMIT, room) is None


@given(st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"x"]), st.binary(max_size=100))
def test_any_coded_bytes(coding: bytes, body: bytes) -> None:
    """Whatever is sent as a coded body, reading it does not fail."""
    got = decoded(body, coding, LIMIT, room)

    assert got is None or len(got) <= LIMIT


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"gzip\ngzip", b"compress"])
def test_unknown_coding(coding: bytes) -> None:
    """A coding that we do not know, or a second one, is one that we cannot read."""
    assert decoded(gzip.compress(b"{}"), coding, LIMIT, room) is None


@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
def test_bomb(size: int) -> None:
    """A body that would outgrow the limit is not read further."""
    assert decoded(zlib.compress(bytes(size)), b"deflate", LIMIT, room) is None


SEED = random.Random(1)  # noqa: S311  chance, not a secret
STEP = messages._STEP_BYTES
LARGE = {
    "nothing to squeeze": SEED.randbytes(3 * STEP),
    "a step in all": SEED.randbytes(STEP - 40),
    "a step out": bytes(STEP),
    "many steps out": bytes(9 * STEP),
    "and a bit": bytes(9 * STEP + 1),
    "both": SEED.randbytes(2 * STEP) + bytes(5 * STEP) + SEED.randbytes(STEP),
}


@pytest.mark.parametrize("plain", LARGE.values(), ids=LARGE)
def test_decoded_in_steps(plain: bytes) -> None:
    """However large it is on either side, all of it comes out, and is counted before."""
    for coded in (gzip.compress(plain), gzip.compress(plain, 0)):
        counted: list[int] = []
        assert decoded(coded, b"gzip", len(plain), counted.append) == plain
        assert (sorted(counted), len(plain)) == (counted, counted[-1])
        assert decoded(coded, b"gzip", len(plain) - 1, room) is None
        assert decoded(coded + b"x", b"gzip", len(plain), room) is None
        assert decoded(coded + bytes(STEP), b"gzip", len(plain), room) is None
        assert decoded(coded[:-1], b"gzip", len(plain), room) is None


def test_memory_of_a_coded_body() -> None:
    """To take a coding off takes what comes out, and hardly more."""
    coded = zlib.compress(bytes(16 << 20))
    tracemalloc.start()
    try:
        plain = decoded(coded, b"deflate", 32 << 20, room)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert plain is not None
    assert peak < 1.2 * len(plain) + 3 * STEP


def test_no_room() -> None:
    """Where there is no room for what comes out, no more of it is made."""
    counted: list[int] = []

    def fits(size: int) -> None:
        counted.append(size)
        if size > 2 * STEP:
            raise Refused(faults.BUSY)

    with pytest.raises(Refused):
        decoded(zlib.compress(bytes(99 * STEP)), b"deflate", 99 * STEP, fits)

    assert [STEP, 2 * STEP, 3 * STEP] == counted
