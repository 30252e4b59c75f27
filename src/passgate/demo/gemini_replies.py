"""Answers of the simulated Gemini as values: JSON, events, arrays and pages.

What is in them is decided elsewhere; ``gemini.py`` sends them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from passgate.demo.content import Json, encode
from passgate.demo.gemini_content import Act, Ask, Fail, Pause, Say, Stop, folded
from passgate.demo.gemini_proto import Rejected, bad, check_depth
from passgate.demo.wire import Fields, Head

_JSON = b"application/json; charset=UTF-8"
# A body that is made while it is sent, and what happens within it.
Step = bytes | Pause | Stop


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is framed.

    Attributes:
        steps: Its body, and what happens within.
        is_stream: Whether its length is not known before.
    """

    status: int
    steps: Iterable[Step]
    content_type: bytes = _JSON
    fields: Fields | None = None
    is_stream: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was read.

    Attributes:
        json: Its body, None where that is no JSON object.
        project: Whose key it showed.
    """

    head: Head
    body: bytes
    project: str
    json: Json | None

    @property
    def query(self) -> Mapping[str, str]:
        """Return the last value of each parameter."""
        query = parse_qs(self.head.target.partition("?")[2], keep_blank_values=True)
        return {name: values[-1] for name, values in query.items()}

    def field(self, name: str) -> str:
        """Return a field's value, empty without one."""
        return (self.head.get(name.encode()) or b"").decode("latin-1")

    def object(self) -> Json:
        """Return the body.

        Raises:
            Rejected: It is no JSON object.
        """
        if self.json is None:
            raise bad("Invalid JSON payload received. Expected an object.")
        check_depth(self.json)
        return self.json


def json_answer(value: object, fields: Fields | None = None, status: int = 200) -> Answer:
    """Return *value* as an answer, in several lines, as Google's are."""
    body = json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"
    return Answer(status, [body], fields=fields)


def refused(head: Head, rejected: Rejected) -> Answer:
    """Return an error: without ``alt=sse`` a stream's is an array of one."""
    error: object = {"error": rejected.error}
    if "streamGenerateContent" in head.path and "alt=sse" not in head.target:
        error = [error]
    return json_answer(error, status=rejected.code)


def events(steps: Iterable[Json | Act], end: bytes) -> Iterator[Step]:
    """Yield chunks as server-sent events that end with *end*."""
    for step in steps:
        if isinstance(step, Fail):
            whole = json.dumps({"error": step.error}, indent=2).encode()
            yield whole + b"\n" if step.raw else b"data: " + encode({"error": step.error}) + end
        elif isinstance(step, Pause | Stop):
            yield step
        elif not isinstance(step, Say):
            yield b"data: " + encode(step) + end


def array(steps: Iterable[Json | Act]) -> Iterator[Step]:
    """Yield chunks as the elements of one JSON array."""
    mark = b"["
    for step in steps:
        if isinstance(step, Pause | Stop):
            yield step
        elif not isinstance(step, Say):
            value = {"error": step.error} if isinstance(step, Fail) else step
            yield mark + json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace")
            mark = b",\r\n"
    yield b"[]\n" if mark == b"[" else b"]\n"


def whole(ask: Ask, acts: Sequence[Act]) -> Answer:
    """Return an answer in one piece, with all silence before it."""
    if fail := next((act for act in acts if isinstance(act, Fail)), None):
        code = fail.error["code"]
        return json_answer({"error": fail.error}, status=code if isinstance(code, int) else 500)
    pauses = [act for act in acts if isinstance(act, Pause)]
    if any(isinstance(act, Stop) for act in acts):
        return Answer(200, [b"{", *[act for act in acts if isinstance(act, Stop)]], is_stream=True)
    body = json.dumps(folded(ask, acts), indent=2, ensure_ascii=False).encode(errors="replace")
    seconds = [pause.seconds for pause in pauses]
    if None in seconds:
        return Answer(200, [Pause(), body])
    return Answer(200, [Pause(sum(each or 0 for each in seconds)), body])


def page(call: Call, kind: str, items: list[Json], default: int) -> Answer:
    """Return one page of *items*, of *default* size where none is asked for."""
    size, token = call.query.get("pageSize", ""), call.query.get("pageToken", "")
    count = min(int(size[:9]), 1000) if size.isdecimal() and int(size[:9]) else default
    at = int(token[:9]) if token.isdecimal() else 0
    if token and not token.isdecimal():
        raise bad("The page token is invalid.")
    found: dict[str, object] = {kind: items[at : at + count]} if items else {}
    if at + count < len(items):
        found["nextPageToken"] = str(at + count)
    return json_answer(found)
