"""What the simulated Gemini says: pure functions from a request to the steps of its answer.

A scene is asked for by the text of the message that opens the current turn, anywhere in it,
as ``demo:NAME`` or ``demo:NAME:ARG:ARG``. What names none gets the ordinary answer: a
thought where thoughts are shown, a call where a tool is offered and asked for, else a text
that ends with a signature.

===========================  ==========================================================
text:N, unicode              N words; characters of every length in UTF-8
thinking, thought-signed     a thought and a text; a thought that carries the signature
text-signed, trailing        a signature on a piece in mid-text; after finishReason
tool[:NAME], steps:N         one call; N calls one after the other, each a step of the turn
parallel:N, split:N          N calls in one chunk; in N chunks
late-finish, early-finish    the finish, or the call, in a chunk of its own afterwards
id-less:N, odd-id, same-id   N equal calls without ids; ids that fit no pattern, or repeat
dup, prefixed, unsigned      a call twice; named ``default_api:NAME``; without signature
no-args, big-args:N          no ``args`` at all; N bytes of them
max-tokens, max-thoughts     MAX_TOKENS after a text; within the thoughts, or within a call
max-call, empty, blocked:R   after a call; STOP with nothing; the prompt is refused
finish:R, abort:R            a text and then the reason R; R and no content at all
continue:N                   CONTINUATION N times; each hop goes on where the last ended
sparse-usage, no-usage       counts in pieces; none at all
image, grounded              a part that is no text; metadata beside the text
mid-error:N[:raw]            after N chunks an error, as an event or as bare JSON lines
end:N, cut:N, reset:N        after N chunks the body's end, a FIN within it, an RST
silence:N, hang, pause:N:MS  after N chunks nothing more; not even a head; MS of nothing
first-byte:MS, slow:N:R      the head late; N words, R chunks a second
error:CODE[:KIND]            an error; KIND: retry, day, bare, too-long, key, precondition,
                             signature, schema, html, array
times:N:NAME:...             N times the scene NAME, afterwards the ordinary answer
===========================  ==========================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from passgate.demo.content import Json
from passgate.demo.gemini_content import (
    THOUGHT,
    WORD,
    Act,
    Ask,
    Count,
    Fail,
    Pause,
    Say,
    Stop,
)
from passgate.demo.gemini_models import Model
from passgate.demo.gemini_proto import Rejected, detail
from passgate.demo.gemini_rules import matches, text_of, with_member
from passgate.demo.gemini_signatures import sign

_ASKS_FOR_TOOL = re.compile(r"\b(tools?|weather|forecast|temperature)\b", re.IGNORECASE)
_SAMPLES: Json = {"integer": 1, "number": 0.5, "boolean": True, "null": None, "array": []}
_UNICODE = 'Æther é 你好 \U0001f44d\U0001f3fd \u2028 \\ " \u0007 end'
_MOST_WORDS = 100_000


# What one part says.


def _text(text: str) -> Json:
    return {"text": text}


def _thought(text: str) -> Json:
    return {"text": text, "thought": True}


def _signed(ask: Ask, part: Json, said: str = "") -> Json:
    signature = sign(ask.owner, part, said, ask.response_id)
    return {**part, "thoughtSignature": signature}


def _words(text: str, *, thought: bool = False) -> list[Say]:
    make = _thought if thought else _text
    return [Say((make(word),)) for word in WORD.findall(text)]


def _thoughts(ask: Ask) -> list[Say]:
    return _words(THOUGHT, thought=True) if ask.shows_thoughts and ask.thinks else []


def _end(finish: str = "STOP") -> Say:
    """Return a last chunk: empty text with a signature, as streams mostly end."""
    return Say((_END,), finish)


# Signed when it is known what it is the end of.
_END: Json = {"text": "", "thoughtSignature": ""}


def _with_end(ask: Ask, acts: Sequence[Act]) -> Sequence[Act]:
    """Return *acts* with the signature that ends their text, where the model signs."""
    said = "".join(text_of(list(act.parts or ())) for act in acts if isinstance(act, Say))
    end = _signed(ask, _text(""), said) if ask.model.signs else _text("")
    return [
        replace(act, parts=(end,)) if isinstance(act, Say) and act.parts == (_END,) else act
        for act in acts
    ]


def _call(ask: Ask, index: int = 0, *, name: str = "", call_id: str | None = "") -> Json:
    """Return a call of the first function, of *name*, or of what was never declared."""
    functions = ask.functions()
    function = next((each for each in functions if each["name"] == name), None)
    function = function or (functions[0] if functions and not name else {})
    schema = function.get(
        "parametersJsonSchema", function.get("parameters", {"required": ["city"]})
    )
    args = _sample(schema, index)
    own_id = f"k{hashlib.sha256(f'{ask.response_id} {index}'.encode()).hexdigest()[:11]}"
    call_id = own_id if call_id == "" else call_id
    ids = {} if call_id is None else {"id": call_id}
    made = {**ids, "name": function.get("name", name or "get_weather")}
    return {"functionCall": {**made, "args": args if isinstance(args, dict) else {}}}


def _sample(schema: object, index: int) -> object:
    """Return a value that *schema* allows, as far as that is simple to say."""
    if not isinstance(schema, dict):
        return f"demo {index}"
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][index % len(schema["enum"])]
    if isinstance(schema.get("required"), list) or str(schema.get("type")).lower() == "object":
        members, names = schema.get("properties"), schema.get("required") or ()
        known = members if isinstance(members, dict) else {}
        return {name: _sample(known.get(name), index) for name in names if isinstance(name, str)}
    return _SAMPLES.get(str(schema.get("type")).lower(), f"demo {index}")


def _calls(ask: Ask, count: int) -> list[Json]:
    """Return *count* calls, the first of them signed."""
    calls = [_call(ask, index) for index in range(count)]
    return [_signed(ask, calls[0]) if ask.model.signs else calls[0], *calls[1:]]


# The scenes.


def _answer(ask: Ask, text: str, finish: str = "STOP") -> Sequence[Act]:
    return [*_thoughts(ask), *_words(text), _end(finish)]


def _ordinary(ask: Ask) -> Sequence[Act]:
    if (shape := ask.shape()) is not None:
        return _answer(ask, json.dumps(_sample(shape, 0)))
    if ask.must_call and ask.step == 0:
        return _tool(ask)
    asked = _ASKS_FOR_TOOL.search(ask.text) is not None
    if asked and ask.functions() and ask.step == 0:
        return _tool(ask)
    return _answer(ask, _reply(ask))


def _reply(ask: Ask) -> str:
    if with_member(ask.turns[-1], "functionResponse"):
        return "Thank you, that is what the function found. 👍 Is there anything else?"
    return (
        f"Hello! 👋 Your last message is {len(ask.text)} characters long. "
        "This is a simulated upstream: no model was asked."
    )


def _tool(ask: Ask) -> Sequence[Act]:
    call = _call(ask, name=ask.scene.word(0) if ask.scene.name == "tool" else "")
    signed = _signed(ask, call) if ask.model.signs else call
    lead = [*_thoughts(ask), *_words("Let me look that up.")]
    return [*lead, Say((signed,)), Say((_text(""),), "STOP")]


def _after_step(make: Callable[[Ask], Sequence[Act]]) -> Callable[[Ask], Sequence[Act]]:
    """Return a scene that calls once, and answers when the responses are there."""
    return lambda ask: make(ask) if ask.step == 0 else _ordinary(ask)


def _steps(ask: Ask) -> Sequence[Act]:
    if ask.step >= ask.scene.number(0, 3):
        return _ordinary(ask)
    return [*_thoughts(ask), Say(tuple(_calls(ask, 1 + ask.step % 2))), Say((), "STOP")]


def _parallel(ask: Ask) -> Sequence[Act]:
    return [*_thoughts(ask), Say(tuple(_calls(ask, ask.scene.number(0, 2)))), Say((), "STOP")]


def _split(ask: Ask) -> Sequence[Act]:
    calls = [Say((call,)) for call in _calls(ask, ask.scene.number(0, 2))]
    return [*_thoughts(ask), *calls, Say((), "STOP")]


def _early_finish(ask: Ask) -> Sequence[Act]:
    return [*_words("One moment. "), Say((), "STOP"), Say(tuple(_calls(ask, 1)))]


def _late_finish(ask: Ask) -> Sequence[Act]:
    return [Say(tuple(_calls(ask, 1))), Say(None, "STOP")]


def _odd_calls(ask: Ask) -> Sequence[Act]:
    count, name = ask.scene.number(0, 2), ask.scene.name
    ids = {"odd-id": "call:1/2", "same-id": "same", "id-less": None}
    calls = [_call(ask, call_id=ids[name]) for _ in range(count if name == "id-less" else 1)]
    signed = [_signed(ask, calls[0]), *calls[1:]] if ask.model.signs else calls
    return [Say(tuple(signed)), Say((), "STOP")]


def _dup(ask: Ask) -> Sequence[Act]:
    calls = tuple(_calls(ask, 1))
    return [Say(calls), Say(calls), Say((), "STOP")]


def _prefixed(ask: Ask) -> Sequence[Act]:
    call = _call(ask)["functionCall"]
    named = {**call, "name": f"default_api:{call['name']}"} if isinstance(call, dict) else {}
    return [Say((_signed(ask, {"functionCall": named}),)), Say((), "STOP")]


def _unsigned(ask: Ask) -> Sequence[Act]:
    return [Say((_call(ask),)), Say((), "STOP")]


def _odd_args(ask: Ask) -> Sequence[Act]:
    call = _call(ask)["functionCall"]
    made = dict(call) if isinstance(call, dict) else {}
    del made["args"]
    if ask.scene.name == "big-args":
        made["args"] = {"text": 'é"\\\n' * (ask.scene.number(0, 1 << 20) // 5)}
    return [Say((_signed(ask, {"functionCall": made}),)), Say((), "STOP")]


def _max_tokens(ask: Ask) -> Sequence[Act]:
    if ask.scene.name == "max-thoughts":
        return [*_thoughts(ask), Say(None, "MAX_TOKENS")]
    if ask.scene.name == "max-call":
        return [Say(tuple(_calls(ask, 1)), "MAX_TOKENS")]
    return [
        *_thoughts(ask),
        *_words("This answer ends in the middle of a"),
        Say(None, "MAX_TOKENS"),
    ]


def _finish(ask: Ask) -> Sequence[Act]:
    reason = ask.scene.word(0, "SAFETY")
    last = Say(None, reason, {"finishMessage": f"The demo was asked for {reason}."})
    return [last] if ask.scene.name == "abort" else [*_words("Some text first. "), last]


def _blocked(ask: Ask) -> Sequence[Act]:
    feedback = {"promptFeedback": {"blockReason": ask.scene.word(0, "SAFETY")}}
    return [Say(top=feedback, is_candidate=False)]


def _continue(ask: Ask) -> Sequence[Act]:
    words = _words(f"hop{ask.hop} is here. ")
    if ask.hop >= ask.scene.number(0, 1):
        return [*words, _end()]
    token = {"continuationToken": f"{ask.response_id}.{ask.hop + 1}"}
    return [*words, Say(None, "CONTINUATION", token)]


def _text_signed(ask: Ask) -> Sequence[Act]:
    first, last = Say((_signed(ask, _text("One, "), "One, two."),)), Say((_text("two."),))
    return [first, last, Say((), "STOP")]


def _signed_text_end(ask: Ask) -> Sequence[Act]:
    return [Say((_text("One, "),)), Say((_signed(ask, _text("two."), "One, two."),), "STOP")]


def _thought_signed(ask: Ask) -> Sequence[Act]:
    thought = _signed(ask, _thought(THOUGHT))
    return [Say((thought,)), *_words("And so it is."), Say((), "STOP")]


def _trailing(ask: Ask) -> Sequence[Act]:
    return [*_words("It ends here."), Say((), "STOP"), _end("")]


def _image(_ask: Ask) -> Sequence[Act]:
    blob = {"inlineData": {"mimeType": "image/png", "data": "aW1hZ2U="}}
    return [Say((_text("Look: "), blob)), Say((), "STOP")]


def _grounded(ask: Ask) -> Sequence[Act]:
    more = {"groundingMetadata": {"webSearchQueries": ["x"]}, "citationMetadata": {}}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    return [Say((_text("Grounded. "), code), candidate=more), _end()]


def _mid(ask: Ask) -> Sequence[Act]:
    """Return the ordinary words as far as they come, and what then happens."""
    scene = ask.scene
    lead: Sequence[Act] = list(_words("One two three four five six seven."))[: scene.number(0, 2)]
    error = {"code": 503, "message": "The model is overloaded. Please try again later."}
    ends: Mapping[str, Sequence[Act]] = {
        "mid-error": [Fail({**error, "status": "UNAVAILABLE"}, raw=scene.word(1) == "raw")],
        "end": [],
        "cut": [Stop()],
        "reset": [Stop(reset=True)],
        "silence": [Pause()],
        "pause": [Pause(scene.number(1, 100) / 1000), *_words("And on."), _end()],
    }
    return [*lead, *ends[scene.name]]


def _slow(ask: Ask) -> Sequence[Act]:
    pause, count = Pause(1 / max(1, ask.scene.number(1, 10))), ask.scene.number(0, 10)
    words = [Say((_text(f"word{n} "),)) for n in range(count)]
    return [act for word in words for act in (pause, word)] + [_end()]


def _text_scene(ask: Ask) -> Sequence[Act]:
    if ask.scene.name == "unicode":
        return _answer(ask, _UNICODE)
    count = min(ask.scene.number(0, 10), _MOST_WORDS)
    return _answer(ask, "".join(f"word{n} " for n in range(count)))


_SCENES: Mapping[str, Callable[[Ask], Sequence[Act]]] = {
    "text": _text_scene,
    "unicode": _text_scene,
    "thinking": lambda ask: _answer(ask, _reply(ask)),
    "thought-signed": _thought_signed,
    "text-signed": _text_signed,
    "text-signed-end": _signed_text_end,
    "trailing": _trailing,
    "tool": _after_step(_tool),
    "steps": _steps,
    "parallel": _after_step(_parallel),
    "split": _after_step(_split),
    "early-finish": _after_step(_early_finish),
    "late-finish": _after_step(_late_finish),
    "id-less": _after_step(_odd_calls),
    "odd-id": _after_step(_odd_calls),
    "same-id": _after_step(_odd_calls),
    "dup": _after_step(_dup),
    "prefixed": _after_step(_prefixed),
    "unsigned": _after_step(_unsigned),
    "no-args": _after_step(_odd_args),
    "big-args": _after_step(_odd_args),
    "max-tokens": _max_tokens,
    "max-thoughts": _max_tokens,
    "max-call": _after_step(_max_tokens),
    "empty": lambda _: [Say((_text(""),), "STOP")],
    "finish": _finish,
    "abort": _finish,
    "blocked": _blocked,
    "continue": _continue,
    "image": _image,
    "grounded": _grounded,
    **dict.fromkeys(("mid-error", "end", "cut", "reset", "silence", "pause"), _mid),
    "slow": _slow,
    "hang": lambda _: [Pause()],
    "first-byte": lambda ask: [Pause(ask.scene.number(0, 100) / 1000), *_answer(ask, _reply(ask))],
}


def acts_of(ask: Ask) -> Sequence[Act]:
    """Return what happens after the head of the answer to *ask*."""
    if not matches(ask.turns):
        return [Say((_text(""),), "STOP")]  # what the real API does instead of refusing
    acts = _SCENES.get(ask.scene.name, _ordinary)(ask)
    return _with_end(ask, _within(ask, _until_stopped(ask, acts)))


def _until_stopped(ask: Ask, acts: Sequence[Act]) -> Sequence[Act]:
    """Return *acts* up to where the text holds what it was to stop at."""
    said, stops = "", ask.stops()
    for n, act in enumerate(acts if stops else ()):
        [part, *_] = (act.parts if isinstance(act, Say) else None) or ({},)
        if part.get("thought"):
            continue
        said += str(part.get("text", ""))
        if found := [at for stop in stops if (at := said.find(stop)) >= 0]:
            piece = said[: min(found)]
            return [*(each for each in acts[:n] if _is_thought(each)), Say((_text(piece),), "STOP")]
    return acts


def _is_thought(act: Act) -> bool:
    return isinstance(act, Say) and any(part.get("thought") for part in act.parts or ())


def _within(ask: Ask, acts: Sequence[Act]) -> Sequence[Act]:
    """Return *acts* up to the most that was to be put out, thoughts included."""
    most, count = ask.most(), Count(ask)
    for n, act in enumerate(acts if most is not None else ()):
        if isinstance(act, Say) and most is not None and count.output_after(act) > most:
            return [*acts[:n], Say(None, "MAX_TOKENS")]
    return acts


# Errors before any head.

_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


def _quota(quota_id: str, model: Model) -> Json:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    dimensions = {"location": "global", "model": model.id}
    violation = {"quotaMetric": metric, "quotaId": quota_id, "quotaDimensions": dimensions}
    return detail("QuotaFailure", violations=[{**violation, "quotaValue": "5"}])


def key_invalid() -> Rejected:
    """Return how a wrong key is refused."""
    reason = detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com", metadata={})
    return Rejected(400, "API key not valid. Please pass a valid API key.", reason)


def refusal_of(ask: Ask) -> Rejected | None:
    """Return the error that the scene asks for, None where it asks for an answer."""
    if ask.scene.name != "error":
        return None
    code, kind = ask.scene.number(0, 500), ask.scene.word(1)
    per_minute = _quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", ask.model)
    per_day = _quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", ask.model)
    made: Mapping[str, Rejected] = {
        "retry": Rejected(code, _QUOTA, per_minute, detail("RetryInfo", retryDelay="2.5s")),
        "day": Rejected(code, _QUOTA, per_day, detail("RetryInfo", retryDelay="7s")),
        "bare": Rejected(code, "Resource has been exhausted (e.g. check quota)."),
        "too-long": Rejected(
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed "
            "(1048576).",
        ),
        "key": key_invalid(),
        "precondition": Rejected(
            400,
            "User location is not supported for the API use.",
            status="FAILED_PRECONDITION",
        ),
        "signature": Rejected(400, "Corrupted thought signature."),
        "schema": Rejected(
            400,
            "* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties: "
            "should be non-empty for OBJECT type\n",
        ),
    }
    said = {503: "The model is overloaded. Please try again later.", 500: "An internal error"}
    plain = Rejected(code, said.get(code, f"The demo was asked for a {code}."))
    return made.get(kind, plain)
