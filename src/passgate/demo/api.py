"""The simulated API's paths: from a request to its ordinary answer, whatever scene plays it.

Batches and files are remembered, so that what was created can be listed, read and deleted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar, TypeVar
from urllib.parse import parse_qs

from passgate.demo.content import Json, Message, encode, input_tokens, message_for, objects
from passgate.demo.replies import HELD_BYTES, Call, json_reply, stream_reply
from passgate.demo.wire import BLOCK_BYTES, Reply

MODELS = {
    "claude-opus-5-5": "Claude Opus 5.5",
    "claude-sonnet-5-5": "Claude Sonnet 5.5",
    "claude-haiku-5-5": "Claude Haiku 5.5",
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
    "claude-haiku-4-5": "Claude Haiku 4.5",
}
# Everything was made at one moment, so that equal requests get equal answers.
_CREATED, _EXPIRES = "2026-11-01T09:00:00Z", "2026-11-02T09:00:00Z"
_MOST_KEPT = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of Messages requests; its status is one of the API's words."""

    id: str
    requests: list[Json]
    status: str


class Api:
    """What the simulated upstream remembers, and the answers it gives."""

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._files: dict[str, Json] = {}

    def reply(self, call: Call) -> Reply:
        """Return the ordinary answer to *call*."""
        # Where the whole can be had, so can its head.
        method = "GET" if call.head.method == "HEAD" else call.head.method
        for route, make in self._routes:
            if found := re.fullmatch(route, f"{method} {call.head.path}"):
                answer = make(self, call, *found.groups())
                break
        else:
            answer = None
        return answer or call.refused(404, f"Not found: {call.head.path}")

    def _hello(self, _call: Call) -> Reply:
        return json_reply({"status": "ok"})

    def _message(self, call: Call) -> Reply:
        if call.body_bytes > HELD_BYTES:
            return call.refused(413, "Request exceeds the maximum size")
        if call.ask is None:
            return call.refused(400, "The request body is not a JSON object")
        if "model" not in call.ask:
            return call.refused(400, "model: Field required")
        message = message_for(call.ask, call.scene)
        if call.ask.get("stream") is True:
            return stream_reply(message)
        if call.scene.name == "big":
            return _padded(message, call.scene.number(0, 1 << 20))
        return json_reply(message.whole())

    def _count(self, call: Call) -> Reply:
        if call.ask is None:
            return call.refused(400, "The request body is not a JSON object")
        return json_reply({"input_tokens": input_tokens(call.ask)})

    def _models(self, call: Call) -> Reply:
        return _page(call, [_model(model_id) for model_id in MODELS])

    def _get_model(self, _call: Call, model_id: str) -> Reply | None:
        return json_reply(_model(model_id)) if model_id in MODELS else None

    def _create_batch(self, call: Call) -> Reply:
        requests = objects((call.ask or {}).get("requests"))
        if not requests:
            return call.refused(400, "requests: Field required")
        batch = Batch(f"msgbatch_{_digest(call.body)}", requests, "in_progress")
        _keep(self._batches, batch.id, batch)
        return json_reply(_batch(batch, call))

    def _list_batches(self, call: Call) -> Reply:
        return _page(call, [_batch(batch, call) for batch in reversed(self._batches.values())])

    def _get_batch(self, call: Call, batch_id: str) -> Reply | None:
        # A look takes all the time that it needs: whoever asks finds it ended.
        return self._turn(call, batch_id, "ended")

    def _cancel_batch(self, call: Call, batch_id: str) -> Reply | None:
        return self._turn(call, batch_id, "canceling")

    def _turn(self, call: Call, batch_id: str, status: str) -> Reply | None:
        if (batch := self._batches.get(batch_id)) is None:
            return None
        self._batches[batch_id] = batch = replace(batch, status=status)
        return json_reply(_batch(batch, call))

    def _delete_batch(self, _call: Call, batch_id: str) -> Reply | None:
        if self._batches.pop(batch_id, None) is None:
            return None
        return json_reply({"id": batch_id, "type": "message_batch_deleted"})

    def _batch_results(self, _call: Call, batch_id: str) -> Reply | None:
        if (batch := self._batches.get(batch_id)) is None:
            return None
        return Reply(200, _results(batch), None, b"application/x-jsonl")

    def _upload(self, call: Call) -> Reply:
        file = _uploaded(call)
        _keep(self._files, str(file["id"]), file)
        return json_reply(file)

    def _list_files(self, call: Call) -> Reply:
        return _page(call, list(reversed(self._files.values())))

    def _get_file(self, _call: Call, file_id: str) -> Reply | None:
        return None if (file := self._find(file_id)) is None else json_reply(file)

    def _download(self, _call: Call, file_id: str) -> Reply | None:
        if (file := self._find(file_id)) is None:
            return None
        size = int(str(file["size_bytes"]))
        return Reply(200, pattern(size), size, str(file["mime_type"]).encode())

    def _delete_file(self, _call: Call, file_id: str) -> Reply | None:
        if self._find(file_id) is None:
            return None
        self._files.pop(file_id, None)
        return json_reply({"id": file_id, "type": "file_deleted"})

    def _find(self, file_id: str) -> Json | None:
        if found := re.fullmatch(r"file_size_([0-9]{1,12})", file_id):
            return _file(file_id, "pattern.bin", "application/octet-stream", int(found[1]))
        return self._files.get(file_id)

    _routes: ClassVar[tuple[tuple[str, Callable[..., Reply | None]], ...]] = (
        ("GET /(?:api/hello)?", _hello),
        ("POST /v1/messages", _message),
        ("POST /v1/messages/count_tokens", _count),
        ("GET /v1/models", _models),
        ("GET /v1/models/([^/]+)", _get_model),
        ("POST /v1/messages/batches", _create_batch),
        ("GET /v1/messages/batches", _list_batches),
        ("GET /v1/messages/batches/([^/]+)", _get_batch),
        ("POST /v1/messages/batches/([^/]+)/cancel", _cancel_batch),
        ("DELETE /v1/messages/batches/([^/]+)", _delete_batch),
        ("GET /v1/messages/batches/([^/]+)/results", _batch_results),
        ("POST /v1/files", _upload),
        ("GET /v1/files", _list_files),
        ("GET /v1/files/([^/]+)", _get_file),
        ("GET /v1/files/([^/]+)/content", _download),
        ("DELETE /v1/files/([^/]+)", _delete_file),
    )


