"""Attacks that take time, room or many hands: each plays its part and judges what came of it.

All are bounded: some dozens of connections, some tens of megabytes, a few seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from bench import measure
from tests.attack.judge import (
    CLEANED,
    PATIENCE_S,
    REFUSED,
    Outcome,
    Verdict,
    ask,
    probed,
    say,
    send,
    wrong,
)
from tests.attack.tap import Line
from tests.attack.targets import Target
from tests.loopback.peers import reset

_MB = 1 << 20
# The contract holds a Messages body of 32 MiB; 24 more is what the promises grant.
_ROOM_BYTES = 56 * _MB
# To read the model of a compressed body, a copy of at most 32 MiB is made, one at a time.
_BOMB_ROOM_BYTES = 80 * _MB
_STREAM_ROOM_BYTES = 48 * _MB
_PROBE_S = 1.5
_CANCEL_S = 2.0
_MANY = 20
# Of the requests that an upstream closes its connection on, so many may be lost.
_MOST_LOST = 0.015
_ASKED, _CLIENTS = 400, 16

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_EVENT = b"15\r\nevent: ping\ndata: {}\n\r\n"


@contextlib.contextmanager
def _room(target: Target, most_bytes: int, found: list[str]) -> Iterator[None]:
    """Look whether memory stays within *most_bytes* more than it had."""
    if target.pid is None:
        yield
        return
    pids = measure.tree(target.pid)
    before = measure.rss_bytes(pids)
    measure.reset_peak(pids)
    yield
    grown = measure.peak_rss_bytes(pids) - before
    if grown > most_bytes:
        found.append(f"{grown / _MB:.0f} MB more than before")


@contextlib.contextmanager
def _opened(target: Target, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(target.connect()) for _ in range(count)]


def _all_end(connections: list[socket.socket], within_s: float) -> int:
    """Return how many of *connections* the other side has not ended in time."""
    until, left = time.monotonic() + within_s, 0
    for connection in connections:
        try:
            while True:
                connection.settimeout(max(0.01, until - time.monotonic()))
                if not connection.recv(1 << 16):
                    break
        except TimeoutError:
            left += 1
        except ConnectionError:
            pass
    return left


def _quickly_probed(target: Target) -> str:
    began = time.monotonic()
    problem = probed(target)
    if not problem and time.monotonic() - began > _PROBE_S:
        return "others waited for it"
    return problem


def _slow(target: Target, start: bytes, drip: bytes) -> Outcome:
    """Begin many requests with *start*, go on a little at a time, see them all cut."""
    target.tap.begin()
    start = start.replace(b"<key>", target.keys.key.encode())
    with _opened(target, _MANY) as connections:
        for connection in connections:
            connection.sendall(start)
        problem, until = _quickly_probed(target), time.monotonic() + PATIENCE_S
        while drip and time.monotonic() < until - PATIENCE_S / 2:
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(drip)
            time.sleep(0.05)
        left = _all_end(connections, until - time.monotonic())
    if problem:
        return wrong(problem)
    return wrong(f"{left} of {_MANY} were left open") if left else REFUSED


_HEAD = b"POST /v1/%s HTTP/1.1\r\nHost: h\r\nX-Api-Key: <key>\r\n"
_SLOW = {
    "silence": (b"", b""),
    "a head that stops": (_HEAD % b"messages", b""),
    "a head that drips": (_HEAD % b"messages" + b"X-A: ", b"a"),
    "a body that does not begin": (_HEAD % b"messages" + b"Content-Length: 9\r\n\r\n", b""),
    "a body that stops": (_HEAD % b"messages" + b"Content-Length: 9\r\n\r\n{", b""),
    "chunks that stop": (_HEAD % b"messages" + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{", b""),
    "an upload that stops": (_HEAD % b"files" + b"Content-Length: 9\r\n\r\n{", b""),
}


def _too_large(target: Target, *, chunked: bool) -> Outcome:
    """Send a body far beyond every bound."""
    target.tap.begin()
    found: list[str] = []
    head = _HEAD.replace(b"<key>", target.keys.key.encode()) % b"messages"
    piece = b"a" * _MB
    if chunked:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        pieces = [head] + [b"%x\r\n%s\r\n" % (len(piece), piece)] * 100
    else:
        head += b"Content-Length: %d\r\n\r\n" % (100 * _MB)
        pieces = [head] + [piece] * 100
    with _room(target, _ROOM_BYTES, found):
        got = send(target, pieces)
    if found or (problem := probed(target)):
        return wrong(found[0] if found else problem)
    if target.tap.bytes_in > 99 * _MB:
        return wrong("all of it was passed on")
    return REFUSED if got.end != "open" else wrong("it was left open")


def _bomb(target: Target) -> Outcome:
    """Send 100 MB of nothing, compressed; nobody has to look into it."""
    target.tap.begin()
    found: list[str] = []
    body = zlib.compress(b'{"model":"claude-a","x":"' + b" " * (100 * _MB) + b'"}', wbits=31)
    with _room(target, _BOMB_ROOM_BYTES, found):
        whole = ask(target, "Content-Encoding: gzip").partition(b"\r\n\r\n")[0]
        whole = whole.replace(b"Content-Length: 20", b"Content-Length: %d" % len(body))
        send(target, [whole + b"\r\n\r\n" + body])
    return wrong(found[0]) if found else _probed(target)


def _probed(target: Target, well: Outcome = CLEANED) -> Outcome:
    problem = probed(target)
    return wrong(problem) if problem else well


def _answer_bomb(target: Target) -> Outcome:
    """Answer with 100 MB of nothing, compressed; it passes as it is."""
    body = zlib.compress(b" " * (100 * _MB), wbits=31)

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        line.send(_OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    target.tap.begin(script)
    found: list[str] = []
    with _room(target, _STREAM_ROOM_BYTES, found):
        got = send(target, [ask(target, "Accept-Encoding: gzip")])
    answers = got.responses()
    if found or not answers or answers[0].body != body:
        return wrong(found[0] if found else "it did not arrive as it was")
    return _probed(target)


def _reads_nothing(target: Target) -> Outcome:
    """Have five clients ask for 20 MB each and read none of it."""

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        line.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            line.send(_OK + b"Content-Length: %d\r\n\r\n" % (20 * _MB) + b"a" * (20 * _MB))
        line.hold(2)

    target.tap.begin(script, times=5)
    found: list[str] = []
    with _room(target, _STREAM_ROOM_BYTES, found), contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(target.connect(receive_buffer=1 << 16))
            connection.sendall(ask(target))
        time.sleep(1.2)
    return wrong(found[0]) if found else _probed(target)


# How an upstream dies under a request that it may have read; never may it be asked again.


def _after_head(line: Line, _: bytes) -> None:
    line.socket.close()


def _after_body(line: Line, head: bytes) -> None:
    line.body(head)
    line.socket.close()


def _reset_after_body(line: Line, head: bytes) -> None:
    line.body(head)
    line.reset()


def _in_head(line: Line, head: bytes) -> None:
    line.body(head)
    line.send(b"HTTP/1.1 200 OK\r\nContent-")
    line.socket.close()


def _after_answer_head(line: Line, head: bytes) -> None:
    line.body(head)
    line.send(_CHUNKED)
    line.socket.close()


def _in_stream(line: Line, head: bytes) -> None:
    line.body(head)
    line.send(_CHUNKED + _EVENT * 3 + _EVENT[:9])
    line.reset()


_DEATHS: Mapping[str, Callable[[Line, bytes], None]] = {
    "after the request's head": _after_head,
    "after the request": _after_body,
    "after the request, RST": _reset_after_body,
    "in the answer's head": _in_head,
    "after the answer's head": _after_answer_head,
    "in a stream, RST": _in_stream,
}


def _dies(target: Target, script: Callable[[Line, bytes], None], *, reused: bool) -> Outcome:
    """Have the upstream die; the request is lost or cut, and was asked once."""
    target.tap.begin()
    if reused and (problem := probed(target)):
        return wrong(problem)
    # The connection is kept: only what the tap says next is the script's.
    target.tap.play(script)
    got = send(target, [ask(target)])
    if problem := probed(target):
        return wrong(problem)
    asked = [head for head in target.tap.heads if b"X-Probe" not in head]
    if len(asked) != 1:
        return wrong(f"it was asked {len(asked)} times")
    found = got.responses()
    if found and found[0].complete:
        # The gateway's own words are an error; nothing of the upstream's looks whole.
        return REFUSED if found[0].status >= 500 else wrong("it looks whole")
    return REFUSED if got.end != "open" else wrong("it was left open")


def _race(target: Target) -> Outcome:
    """Have the upstream end each connection with its answer, under sixteen clients.

    Answer and FIN leave together, so that whoever looks before it writes loses nothing.
    """

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        line.send(_OK + b"Content-Length: 2\r\n\r\n{}")
        line.socket.shutdown(socket.SHUT_WR)
        line.socket.close()

    target.tap.begin(script, times=_ASKED)
    lost: list[str] = []
    threads = [threading.Thread(target=_asks, args=(target, lost)) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if len(target.tap.heads) > _ASKED:
        return wrong(f"{len(target.tap.heads)} requests of {_ASKED} arrived")
    if set(lost) - {"502"}:
        return wrong(f"lost other than by a 502: {sorted(set(lost))}")
    if len(lost) > _ASKED * _MOST_LOST:
        return wrong(f"{len(lost)} of {_ASKED} were lost")
    return Outcome(Verdict.CLEANED, f"{len(lost)} of {_ASKED} lost")


def _asks(target: Target, lost: list[str]) -> None:
    """Ask one request after the other on one connection; put what is lost in *lost*."""
    with target.connect() as connection:
        for _ in range(_ASKED // _CLIENTS):
            got = say(connection, [ask(target)], alone=True)
            statuses = [each.status for each in got.responses() if each.complete]
            if statuses != [200]:
                lost.append(str(statuses[0]) if statuses else got.end)
            if got.end != "open":
                return


def _leaves(target: Target, *, answered: bool) -> Outcome:
    """Have many clients leave; each call upstream ends with its client."""

    def script(line: Line, head: bytes) -> None:
        line.body(head)
        if answered:
            line.send(_CHUNKED + _EVENT)
        line.hold()

    tap = target.tap
    tap.begin(script, times=_MANY)
    with _opened(target, _MANY) as connections:
        for connection in connections:
            connection.sendall(ask(target))
        _until(lambda: len(tap.heads) >= _MANY, PATIENCE_S)
        for connection in connections:
            if answered:
                connection.recv(1 << 16)
            reset(connection)
    _until(lambda: not tap.busy, _CANCEL_S)
    return wrong(f"{tap.busy} of {_MANY} calls went on") if tap.busy else _probed(target)


def _until(true: Callable[[], object], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not true() and time.monotonic() < until:
        time.sleep(0.01)


def _named() -> Iterator[tuple[str, Callable[[Target], Outcome]]]:
    for name, (start, drip) in _SLOW.items():
        yield f"slow: {name}", partial(_slow, start=start, drip=drip)
    yield "100 MB declared", partial(_too_large, chunked=False)
    yield "100 MB chunked", partial(_too_large, chunked=True)
    yield "100 MB compressed, up", _bomb
    yield "100 MB compressed, down", _answer_bomb
    yield "five who read nothing", _reads_nothing
    for name, script in _DEATHS.items():
        yield f"dies {name}", partial(_dies, script=script, reused=False)
        yield f"dies {name}, reused", partial(_dies, script=script, reused=True)
    yield "twenty leave before the answer", partial(_leaves, answered=False)
    yield "twenty leave in a stream", partial(_leaves, answered=True)
    yield "sixteen clients race", _race


PHASES: Mapping[str, Callable[[Target], Outcome]] = dict(_named())
