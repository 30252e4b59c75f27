"""The small parsers: heads of answers, rate limits, installs, signatures, what is minted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from passgate.core.faults import Refused
from passgate.core.gemini.minted import without_minted
from passgate.core.gemini.signatures import PREFIX, Envelope, Kind, decode
from passgate.core.installs import install_of
from passgate.core.ratelimits import COUNTED, WINDOWS, headroom
from passgate.core.skim import Skimmer, TooManyMembers
from passgate.edge.wire.answers import AnswerMemory
from tests.edge.wire.test_answers import alike, anew, judged
from tests.fuzz.pure import pieces_of

_MOST_HEADS = 8
_KINDS = {name.decode().replace("-", "_") for name in (*COUNTED, *WINDOWS)}
_NOW_S = 1_790_000_000.0


def answers(data: bytes) -> None:
    """A head is taken for what it would be alone, whatever the upstream said before."""
    memory = AnswerMemory()
    heads = [head + b"\r\n\r\n" for head in data.split(b"\r\n\r\n")[:_MOST_HEADS]]
    for raw in heads * 2:
        assert alike(anew(raw), judged(memory, raw))


def ratelimits(data: bytes) -> None:
    """What a head says of limits is numbers of kinds that we know, or nothing."""
    for each in headroom(data, _NOW_S):
        assert each.kind in _KINDS
        assert each.used is not None
        assert each.used >= 0


def installs(data: bytes) -> None:
    """A body tells of an install, of nothing else, or is refused."""
    with contextlib.suppress(Refused):
        install = install_of(data)
        assert json.loads(data) == {
            "install_id": install.install_id,
            "version": install.version,
            "platform": install.platform,
        }


def signatures(data: bytes) -> None:
    """A signature that passgate wrote is read as it was written; any other is none."""
    text = data.decode("latin-1")
    found = decode(text)
    if found is not None:
        assert found == decode(found.encode())
    assert found is None or text.startswith(PREFIX)


def minted(data: bytes) -> None:
    """What is cut from a conversation leaves JSON that was JSON, and nothing to cut."""
    left = without_minted(data, None, 0, print)

    assert without_minted(left, None, 0, print) == left
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    said = json.loads(left)
    if left != data:
        assert len(said["messages"]) == len(told["messages"])
        assert {**said, "messages": 0} == {**told, "messages": 0}


def skim(data: bytes) -> None:
    """The objects of a stream are the same, however it is cut."""
    assert _objects([data]) == _objects(pieces_of(data))


def _objects(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """Return the objects, and whether one was too large."""
    skimmer, found = Skimmer(64, 256), list[bytes]()
    try:
        for piece in pieces:
            found += skimmer.feed(piece)
    except TooManyMembers:
        return [], True
    return found, False


SMALL: dict[str, Callable[[bytes], None]] = {
    "answers": answers,
    "installs": installs,
    "minted": minted,
    "ratelimits": ratelimits,
    "signatures": signatures,
    "skim": skim,
}

_SIGNED = Envelope(Kind.CALL, "gemini-a", "0123abcd", "toolu_p_1", "c2ln").encode()
_THOUGHT = '{"type":"thinking","thinking":"t","signature":"%s"}'
_TURNS = (
    '{"model":"claude-a","messages":[{"role":"user","content":"hi"},'
    '{"role":"assistant","content":[%s,{"type":"text","text":"x"}]},'
    '{"role":"assistant","content":[ %s ]}]}'
)
_LIMITS = (
    b"HTTP/1.1 200 OK\r\nanthropic-ratelimit-requests-limit: 50\r\n"
    b"anthropic-ratelimit-requests-remaining: 49\r\n"
    b"anthropic-ratelimit-requests-reset: 2026-11-25T00:00:00Z\r\n"
    b"Anthropic-Ratelimit-Unified-5h-Utilization: 0.25\r\n"
    b"anthropic-ratelimit-unified-5h-reset: 1790000001"
)
_HEADS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nrequest-id: req_1\r\ndate: a\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\nrequest-id: req_2\r\ndate: b, c:d",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked"
    b"\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: c\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\nX: 2",
    b"HTTP/1.1 204 No\r\n\r\nHTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nHTTP/1.1 103 E",
)


def small_seeds_of(target: str) -> dict[str, bytes]:
    """Return the inputs that all others of a target are made of, by name."""
    thoughts = [_THOUGHT % signature for signature in (_SIGNED, f"{PREFIX}x", "claudes-own")]
    seeds = {
        "answers": _HEADS,
        "installs": (
            b'{"install_id":"00000000-0000-4000-8000-000000000000","version":"1.0",'
            b'"platform":"linux"}',
            b"{}",
        ),
        "minted": [(_TURNS % (one, other)).encode() for one in thoughts for other in thoughts],
        "ratelimits": (_LIMITS,),
        "signatures": (_SIGNED.encode(), f"{PREFIX}n:gemini-a:0123abcd:-:-".encode()),
        "skim": (
            b'[{"a":1,"b":{"c":"}\\"{"}},\r\n{"long":"%s"},{}]' % (b"x" * 99),
            b'data: {"usage":{"input_tokens":[1,{"x":2}]},"d":"e"}\n\n',
        ),
    }
    return {str(number): data for number, data in enumerate(seeds[target])}
