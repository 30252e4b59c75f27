"""The live feed and ``/metrics`` of the real gateway, over real sockets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from passgate.core.settings import AdminSettings, Listen, Settings
from tests.loopback.gateway import Answer, Gateway, connect, eventually, message, read_answer

ADMIN_KEY = "adm_" + "b" * 43


@pytest.fixture(scope="module")
def guarded() -> Iterator[Gateway]:
    """A gateway whose operator's listener has a key."""

    def change(settings: Settings) -> Settings:
        digest = hashlib.sha256(ADMIN_KEY.encode()).digest()
        return replace(settings, admin=AdminSettings(Listen(port=0), digest))

    with Gateway(change) as gateway:
        yield gateway


def ask(gateway: Gateway, path: str, *fields: str, method: str = "GET") -> Answer:
    """Return what the operator's listener answers."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *fields, "", ""]
    with connect(gateway.admin_port) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return read_answer(connection, method)


class Reader:
    """Reads the feed by hand.

    Attributes:
        head: The answer's head, once something was read.
        events: Name and value of every whole event so far.
    """

    def __init__(self, gateway: Gateway, *fields: str, receive_buffer: int | None = None) -> None:
        self.connection = connect(gateway.admin_port, receive_buffer=receive_buffer)
        lines = ["GET /live HTTP/1.1", "host: localhost", *fields, "", ""]
        self.connection.sendall("\r\n".join(lines).encode())
        self.head = b""
        self.events: list[tuple[str, Any]] = []
        self._data = b""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def read(self) -> bool:
        """Read on once; return whether there was anything."""
        data = self.connection.recv(1 << 16)
        self._data += data
        if not self.head and b"\r\n\r\n" in self._data:
            self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        while self.head and b"\n\n\r\n" in self._data:
            chunk, _, self._data = self._data.partition(b"\n\n\r\n")
            size, _, event = chunk.partition(b"\r\n")
            assert int(size, 16) == len(event) + 2
            name, _, value = event.decode().partition("\ndata: ")
            self.events.append((name.removeprefix("event: "), json.loads(value)))
        return bool(data)

    def next(self, name: str) -> Any:
        """Return the next event of that name."""
        while True:
            for number, (each, value) in enumerate(self.events):
                if each == name:
                    del self.events[: number + 1]
                    return value
            assert self.read(), "the feed has ended"


def test_feed(gateway: Gateway) -> None:
    """A reader is told at once how things stand, and of each exchange as it ends."""
    with Reader(gateway) as reader:
        state = reader.next("state")
        gateway.ask(gateway.post(message("claude-text-5", stream=True)))
        told = reader.next("record")
        [record] = gateway.recorded()

    assert b"content-type: text/event-stream" in reader.head
    assert 0 == state["dropped"]
    assert (record.id, "test", "complete") == (told["id"], told["client"], told["ending"])


def test_running(gateway: Gateway) -> None:
    """A stream that runs is told with who asked, how far it is, and since when it is silent."""
    session = "x-claude-code-session-id: 7f0c"
    with Reader(gateway) as reader, gateway.connect() as connection:
        connection.sendall(gateway.post(message("claude-silent", stream=True), session))
        connection.recv(65536)
        while not (running := reader.next("state")["running"]):
            pass
        while (later := reader.next("state")["running"][0])["silent_s"] < 0.5:
            pass

    [line] = running
    assert ("test", "7f0c", "claude-silent", "anthropic", True) == tuple(
        line[name] for name in ("client", "session", "model", "upstream", "stream")
    )
    assert line["bytes_down"] == later["bytes_down"] > 0
    assert (True, True) == (later["tokens"] >= 0, later["estimated"])
    assert later["running_s"] > line["running_s"]


def test_two_readers(gateway: Gateway) -> None:
    """Each reader is told everything."""
    with Reader(gateway) as one, Reader(gateway) as other:
        one.next("state")
        other.next("state")
        gateway.ask(gateway.post(message()))

        assert one.next("record")["id"] == other.next("record")["id"]


def test_state_comes_again(gateway: Gateway) -> None:
    """The state is told again and again while somebody reads."""
    with Reader(gateway) as reader:
        walls = [reader.next("state")["vitals"]["wall_s"] for _ in range(2)]

    assert walls[0] < walls[1]


def test_nothing_is_computed_for_nobody(gateway: Gateway) -> None:
    """When the last reader has left, the feed's timer ends."""
    with Reader(gateway) as reader:
        reader.next("state")
    feed = gateway.app._feed
    eventually(lambda: feed.readers == 0)
    eventually(lambda: feed._timer is None)


