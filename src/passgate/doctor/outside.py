"""Rows that a client alone can see something of."""

from __future__ import annotations

import json
import time
import zlib

from passgate.doctor.visit import Found, Visit, fail, mark_of, ok, unseen
from passgate.doctor.wire import Answer

_OK, _MULTIPLE, _BAD, _BROKEN = 200, 300, 400, 500
_UNAUTHORIZED, _FORBIDDEN = 401, 403
# Long enough to be a key anywhere, and nobody's.
_WRONG = "pg_" + "passgate-doctor-nobody" * 2


def envelope(answer: Answer) -> str | None:
    """Return the ``type`` of an error in the API's words, or None if it is not in these."""
    try:
        said = json.loads(answer.body)
        kind = said["error"]["type"]
    except (ValueError, KeyError, TypeError):
        return None
    return kind if said.get("type") == "error" and isinstance(kind, str) else None


def reach(visit: Visit) -> Found:
    """See that it answers, also the ``HEAD /`` that Claude Code begins with."""
    began = time.monotonic()
    with visit.asked("HEAD", "/", key="") as call:
        found = call.head()
    took_ms = (time.monotonic() - began) * 1000
    if found >= _BROKEN:
        return fail(f"HEAD / is answered with {found}")
    return ok(f"HEAD / is answered with {found} in {took_ms:.0f} ms")


def key(visit: Visit) -> Found:
    """See that the key is taken."""
    good = visit.post(mark_of("key"))
    if good.status in (_UNAUTHORIZED, _FORBIDDEN):
        return fail(f"refused with {good.status}")
    return ok(f"taken; answered with {good.status}")


def other_keys(visit: Visit) -> Found:
    """See that no other key is taken, nor two at once."""
    mark = mark_of("other keys")
    other = f"x-api-key: {_WRONG}" if visit.bearer else f"authorization: Bearer {_WRONG}"
    tries: dict[str, tuple[str, tuple[str, ...]]] = {
        "no key": ("", ()),
        "a wrong key": (_WRONG, ()),
        "the key and one letter": (f"{visit.key}x", ()),
        "two keys that differ": (visit.key, (other,)),
    }
    for what, (shown, fields) in tries.items():
        body = visit.message(mark)
        with visit.asked("POST", "/v1/messages", *fields, body=body, key=shown) as call:
            answer = call.answer()
        if answer.status != _UNAUTHORIZED:
            return fail(f"{what}: answered with {answer.status} instead of 401")
        if envelope(answer) != "authentication_error":
            return fail(f"{what}: refused, but not with the API's authentication_error")
    return ok("none, wrong ones and two at once are refused")


def final(visit: Visit) -> Found:
    """See that clients are told not to try a refused key again."""
    with visit.asked("POST", "/v1/messages", body=visit.message("key"), key=_WRONG) as call:
        answer = call.answer()
    if answer.get("x-should-retry") == ["false"]:
        return ok("x-should-retry: false")
    return fail("without x-should-retry: false Claude Code repeats a refused key for minutes")


def stream(visit: Visit) -> Found:
    """See that events come before the last one was made."""
    with visit.asked("POST", "/v1/messages", body=visit.message("stream", stream=True)) as call:
        first = call.until(b"event: message_start")
        began = time.monotonic()
        whole = call.answer()
    if whole.status != _OK:
        return unseen(f"the stream was answered with {whole.status}")
    ahead_ms = (time.monotonic() - began) * 1000
    if first is None or b"message_stop" in first.body:
        return unseen("it came all at once: buffered, or too short to tell")
    return ok(f"the first event was {ahead_ms:.0f} ms ahead of the last")


def errors(visit: Visit) -> Found:
    """See that a faulty request is refused in the API's own words."""
    faulty = visit.message(mark_of("errors"))[:-1]  # no JSON any more
    answer = visit.answer("POST", "/v1/messages", body=faulty)
    kind = envelope(answer)
    if answer.status == _BAD and kind == "invalid_request_error":
        return ok("a faulty request gets the API's 400")
    return fail(f"a faulty request gets {answer.status} {kind or 'in other words than the API'}")


def compression(visit: Visit) -> Found:
    """See that what is asked for compressed and comes so can be read."""
    answer = visit.post("compression", "accept-encoding: gzip")
    coding = answer.get("content-encoding")
    if coding != ["gzip"]:
        return unseen("the answer came plain: so it may have been made")
    try:
        zlib.decompress(answer.body, wbits=31)
    except zlib.error:
        return fail("said to be gzip, and is not")
    return ok("gzip arrives as gzip")


def count_tokens(visit: Visit) -> Found:
    """See that tokens can be counted."""
    mark = mark_of("count_tokens")
    body = json.dumps(
        {"model": visit.model, "messages": [{"role": "user", "content": mark}]}
    ).encode()
    answer = visit.answer("POST", "/v1/messages/count_tokens", body=body)
    try:
        count = json.loads(answer.body)["input_tokens"]
    except (ValueError, KeyError, TypeError):
        count = None
    if answer.status == _OK and isinstance(count, int):
        return ok(f"{count} tokens")
    return fail(f"answered with {answer.status}: Claude Code then counts by asking, which costs")


def models(visit: Visit) -> Found:
    """See that models can be listed, by no redirect."""
    answer = visit.answer("GET", "/v1/models?limit=1000")
    if _MULTIPLE <= answer.status < _BAD:
        return fail(f"a redirect ({answer.status}): Claude Code takes any for a failure")
    try:
        ids = [each["id"] for each in json.loads(answer.body)["data"]]
    except (ValueError, KeyError, TypeError):
        return fail(f"answered with {answer.status}, and no list of models")
    if answer.status != _OK or not answer.whole:
        return fail(f"answered with {answer.status}")
    return ok(f"{len(ids)} models")


def query(visit: Visit) -> Found:
    """See that ``?beta=true``, which Claude Code always sends, is served."""
    answer = visit.post(mark_of("query"), path="/v1/messages?beta=true")
    if answer.status == _OK:
        return ok("served")
    return fail(f"?beta=true is answered with {answer.status}")
