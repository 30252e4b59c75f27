"""The simulated Gemini: Google's API on loopback, which behaves as it is asked to.

``python -m passgate.demo.gemini [PORT]`` runs it by itself. What can be asked for is listed
in ``gemini_scenes.py``, what is refused stands in ``gemini_rules.py``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import ClassVar
from urllib.parse import parse_qs

from passgate.demo.content import Json, encode, objects
from passgate.demo.gemini_content import (
    DEFAULT,
    Act,
    Ask,
    Fail,
    Pause,
    Say,
    Scene,
    Stop,
    chunks_of,
    folded,
    input_tokens,
    opening_text,
)
from passgate.demo.gemini_models import MODELS, Model, model_named
from passgate.demo.gemini_rules import (
    CACHE,
    COUNT,
    REQUEST,
    Judged,
    Rejected,
    bad,
    check_contents,
    check_depth,
    check_generation,
    check_tools,
    judged,
    merged,
    refuse_signatures,
    spelled,
)
from passgate.demo.gemini_scenes import acts_of, key_invalid, refusal_of
from passgate.demo.gemini_schemas import BadSchema
from passgate.demo.gemini_signatures import Owner
from passgate.demo.gemini_store import Store
from passgate.demo.replies import reason_of
from passgate.demo.scenes import chunk
from passgate.demo.server import MOST_SEEN, Server, json_object
from passgate.demo.upstream import run_alone
from passgate.demo.wire import Connection, Fields, Head

_HELD_BYTES = 110 << 20
_BODY_BYTES = 100 << 20
_VERSIONS = r"/(?:v1beta|v1alpha|v1)"
_JSON = b"application/json; charset=UTF-8"
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)
_NOT_OAUTH = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential."
)
# A body that is made while it is sent, and what happens within it.
Step = bytes | Pause | Stop


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer, as it was understood.

    Attributes:
        method: ``generateContent``, ``streamGenerateContent`` or ``countTokens``.
        body: As JSON, its names in camel case.
        signatures: What each thought signature in it was worth.
        refused: The status it was refused with, 0 where it was answered.
    """

    method: str
    model: str
    project: str
    body: Json
    signatures: tuple[Judged, ...] = ()
    scene: str = ""
    refused: int = 0


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


