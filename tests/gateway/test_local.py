"""What the gateway answers itself."""

from __future__ import annotations

import json
from typing import cast

import pytest

from passgate.core import faults
from passgate.core.exchange import RequestHead
from passgate.core.faults import Refused
from passgate.gateway import local
from passgate.gateway.interfaces import Downstream
from passgate.gateway.local import Readiness


class Told:
    """A client's side that takes note of its answer."""

    def __init__(self) -> None:
        self.head = self.body = b""

    def answer(self, head: bytes, body: bytes) -> None:
        """See ``interfaces.Downstream``."""
        self.head, self.body = head, body


def ask(method: str, path: str, readiness: Readiness | None = None, *, known: bool = False) -> Told:
    """Return the answer to a request."""
    told = Told()
    readiness = readiness or Readiness(list, list)
    local.answer(
        RequestHead(method=method, path=path), cast(Downstream, told), readiness, known=known
    )
    return told


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/health", "/api/hello"])
def test_health(method: str, path: str) -> None:
    """Health is answered at once, whatever the state of things is."""
    broken = Readiness(lambda: ["broken"], list)
    broken.draining = True
    told = ask(method, path, broken)

    assert told.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert {"status": "ok"} == json.loads(told.body)


def test_root() -> None:
    """The warm-up call of older clients is a HEAD of the root, and nothing else is there."""
    assert ask("HEAD", "/").head.startswith(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(Refused) as refused:
        ask("GET", "/")

    assert faults.NOT_FOUND is refused.value.fault


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "get", ""])
@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/api/hello"])
def test_other_methods(method: str, path: str) -> None:
    """Our own paths are only read."""
    with pytest.raises(Refused) as refused:
        ask(method, path)

    assert faults.NOT_FOUND is refused.value.fault


@pytest.mark.parametrize(
    ("draining", "problems", "status", "word"),
    [
        (False, [], 200, "ready"),
        (True, [], 503, "draining"),
        (False, ["no credential"], 503, "not_ready"),
        (True, ["no credential"], 503, "draining"),
    ],
    ids=["ready", "draining", "problem", "both"],
)
@pytest.mark.parametrize("known", [True, False], ids=["key", "no key"])
def test_ready(
    draining: bool,  # noqa: FBT001  a column
    problems: list[str],
    status: int,
    word: str,
    known: bool,  # noqa: FBT001  a column
) -> None:
    """Readiness is a word for everybody; why is told to who shows a key."""
    readiness = Readiness(lambda: problems, lambda: ["a warning"])
    readiness.draining = draining
    told = ask("GET", "/ready", readiness, known=known)
    details: dict[str, object] = {"problems": problems, "warnings": ["a warning"]} if known else {}

    assert told.head.startswith(b"HTTP/1.1 %d " % status)
    assert {"status": word, **details} == json.loads(told.body)
    assert b"content-length: %d" % len(told.body) in told.head
