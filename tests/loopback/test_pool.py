"""The connections to an upstream: reuse, the races of keep-alive, TLS, what cannot be dialled."""

from __future__ import annotations

import contextlib
import gc
import socket
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from passgate.core.settings import Limits
from passgate.edge.wire.pool import Pool
from tests.loopback.certificates import OPENSSL, authority, server_side, signed
from tests.loopback.gateway import (
    Answer,
    Gateway,
    anthropic,
    eventually,
    message,
    read_answer,
    running,
)
from tests.loopback.peers import Peer, Scripted, says
from tests.loopback.upstream import Beside

CREDENTIAL = "up_of-the-operator"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Certificates:
    """An authority made for this run, and what it has signed.

    Attributes:
        ca: Its certificate.
        other_ca: That of an authority which has signed nothing.
        good: A server's certificate and key in one file, for 127.0.0.1.
        foreign: The same for another name.
    """

    ca: Path
    other_ca: Path
    good: Path
    foreign: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates made by the ``openssl`` command."""
    if OPENSSL is None:
        pytest.skip("there is no openssl command")
    directory = tmp_path_factory.mktemp("certificates")
    ca, other = (authority(directory, name) for name in ("one", "other"))
    return Certificates(
        ca,
        other,
        signed(directory, "good", "IP:127.0.0.1,DNS:localhost"),
        signed(directory, "foreign", "DNS:elsewhere.example"),
    )


@dataclass
class Lane:
    """A gateway and the upstream that it uses."""

    gateway: Gateway
    beside: Beside

    @property
    def connections(self) -> int:
        """How many connections the upstream has accepted."""
        return self.beside.upstream.connections

    def ask(self, model: str = "claude-sonnet-4-5", *fields: str, **more: Any) -> Answer:
        """Return the answer to one request, on a client's connection of its own."""
        return self.gateway.ask(self.gateway.post(message(model, **more), *fields))

    def statuses(self, *models: str) -> list[int]:
        """Return the status of one request after the other."""
        return [self.ask(model).status for model in models]


@contextlib.contextmanager
def lane(beside: Beside, *, limits: Limits | None = None, **more: Any) -> Iterator[Lane]:
    """Run a gateway that uses *beside*; *more* is about the upstream."""
    upstreams = (anthropic(beside.port, CREDENTIAL, **more),)
    with running(limits=limits, upstreams=upstreams) as gateway:
        yield Lane(gateway, beside)


@pytest.fixture(params=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[Beside, dict[str, Any]]]:
    """An upstream in the open and over TLS, and the settings that lead there."""
    if request.param == "plain":
        with Beside() as beside:
            yield beside, {}
        return
    certificates: Certificates = request.getfixturevalue("certificates")
    with Beside(tls=server_side(certificates.good)) as beside:
        yield beside, {"tls": True, "ca_file": certificates.ca}


Wire = tuple[Beside, dict[str, Any]]


# Reuse.


def test_one_connection_serves_many(wire: Wire) -> None:
    """Request after request, of one client or of many, goes up on one connection."""
    beside, more = wire
    with lane(beside, **more) as it:
        own = it.statuses(*["claude-sonnet-4-5"] * 5)
        with it.gateway.connect() as kept:
            shared = []
            for model in ("claude-sonnet-4-5", "claude-text-20"):
                kept.sendall(it.gateway.post(message(model, stream=True)) * 3)
                shared += [read_answer_of(kept) for _ in range(3)]

    assert (own, shared) == ([200] * 5, [200] * 6)
    assert it.connections == 1
    assert len(beside.upstream.seen) == 11


