"""Rows that are seen whole where the doctor is the gateway's upstream as well."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable

from passgate.doctor import outside
from passgate.doctor.upstream import Peer, Seen, Upstream, answer, chunk, stream_head
from passgate.doctor.visit import Found, Visit, fail, mark_of, ok
from passgate.doctor.wire import WAIT_S, Answer, NoAnswer

_OK, _BROKEN = 200, 500
_GAP_S = 2.0
_LEAVES_S = 2.0
_LARGE_BYTES = 8 << 20

_START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_doctor"}}\n\n'
_REST = (
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b": a comment line\n\n",
    b'event: doctor_unknown\ndata: {"type":"doctor_unknown",  "n": 1.0, "e": "\\u00e9"}\n\n',
    b"event: crlf\r\ndata: {}\r\n\r\n",
    b"id: 7\nretry: 10\ndata: one\ndata: two\n\n",
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
# Valid JSON that no writer would write the same way again.
_ODD = (
    b'{ "model" :"%s", "max_tokens":32.0,'
    b'"messages" : [{"role":"user","content":"%s \\u00e9\\/"}],\n'
    b' "doctor_unknown":{"b":1,"a":1e2,"a":null}, "temperature":-0 }'
)
_ODD_ERROR = b'{ "type":"error", "error":{"type":"doctor_%d","message":"too \\u006cong"} }'
_ODD_ANSWER = b'{ "type" : "message","id":"msg_doctor",\n "x":1.0, "e":"\\u00e9\\/", "a":1,"a":2 }'


def _upstream(visit: Visit) -> Upstream:
    assert visit.upstream is not None  # noqa: S101  these rows are looked at with one alone
    return visit.upstream


def _arrived(visit: Visit, mark: str) -> Seen | None:
    seen = _upstream(visit).marked(mark)
    return seen[-1] if seen else None


def upstream(visit: Visit) -> Found:
    """See that the gateway sends to us, with a credential that is not the client's key."""
    mark = mark_of("upstream")
    got = visit.post(mark)
    seen = _arrived(visit, mark)
    if seen is None:
        return fail(f"no request came from the gateway, which answered with {got.status}")
    shown = credentials(seen)
    if visit.key in shown:
        return fail("the client's own key is shown to the upstream")
    what = "a credential" if shown else "no credential"
    return ok(f"it calls us, with {what} of its own")


def credentials(seen: Seen) -> set[str]:
    """Return what a request shows as a credential."""
    values = [value for name in ("x-api-key", "x-goog-api-key") for value in seen.get(name)]
    values += [value.partition(" ")[2] for value in seen.get("authorization")]
    return {value for value in values if value}


def stream(visit: Visit) -> Found:
    """See that each event is passed on before the next one is made."""
    mark, go_on = mark_of("stream"), threading.Event()

    def part(peer: Peer, _: Seen) -> None:
        peer.send(stream_head() + chunk(_START))
        go_on.wait(WAIT_S)
        peer.send(b"".join(map(chunk, _REST)) + chunk(b""))

    _upstream(visit).plays(mark, part)
    with visit.asked("POST", "/v1/messages", body=visit.message(mark, stream=True)) as call:
        began = time.monotonic()
        first = call.until(b"message_start", _GAP_S)
        took_ms = (time.monotonic() - began) * 1000
        go_on.set()
        whole = call.answer()
    if first is None:
        return fail(f"nothing of the first event came in {_GAP_S:g} s: the stream is held back")
    if not whole.whole:
        return fail("the stream did not end")
    return ok(f"the first event came in {took_ms:.0f} ms, the second not yet made")


def pings(visit: Visit) -> Found:
    """See that pings, comments and events that nobody knows pass as they are."""
    mark, every = mark_of("pings"), _START + b"".join(_REST)

    def part(peer: Peer, _: Seen) -> None:
        peer.send(stream_head() + chunk(every) + chunk(b""))

    _upstream(visit).plays(mark, part)
    got = visit.post(mark, stream=True)
    if got.body == every:
        return ok("byte for byte")
    for what, event in (("pings", _REST[0]), ("comment lines", _REST[1]), ("unknown", _REST[2])):
        if event not in got.body:
            return fail(f"lost or changed: {what}")
    return fail("events are not the bytes that were sent")