class Gemini(Server):
    """One simulated Gemini.

    Args:
        keys: Each key that callers may show, with the name of its project; None takes every
            key, and makes each a project of its own.
        pace_s: Seconds before each chunk of a stream.

    Attributes:
        asked: The last 1000 requests for an answer or a count, as they were understood.
    """

    def __init__(self, *, keys: Mapping[str, str] | None = None, pace_s: float = 0.0) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self._keys = keys
        self._pace_s = pace_s
        self._store = Store()
        self._played: dict[str, int] = {}

    def reset(self) -> None:
        """Forget the requests and hang-ups seen so far, and how often a scene was played."""
        super().reset()
        self.asked.clear()
        self._played.clear()

    async def _exchange(self, connection: Connection, head: Head) -> None:
        body, size = await self._read(connection, head, _HELD_BYTES)
        try:
            project = self._project(head, size)
            found = json_object(body, head.get(b"content-encoding") or b"", _HELD_BYTES)
            answer = self._answer(Call(head, body, project, found))
        except Rejected as rejected:
            answer = _refused(head, rejected)
        except BadSchema as refused:
            answer = _refused(head, bad(str(refused)))
        except RecursionError:
            answer = _refused(head, bad("Message too deep. Max recursion depth reached."))
        await self._send(connection, head, answer)

    def _project(self, head: Head, size: int) -> str:
        """Return the project of the key that was shown with a body of *size* bytes."""
        if size > _BODY_BYTES:
            raise Rejected(413, "Request payload size exceeds the limit: 104857600 bytes.")
        query = parse_qs(head.target.partition("?")[2])
        fields = [value for name, value in head.fields if name.lower() == b"x-goog-api-key"]
        shown = {*(value.decode("latin-1") for value in fields), *query.get("key", [])}
        other = head.get(b"authorization") is not None
        if len(shown) + other > 1:
            raise bad("Multiple authentication credentials received. Please pass only one.")
        if other:
            raise Rejected(401, _NOT_OAUTH)
        if upload_id := query.get("upload_id", [""])[0]:
            # Who has the address may upload: the SDK shows no key there.
            return self._store.upload(upload_id).project
        return self._owner_of(shown)

    def _owner_of(self, shown: set[str]) -> str:
        if not shown:
            raise Rejected(403, _NO_KEY)
        [key] = shown
        if self._keys is None:
            return f"project of {key}"
        if key not in self._keys:
            raise key_invalid()
        return self._keys[key]

    def _answer(self, call: Call) -> Answer:
        for route, make in self._routes:
            if found := re.fullmatch(route, f"{call.head.method} {call.head.path}"):
                return make(self, call, *found.groups())
        raise Rejected(404, f"Method not found: {call.head.path}")

    # Answers of a model.

    def _generate(self, call: Call, name: str, method: str) -> Answer:
        model = _model(name)
        ask = self._understood(call, model, method)
        if (rejected := refusal_of(ask)) is not None:
            self._mark_refused(rejected)
            raise rejected
        acts = acts_of(ask)
        if method == "streamGenerateContent":
            return self._streamed(call, ask, acts)
        return _whole(ask, acts)

    def _understood(self, call: Call, model: Model, method: str) -> Ask:
        """Return the request as it was read, and remember it, refused or not."""
        body = spelled(call.object(), REQUEST)
        turns = merged(body.get("contents"))
        owner = Owner(model.id, call.project)
        signatures = judged(turns, owner)
        scene = self._scene(opening_text(turns))
        asked = Asked(method, model.id, call.project, body, tuple(signatures), scene.name)
        self.asked.append(asked)
        del self.asked[:-MOST_SEEN]
        try:
            check_contents(body, model)
            check_tools(body, model)
            check_generation(body, model)
            refuse_signatures(turns, signatures, model)
            self._check_resources(body, call.project)
        except Rejected as rejected:
            self._mark_refused(rejected)
            raise
        except BadSchema as refused:
            self._mark_refused(bad(str(refused)))
            raise
        return Ask(body, turns, model, owner, scene)

    def _mark_refused(self, rejected: Rejected) -> None:
        self.asked[-1] = replace(self.asked[-1], refused=rejected.code)

    def _scene(self, text: str) -> Scene:
        scene = Scene.within(text)
        if scene.name != "times":
            return scene
        played = self._played.get(text, 0)
        self._played[text] = played + 1
        return scene.inner() if played < scene.number(0, 1) else DEFAULT

    def _check_resources(self, body: Json, project: str) -> None:
        cached = body.get("cachedContent")
        if isinstance(cached, str):
            self._store.get("CachedContent", cached, project)
            if any(body.get(name) for name in ("systemInstruction", "tools", "toolConfig")):
                raise bad(
                    "CachedContent can not be used with GenerateContent request setting "
                    "system_instruction, tools or tool_config."
                )
        for content in objects(body.get("contents")):
            for part in objects(content.get("parts")):
                file = part.get("fileData")
                if isinstance(file, dict):
                    self._check_file(str(file.get("fileUri")), project)

    def _check_file(self, uri: str, project: str) -> None:
        if found := re.search(r"(?:^|/)(files/[a-z0-9-]+)$", uri):
            self._store.get("File", found[1], project)
        elif not uri.startswith(("https://", "gs://")):
            raise bad(f"Invalid or unsupported file uri: {uri}")

    def _streamed(self, call: Call, ask: Ask, acts: Sequence[Act]) -> Answer:
        steps = iter(chunks_of(ask, acts))
        if call.query.get("alt") == "sse":
            end = b"\r\n\r\n"
            return Answer(200, _events(steps, end), b"text/event-stream", is_stream=True)
        return Answer(200, _array(steps), is_stream=True)

    def _count(self, call: Call, name: str) -> Answer:
        model = _model(name)
        body = spelled(call.object(), COUNT)
        inner = body.get("generateContentRequest")
        if (inner is None) == ("contents" not in body):
            raise bad(
                "* CountTokensRequest: exactly one of contents and generate_content_request must "
                "be set.\n"
            )
        counted = inner if isinstance(inner, dict) else body
        if isinstance(inner, dict) and model_named(inner.get("model")) != model:
            raise bad(
                "* CountTokensRequest.generate_content_request.model: unexpected model name "
                "format\n"
            )
        self.asked.append(Asked("countTokens", model.id, call.project, counted))
        del self.asked[:-MOST_SEEN]
        scene = Scene.within(opening_text(merged(counted.get("contents"))))
        ask = Ask(counted, (), model, Owner(model.id, call.project), scene)
        if (rejected := refusal_of(ask)) is not None:
            raise rejected
        check_contents(counted, model)
        check_tools(counted, model)
        count = input_tokens(counted)
        details = [{"modality": "TEXT", "tokenCount": count}]
        return _json({"totalTokens": count, "promptTokensDetails": details})

    def _embed(self, call: Call, name: str) -> Answer:
        call.object()
        seed = sum(call.body) or 1
        values = [round((seed * (n + 1) % 997) / 997, 6) for n in range(8)]
        return _json({"embedding": {"values": values}})

    def _models(self, call: Call) -> Answer:
        return _page(call, "models", [model.entry() for model in MODELS.values()], 50)

    def _get_model(self, _call: Call, name: str) -> Answer:
        return _json(_model(name).entry())

    # Files and caches.

    def _upload(self, call: Call) -> Answer:
        command = call.field("x-goog-upload-command").replace(" ", "")
        if (upload_id := call.query.get("upload_id")) is not None:
            return self._continue_upload(call, upload_id, command)
        wanted = (call.json or {}).get("file")
        wanted = wanted if isinstance(wanted, dict) else {}
        if command == "start":
            mime_type = call.field("x-goog-upload-header-content-type")
            upload_id = self._store.start_upload(call.project, wanted, mime_type)
            host = call.field("host")
            address = (
                f"http://{host}{call.head.path}?upload_id={upload_id}&upload_protocol=resumable"
            )
            fields = [
                (b"X-Goog-Upload-Status", b"active"),
                (b"X-Goog-Upload-URL", address.encode()),
                (b"X-Goog-Upload-Chunk-Granularity", b"262144"),
            ]
            return Answer(200, [b""], fields=fields)
        mime_type = call.field("content-type")
        file = self._store.add_file(call.project, {}, mime_type, call.body, self.url)
        return _json({"file": file})

    def _continue_upload(self, call: Call, upload_id: str, command: str) -> Answer:
        upload = self._store.upload(upload_id)
        if upload.project != call.project:
            raise Rejected(403, "The upload belongs to another project.")
        commands = command.split(",")
        if "upload" in commands:
            if call.field("x-goog-upload-offset") != str(len(upload.data)):
                raise bad("The upload's offset is not where it stands.")
            upload.data.extend(call.body)
        if "finalize" in commands:
            file = self._store.finish_upload(upload_id, self.url)
            return _json({"file": file}, [(b"X-Goog-Upload-Status", b"final")])
        fields = [
            (b"X-Goog-Upload-Status", b"active"),
            (b"X-Goog-Upload-Size-Received", b"%d" % len(upload.data)),
        ]
        return Answer(200, [b""], fields=fields)

    def _list(self, call: Call, kind: str) -> Answer:
        return _page(call, kind, self._store.of(kind, call.project), 10)

    def _get(self, call: Call, name: str) -> Answer:
        return _json(self._store.get(_kind(name), name, call.project))

    def _delete(self, call: Call, name: str) -> Answer:
        self._store.delete(_kind(name), name, call.project)
        return _json({})

    def _download(self, call: Call, name: str) -> Answer:
        file = self._store.get("File", name, call.project)
        return Answer(200, [self._store.data(name)], str(file["mimeType"]).encode())

    def _create_cache(self, call: Call) -> Answer:
        return _json(self._store.add_cache(call.project, spelled(call.object(), CACHE)))

    def _change_cache(self, call: Call, name: str) -> Answer:
        members = spelled(call.object(), CACHE)
        members = {key: value for key, value in members.items() if key == "expireTime"}
        return _json(self._store.change("CachedContent", name, call.project, members))

    _routes: ClassVar[tuple[tuple[str, Callable[..., Answer]], ...]] = (
        (rf"POST {_VERSIONS}/models/([^/:]+):(generateContent|streamGenerateContent)", _generate),
        (rf"POST {_VERSIONS}/models/([^/:]+):countTokens", _count),
        (rf"POST {_VERSIONS}/models/([^/:]+):embedContent", _embed),
        (rf"GET {_VERSIONS}/models", _models),
        (rf"GET {_VERSIONS}/models/([^/:]+)", _get_model),
        (rf"POST /upload{_VERSIONS}/files", _upload),
        (rf"GET {_VERSIONS}/(files|cachedContents)", _list),
        (rf"GET {_VERSIONS}/((?:files|cachedContents)/[^/:]+)", _get),
        (rf"DELETE {_VERSIONS}/((?:files|cachedContents)/[^/:]+)", _delete),
        (rf"GET {_VERSIONS}/(files/[^/:]+):download", _download),
        (rf"POST {_VERSIONS}/cachedContents", _create_cache),
        (rf"PATCH {_VERSIONS}/(cachedContents/[^/:]+)", _change_cache),
    )

    # The way out.

    async def _send(self, connection: Connection, head: Head, answer: Answer) -> None:
        steps: Iterator[Step] = iter(answer.steps)
        first = next(steps, b"")
        if isinstance(first, Pause):  # before any byte: the head waits, too
            await _wait(first)
            first = next(steps, b"")
        if not answer.is_stream:
            body = first if isinstance(first, bytes) else b""
            body += b"".join(step for step in steps if isinstance(step, bytes))
            await connection.send(
                _head(connection, answer, b"Content-Length: %d" % len(body)) + body
            )
            return
        await connection.send(_head(connection, answer, b"Transfer-Encoding: chunked"))
        for step in _and(first, steps):
            if isinstance(step, Stop):
                await asyncio.sleep(0.01)  # so that what was sent is there before the end
                connection.abort(reset=step.reset)
                return
            if isinstance(step, Pause):
                await _wait(step)
                continue
            if self._pace_s:
                await asyncio.sleep(self._pace_s)
            if step:
                await connection.send(chunk(step))
        await connection.send(chunk(b""))