def read_answer_of(connection: socket.socket) -> int:
    """Return the status of the next answer, read byte by byte: others may stand behind it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    body = b""
    while not body.endswith(b"0\r\n\r\n"):
        body += connection.recv(1)
    return int(head.split()[1])


REUSED = {
    "default": True,
    "text-5": True,
    "big-300000": True,
    "gzip": True,
    "error-429": True,
    "interim": True,
    "trailers": True,
    "head-dup": True,
    "slow-200-3": True,
    "mid-error-3": True,
    "close": False,
    "http10": False,
    "no-length": False,
    "early-413": False,
    "cut-3": False,
    "reset-3": False,
    "cut-length": False,
    "surplus": False,
    "bad-chunk": False,
    "two-lengths": False,
    "length-and-chunked": False,
}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(("scene", "reused"), REUSED.items(), ids=REUSED.keys())
def test_what_is_used_again(scene: str, *, reused: bool, stream: bool) -> None:
    """A connection is used again after a whole answer, never where anything is in doubt."""
    with Beside() as beside, lane(beside) as it:
        with contextlib.suppress(ValueError, IndexError, EOFError, ConnectionError):
            it.ask(f"claude-{scene}", stream=stream)
        # The exchange has ended on both sides: what comes now finds the pool settled.
        it.gateway.recorded(1)
        after = it.ask()

    assert after.status == 200
    assert it.connections == (1 if reused else 2)


def test_head_is_used_again() -> None:
    """An answer without a body leaves its connection in order as well."""
    with Beside() as beside, lane(beside) as it, it.gateway.connect() as connection:
        for _ in range(3):
            connection.sendall(it.gateway.head("HEAD", "/v1/models"))
            assert read_answer(connection, "HEAD").status == 200

    assert it.connections == 1


def test_newest_first() -> None:
    """Of many idle connections the one used last is used next, so that the rest can age."""

    def script(peer: Peer) -> None:
        peer.request()
        eventually(lambda: upstream.connections == 5)
        peer.send(OK)
        says(OK)(peer)

    with Scripted(script) as upstream, running(upstreams=(upstream.settings,)) as gateway:
        clients = [gateway.connect() for _ in range(5)]
        for client in clients:
            client.sendall(gateway.post(message()))
        for client in clients:
            read_answer(client)
            client.close()
        before = list(pool_of(gateway)._idle)
        statuses = [gateway.ask(gateway.post(message())).status for _ in range(3)]
        after = list(pool_of(gateway)._idle)

    assert statuses == [200] * 3
    assert (upstream.connections, len(before)) == (5, 5)
    assert before == after


def pool_of(gateway: Gateway) -> Pool:
    """Return the pool of the gateway's one upstream."""
    [one] = gateway.app.pipeline.snapshot.lanes.values()
    assert isinstance(one.pool, Pool)
    return one.pool


class Shifted:
    """A clock that is ahead."""

    def __init__(self, clock: Any, ahead_s: float) -> None:
        self._clock = clock
        self._ahead_s = ahead_s

    def monotonic(self) -> float:
        """Return the time, and what it is ahead."""
        now_s: float = self._clock.monotonic()
        return now_s + self._ahead_s

    def wall(self) -> float:
        """Return the wall clock's time."""
        now_s: float = self._clock.wall()
        return now_s


@pytest.mark.parametrize(("idle_s", "dialled"), [(29.0, 1), (30.5, 2)])
def test_old_connections_are_not_used(idle_s: float, dialled: int) -> None:
    """A connection idle for 30 s is not used: the upstream may be about to close it."""
    # So slow a sweep that it is the taking itself that looks.
    slow = Limits(client_head_s=600, client_body_idle_s=600, keep_alive_s=600)
    with Beside() as beside, lane(beside, limits=slow) as it:
        first = it.ask().status
        pool = pool_of(it.gateway)
        pool._clock = Shifted(pool._clock, idle_s)
        second = it.ask().status
        eventually(lambda: beside.upstream.open == 1)

    assert (first, second, it.connections) == (200, 200, dialled)


def test_old_connections_are_closed() -> None:
    """They are closed without anybody asking, too."""
    with Beside() as beside, lane(beside) as it:
        it.ask()
        pool = pool_of(it.gateway)
        held = beside.upstream.open
        pool._clock = Shifted(pool._clock, 30.5)
        eventually(lambda: beside.upstream.open == 0)

    assert held == 1