def betas(visit: Visit) -> Found:
    """See that fields pass whoever knows them: values, order, repetition."""
    mark = mark_of("betas")
    values = ["doctor-a-2026-01-01", "doctor-b-2026-01-01"]
    fields = [f"anthropic-beta: {value}" for value in values]
    visit.post(mark, *fields, "anthropic-doctor: new", "x-doctor: one", "X-Doctor: two")
    seen = _arrived(visit, mark)
    if seen is None:
        return fail("the request did not arrive")
    came = [part.strip() for value in seen.get("anthropic-beta") for part in value.split(",")]
    if [value for value in came if value.startswith("doctor-")] != values:
        return fail(f"of two unknown betas {len(set(came) & set(values))} arrived, in order or not")
    if seen.get("anthropic-doctor") != ["new"]:
        return fail("an anthropic- field that it does not know was dropped")
    said = [part.strip() for value in seen.get("x-doctor") for part in value.split(",")]
    return ok("all, in order") if said == ["one", "two"] else fail("other fields were dropped")


def body(visit: Visit) -> Found:
    """See that a request's body arrives to the byte."""
    mark = mark_of("body")
    sent = _ODD % (visit.model.encode(), mark.encode())
    visit.answer("POST", "/v1/messages", body=sent)
    seen = _arrived(visit, mark)
    if seen is None:
        return fail("the request did not arrive")
    return _compared(sent, seen.body)


def _compared(sent: bytes, came: bytes) -> Found:
    if came == sent:
        return ok("byte for byte")
    try:
        same = json.loads(came) == json.loads(sent)
    except ValueError:
        same = False
    if same:
        return fail("written anew: the same JSON in other bytes, which costs prompt caching")
    return fail("changed on the way")


def reply(visit: Visit) -> Found:
    """See that an answer's body and fields arrive as they are."""
    mark = mark_of("reply")
    said = ("request-id: req_doctor", "anthropic-ratelimit-requests-remaining: 7", "x-doctor: 1")

    def part(peer: Peer, _: Seen) -> None:
        peer.send(answer(_OK, _ODD_ANSWER, *said))

    _upstream(visit).plays(mark, part)
    got = visit.post(mark)
    if missing := _missing(got, said):
        return fail(f"lost or changed: {missing}")
    return _compared(_ODD_ANSWER, got.body)


def _missing(got: Answer, said: tuple[str, ...]) -> str:
    """Return the name of the first field of *said* that did not come as it was."""
    pairs = (line.split(": ") for line in said)
    return next((name for name, value in pairs if value not in got.get(name)), "")


def errors(visit: Visit) -> Found:
    """See that the upstream's errors arrive as they are, with when to try again."""
    mark = mark_of("errors")
    said = ("retry-after: 7", "x-should-retry: true", "request-id: req_doctor")
    for status in (400, 429, 529):
        words = (
            b'{ "type":"error", "error":{"type":"doctor_%d","message":"too \\u006cong"} }' % status
        )

        def part(peer: Peer, _: Seen, status: int = status, words: bytes = words) -> None:
            peer.send(answer(status, words, *said))

        _upstream(visit).plays(mark, part)
        before = len(_upstream(visit).marked(mark))
        got = visit.post(mark)
        if got.status != status:
            return fail(f"the upstream's {status} became {got.status}")
        if got.body != words:
            return fail(f"the words of the upstream's {status} were changed: clients match them")
        if missing := _missing(got, said):
            return fail(f"{missing} of the upstream's {status} is lost")
        if len(_upstream(visit).marked(mark)) - before > 1:
            return fail(f"a {status} was tried again: clients do that themselves")
    return ok("400, 429 and 529, to the byte")


