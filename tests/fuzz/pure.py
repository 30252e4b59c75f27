"""The parsers and machines that touch nothing: what must hold for whatever bytes come.

Each says of an input only what it may say; most are fed twice, whole and in pieces, and must
come to the same.
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from passgate import config
from passgate.config import ConfigError
from passgate.core import iterations, messages, messages_meter, pricing
from passgate.core.faults import Refused
from passgate.core.gemini import listing, status
from passgate.core.gemini import meter as gemini_meter
from passgate.core.gemini.keys import keys_in
from passgate.core.gemini.request import Asked, Replay, continued, read
from passgate.core.gemini.response import Streamed, Whole
from passgate.core.gemini.stream import Translation, Verdict, Wanted
from passgate.core.meter import Meter, Metered
from passgate.core.sse import SSEDecoder
from passgate.edge.codings import Bomb, Uncoded, decoder_for
from passgate.edge.wire.chunks import BadChunk, ChunkWalker
from tests.attack.requests import CHUNKS, LATER

_MOST_DECODED_BYTES = 8 << 20
_RATES = pricing.Rates(0, (pricing.Tier(-1, 3, 15, 1, 4, 6),))
_EVENT_BYTES = 4096


def pieces_of(data: bytes) -> list[bytes]:
    """Return *data* cut as the data itself say, the same each time."""
    chance = random.Random(zlib.crc32(data))  # noqa: S311  chance, not a secret
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((1, 2, 10, 60))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def chunks(data: bytes) -> None:
    """A chunked body has the same data and the same end, however it is cut."""
    whole, pieces = _walked([data]), _walked(pieces_of(data))

    assert whole == pieces


def _walked(pieces: list[bytes]) -> tuple[bytes, bool, bool]:
    """Return the data, whether the end was seen, and whether it is broken.

    Data before a fault may have been told or not: that depends on the cut.
    """
    walker, found = ChunkWalker(), b""
    for piece in pieces:
        spans: list[tuple[int, int]] = []
        try:
            end = walker.walk(piece, spans)
        except BadChunk:
            return b"", False, True
        found += b"".join(piece[start:stop] for start, stop in spans)
        assert len(found) == walker.data_bytes
        if walker.done:
            assert end <= len(piece)
            break
    return found, walker.done, False


def events(data: bytes) -> None:
    """A stream has the same events, however it is cut, and no more is held than allowed."""
    whole, cut = SSEDecoder(_EVENT_BYTES), SSEDecoder(_EVENT_BYTES)
    found: list[bytes] = []
    for piece in pieces_of(data):
        found += cut.feed(piece)
        assert len(cut._held) <= _EVENT_BYTES + len(piece)
    once = whole.feed(data)

    if not cut.skipped_bytes and not whole.skipped_bytes:
        assert once == found


def meters(data: bytes) -> None:
    """Each meter reads the same of an answer, however it is cut; none raises.

    But for the output tokens of a partial one, which are an estimate from what was seen, and
    for events too long to be held: they are read only where they come in one piece.
    """
    decoder = SSEDecoder(messages_meter._MAX_EVENT_BYTES)
    for piece in pieces_of(data):
        decoder.feed(piece)
    if decoder.skipped_bytes:
        return
    for make in (messages_meter.meter_for, gemini_meter.meter_for):
        for complete in (True, False):
            whole = _metered(make(data[:1]), [data], complete=complete)
            cut = _metered(make(data[:1]), pieces_of(data), complete=complete)

            assert whole == cut


def _metered(meter: Meter, pieces: list[bytes], *, complete: bool) -> Metered:
    for piece in pieces:
        meter.feed(piece)
        meter.running()
    found = meter.close(complete=complete)
    if found.kind == "final":
        return found
    return replace(found, usage=replace(found.usage, output_tokens=None))


def codings(data: bytes) -> None:
    """What takes a coding off says no in two ways only, and makes no more than it may."""
    for coding in (b"gzip", b"deflate", b"br", b"zstd"):
        decode = decoder_for(coding)
        assert decode is not None
        with contextlib.suppress(Bomb, Uncoded):
            for piece in pieces_of(data):
                assert len(decode(piece)) <= _MOST_DECODED_BYTES


def peek(data: bytes) -> None:
    """A body is read or refused; of one that is renamed that one value has changed."""
    try:
        ask = messages.peek(data)
    except Refused:
        return
    if ask.model is None:
        return
    other = messages.renamed(data, "other-model")

    assert messages.peek(other).model == "other-model"
    with contextlib.suppress(ValueError, RecursionError):
        before, after = json.loads(data), json.loads(other)
        assert before.pop("model") == ask.model
        assert after.pop("model") == "other-model"
        assert repr(before) == repr(after)


def settings(data: bytes) -> None:
    """A file is loaded, or every problem is told; nothing else is raised."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "passgate.toml"
        file.write_bytes(data)
        environ = {"PASSGATE_STATE_DIR": place, "PASSGATE_KEY": "k" * 40, "ANTHROPIC_API_KEY": "s"}
        try:
            found = config.load(file, environ, Path(place))
        except ConfigError as error:
            assert error.problems
            assert all(error.problems)
        else:
            assert found.clients
            assert found.upstreams
            assert "k" * 40 not in repr(found)