def test_too_many_readers(gateway: Gateway) -> None:
    """So many may read, and one more is told to come back."""
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(Reader(gateway)).next("state")
        refused = ask(gateway, "/live")
        state = ask(gateway, "/healthz")

    assert (529, ["busy"], ["1"]) == (
        refused.status,
        refused.get("x-passgate-error"),
        refused.get("retry-after"),
    )
    assert 200 == state.status
    eventually(lambda: gateway.app._feed.readers == 0)


def test_slow_reader(gateway: Gateway) -> None:
    """A reader that stops reading loses the oldest records, counted, and nobody waits for it."""
    with Reader(gateway, receive_buffer=4096) as reader:
        reader.next("state")
        [each] = gateway.app._feed._readers
        gateway.ask(gateway.post(message()))
        [record] = gateway.recorded()

        async def flood() -> None:
            for _ in range(30):
                gateway.app._feed([record] * 1000)

        gateway.call(flood())
        waiting, dropped = len(each._waiting), gateway.app._feed.dropped
        while not (state := reader.next("state"))["dropped"]:
            pass

    assert 1000 == waiting
    assert 0 < dropped == state["dropped"]


def test_stop_ends_the_feed() -> None:
    """When the gateway stops, a feed ends as a whole answer does."""
    with Gateway() as gateway:
        reader = Reader(gateway)
        reader.next("state")
    with reader:
        while reader.read():
            pass

    assert b"0\r\n\r\n" == reader._data
    assert [] == gateway.notices


def test_old_client(gateway: Gateway) -> None:
    """A client of HTTP/1.0 is told the same, without chunks."""
    with connect(gateway.admin_port) as connection:
        connection.sendall(b"GET /live HTTP/1.0\r\nhost: localhost\r\n\r\n")
        data = b""
        while b"\n\n" not in data:
            data += connection.recv(1 << 16)

    head, _, event = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert event.startswith(b"event: state\ndata: {")


def test_no_head_of_a_feed(gateway: Gateway) -> None:
    """There is nothing to say of a stream before it begins."""
    assert 404 == ask(gateway, "/live", method="HEAD").status


BASIC = base64.b64encode(f"anybody:{ADMIN_KEY}".encode()).decode()
WRONG = base64.b64encode(b"anybody:adm_wrong").decode()
KEYS = {
    "none": ((), 401),
    "wrong": (("x-api-key: adm_wrong",), 401),
    "x-api-key": ((f"x-api-key: {ADMIN_KEY}",), 200),
    "bearer": ((f"authorization: Bearer {ADMIN_KEY}",), 200),
    "basic": ((f"authorization: Basic {BASIC}",), 200),
    "basic-wrong": ((f"authorization: Basic {WRONG}",), 401),
    "basic-nonsense": (("authorization: Basic ???",), 401),
    "basic-without-colon": ((f"authorization: Basic {BASIC[:8]}",), 401),
    "as-the-user": (
        (f"authorization: Basic {base64.b64encode(f'{ADMIN_KEY}:x'.encode()).decode()}",),
        401,
    ),
}


@pytest.mark.parametrize("path", ["/metrics", "/live", "/"])
@pytest.mark.parametrize(("fields", "status"), KEYS.values(), ids=KEYS.keys())
def test_key(guarded: Gateway, path: str, fields: tuple[str, ...], status: int) -> None:
    """What tells of clients needs the admin key where there is one; browsers ask for it."""
    if status == 200 and path == "/live":
        with Reader(guarded, *fields) as reader:
            assert "vitals" in reader.next("state")
        return
    answer = ask(guarded, path, *fields)

    assert status == answer.status
    assert (status == 401) == bool(answer.get("www-authenticate"))