def compression(visit: Visit) -> Found:
    """See that compressed bodies pass as they are."""
    mark, packed = mark_of("compression"), zlib.compress(_ODD_ANSWER, wbits=31)

    def part(peer: Peer, _: Seen) -> None:
        peer.send(answer(_OK, packed, "content-encoding: gzip"))

    _upstream(visit).plays(mark, part)
    got = visit.post(mark, "accept-encoding: gzip")
    seen = _arrived(visit, mark)
    if seen is None or "gzip" not in ",".join(seen.get("accept-encoding")):
        return fail("accept-encoding does not reach the upstream")
    if got.body == packed and got.get("content-encoding") == ["gzip"]:
        return ok("gzip, byte for byte")
    plain = got.body == _ODD_ANSWER
    return fail("it was unpacked" if plain else "body or content-encoding was changed")


def count_tokens(visit: Visit) -> Found:
    """See that counting is asked of the upstream."""
    found = outside.count_tokens(visit)
    came = _upstream(visit).marked(mark_of("count_tokens"))
    if came and not came[-1].target.endswith("/v1/messages/count_tokens"):
        return fail("it was asked of the upstream by another path")
    return found if came or found.reason.startswith("answered") else ok("counted by the gateway")


def models(visit: Visit) -> Found:
    """See that the upstream's models are in the list."""
    found = outside.models(visit)
    listed = any(b"claude-doctor" in got for got in visit.answers[-1:])
    if found.reason.endswith(" models") and not listed:
        return fail("the upstream's own models are not in the list")
    return found


def query(visit: Visit) -> Found:
    """See that the query arrives."""
    mark = mark_of("query")
    visit.post(mark, path="/v1/messages?beta=true&doctor=a%2Cb")
    seen = _arrived(visit, mark)
    if seen is None:
        return fail("the request did not arrive")
    if seen.target.endswith("/v1/messages?beta=true&doctor=a%2Cb"):
        return ok("as it was sent")
    return fail("?beta=true is lost or changed")


def large(visit: Visit) -> Found:
    """See that a request of 8 MB passes; sessions of agents send some."""
    mark = mark_of("large")
    sent = visit.message(mark, metadata={"user_id": "x" * _LARGE_BYTES})
    got = visit.answer("POST", "/v1/messages", body=sent)
    seen = _arrived(visit, mark)
    if seen is None:
        return fail(f"answered with {got.status}: Claude's own limit is 32 MB")
    return ok("8 MB") if seen.body == sent else fail("it arrived changed")


def cancel(visit: Visit) -> Found:
    """See that a client's end in a stream ends the call."""
    return _cancelled(visit, "cancel", stream_head() + chunk(_START))


def cancel_early(visit: Visit) -> Found:
    """See that a client's end before the answer ends the call."""
    return _cancelled(visit, "cancel early", b"")


def _cancelled(visit: Visit, row: str, said: bytes) -> Found:
    mark, here, over = mark_of(row), threading.Event(), threading.Event()
    left: list[bool] = []

    def part(peer: Peer, _: Seen) -> None:
        if said:
            peer.send(said)
        here.set()
        left.append(peer.left(_LEAVES_S + 1))
        over.set()
        raise EOFError

    _upstream(visit).plays(mark, part)
    with visit.asked("POST", "/v1/messages", body=visit.message(mark, stream=True)) as call:
        if not here.wait(WAIT_S):
            return fail("the request did not arrive")
        if said:
            call.until(b"message_start", _GAP_S)
        call.leave()
        began = time.monotonic()
        over.wait(_LEAVES_S)
    if not any(left):
        return fail(f"the call went on {_LEAVES_S:g} s after its client had left: it is paid for")
    return ok(f"the call ended {(time.monotonic() - began) * 1000:.0f} ms after the client")


