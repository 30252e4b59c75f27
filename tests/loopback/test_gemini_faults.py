"""What can go wrong at Google, at every point of a conversation: what the client is told.

And that the record has one truthful row of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from passgate.core.settings import Limits
from passgate.gateway.lanes import Waits
from tests.loopback.gateway import Answer
from tests.loopback.google import MODEL, Google

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {}}}}
CALL = {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"path": "a"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "what it holds"}
# Where in a conversation the scene is played.
PLACES: dict[str, list[tuple[str, Any]]] = {
    "at its beginning": [],
    "in a later turn": [("user", "Hello"), ("assistant", "Hi.")],
    "within a turn": [],
}


def body(scene: str, place: str, *, stream: bool) -> bytes:
    """Return a Messages request in which Gemini is to play *scene*."""
    messages = [*PLACES[place], ("user", f"demo:{scene}")]
    if place == "within a turn":
        messages += [("assistant", [CALL]), ("user", [RESULT])]
    said = [{"role": role, "content": content} for role, content in messages]
    return json.dumps(
        {"model": MODEL, "max_tokens": 8000, "messages": said, "stream": stream, "tools": [TOOL]}
    ).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """What goes wrong, and what is to be seen of it.

    Attributes:
        scene: The simulated Gemini's.
        status: What the client gets, streamed or not, unless *late*.
        kind: The error's type, or the stop reason.
        message: A part of what it says.
        ending: In the record.
        late: Whether a stream has begun by then, so that it ends with an error.
        attempts: How often Google is asked, unless something had come.
        fields: Fields of the answer.
    """

    scene: str
    status: int
    kind: str
    message: str = ""
    ending: str = "complete"
    late: bool = False
    attempts: int = 1
    fields: tuple[tuple[str, str], ...] = ()


BROKE, TIMED_OUT = "upstream_broke", "timed_out"
FINAL = ("x-should-retry", "false")
CASES = {
    "a quota": Case(
        "error:429:retry", 429, "rate_limit_error", "quota", fields=(("retry-after", "3"),)
    ),
    "a quota of the day": Case("error:429:day", 429, "rate_limit_error", "quota", fields=(FINAL,)),
    "overloaded": Case("error:503", 529, "overloaded_error"),
    "broken inside": Case("error:500", 500, "api_error"),
    "a deadline": Case("error:504", 504, "timeout_error"),
    "an invalid key": Case(
        "error:400:key",
        502,
        "api_error",
        "no usable Gemini key",
        BROKE,
        fields=(FINAL, ("x-passgate-error", "credential")),
    ),
    "no rights": Case("error:403", 502, "api_error", "no usable Gemini key", BROKE),
    "too long": Case("error:400:too-long", 400, "invalid_request_error", "prompt is too long: "),
    "a bad request": Case("error:400", 400, "invalid_request_error"),
    "no such model": Case("error:404", 404, "not_found_error"),
    "no JSON": Case("error:502:html", 500, "api_error"),
    "a cut stream": Case("cut:2", 500, "api_error", "ended early", BROKE, late=True),
    "a reset stream": Case("reset:2", 500, "api_error", "ended early", BROKE, late=True),
    "an end too early": Case("end:2", 500, "api_error", "ended early", BROKE, late=True),
    "an end at once": Case("end:0", 500, "api_error", "ended early", BROKE),
    "silence": Case("silence:2", 504, "timeout_error", "in time", TIMED_OUT, late=True),
    "an error in the stream": Case("mid-error:2", 529, "overloaded_error", "", late=True),
    "bare JSON in the stream": Case("mid-error:2:raw", 529, "overloaded_error", "", late=True),
    "an error at once": Case("mid-error:0", 529, "overloaded_error"),
    "SAFETY": Case("abort:SAFETY", 200, "refusal"),
    "SAFETY after a text": Case("finish:SAFETY", 200, "refusal"),
    "a refused prompt": Case("blocked:SAFETY", 200, "refusal"),
    "a malformed call": Case(
        "abort:MALFORMED_FUNCTION_CALL", 500, "api_error", "MALFORMED", BROKE, attempts=3
    ),
    "a malformed call after a text": Case(
        "finish:MALFORMED_FUNCTION_CALL",
        500,
        "api_error",
        "MALFORMED",
        BROKE,
        late=True,
        attempts=3,
    ),
    "a reason that is new": Case("abort:NEW_REASON", 500, "api_error", "NEW", BROKE, attempts=3),
    "an empty answer": Case("empty", 529, "overloaded_error", "empty", BROKE, attempts=3),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """A gateway with one key whose upstream may be silent for half a second."""
    limits = Limits(idle_s=0.5)
    google = Google(
        tmp_path_factory.mktemp("google"), change=lambda settings: replace(settings, limits=limits)
    )
    with google:
        yield google


@pytest.fixture
def google(running: Google) -> Google:
    """The gateway, with nothing recorded and nothing seen."""
    running.forget()
    return running


def events_of(answer: Answer) -> list[tuple[str, Any]]:
    """Return name and content of every event."""
    found = []
    for block in answer.body.decode().split("\n\n")[:-1]:
        name, _, data = block.partition("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_fault(google: Google, case: Case, stream: bool, place: str) -> None:  # noqa: FBT001
    """The client sees what the tables say, and the record has one truthful row."""
    answer = google.ask(google.post(body(case.scene, place, stream=stream)))
    records = google.settled()
    late = case.late and stream
    status = 200 if late else case.status

    assert (status, True) == (answer.status, answer.complete)
    seen = check_late(answer, case) if late else check(answer, case, stream=stream)
    assert case.message in seen
    [record] = records
    assert (status, 1 if late else case.attempts) == (record.status, record.attempts)
    assert (case.ending if not late else TIMED_OUT if case.ending == TIMED_OUT else BROKE) == (
        record.ending.value
    )
    assert (record.error is None) == (record.ending.value == "complete")


def check_late(answer: Answer, case: Case) -> str:
    """Check that a stream has begun and ends with the error; return what that says."""
    events = events_of(answer)
    names = [name for name, _ in events]
    last = events[-1][1]

    assert ("message_start", "error") == (names[0], names[-1])
    assert "message_stop" not in names
    assert case.kind == last["error"]["type"]
    return str(last["error"]["message"])


def check(answer: Answer, case: Case, *, stream: bool) -> str:
    """Check an answer that had not begun, or is none; return what it says."""
    for name, value in case.fields:
        assert [value] == answer.get(name)
    if case.status != 200:
        said = answer.json()
        assert case.kind == said["error"]["type"]
        assert answer.get("request-id") == [said["request_id"]]
        return str(said["error"]["message"])
    if not stream:
        assert case.kind == answer.json()["stop_reason"]
        return ""
    events = events_of(answer)
    assert [case.kind] == [
        data["delta"]["stop_reason"] for name, data in events if name == "message_delta"
    ]
    assert "message_stop" == events[-1][0]
    return ""


@pytest.mark.parametrize(
    "scene", ["times:2:empty", "times:2:abort:MALFORMED_FUNCTION_CALL", "times:1:mid-error:0"]
)
def test_repeated_until_it_works(google: Google, scene: str) -> None:
    """What may well work is asked again, and the client never knows; all of it is metered."""
    answer = google.ask(google.post(body(scene, "at its beginning", stream=True)))
    [record] = google.settled()
    asked = len(google.gemini.asked)

    if scene.startswith("times:1"):  # an overloaded model is the client's to ask again
        assert (529, 1) == (answer.status, asked)
        return
    assert (200, 3, 3) == (answer.status, asked, record.attempts)
    once = google.ask(google.post(body("text:1", "at its beginning", stream=True)))
    assert once.complete
    assert (record.input_tokens or 0) > 2 * (google.settled()[1].input_tokens or 0)


def test_silence_before_the_head(tmp_path: Path) -> None:
    """An upstream that says nothing at all is a 504, or the last event of a stream that waits."""
    limits = Limits(first_byte_s=0.6)
    google = Google(tmp_path, change=lambda settings: replace(settings, limits=limits))
    with google:
        held = google.ask(google.post(body("hang", "at its beginning", stream=True)))
        google.waits = Waits(hold_s=0.1, ping_s=0.1)
        google.restart()
        waited = google.ask(google.post(body("hang", "at its beginning", stream=True)))
        names = [name for name, _ in events_of(waited)]
        first, second = google.recorded(2)

        assert (504, "timeout_error") == (held.status, held.json()["error"]["type"])
        assert (200, True) == (waited.status, waited.complete)
        assert len(names) > 3
        assert ({"ping"}, "error") == (set(names[:-1]), names[-1])
        assert [(504, TIMED_OUT), (200, TIMED_OUT)] == [
            (record.status, record.ending.value) for record in (first, second)
        ]
        assert 2 == google.gemini.hang_ups