def pattern(size: int) -> Iterator[bytes]:
    """Yield *size* bytes in blocks: the same each time, and no two blocks alike."""
    for start in range(0, size, BLOCK_BYTES):
        yield (b"%015x\n" % start * (BLOCK_BYTES // 16))[: size - start]


def _padded(message: Message, size: int) -> Reply:
    """Return *message* with as much text as makes its JSON *size* bytes long."""
    text = {"type": "text", "text": ""}
    shell = encode({**replace(message, blocks=()).whole(), "content": [text]})
    before, mark, after = shell.partition(b'"text":"')
    room = max(0, size - len(shell))
    blocks = (b"x" * min(BLOCK_BYTES, room - at) for at in range(0, room, BLOCK_BYTES))
    return Reply(200, chain([before + mark], blocks, [after]), len(shell) + room)


def _page(call: Call, items: list[Json]) -> Reply:
    query = parse_qs(call.head.target.partition("?")[2])
    names = [item["id"] for item in items]
    if (after := query.get("after_id", [""])[0]) in names:
        items = items[names.index(after) + 1 :]
    if (before := query.get("before_id", [""])[0]) in names:
        items = items[: names.index(before)]
    limit = query.get("limit", ["20"])[0]
    page = items[: int(limit[:9]) if limit.isdecimal() else 20]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    more = {"has_more": len(page) < len(items), "first_id": None, "last_id": None}
    return json_reply({"data": page, **more, **ends})


def _model(model_id: str) -> Json:
    return {
        "type": "model",
        "id": model_id,
        "display_name": MODELS[model_id],
        "created_at": _CREATED,
        "lifecycle": "active",
        "max_input_tokens": 1_000_000,
        "max_tokens": 64_000,
        "capabilities": None,
    }


def _batch(batch: Batch, call: Call) -> Json:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    ended = batch.status == "ended"
    counts["succeeded" if ended else "processing"] = len(batch.requests)
    # Absolute, as the real API's is: an SDK follows it as it is, so behind a gateway it
    # leads past the gateway. Without a Host field there is only the path to name.
    host = call.head.get(b"host")
    origin = f"{call.scheme}://{host.decode('latin-1')}" if host else ""
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": batch.status,
        "request_counts": counts,
        "created_at": _CREATED,
        "expires_at": _EXPIRES,
        "ended_at": _CREATED if ended else None,
        "archived_at": None,
        "cancel_initiated_at": _CREATED if batch.status == "canceling" else None,
        "results_url": f"{origin}/v1/messages/batches/{batch.id}/results" if ended else None,
    }


def _results(batch: Batch) -> Iterator[bytes]:
    for request in batch.requests:
        params = request.get("params")
        message = message_for(params if isinstance(params, dict) else {})
        result = {"type": "succeeded", "message": message.whole()}
        yield encode({"custom_id": request.get("custom_id"), "result": result}) + b"\n"


def _uploaded(call: Call) -> Json:
    # Only the start of an upload is held, so its part is measured by what surrounds it.
    boundary, _, rest = call.body.partition(b"\r\n")
    part, blank, _ = rest.partition(b"\r\n\r\n")
    around = len(boundary + b"\r\n" + part + blank) + len(b"\r\n" + boundary + b"--\r\n")
    name = re.search(rb'filename="([^"]*)"', part)
    kind = re.search(rb"(?im)^content-type: *([!-~]+)", part)
    return _file(
        f"file_{_digest(call.body)}",
        (name[1] if name else b"unnamed").decode(errors="replace"),
        (kind[1] if kind else b"application/octet-stream").decode(errors="replace"),
        max(0, call.body_bytes - around) if blank else call.body_bytes,
    )


def _file(file_id: str, name: str, mime_type: str, size_bytes: int) -> Json:
    return {
        "id": file_id,
        "type": "file",
        "filename": name,
        "mime_type": mime_type,
        "size_bytes": size_bytes,
        "created_at": _CREATED,
        "downloadable": True,
    }


def _keep(kept: dict[str, T], key: str, value: T) -> None:
    """Remember *value*, and forget the oldest beyond what is kept."""
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        del kept[next(iter(kept))]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