def test_replaced_upstream_is_let_go() -> None:
    """What a reload has replaced is forgotten as soon as its last exchange has ended."""
    with Beside() as one, Beside() as two, lane(one) as it:
        app, stream = it.gateway.app, it.gateway.connect()
        stream.sendall(it.gateway.post(message("claude-slow-50-20", stream=True)))
        stream.recv(1)
        old = weakref.ref(pool_of(it.gateway))
        changed = replace(app.settings, upstreams=(anthropic(two.port, CREDENTIAL),))
        app._load = lambda: changed
        it.gateway.call(app.reload())
        after = it.ask()
        held = old() is not None
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += stream.recv(65536)
        stream.close()
        eventually(lambda: one.upstream.open == 0)
        eventually(lambda: (gc.collect(), old() is None)[1])

    assert (after.status, held) == (200, True)
    assert (it.connections, two.upstream.connections) == (1, 1)


# Ends and races.


def test_idle_end_is_noticed(wire: Wire) -> None:
    """A connection that the upstream has closed while idle is not used: nobody notices."""
    beside, more = wire
    with lane(beside, **more) as it:
        statuses = []
        for _ in range(20):
            statuses.append(it.ask("claude-fin").status)
            eventually(lambda: beside.upstream.open == 0)

    assert statuses == [200] * 20
    assert [record.attempts for record in it.gateway.recorded(20)] == [1] * 20


def test_idle_reset_is_noticed() -> None:
    """So is one that was reset."""
    with (
        Scripted(says(OK, "reset")) as upstream,
        running(upstreams=(upstream.settings,)) as gateway,
    ):
        statuses = []
        for number in range(20):
            statuses.append(gateway.ask(gateway.post(message())).status)
            eventually(lambda: not pool_of(gateway)._idle)
            assert upstream.connections == number + 1

    assert statuses == [200] * 20


# What a client may send, and whether the gateway holds it whole.
KINDS: dict[str, tuple[Callable[[Gateway], bytes], bool]] = {
    "unary": (lambda gateway: gateway.post(message()), True),
    "stream": (lambda gateway: gateway.post(message(stream=True)), True),
    "large": (lambda gateway: gateway.post(message(system="x" * 300_000)), True),
    "chunked": (lambda gateway: chunked(gateway, "/v1/messages"), True),
    "get": (lambda gateway: gateway.head("GET", "/v1/models"), True),
    "upload": (lambda gateway: gateway.post(b"x" * 1000, path="/v1/files"), False),
    "chunked-upload": (lambda gateway: chunked(gateway, "/v1/files"), False),
}
EACH_KIND = pytest.mark.parametrize(("kind", "held"), KINDS.values(), ids=KINDS.keys())


def chunked(gateway: Gateway, path: str) -> bytes:
    """Return a request with a chunked body."""
    body = b'{"model":"claude-sonnet-4-5"}'
    head = gateway.head("POST", path, "transfer-encoding: chunked")
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@EACH_KIND
def test_lost_race(wire: Wire, kind: Callable[[Gateway], bytes], *, held: bool) -> None:
    """A request that meets the end of its connection is a 502, and is not sent again."""
    del held  # whatever we could repeat
    beside, more = wire
    with lane(beside, **more) as it:
        first = it.ask("claude-race")
        lost = it.gateway.ask(kind(it.gateway))
        seen = len(beside.upstream.seen)
        after = it.ask()
        records = it.gateway.recorded(3)

    assert (first.status, lost.status, after.status) == (200, 502, 200)
    assert lost.get("x-passgate-error") == ["upstream"]
    assert lost.get("x-should-retry") == []
    assert (seen, it.connections) == (2, 2)
    assert [record.attempts for record in records] == [1, 1, 1]
    assert records[1].ending.value == "upstream_broke"