def _and(first: Step, rest: Iterator[Step]) -> Iterator[Step]:
    yield first
    yield from rest


async def _wait(pause: Pause) -> None:
    if pause.seconds is None:
        await asyncio.Event().wait()  # the peer's hang-up cancels it
    await asyncio.sleep(pause.seconds or 0)


def _head(connection: Connection, answer: Answer, framing: bytes) -> bytes:
    now = format_datetime(datetime.now(UTC), usegmt=True).encode()
    fields = [
        (b"Content-Type", answer.content_type),
        (b"Vary", b"Origin, X-Origin, Referer"),
        (b"Date", now),
        (b"Server", b"scaffolding on HTTPServer2"),
        (b"Server-Timing", b"gfet4t7; dur=12"),
        *(answer.fields or []),
    ]
    lines = [b"HTTP/1.1 %d %s" % (answer.status, reason_of(answer.status).encode())]
    lines += [b"%s: %s" % field for field in fields]
    lines.append(framing)
    if connection.ending:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _model(name: str) -> Model:
    if (model := model_named(name)) is None:
        raise Rejected(
            404,
            f"models/{name} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
        )
    return model


def _kind(name: str) -> str:
    return "File" if name.startswith("files/") else "CachedContent"


def _json(value: object, fields: Fields | None = None, status: int = 200) -> Answer:
    # In several lines, as Google's are.
    body = json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"
    return Answer(status, [body], fields=fields)


