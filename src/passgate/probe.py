"""Whether each upstream would take our credential: what ``passgate check`` asks.

Beside ``app`` the one place that may see everything; no exchange passes here.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from passgate import __version__
from passgate.core.credential import PLAN_TOKEN_PREFIX, Credential, CredentialMissing
from passgate.core.gemini.keys import keys_in
from passgate.core.settings import CredentialKind, Settings, UpstreamKind, UpstreamSettings
from passgate.core.upstreams import KEY_FIELDS
from passgate.edge.clock import SystemClock
from passgate.edge.credentials import lists_keys, open_source

_LIMIT_S = 10.0
_FREE = {
    UpstreamKind.ANTHROPIC: "/v1/models?limit=1",
    UpstreamKind.GEMINI: "/v1beta/models?pageSize=1",
}
# Google says 400 to a key that is none.
_REFUSED = {UpstreamKind.ANTHROPIC: (401, 403), UpstreamKind.GEMINI: (400, 401, 403)}
_BROKEN = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one upstream.

    Attributes:
        upstream: Its name.
        usable: Whether there is a credential to show it.
        problem: What is wrong, or None.
        status: How it answered, or None where it was not asked or did not answer.
        plan_token: Whether the credential is the token of a Claude plan.
        keys: How many keys its source holds, and how many of them can be used.
    """

    upstream: str
    usable: bool
    problem: str | None
    status: int | None = None
    plan_token: bool = False
    keys: tuple[int, int] | None = None


async def probe(settings: Settings, *, live: bool = False) -> list[Finding]:
    """Return what is found of each upstream, in order.

    Args:
        settings: What would run.
        live: Whether to ask the upstreams themselves, for something free.
    """
    async with asyncio.TaskGroup() as group:
        tasks = _Tasks(group)
        looks = [tasks.start(_look(each, tasks, live), each.name) for each in settings.upstreams]
    return [look.result() for look in looks]


class _Tasks:
    """See ``interfaces.Tasks``: here all tasks end with the probe."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def start(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *coro* as a task named *name*."""
        return self._group.create_task(coro, name=name)


async def _look(upstream: UpstreamSettings, tasks: _Tasks, live: bool) -> Finding:  # noqa: FBT001
    source = open_source(upstream, SystemClock(), tasks)
    await source.refresh()
    try:
        credential = await source.current()
    except CredentialMissing:
        return Finding(upstream.name, usable=False, problem=source.problem)
    if lists_keys(upstream):
        return await _look_at_keys(upstream, credential, live)
    status, problem = await _answer(upstream, credential) if live else (None, None)
    return Finding(
        upstream.name,
        usable=True,
        problem=problem or source.problem,
        status=status,
        plan_token=credential.secret.startswith(PLAN_TOKEN_PREFIX),
    )


async def _look_at_keys(upstream: UpstreamSettings, listed: Credential, live: bool) -> Finding:  # noqa: FBT001
    """Return what is found of the upstream whose source *listed* its keys."""
    keys = keys_in(listed.secret, b"")
    if not live:
        return Finding(upstream.name, usable=True, problem=None, keys=(len(keys), len(keys)))
    answers = await asyncio.gather(
        *(_answer(upstream, replace(listed, secret=key.secret)) for key in keys)
    )
    wrong = [
        f"{problem} with {key.name}" if len(keys) > 1 else problem
        for key, (_, problem) in zip(keys, answers, strict=True)
        if problem
    ]
    good = len(keys) - len(wrong)
    return Finding(
        upstream.name,
        usable=good > 0,
        problem="; ".join(wrong) or None,
        status=answers[0][0],
        keys=(len(keys), good),
    )


async def _answer(
    upstream: UpstreamSettings, credential: Credential
) -> tuple[int | None, str | None]:
    """Return how an upstream answers, and what is wrong with that."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            status = await _asked(upstream, credential)
    except TimeoutError:
        return None, f"did not answer within {_LIMIT_S:g} s"
    except (OSError, http.client.HTTPException) as error:
        # Not the text: it may hold an address, and what the other side sent.
        what = getattr(error, "strerror", None) or type(error).__name__
        return None, f"could not be asked: {what}"
    return status, _judged(status, credential.kind, upstream.kind)


def _judged(status: int, kind: CredentialKind, api: UpstreamKind) -> str | None:
    """Return what a status says is wrong; one that only lacks a list of models is well."""
    if status in _REFUSED[api] and kind is not CredentialKind.CLIENT:
        return f"refuses the credential ({status})"
    return f"is out of order ({status})" if status >= _BROKEN else None


def _asked(upstream: UpstreamSettings, credential: Credential) -> asyncio.Future[int]:
    """Ask in a thread that nobody waits for at the end: a name lookup has no time limit."""
    answer: Future[int] = Future()
    answer.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            answer.set_result(_ask(upstream, credential))
        except Exception as error:  # noqa: BLE001  raised again where it is awaited
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name=f"ask {upstream.name}").start()
    return asyncio.wrap_future(answer)


def _ask(upstream: UpstreamSettings, credential: Credential) -> int:
    # http.client knows no proxy of the environment and follows no redirect; nor do we.
    connection: http.client.HTTPConnection
    if upstream.tls:
        trusted = ssl.create_default_context(cafile=upstream.ca_file)
        connection = http.client.HTTPSConnection(
            upstream.host, upstream.port, timeout=_LIMIT_S, context=trusted
        )
    else:
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=_LIMIT_S)
    try:
        target = upstream.prefix + _FREE[upstream.kind]
        connection.request("GET", target, headers=_fields(upstream, credential))
        return connection.getresponse().status
    finally:
        connection.close()


def _fields(upstream: UpstreamSettings, credential: Credential) -> dict[str, str]:
    fields = {"accept": "application/json", "user-agent": f"passgate/{__version__}"}
    if upstream.kind is UpstreamKind.ANTHROPIC:
        fields["anthropic-version"] = "2023-06-01"
    secret = credential.secret.decode()
    if credential.kind is CredentialKind.API_KEY:
        fields[KEY_FIELDS[upstream.kind].decode()] = secret
    elif credential.kind is CredentialKind.BEARER:
        fields["authorization"] = f"Bearer {secret}"
        if credential.secret.startswith(PLAN_TOKEN_PREFIX):
            fields["anthropic-beta"] = "oauth-2025-04-20"
    return fields