def broken(visit: Visit) -> Found:
    """See that a stream and a body that broke off look so."""
    cut = stream_head() + chunk(_START) + chunk(_REST[0])[:-9]
    short = answer(_OK, _ODD_ANSWER).replace(b"content-length: ", b"content-length: 9")
    for what, said in {"a stream": cut, "a body": short}.items():
        mark = mark_of(f"broken {what}")

        def part(peer: Peer, _: Seen, said: bytes = said) -> None:
            peer.send(said)
            peer.end()

        _upstream(visit).plays(mark, part)
        try:
            got = visit.post(mark, stream=what == "a stream")
        except NoAnswer:
            continue
        if got.whole and got.status < _BROKEN and b"event: error" not in got.body:
            return fail(f"{what} that broke off ends as if it were complete")
    return ok("a stream and a body that broke off look so")


def once(visit: Visit) -> Found:
    """See that a request that may have been read is not sent again."""
    mark = mark_of("once")
    _upstream(visit).plays(mark, lambda peer, _: peer.end())
    try:
        got = f"answered with {visit.post(mark).status}"
    except NoAnswer:
        got = "the connection was closed"
    times = len(_upstream(visit).marked(mark))
    if times > 1:
        return fail(f"sent {times} times: each may be billed")
    return ok(f"sent once; {got}") if times else fail("the request did not arrive")


def redirect(visit: Visit) -> Found:
    """See that the gateway goes nowhere because an upstream says so."""
    mark, elsewhere = mark_of("redirect"), "/passgate-doctor-elsewhere"

    def part(peer: Peer, seen: Seen) -> None:
        host = (seen.get("host") or ["localhost"])[0]
        peer.send(answer(307, b"{}", f"location: http://{host}{elsewhere}"))

    _upstream(visit).plays(mark, part)
    got = visit.post(mark)
    if any(elsewhere in seen.target for seen in tuple(_upstream(visit).seen)):
        return fail("a redirect was followed, with the credential")
    return ok(f"not followed; the client gets {got.status}")


def hops(visit: Visit) -> Found:
    """See that fields for one connection stay on it, in both directions."""
    mark = mark_of("hops")
    went = ("connection: keep-alive, x-doctor-hop", "x-doctor-hop: 1", "te: trailers")

    def part(peer: Peer, _: Seen) -> None:
        peer.send(answer(_OK, b"{}", "connection: x-doctor-back", "x-doctor-back: 1"))

    _upstream(visit).plays(mark, part)
    got = visit.post(mark, *went, "proxy-authorization: Basic ZG9jdG9y")
    seen = _arrived(visit, mark)
    if seen is None:
        return fail("the request did not arrive")
    up = [name for name in ("x-doctor-hop", "te", "proxy-authorization") if seen.get(name)]
    if up or got.get("x-doctor-back"):
        return fail(f"passed on: {', '.join(up or ['x-doctor-back'])}")
    return ok("they stay")


def key_stays(visit: Visit) -> Found:
    """See that the client's key went up in no request, wherever it stood."""
    mark = mark_of("key stays")
    for field in ("authorization: Bearer", "x-api-key:", "cookie: session="):
        visit.post(mark, f"{field} {visit.key}")
    secret = visit.key.encode()
    for seen in tuple(_upstream(visit).seen):
        if secret in seen.head or secret in seen.body:
            where = [name for name, value in seen.fields if visit.key in value]
            return fail(f"it went up in {', '.join(where) or 'target or body'}")
    return ok(f"in none of {len(_upstream(visit).seen)} requests")


def credential_stays(visit: Visit) -> Found:
    """See that the upstream's credential came back in nothing, not even as an echo."""
    mark = mark_of("credential stays")
    secrets: set[str] = set()

    def part(peer: Peer, seen: Seen) -> None:
        secrets.update(credentials(seen))
        echoes = [f"x-doctor-echo: {secret}" for secret in credentials(seen)]
        peer.send(answer(_OK, b"{}", *echoes))

    _upstream(visit).plays(mark, part)
    visit.post(mark)
    if not secrets:
        return ok("the gateway shows no credential")
    for got in visit.answers:
        if any(secret.encode() in got for secret in secrets):
            return fail("an upstream that echoes it gives it to the client")
    return ok("an echo of it is taken out")


Look = Callable[[Visit], Found]