def _refused(head: Head, rejected: Rejected) -> Answer:
    """Return an error: without ``alt=sse`` a stream's is an array of one."""
    error: object = {"error": rejected.error}
    if "streamGenerateContent" in head.path and "alt=sse" not in head.target:
        error = [error]
    return _json(error, status=rejected.code)


def _events(steps: Iterable[Json | Act], end: bytes) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Fail):
            whole = json.dumps({"error": step.error}, indent=2).encode()
            yield whole + b"\n" if step.raw else b"data: " + encode({"error": step.error}) + end
        elif isinstance(step, Pause | Stop):
            yield step
        elif not isinstance(step, Say):
            yield b"data: " + encode(step) + end


def _array(steps: Iterable[Json | Act]) -> Iterator[Step]:
    mark = b"["
    for step in steps:
        if isinstance(step, Pause | Stop):
            yield step
        elif not isinstance(step, Say):
            value = {"error": step.error} if isinstance(step, Fail) else step
            yield mark + json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace")
            mark = b",\r\n"
    yield b"[]\n" if mark == b"[" else b"]\n"


def _whole(ask: Ask, acts: Sequence[Act]) -> Answer:
    if fail := next((act for act in acts if isinstance(act, Fail)), None):
        code = fail.error["code"]
        return _json({"error": fail.error}, status=code if isinstance(code, int) else 500)
    pauses = [act for act in acts if isinstance(act, Pause)]
    if any(isinstance(act, Stop) for act in acts):
        return Answer(200, [b"{", *[act for act in acts if isinstance(act, Stop)]], is_stream=True)
    body = json.dumps(folded(ask, acts), indent=2, ensure_ascii=False).encode(errors="replace")
    seconds = [pause.seconds for pause in pauses]
    if None in seconds:
        return Answer(200, [Pause(), body])
    return Answer(200, [Pause(sum(each or 0 for each in seconds)), body])


def _page(call: Call, kind: str, items: list[Json], default: int) -> Answer:
    size, token = call.query.get("pageSize", ""), call.query.get("pageToken", "")
    count = min(int(size[:9]), 1000) if size.isdecimal() and int(size[:9]) else default
    at = int(token[:9]) if token.isdecimal() else 0
    if token and not token.isdecimal():
        raise bad("The page token is invalid.")
    page: dict[str, object] = {kind: items[at : at + count]} if items else {}
    if at + count < len(items):
        page["nextPageToken"] = str(at + count)
    return _json(page)


if __name__ == "__main__":
    asyncio.run(run_alone(Gemini(pace_s=0.03), int(sys.argv[1]) if len(sys.argv) > 1 else 0))