def key_file(data: bytes) -> None:
    """Each key of a file stands in it, once, and its name is not the key."""
    found = keys_in(data, b"salt")

    assert len({key.secret for key in found}) == len(found)
    for key in found:
        assert key.secret
        assert key.secret in data
        # A short one stands in many a word.
        assert len(key.secret) < 12 or key.secret.decode("latin-1") not in repr(key)


def gemini_error(data: bytes) -> None:
    """Whatever an error's body is, it says something of the key."""
    for code in (200, 400, 403, 429, 503):
        assert isinstance(status.error_in(code, data).outcome, status.Outcome)


class _Answering(Protocol):
    @property
    def translation(self) -> Translation: ...

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


def gemini_stream(data: bytes) -> None:
    """Whatever Google says becomes the same, however it is cut, and ends well only if it did."""
    for make in (lambda t: Streamed(t, "req"), Whole):
        whole, cut = (_translated(make, each) for each in ([data], pieces_of(data)))

        assert whole == cut
        said, verdict, _ = whole
        if verdict is not Verdict.COMPLETE:
            assert b"message_stop" not in said
        elif make is Whole:
            assert json.loads(said)["type"] == "message"


def _translated(
    make: Callable[[Translation], _Answering], pieces: list[bytes]
) -> tuple[bytes, Verdict, str]:
    wanted = Wanted("gemini-a", "gemini-3-pro", "0" * 8, lambda name: name, request_id="req_1")
    answer = make(Translation(wanted))
    said = b"".join(answer.feed(piece) for piece in pieces) + answer.close()
    return said, answer.translation.verdict, answer.translation.stop_reason


def gemini_request(data: bytes) -> None:
    """Whatever is asked is refused in words, or makes the same valid JSON each time."""
    for model in ("gemini-3-pro", "gemini-2.5-flash"):
        for counting in (False, True):
            try:
                asked = read(data, model, counting=counting)
            except Refused as refused:
                assert refused.fault.status == 400
                assert refused.fault.message
                continue
            _written(asked, read(bytearray(data), model, counting=counting))


def _written(asked: Asked, again: Asked) -> None:
    """Check what is sent to Google, with and without what was signed."""
    for replay in (Replay("0" * 8), Replay("0" * 8, repair=True), Replay("", optimistic=True)):
        body = asked.body(replay)
        assert body == again.body(replay)
        assert json.loads(body)["contents"] is not None
        assert json.loads(continued(body, "token"))
        counted = json.loads(asked.count_body(replay))
        assert set(counted) == {"generateContentRequest"}
    assert asked.sticky == again.sticky


def gemini_list(data: bytes) -> None:
    """A list of models is read, or said to be none; what is made of it is JSON."""
    listing.entry_of(data, "gemini-a")
    page = listing.page_of(data)
    merged = listing.merged(data, [] if page is None else page.entries)

    # What is not UTF-8 in an entry of theirs is theirs, and goes on as it came.
    assert merged is None or isinstance(json.loads(merged.decode("latin-1")), dict)


def extras(data: bytes) -> None:
    """What a row keeps for its price is read, and is the same written again; or ValueError."""
    with contextlib.suppress(ValueError):
        found = iterations.read(data.decode())
        again = iterations.read(msgspec.json.encode(found).decode())
        assert again == found
        for extra in found:
            cost = pricing.scaled_cost(pricing._counts(extra.usage), _RATES)
            assert isinstance(pricing.nano_usd(cost), int)


