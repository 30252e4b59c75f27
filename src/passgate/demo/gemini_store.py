"""What the simulated Gemini keeps: files and cached contents, each belonging to a project.

Nothing here depends on the time: everything was made at one moment.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from passgate.demo.content import Json
from passgate.demo.gemini_content import input_tokens
from passgate.demo.gemini_proto import Rejected, bad

_CREATED, _EXPIRES = "2026-11-01T09:00:00.000000Z", "2026-11-03T09:00:00.000000Z"
_MOST_KEPT = 1000


def not_found(kind: str, name: str) -> Rejected:
    """Return how Google refuses what another project made, or nobody."""
    return Rejected(
        403,
        f"You do not have permission to access the {kind} {name} or it may not exist.",
    )


@dataclass(slots=True)
class Upload:
    """A file that is being uploaded in steps."""

    project: str
    wanted: Json
    mime_type: str
    data: bytearray = field(default_factory=bytearray)


class Store:
    """Files and cached contents by name, with the project that made each."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Json]] = {}
        self._data: dict[str, bytes] = {}
        self._uploads: dict[str, Upload] = {}
        self._made = 0

    def start_upload(self, project: str, wanted: Json, mime_type: str) -> str:
        """Return the id of a new upload."""
        upload_id = self._id("upload", project)
        self._uploads[upload_id] = Upload(project, wanted, mime_type)
        while len(self._uploads) > _MOST_KEPT:
            del self._uploads[next(iter(self._uploads))]
        return upload_id

    def upload(self, upload_id: str) -> Upload:
        """Return the upload *upload_id*."""
        if (upload := self._uploads.get(upload_id)) is None:
            raise Rejected(404, "The upload was not found.")
        return upload

    def finish_upload(self, upload_id: str, url: str) -> Json:
        """Keep what was uploaded as a file; return what is said of it."""
        upload = self._uploads.pop(upload_id)
        return self.add_file(
            upload.project, upload.wanted, upload.mime_type, bytes(upload.data), url
        )

    def add_file(self, project: str, wanted: Json, mime_type: str, data: bytes, url: str) -> Json:
        """Keep a file; return what is said of it."""
        name = wanted.get("name")
        name = name if isinstance(name, str) and name else f"files/{self._id('file', project)}"
        name = name if name.startswith("files/") else f"files/{name}"
        if name in self._kept:
            raise Rejected(409, f"{name} already exists.", status="ALREADY_EXISTS")
        digest = base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()
        file: Json = {
            "name": name,
            "displayName": wanted.get("displayName", ""),
            "mimeType": wanted.get("mimeType") or mime_type,
            "sizeBytes": str(len(data)),
            "createTime": _CREATED,
            "updateTime": _CREATED,
            "expirationTime": _EXPIRES,
            "sha256Hash": digest,
            "uri": f"{url}/v1beta/{name}",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        self._keep(name, project, file)
        self._data[name] = data
        return file

    def add_cache(self, project: str, body: Json) -> Json:
        """Keep a cached content; return what is said of it."""
        if not body.get("model"):
            raise bad("* CreateCachedContentRequest.cached_content.model: model is required\n")
        count = input_tokens(body)
        if count < 64:
            raise bad(
                f"Cached content is too small. total_token_count={count}, min_total_token_count=64"
            )
        name = f"cachedContents/{self._id('cache', project)}"
        cache: Json = {
            "name": name,
            "model": body["model"],
            "displayName": body.get("displayName", ""),
            "createTime": _CREATED,
            "updateTime": _CREATED,
            "expireTime": body.get("expireTime", _EXPIRES),
            "usageMetadata": {"totalTokenCount": count},
        }
        self._keep(name, project, cache)
        return cache

    def get(self, kind: str, name: str, project: str) -> Json:
        """Return what is said of *name*, if *project* made it."""
        owner, value = self._kept.get(name, ("", {}))
        if owner != project:
            raise not_found(kind, name)
        return value

    def data(self, name: str) -> bytes:
        """Return the bytes of a file that was found."""
        return self._data.get(name, b"")

    def change(self, kind: str, name: str, project: str, members: Json) -> Json:
        """Replace members of what *project* made."""
        value = {**self.get(kind, name, project), **members}
        self._kept[name] = (project, value)
        return value

    def delete(self, kind: str, name: str, project: str) -> None:
        """Forget what *project* made."""
        self.get(kind, name, project)
        del self._kept[name]
        self._data.pop(name, None)

    def of(self, kind: str, project: str) -> list[Json]:
        """Return all of one kind that *project* made, the newest first."""
        return [
            value
            for name, (owner, value) in reversed(self._kept.items())
            if owner == project and name.startswith(f"{kind}/")
        ]

    def _keep(self, name: str, project: str, value: Json) -> None:
        self._kept[name] = (project, value)
        while len(self._kept) > _MOST_KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._data.pop(oldest, None)

    def _id(self, kind: str, project: str) -> str:
        self._made += 1
        return hashlib.sha256(f"{kind} {project} {self._made}".encode()).hexdigest()[:12]