@EACH_KIND
def test_retry_stale(wire: Wire, kind: Callable[[Gateway], bytes], *, held: bool) -> None:
    """With ``retry_stale`` what is held whole is sent once more, and that is counted.

    A body that is passed on as it arrives is not held, so it is never repeated.
    """
    beside, more = wire
    with lane(beside, retry_stale=True, **more) as it:
        it.ask("claude-race")
        answer = it.gateway.ask(kind(it.gateway))
        records = it.gateway.recorded(2)

    assert (answer.status, records[1].attempts) == ((200, 2) if held else (502, 1))
    lost, *again = beside.upstream.seen[1:]
    assert [(lost.head, lost.body)] * held == [(seen.head, seen.body) for seen in again]


def test_repeat_is_dialled() -> None:
    """The repeat takes a new connection: another idle one could be as stale."""

    def script(peer: Peer) -> None:
        peer.request()
        eventually(lambda: upstream.connections >= 2)
        peer.send(OK)
        peer.request()

    with Scripted(script) as upstream:
        retrying = anthropic(upstream.port, CREDENTIAL, retry_stale=True)
        with running(upstreams=(retrying,)) as gateway:
            clients = [gateway.connect() for _ in range(2)]
            for client in clients:
                client.sendall(gateway.post(message()))
            for client in clients:
                read_answer(client)
                client.close()
            idle = len(pool_of(gateway)._idle)
            answer = gateway.ask(gateway.post(message()))
            records = gateway.recorded(3)

    assert (idle, answer.status, records[2].attempts) == (2, 200, 2)
    assert upstream.connections == 3


def test_only_once() -> None:
    """A repeat that is lost as well is the end of it."""
    played = []

    def script(peer: Peer) -> None:
        peer.request()
        played.append(peer)
        if len(played) == 1:
            peer.send(OK)
            peer.request()

    with Scripted(script) as upstream:
        retrying = anthropic(upstream.port, CREDENTIAL, retry_stale=True)
        with running(upstreams=(retrying,)) as gateway:
            first, lost = (gateway.ask(gateway.post(message())) for _ in range(2))
            records = gateway.recorded(2)

    assert (first.status, lost.status, lost.get("x-passgate-error")) == (200, 502, ["upstream"])
    assert [record.attempts for record in records] == [1, 2]
    assert (len(upstream.heads), upstream.connections) == (3, 2)


# How a reused connection ends its second request, and why that is not a stale one.
NOT_STALE = {
    "a-byte": (b"H", "fin"),
    "half-a-head": (b"HTTP/1.1 200 OK\r\ncontent-le", "fin"),
    "half-a-head-then-reset": (b"HTTP/1.1 200 OK\r\ncontent-le", "reset"),
    "interim": (b"HTTP/1.1 103 Early Hints\r\n\r\n", "fin"),
    "nonsense": (b"* OK ready\r\n", "hold"),
    "silence": (b"", "hold"),
}


