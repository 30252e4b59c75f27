"""The simulated Gemini: Google's API on loopback, which behaves as it is asked to.

``python -m passgate.demo.gemini [PORT]`` runs it by itself. What can be asked for is listed
in ``gemini_scenes.py``, what is refused stands in ``gemini_rules.py``.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import ClassVar
from urllib.parse import parse_qs

from passgate.demo.content import Json, objects
from passgate.demo.gemini_content import (
    DEFAULT,
    Act,
    Ask,
    Pause,
    Scene,
    Stop,
    chunks_of,
    input_tokens,
    opening_text,
)
from passgate.demo.gemini_models import MODELS, Model, model_named
from passgate.demo.gemini_proto import CACHE, COUNT, REQUEST, Rejected, bad, spelled
from passgate.demo.gemini_replies import (
    Answer,
    Call,
    Step,
    array,
    events,
    json_answer,
    page,
    refused,
    whole,
)
from passgate.demo.gemini_rules import Judged, check_contents, judged, merged, refuse_signatures
from passgate.demo.gemini_scenes import acts_of, key_invalid, refusal_of
from passgate.demo.gemini_schemas import BadSchema
from passgate.demo.gemini_settings import check_generation, check_tools
from passgate.demo.gemini_signatures import Owner
from passgate.demo.gemini_store import Store
from passgate.demo.replies import reason_of
from passgate.demo.scenes import chunk
from passgate.demo.server import MOST_SEEN, Server, json_object
from passgate.demo.upstream import run_alone
from passgate.demo.wire import Connection, Head

_HELD_BYTES = 110 << 20
_BODY_BYTES = 100 << 20
_VERSIONS = r"/(?:v1beta|v1alpha|v1)"
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use "
    "API Key or other form of API consumer identity to call this API."
)
_NOT_OAUTH = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential."
)


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
            answer = refused(head, rejected)
        except BadSchema as error:
            answer = refused(head, bad(str(error)))
        except RecursionError:
            answer = refused(head, bad("Message too deep. Max recursion depth reached."))
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
        return whole(ask, acts)

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
            return Answer(200, events(steps, end), b"text/event-stream", is_stream=True)
        return Answer(200, array(steps), is_stream=True)

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
        return json_answer({"totalTokens": count, "promptTokensDetails": details})

    def _embed(self, call: Call, name: str) -> Answer:
        call.object()
        seed = sum(call.body) or 1
        values = [round((seed * (n + 1) % 997) / 997, 6) for n in range(8)]
        return json_answer({"embedding": {"values": values}})

    def _models(self, call: Call) -> Answer:
        return page(call, "models", [model.entry() for model in MODELS.values()], 50)

    def _get_model(self, _call: Call, name: str) -> Answer:
        return json_answer(_model(name).entry())

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
        return json_answer({"file": file})

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
            return json_answer({"file": file}, [(b"X-Goog-Upload-Status", b"final")])
        fields = [
            (b"X-Goog-Upload-Status", b"active"),
            (b"X-Goog-Upload-Size-Received", b"%d" % len(upload.data)),
        ]
        return Answer(200, [b""], fields=fields)

    def _list(self, call: Call, kind: str) -> Answer:
        return page(call, kind, self._store.of(kind, call.project), 10)

    def _get(self, call: Call, name: str) -> Answer:
        return json_answer(self._store.get(_kind(name), name, call.project))

    def _delete(self, call: Call, name: str) -> Answer:
        self._store.delete(_kind(name), name, call.project)
        return json_answer({})

    def _download(self, call: Call, name: str) -> Answer:
        file = self._store.get("File", name, call.project)
        return Answer(200, [self._store.data(name)], str(file["mimeType"]).encode())

    def _create_cache(self, call: Call) -> Answer:
        return json_answer(self._store.add_cache(call.project, spelled(call.object(), CACHE)))

    def _change_cache(self, call: Call, name: str) -> Answer:
        members = spelled(call.object(), CACHE)
        members = {key: value for key, value in members.items() if key == "expireTime"}
        return json_answer(self._store.change("CachedContent", name, call.project, members))

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


if __name__ == "__main__":
    asyncio.run(run_alone(Gemini(pace_s=0.03), int(sys.argv[1]) if len(sys.argv) > 1 else 0))
