"""What a row works with: the gateway that is visited, and how to ask it something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from passgate.doctor.upstream import Upstream
from passgate.doctor.wire import Answer, Call, Place


class Verdict(Enum):
    """What was found in a row."""

    OK = "ok"
    FAIL = "fail"
    UNSEEN = "unseen"  # it cannot be seen from here
    SKIP = "skip"  # an earlier row failed, without which this one says nothing


@dataclass(frozen=True, slots=True)
class Found:
    """A verdict, and why."""

    verdict: Verdict
    reason: str = ""


def ok(reason: str = "") -> Found:
    """Return that it is as clients rely on."""
    return Found(Verdict.OK, reason)


def fail(reason: str) -> Found:
    """Return that it is not, and what is wrong."""
    return Found(Verdict.FAIL, reason)


def unseen(reason: str) -> Found:
    """Return that it could not be seen, and why."""
    return Found(Verdict.UNSEEN, reason)


@dataclass(slots=True)
class Visit:
    """A gateway that is looked at.

    Attributes:
        place: Where it is.
        key: A key it knows.
        model: A model that it has a route for.
        bearer: Whether the key is shown in ``Authorization`` and not in ``x-api-key``.
        trusted: File with the certificates to trust; None for the system's.
        upstream: Where it sends to, where that is us.
        answers: All that came back so far, for a search at the end.
    """

    place: Place
    key: str
    model: str
    bearer: bool = False
    trusted: str | None = None
    upstream: Upstream | None = None
    answers: list[bytes] = field(default_factory=list)

    @contextmanager
    def asked(
        self,
        method: str,
        path: str,
        *fields: str,
        body: bytes = b"",
        key: str | None = None,
    ) -> Iterator[Call]:
        """Send a request on a connection of its own.

        Args:
            method: Its method.
            path: Its path and query.
            fields: Further field lines.
            body: Its body.
            key: Shown instead of the good one; nothing if empty.

        Raises:
            OSError: There is no connection.
        """
        shown = self.key if key is None else key
        with Call(self.place, trusted=self.trusted) as call:
            try:
                call.send(self._head(method, path, fields, len(body), shown) + body)
                yield call
            finally:
                self.answers.append(call.got)

    def _head(self, method: str, path: str, fields: tuple[str, ...], size: int, key: str) -> bytes:
        shows = f"authorization: Bearer {key}" if self.bearer else f"x-api-key: {key}"
        lines = [
            f"{method} {self.place.prefix}{path} HTTP/1.1",
            f"host: {self.place.authority}",
            *([shows] if key else []),
            "anthropic-version: 2023-06-01",
            "user-agent: passgate-doctor",
            "accept: application/json",
            *fields,
        ]
        if method == "POST":
            lines += ["content-type: application/json", f"content-length: {size}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def message(self, mark: str, **more: object) -> bytes:
        """Return the body of a short and cheap request that carries *mark*."""
        user = {"role": "user", "content": f"{mark}: say well"}
        ask = {"model": self.model, "max_tokens": 32, "messages": [user]}
        return json.dumps(ask | more).encode()

    def answer(self, method: str, path: str, *fields: str, body: bytes = b"") -> Answer:
        """Ask, and return the answer.

        Raises:
            NoAnswer: There is none.
            OSError: There is no connection.
        """
        with self.asked(method, path, *fields, body=body) as call:
            return call.answer()

    def post(self, mark: str, *fields: str, path: str = "/v1/messages", **more: object) -> Answer:
        """Ask for a message, and return the answer; raises as :meth:`answer` does."""
        return self.answer("POST", path, *fields, body=self.message(mark, **more))


def mark_of(row: str) -> str:
    """Return what marks the requests of *row*."""
    return f"passgate-doctor-{row.replace(' ', '-')}"