PURE: dict[str, Callable[[bytes], None]] = {
    "chunks": chunks,
    "codings": codings,
    "config": settings,
    "events": events,
    "gemini-error": gemini_error,
    "gemini-keys": key_file,
    "gemini-list": gemini_list,
    "gemini-request": gemini_request,
    "gemini-stream": gemini_stream,
    "meters": meters,
    "peek": peek,
    "price-extras": extras,
}


# What inputs are made of: recorded answers, and the tables of the attacks.

_DATA = Path(__file__).parents[1] / "core" / "data"
_ROOT = Path(__file__).parents[2]
_ASKS = (
    b'{"model":"claude-a","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}',
    b' { "stream" : true , "model" : "gemini-\\u0061", "metadata":{"model":"x"}, "t":1e9 } ',
    b'{"m\\u006fdel":"a","tools":[{"name":"model","input_schema":{"type":"object"}}]}',
    b'{"model":"a","model":"b"}',
    b"[1,2]",
)
_KEY_FILES = (
    b"# a comment\nlabel=key-one\nkey-two\n\n a=b=c \n",
    b"one\r\none\r\n",
    b"\xef\xbb\xbfx\n",
)


_LISTS = (
    b'{"models":[{"name":"models/gemini-a","displayName":"A","inputTokenLimit":1,'
    b'"supportedGenerationMethods":["generateContent"]}],"nextPageToken":"x"}',
    b'{"data":[{"type":"model","id":"claude-a","display_name":"A",'
    b'"created_at":"2026-01-01T00:00:00Z"}],"has_more":false,"first_id":"claude-a"}',
)
_EXTRAS = (
    b'[{"type":"unbilled"}]',
    b'[{"type":"message","model":"claude-a","usage":{"input_tokens":7,"output_tokens":9}},'
    b'{"type":"compaction","usage":{"cache_read_tokens":1,"web_searches":2}}]',
    b"[]",
)


def _conversations() -> list[object]:
    """Return requests that have a little of everything."""
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
    answer = [{"type": "text", "text": "ok"}, {"type": "image", "source": image}]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": answer}
    thought = {"type": "thinking", "thinking": "so", "signature": "x"}
    plain = {"model": "gemini-a", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "t"}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "go on"}]},
    ]
    tools = [{"name": "Read", "description": "Read it.", "input_schema": schema, "strict": True}]
    more = {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "stream": True,
    }
    wanted = {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    return [
        plain,
        {**plain, **more, "messages": turns, "tools": tools},
        {**plain, "output_config": wanted},
    ]


def _recorded(*kinds: str) -> dict[str, bytes]:
    files = sorted(file for kind in kinds for file in (_DATA / kind).iterdir() if file.is_file())
    return {f"{file.parent.name}-{file.name}": file.read_bytes() for file in files}


def _numbered(of: Sequence[bytes]) -> dict[str, bytes]:
    return {str(number): data for number, data in enumerate(of)}


def _coded() -> dict[str, bytes]:
    plain = _ASKS[0] * 50
    return {
        "gzip": zlib.compress(plain, wbits=31),
        "two": zlib.compress(plain, wbits=31) * 2,
        "zlib": zlib.compress(plain),
        "raw": zlib.compress(plain, wbits=-15),
        "zstd": bytes.fromhex("28b52ffd0458210000616263646a1b6d10"),
        "br": bytes.fromhex("0b028061626303"),
    }


def _errors() -> dict[str, bytes]:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = {"code": 429, "message": "m", "status": "S", "details": [retry, reason]}
    return _numbered([json.dumps(each).encode() for each in ({"error": error}, [{"error": error}])])


def seeds_of(target: str) -> dict[str, bytes]:  # noqa: C901  a table, some of it made
    """Return the inputs that all others of a target are made of, by name."""
    match target:
        case "chunks":
            return {**CHUNKS, **LATER, "whole": b"4\r\nnull\r\n0\r\n\r\n"}
        case "codings":
            return _coded()
        case "config":
            return {"example": (_ROOT / "passgate.example.toml").read_bytes(), "empty": b""}
        case "gemini-error":
            return _errors()
        case "gemini-keys":
            return _numbered(_KEY_FILES)
        case "gemini-stream":
            return _recorded("gemini")
        case "peek":
            return _numbered(_ASKS)
        case "gemini-list":
            return _numbered(_LISTS)
        case "gemini-request":
            return _numbered([json.dumps(each).encode() for each in _conversations()])
        case "price-extras":
            return _numbered(_EXTRAS)
        case _:
            return _recorded("messages", "gemini")