@pytest.mark.parametrize(("answer", "then"), NOT_STALE.values(), ids=NOT_STALE.keys())
def test_not_stale(answer: bytes, then: str) -> None:
    """What has answered a byte, or says nothing at all, may have read the request."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        peer.send(answer)
        if then == "hold":
            peer.hold()
        if then == "reset":
            eventually(lambda: pool_of(gateway)._all)  # what was sent is read before the RST
            peer.reset()

    with Scripted(script) as upstream:
        retrying = anthropic(upstream.port, CREDENTIAL, retry_stale=True)
        with running(upstreams=(retrying,), limits=Limits(first_byte_s=0.1)) as gateway:
            first, second = (gateway.ask(gateway.post(message())) for _ in range(2))
            records = gateway.recorded(2)

    assert (first.status, second.status) == (200, 504 if then == "hold" and not answer else 502)
    assert [record.attempts for record in records] == [1, 1]
    assert (len(upstream.heads), upstream.connections) == (2, 1)


def test_fresh_connection_is_not_stale() -> None:
    """A new connection that ends unanswered is no race: nothing is sent again."""
    with Scripted(says(b"", "fin")) as upstream:
        retrying = anthropic(upstream.port, CREDENTIAL, retry_stale=True)
        with running(upstreams=(retrying,)) as gateway:
            answer = gateway.ask(gateway.post(message()))
            [record] = gateway.recorded()

    assert (answer.status, record.attempts, upstream.connections) == (502, 1, 1)


# What cannot be dialled.


def test_down_and_back(wire: Wire) -> None:
    """An upstream that is down is a 502; as soon as it is back it is used."""
    beside, more = wire
    with lane(beside, **more) as it:
        before = it.ask()
        beside.stop()
        down = [it.ask() for _ in range(3)]
        beside.start()
        after = it.ask()

    assert (before.status, after.status) == (200, 200)
    assert [answer.status for answer in down] == [502] * 3
    assert {tuple(answer.get("x-passgate-error")) for answer in down} == {("upstream",)}


def test_name_that_is_not_there() -> None:
    """A host without an address is a 502, which does not name it."""
    nowhere = anthropic(443, CREDENTIAL, host="nowhere.invalid")
    with running(upstreams=(nowhere,)) as gateway:
        answer = gateway.ask(gateway.post(message()))

    assert (answer.status, answer.get("x-passgate-error")) == (502, ["upstream"])
    assert b"nowhere" not in answer.head + answer.body


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_closes_at_once(how: str) -> None:
    """An upstream that accepts and closes is a 502 at once, however early it closes."""

    def script(peer: Peer) -> None:
        if how == "reset":
            peer.reset()

    with (
        Scripted(script) as upstream,
        running(upstreams=(upstream.settings,), limits=Limits(first_byte_s=5)) as gateway,
    ):
        answers = [gateway.ask(gateway.post(message())) for _ in range(100)]
        held = pool_of(gateway)._all

    assert {answer.status for answer in answers} == {502}
    assert held == set()


def test_speaks_unasked_while_idle() -> None:
    """What comes on an idle connection is not taken for the next answer."""
    injected = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ninjected"
    told: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        if not told:
            eventually(lambda: pool_of(gateway)._idle)
            peer.send(injected)
            told.append(peer)
        peer.hold()

    with Scripted(script) as upstream, running(upstreams=(upstream.settings,)) as gateway:
        first = gateway.ask(gateway.post(message()))
        eventually(lambda: told and not pool_of(gateway)._idle)
        second = gateway.ask(gateway.post(message()))

    assert (first.body, second.body, upstream.connections) == (b"{}", b"{}", 2)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A socket that accepts connections in the kernel alone: TLS is never begun there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def test_client_leaves_while_dialling(silent: socket.socket) -> None:
    """A client that leaves while its upstream is dialled takes the dial with it."""
    upstream = anthropic(silent.getsockname()[1], CREDENTIAL, tls=True)
    # So that it is not the limit which ends it.
    with running(upstreams=(upstream,), limits=Limits(connect_s=600)) as gateway:
        with gateway.connect() as client:
            client.sendall(gateway.post(message()))
            accepted, _ = silent.accept()
            accepted.settimeout(10)
            hello = accepted.recv(65536)
        with accepted:
            rest = b""
            with contextlib.suppress(ConnectionError):
                rest = accepted.recv(65536)
        [record] = gateway.recorded()
        held = pool_of(gateway)._all

    assert hello[:1] == b"\x16"  # TLS, a handshake
    assert (rest, held) == (b"", set())
    assert (record.ending.value, record.status, record.attempts) == ("client_left", None, 1)


def test_dial_takes_too_long(silent: socket.socket) -> None:
    """Connecting, TLS included, has its own limit; that is a 504."""
    upstream = anthropic(silent.getsockname()[1], CREDENTIAL, tls=True)
    with running(upstreams=(upstream,), limits=Limits(connect_s=0.05)) as gateway:
        answer = gateway.ask(gateway.post(message()))
        [record] = gateway.recorded()

    assert (answer.status, answer.get("x-passgate-error")) == (504, ["timeout"])
    assert answer.json()["error"]["type"] == "timeout_error"
    assert record.ending.value == "timed_out"


# TLS.


def test_tls(certificates: Certificates) -> None:
    """Over TLS bodies pass to the byte both ways, on one connection."""
    content = bytes(range(256)) * 8192
    with (
        Beside(tls=server_side(certificates.good)) as beside,
        lane(beside, tls=True, ca_file=certificates.ca) as it,
    ):
        unary = it.ask("claude-big-3000000")
        stream = it.ask("claude-text-2000", stream=True)
        up = it.gateway.ask(it.gateway.post(content, path="/v1/files"))
        down = it.gateway.ask(it.gateway.head("GET", "/v1/files/file_size_3000000/content"))

    assert [(a.status, a.complete) for a in (unary, stream, up, down)] == [(200, True)] * 4
    assert (len(unary.body), len(down.body)) == (3_000_000, 3_000_000)
    assert stream.body.endswith(b'data: {"type":"message_stop"}\n\n')
    assert beside.upstream.seen[2].body_bytes == len(content)
    assert it.connections == 1


def test_leaving_over_tls(certificates: Certificates) -> None:
    """A client that leaves ends the call over TLS as it does in the open."""
    with (
        Beside(tls=server_side(certificates.good)) as beside,
        lane(beside, tls=True, ca_file=certificates.ca) as it,
    ):
        with it.gateway.connect() as client:
            client.sendall(it.gateway.post(message("claude-silent", stream=True)))
            client.recv(100)
        eventually(lambda: beside.upstream.hang_ups == 1)
        [record] = it.gateway.recorded()

    assert record.ending.value == "client_left"


UNTRUSTED = {
    "unknown-authority": lambda it: (it.good, it.other_ca),
    "systems-authorities": lambda it: (it.good, None),
    "another-name": lambda it: (it.foreign, it.ca),
}


@pytest.mark.parametrize("choose", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_untrusted_upstream(
    certificates: Certificates, choose: Callable[[Certificates], tuple[Path, Path | None]]
) -> None:
    """An upstream that does not prove who it is is a 502, and is shown nothing."""
    shown, ca_file = choose(certificates)
    with (
        Beside(tls=server_side(shown)) as beside,
        lane(beside, tls=True, ca_file=ca_file, retry_stale=True) as it,
    ):
        answers = [it.ask() for _ in range(2)]
        records = it.gateway.recorded(2)

    assert [answer.status for answer in answers] == [502, 502]
    assert answers[0].json()["error"]["message"] == "passgate: the model API could not be reached"
    assert beside.upstream.seen == []
    assert {record.ending.value for record in records} == {"upstream_broke"}


def test_ca_file_is_honoured_by_name(certificates: Certificates) -> None:
    """The right authority opens the right name, be it an address or a host."""
    with Beside(tls=server_side(certificates.good)) as beside:
        statuses = []
        for host in ("127.0.0.1", "localhost"):
            with lane(beside, tls=True, ca_file=certificates.ca, host=host) as it:
                statuses.append(it.ask().status)

    assert statuses == [200, 200]
    assert [dict(seen.fields)[b"host"] for seen in beside.upstream.seen] == [
        b"127.0.0.1:%d" % beside.port,
        b"localhost:%d" % beside.port,
    ]


def test_no_tls_where_it_is_expected() -> None:
    """An upstream in the open where TLS is expected is shown nothing."""
    seen = []

    def script(peer: Peer) -> None:
        seen.append(peer.socket.recv(65536))
        peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        peer.hold()

    with Scripted(script) as upstream:
        expected = anthropic(upstream.port, CREDENTIAL, tls=True)
        with running(upstreams=(expected,)) as gateway:
            answer = gateway.ask(gateway.post(message()))

    assert (answer.status, answer.get("x-passgate-error")) == (502, ["upstream"])
    assert len(seen) == 1
    assert CREDENTIAL.encode() not in seen[0]


def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is not for us."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    with Beside() as beside, lane(beside) as it:
        answer = it.ask()

    assert (answer.status, it.connections) == (200, 1)