def test_a_clients_key_opens_nothing(guarded: Gateway) -> None:
    """An agent's key is none of the operator's."""
    assert 401 == ask(guarded, "/metrics", f"x-api-key: {guarded.key}").status


def scrape(gateway: Gateway) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    answer = ask(gateway, "/metrics")

    assert (200, ["text/plain; version=0.0.4; charset=utf-8"]) == (
        answer.status,
        answer.get("content-type"),
    )
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_metrics(gateway: Gateway) -> None:
    """A scrape tells what went through."""
    before = scrape(gateway)
    gateway.ask(gateway.post(message("claude-text-5", stream=True)))
    gateway.recorded()
    after = scrape(gateway)
    labels = {"client": "test", "upstream": "anthropic", "route": "*"}
    key = ("passgate_requests_total", frozenset((labels | SEEN).items()))

    assert 1 == after[key] - before.get(key, 0)
    assert 0.0 < after["passgate_upstream_limit_used_ratio", LIMIT] < 0.1


SEEN = {"status": "2xx", "ending": "complete"}
LIMIT = frozenset({("upstream", "anthropic"), ("limit", "requests")})

HOSTILE = (
    '{"model":"a\\"} 1\\nevil{x=\\"","max_tokens":1,"messages":[]}',
    *(f'{{"model":"model-{n}","max_tokens":1,"messages":[]}}' for n in range(20)),
)


def test_no_series_of_a_clients_making(gateway: Gateway) -> None:
    """Whatever models, paths, methods and fields a client sends: no series is its own."""

    def send() -> None:
        for body in HOSTILE:
            gateway.ask(gateway.post(body.encode(), "x-claude-code-session-id: evil"))
        for number in range(20):
            gateway.ask(gateway.head("GET", f"/v1/evil-{number}"))
            gateway.ask(gateway.head("GET", f"/evil-{number}"))
            gateway.ask(gateway.head("EVIL", f"/v1/x?evil={number}"))
            lines = f"GET /v1/x HTTP/1.1\r\nhost: evil\r\nx-api-key: evil{number}\r\n\r\n"
            gateway.ask(lines.encode())
        gateway.settled()

    send()
    first = scrape(gateway)
    send()
    again = scrape(gateway)

    assert set(first) == set(again)
    assert "evil" not in str(sorted(map(str, again)))
    assert "model-" not in str(sorted(map(str, again)))


def test_reader_that_leaves_during_a_scrape(gateway: Gateway) -> None:
    """Who asks and goes harms nobody."""
    for _ in range(5):
        with connect(gateway.admin_port) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            connection.shutdown(socket.SHUT_RDWR)

    assert 200 == ask(gateway, "/metrics").status
    assert [] == [told for told in gateway.notices if "fault" in told]


def test_page(tmp_path: Path) -> None:
    """The page tells what the ledger has, with the fields that keep a browser from harm."""
    with Gateway(lambda settings: replace(settings, state_dir=tmp_path)) as gateway:
        gateway.ask(gateway.post(message("<b>claude-text-5", stream=True)))
        gateway.settled()
        eventually(lambda: gateway.app.ledger is not None and not gateway.app.ledger.backlog)
        page, style = ask(gateway, "/"), ask(gateway, "/style.css")

    assert (200, ["text/html; charset=utf-8"]) == (page.status, page.get("content-type"))
    assert (200, ["text/css; charset=utf-8"]) == (style.status, style.get("content-type"))
    assert ["nosniff"] == page.get("x-content-type-options")
    assert page.get("content-security-policy")[0].startswith("default-src 'none'")
    assert "Today, by UTC" in page.body.decode()
    assert b"<b>claude" not in page.body
    assert b"&lt;b&gt;claude-text-5" in page.body


def test_page_without_a_ledger(gateway: Gateway) -> None:
    """Where no ledger is kept, the page says so and shows what there is."""
    assert b"Since the start" in ask(gateway, "/").body
