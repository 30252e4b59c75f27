"""Counting installs through the real gateway, and that the gateway reports nothing itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from passgate.core.settings import Settings
from tests.loopback.gateway import Answer, Gateway, client, message

INSTALLS, METRICS = "/api/telemetry/installs", "/api/telemetry/metrics"
PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
NARROW = "pg_" + "n" * 43


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a state directory."""

    def change(settings: Settings) -> Settings:
        clients = (
            *settings.clients,
            client("narrow", NARROW, models=("claude-*",), paths=("/v1/*",)),
        )
        return replace(settings, state_dir=tmp_path_factory.mktemp("state"), clients=clients)

    with Gateway(change) as gateway:
        yield gateway


def report(gateway: Gateway, *fields: str, **changes: Any) -> Answer:
    """Report an install."""
    said = {
        "install_id": "6f9619ff-8b86-4d11-b42d-00c04fc964ff",
        "version": "1.4.0",
        "platform": "linux-x86_64",
    }
    return gateway.ask(gateway.post(said | changes, *fields, path=INSTALLS))


def test_installs(kept: Gateway) -> None:
    """An install is counted, and told as JSON and as Prometheus' text."""
    kept.forget()
    answer = report(kept)
    told = kept.ask(kept.head("GET", METRICS))
    text = kept.ask(kept.head("GET", METRICS, "accept: text/plain"))
    records = kept.recorded(3)
    families = list(text_string_to_metric_families(text.body.decode()))

    assert (200, {"status": "ok"}) == (answer.status, answer.json())
    assert {"24h": 1, "7d": 1, "30d": 1} == told.json()["active"]
    assert {"1.4.0": 1} == told.json()["by_version"]
    assert ["text/plain; version=0.0.4"] == text.get("content-type")
    assert [1] == [s.value for f in families if f.name == "passgate_installs" for s in f.samples]
    assert {family.name for family in families} <= set(PAGE.replace("`", " ").split())
    assert [("test", INSTALLS, 200, "complete", None)] + [
        ("test", METRICS, 200, "complete", None)
    ] * 2 == [(r.client, r.path, r.status, r.ending.value, r.upstream) for r in records]
    assert [] == kept.upstream.seen


REFUSED = {
    "no-field": ({"version": None}, (), 400, "request"),
    "wrong": ({"version": "no spaces"}, (), 400, "request"),
    "large": ({"version": "x" * 5000}, (), 413, "size"),
    "coded": ({}, ("content-encoding: gzip",), 400, "request"),
}


@pytest.mark.parametrize(
    ("changes", "fields", "status", "code"), REFUSED.values(), ids=REFUSED.keys()
)
def test_refused(
    kept: Gateway, changes: dict[str, Any], fields: tuple[str, ...], status: int, code: str
) -> None:
    """What is not right is refused in the words of every other error, and recorded."""
    kept.forget()
    answer = report(kept, *fields, **changes)
    [record] = kept.recorded()

    assert (status, [code]) == (answer.status, answer.get("x-passgate-error"))
    assert answer.json()["error"]["message"].startswith("passgate: ")
    assert (status, code, "refused") == (record.status, record.error, record.ending.value)


def test_large_and_chunked(kept: Gateway) -> None:
    """A body that does not say how long it is may not be longer either."""
    body = b"1388\r\n" + b" " * 5000 + b"\r\n0\r\n\r\n"
    answer = kept.ask(kept.head("POST", INSTALLS, "transfer-encoding: chunked") + body)

    assert 413 == answer.status


OTHERS = {
    "read-reports": ("GET", INSTALLS, 404),
    "report-metrics": ("POST", METRICS, 404),
    "delete": ("DELETE", INSTALLS, 404),
    "head": ("HEAD", METRICS, 200),
    "below": ("GET", f"{METRICS}/x", 404),
}


@pytest.mark.parametrize(("method", "path", "status"), OTHERS.values(), ids=OTHERS.keys())
def test_other_methods(kept: Gateway, method: str, path: str, status: int) -> None:
    """Each path has its method."""
    with kept.connect() as connection:
        connection.sendall(kept.head(method, path))
        head = connection.recv(65536)

    assert int(head.split()[1]) == status


@pytest.mark.parametrize("path", [INSTALLS, METRICS])
def test_needs_a_key(kept: Gateway, path: str) -> None:
    """Nobody reports or reads without a key."""
    method = "POST" if path == INSTALLS else "GET"
    answer = kept.ask(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())

    assert (401, ["key"]) == (answer.status, answer.get("x-passgate-error"))


def test_narrowed_paths(kept: Gateway) -> None:
    """A client whose paths are narrowed needs these among them."""
    answer = kept.ask(f"GET {METRICS} HTTP/1.1\r\nhost: x\r\nx-api-key: {NARROW}\r\n\r\n".encode())

    assert (403, ["scope"]) == (answer.status, answer.get("x-passgate-error"))


def test_example() -> None:
    """The page's example is a report that would be taken."""
    said = json.loads(PAGE.split("-d '")[1].split("'")[0])

    assert {"install_id", "version", "platform"} == set(said)


def test_gateway_reports_nothing() -> None:
    """From its start to its stop, passgate connects to its upstream and to nobody else."""
    asked: list[tuple[str, Any]] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            asked.append((event, arguments))

    sys.addaudithook(hook)  # stays for the life of the process, so it is told to look away
    try:
        with Gateway() as gateway:
            ours = {gateway.port, gateway.admin_port}
            gateway.ask(gateway.post(message()))
            gateway.ask(gateway.post({}, path=INSTALLS))
            gateway.recorded(2)
            upstream = gateway.upstream.port
    finally:
        watching[0] = False

    addresses = [a[1] for event, a in asked if event == "socket.connect"]
    assert {address[1] for address in addresses} <= ours | {upstream}
    assert {address[0] for address in addresses} <= {"127.0.0.1"}
