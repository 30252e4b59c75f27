"""The ordinary exchange, which asks what the one before it on its connection asked for.

It is served by callbacks. All that a client and an upstream can see of it is what they would
have seen had a coroutine served it, as it does the first exchange of every connection.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from passgate.core import faults
from passgate.core.auth import Client
from passgate.core.credential import Credential
from passgate.core.exchange import Ending, Record
from passgate.core.faults import Drained, Refused
from passgate.core.gemini.status import GoogleError
from passgate.core.meter import Metering
from passgate.core.routes import routes_of
from passgate.core.settings import CredentialKind, RouteSettings, UpstreamKind
from passgate.edge.gemini_keys import Keyring
from passgate.edge.wire.server import ServerConnection
from tests.edge.wire.bed import CREDENTIAL, KEY, Bed, StaticSource
from tests.edge.wire.plays import EVENTS, FILES, answer, ask, stream

CLAUDE = b'{"model":"claude-x","max_tokens":1}'
MESSAGE = b'{"model":"claude-x","usage":{"input_tokens":3,"output_tokens":5}}'


class Agent:
    """A client whose first exchange is over, and the wire to its upstream.

    Attributes:
        bed: The gateway.
        client: Its connection.
        upstream: The upstream's.
    """

    path, pool, body = "/v1/messages", "anthropic", CLAUDE

    def __init__(self, *, retry_stale: bool = False) -> None:
        self.bed = Bed(retry_stale=retry_stale)
        self.client, self.upstream = self.bed.client(), self.bed.idle(self.pool)
        self.asks(ask(self.body, self.path))
        self.hears(answer(MESSAGE))
        assert ["complete"] == [record.ending.value for record in self.bed.records]
        self.client.got.clear()
        self.upstream.got.clear()

    def asks(self, *pieces: bytes) -> None:
        """Send a request, piece by piece."""
        self.client.sends(*pieces)
        self.bed.turns.settle()

    def hears(self, *pieces: bytes) -> None:
        """Have the upstream answer."""
        self.upstream.sends(*pieces)
        self.bed.turns.settle()

    @property
    def by_callbacks(self) -> bool:
        """Whether an exchange runs that no coroutine serves."""
        [(_, down)] = self.bed.pipeline.running.values()
        assert isinstance(down, ServerConnection)
        return down.runs is not None and down._drive.coro is None

    def ended(self) -> Record:
        """Return the record of the last exchange; all of it is over."""
        self.bed.at_rest()
        *_, record = self.bed.records
        return record


def check_same_as_the_first(agent: Agent, request: bytes, reply: bytes) -> None:
    """Check that *agent*'s second exchange comes to what a first one would have come to."""
    fresh = Bed()
    first, above = fresh.client(), fresh.idle(agent.pool)
    first.sends(request)
    fresh.turns.settle()
    above.sends(reply)
    fresh.turns.settle()
    agent.asks(request)
    by_callbacks = agent.by_callbacks
    agent.hears(reply)
    record, [expected] = agent.ended(), fresh.records

    assert by_callbacks
    assert (first.got, above.got) == (agent.client.got, agent.upstream.got)
    assert msgspec.structs.replace(expected, id=record.id) == record


@pytest.mark.parametrize("body", [CLAUDE, CLAUDE.replace(b"1", b"1024")])
@pytest.mark.parametrize(
    "reply",
    [answer(MESSAGE), answer(b""), stream(*EVENTS), answer(MESSAGE * 2000), answer(b"{")],
    ids=["small", "empty", "stream", "large", "no JSON"],
)
def test_same_as_the_first(body: bytes, reply: bytes) -> None:
    """Both sides get the same bytes, and the record says the same but for when and which."""
    check_same_as_the_first(Agent(), ask(body), reply)


def _another_model(agent: Agent) -> bytes:
    return ask(CLAUDE.replace(b"claude-x", b"claude-y"))


def _model_twice(agent: Agent) -> bytes:
    return ask(b'{"model":"claude-x","model":"claude-x"}')


def _renamed(agent: Agent) -> bytes:
    agent.asks(ask(b'{"model":"old-1"}'))
    agent.hears(answer())
    return ask(b'{"model":"old-1"}')


def _reloaded(agent: Agent) -> bytes:
    agent.bed.pipeline.snapshot = msgspec.structs.replace(agent.bed.snapshot)
    return ask(CLAUDE)


def _other_credential(agent: Agent) -> bytes:
    source = agent.bed.snapshot.lanes["anthropic"].source
    assert isinstance(source, StaticSource)
    source.cached = Credential("anthropic", CredentialKind.API_KEY, b"another-one")
    return ask(CLAUDE)


def _minted(agent: Agent) -> bytes:
    kinds = [(kind.value, kind) for kind in (UpstreamKind.ANTHROPIC, UpstreamKind.GEMINI)]
    mixed = routes_of([RouteSettings("gemini-*", "gemini"), RouteSettings("*", "anthropic")], kinds)
    agent.bed.pipeline.snapshot = msgspec.structs.replace(agent.bed.snapshot, routes=mixed)
    agent.asks(ask(CLAUDE))
    agent.hears(answer())
    agent.asks(ask(CLAUDE))
    assert agent.by_callbacks
    agent.hears(answer())
    return ask(CLAUDE.replace(b"1}", b'1,"metadata":{"a":"pg1:"}}'))


def _other_path(agent: Agent) -> bytes:
    return ask(CLAUDE, FILES)


@pytest.mark.parametrize(
    "special",
    [
        _another_model,
        _model_twice,
        _renamed,
        _reloaded,
        _other_credential,
        _minted,
        _other_path,
        lambda _: ask(CLAUDE, "/v1/messages", "Content-Encoding: gzip"),
        lambda _: ask(CLAUDE, "/v1/messages", "Transfer-Encoding: chunked"),
    ],
)
def test_what_is_special(special: Callable[[Agent], bytes]) -> None:
    """Whatever else is asked for is thought about, and served like any first request."""
    agent = Agent()
    request = special(agent)
    agent.asks(request)
    running = bool(agent.bed.pipeline.running)
    by_callbacks = running and agent.by_callbacks
    agent.hears(answer())
    record = agent.ended()

    assert not by_callbacks
    assert (Ending.COMPLETE if running else Ending.REFUSED) == record.ending


def test_body_in_pieces() -> None:
    """A body that does not come with its head is waited for."""
    agent = Agent()
    request = ask(CLAUDE)
    agent.asks(request[:-1])
    by_callbacks = agent.by_callbacks
    agent.asks(request[-1:])
    agent.hears(answer())

    assert (False, Ending.COMPLETE) == (by_callbacks, agent.ended().ending)


def test_kept_for_a_repetition() -> None:
    """A body that may have to be sent again is held by a coroutine."""
    agent = Agent(retry_stale=True)
    agent.asks(ask(CLAUDE))

    assert not agent.by_callbacks


def test_no_connection_is_idle() -> None:
    """One is dialled, and nothing was counted twice."""
    agent = Agent()
    agent.upstream.ends()
    agent.bed.turns.settle()
    agent.asks(ask(CLAUDE))
    in_flight, by_callbacks = agent.bed.admission.in_flight, agent.by_callbacks
    agent.bed.dialled()
    agent.bed.upstreams[-1].sends(answer())
    agent.bed.turns.settle()

    assert (1, False, Ending.COMPLETE) == (in_flight, by_callbacks, agent.ended().ending)


def _is_full(agent: Agent) -> None:
    agent.bed.admission.max_in_flight = 0


def _expires(agent: Agent) -> None:
    [(_, down)] = [(None, each) for each in agent.bed.listener._connections]
    assert down.known is not None
    down.known.client = Client("wide", b"", expires_s=agent.bed.clock.now_s)


@pytest.mark.parametrize(("happens", "status"), [(_is_full, 529), (_expires, 401)])
def test_refused(happens: Callable[[Agent], None], status: int) -> None:
    """What is checked for each request is checked for this one."""
    agent = Agent()
    happens(agent)
    agent.asks(ask(CLAUDE))
    record = agent.ended()

    assert (Ending.REFUSED, status) == (record.ending, record.status)
    assert agent.client.got.startswith(b"HTTP/1.1 %d " % status)
    assert b"" == agent.upstream.got


NATIVE = "/v1beta/models/gemini-x:generateContent"
INVALID = b'{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.",'
INVALID += (
    b'"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}'
)


class NativeAgent(Agent):
    """The same, whose requests are in Google's own words."""

    path, pool, body = NATIVE, "gemini", b'{"contents":[]}'

    @property
    def keyring(self) -> Keyring:
        """Return the keys of the upstream, of which there is one."""
        keys = self.bed.snapshot.lanes["gemini"].keys
        assert isinstance(keys, Keyring)
        return keys


@pytest.mark.parametrize(
    "reply", [answer(b'{"candidates":[]}'), stream(*EVENTS), answer(b"x" * 50_000)]
)
def test_native(reply: bytes) -> None:
    """Google's own words are passed on in the same way, with the one key there is."""
    check_same_as_the_first(NativeAgent(), ask(b'{"contents":[1]}', NATIVE), reply)


@pytest.mark.parametrize("cut", [0, 20], ids=["whole", "in pieces"])
def test_native_error(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error says of the key is learnt, as soon as all of it is there."""
    agent, learnt = NativeAgent(), list[tuple[str, str]]()

    def learn(_: object, model: str, said: GoogleError | None) -> None:
        learnt.append((model, "" if said is None else said.outcome.name))

    monkeypatch.setattr(agent.keyring, "learn", learn)
    agent.asks(ask(NativeAgent.body, NATIVE))
    by_callbacks = agent.by_callbacks
    raw = answer(INVALID, status="400 Bad Request")
    agent.hears(raw[: len(raw) - cut])
    before = list(learnt)
    agent.hears(*([raw[len(raw) - cut :]] if cut else []))
    record = agent.ended()

    assert by_callbacks
    assert [("gemini-x", "INVALID")] == learnt
    assert bool(before) is not bool(cut)
    assert (400, Ending.COMPLETE) == (record.status, record.ending)
    assert agent.client.got.endswith(INVALID)


def test_native_body_that_is_not_sent_at_once() -> None:
    """Where a request has to go another way, the body that was at hand goes with it."""
    agent = NativeAgent()
    agent.upstream.ends()
    agent.bed.turns.settle()
    agent.asks(ask(b'{"contents":[1]}', NATIVE))
    by_callbacks = agent.by_callbacks
    wire, connection = agent.bed.connection("gemini")
    agent.bed.dials[-1].ends(connection)
    agent.bed.turns.settle()
    wire.sends(answer())
    agent.bed.turns.settle()

    assert not by_callbacks
    assert wire.got.endswith(b'\r\n\r\n{"contents":[1]}')
    assert Ending.COMPLETE == agent.ended().ending


def test_model_of_another_route() -> None:
    """A model that goes elsewhere does so again, whatever could be repeated before it."""
    agent = Agent()
    kinds = [(kind.value, kind) for kind in (UpstreamKind.ANTHROPIC, UpstreamKind.GEMINI)]
    rules = [RouteSettings("gemini-*", "gemini"), RouteSettings("*", "anthropic")]
    routes = routes_of(rules, kinds)
    agent.bed.pipeline.snapshot = msgspec.structs.replace(agent.bed.snapshot, routes=routes)
    agent.asks(ask(CLAUDE))
    agent.hears(answer())
    agent.upstream.got.clear()
    for _ in range(2):
        agent.asks(ask(CLAUDE.replace(b"claude-x", b"gemini-x")))
        agent.bed.unreachable()

    assert b"" == agent.upstream.got
    assert ["gemini", "gemini"] == [record.upstream for record in agent.bed.records[-2:]]


def _drains(agent: Agent) -> None:
    for down in tuple(agent.bed.listener._connections):
        down.throw(Drained())


def _client_stalls(agent: Agent) -> None:
    for down in tuple(agent.bed.listener._connections):
        down.throw(Refused(faults.CLIENT_STALLED))


how_it_stops = pytest.mark.parametrize(
    ("happens", "ending"),
    [
        (lambda agent: agent.client.ends(), "client_left"),
        (lambda agent: agent.client.resets(), "client_left"),
        (lambda agent: agent.upstream.ends(), "upstream_broke"),
        (lambda agent: agent.upstream.resets(), "upstream_broke"),
        (lambda agent: agent.bed.passes(4000.0, 1.0), "timed_out"),
        (_drains, "drained"),
        (_client_stalls, "timed_out"),
    ],
    ids=["FIN", "RST", "upstream FIN", "upstream RST", "silence", "drain", "stall"],
)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2", stream(*EVENTS)[:-5]])
@how_it_stops
def test_endings(begun: bytes, happens: Callable[[Agent], None], ending: str) -> None:
    """However it stops: one record says so, both connections are closed, nothing is held."""
    agent = Agent()
    agent.asks(ask(CLAUDE))
    agent.hears(begun)
    by_callbacks = agent.by_callbacks
    happens(agent)
    agent.bed.turns.settle()
    record = agent.ended()

    assert (True, ending) == (by_callbacks, record.ending.value)
    assert agent.upstream.closed
    whole = b"event: message_stop" in agent.client.got
    assert not whole


class Newcomer(Agent):
    """A client that has just connected: a coroutine serves its first exchange."""

    def __init__(self, *, slow: bool) -> None:
        self.bed = Bed()
        self.client, self.upstream = self.bed.client(), self.bed.idle(self.pool)
        self.upstream.stalled = slow
        head, body = ask(CLAUDE + b" " * 100_000).split(b"\r\n\r\n", 1)
        self.asks(head + b"\r\n\r\n", body)  # in pieces, so that it is held


@pytest.mark.parametrize("slow", [False, True], ids=["sent", "not yet sent"])
@how_it_stops
def test_the_first_ends(slow: bool, happens: Callable[[Agent], None], ending: str) -> None:  # noqa: FBT001  a column
    """When its answer begins its coroutine ends, and callbacks go on: it may stop in all ways."""
    agent = Newcomer(slow=slow)
    driven, held = not agent.by_callbacks, agent.bed.admission.held_bytes
    agent.hears(stream(*EVENTS)[:-5])
    by_callbacks, places = agent.by_callbacks, agent.bed.admission.in_flight
    happens(agent)
    agent.bed.turns.settle()

    assert (True, True, 1) == (driven, by_callbacks, places)
    assert slow == (held > 0)
    assert ending == agent.ended().ending.value
    assert agent.upstream.closed
    assert b"event: b" in agent.client.got


def test_the_first_is_whole() -> None:
    """What follows it on its connection is served when its answer has ended, and no sooner."""
    agent = Newcomer(slow=False)
    reply = stream(*EVENTS)
    agent.hears(reply[:-5])
    agent.client.sends(ask(CLAUDE))
    agent.bed.turns.settle()
    before = agent.upstream.got.count(b"POST ")
    agent.hears(reply[-5:])
    after = agent.upstream.got.count(b"POST ")
    agent.hears(reply)

    assert (1, 2) == (before, after)
    assert Ending.COMPLETE == agent.ended().ending
    assert 2 == len(agent.bed.records)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 2000 OK\r\n\r\n", b"nonsense"])
def test_not_an_answer(raw: bytes) -> None:
    """What is no answer is a clear error, on a connection that goes on."""
    agent = Agent()
    agent.asks(ask(CLAUDE))
    agent.hears(raw)
    record = agent.ended()

    assert (502, Ending.UPSTREAM_BROKE) == (record.status, record.ending)
    assert agent.client.got.startswith(b"HTTP/1.1 502 ")
    assert not agent.client.closed


def test_surplus() -> None:
    """Bytes behind the end of an answer break it before any of it is passed on."""
    agent = Agent()
    agent.asks(ask(CLAUDE))
    agent.hears(answer(MESSAGE) + b"!")
    record = agent.ended()

    assert (502, Ending.UPSTREAM_BROKE) == (record.status, record.ending)


def test_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours is reported, and costs this one exchange."""

    def fails(*_: object) -> Metering:
        raise ZeroDivisionError

    agent = Agent()
    agent.asks(ask(CLAUDE))
    monkeypatch.setattr(agent.bed.meters, "meter", fails)
    agent.hears(stream(*EVENTS))
    [bug] = agent.bed.bugs
    agent.bed.bugs.clear()
    record = agent.ended()

    assert isinstance(bug, ZeroDivisionError)
    assert (Ending.FAILED, 500) == (record.ending, record.status)
    assert KEY not in agent.client.got


def test_shows_nothing() -> None:
    """Whoever prints an exchange that runs prints neither key nor credential."""
    agent = Agent()
    agent.asks(ask(CLAUDE))
    [(_, down)] = agent.bed.pipeline.running.values()
    shown = repr(down.runs) + repr(agent.bed.pipeline)

    assert "_Passing(" in shown
    assert KEY.decode() not in shown
    assert CREDENTIAL.decode() not in shown


def test_sent_ahead() -> None:
    """Requests that a client sends ahead are served one after the other, each in its turn."""
    agent = Agent()
    agent.asks(ask(CLAUDE) * 3)
    for number in range(3):
        assert number + 1 == agent.upstream.got.count(b"POST ")
        agent.hears(answer(b"%d" % number))
    agent.bed.at_rest()

    assert 4 == len(agent.bed.records)
    assert 3 == agent.client.got.count(b"HTTP/1.1 200 OK")


def test_the_client_reads_slowly() -> None:
    """A large answer is held back for it, and goes on when it reads again."""
    agent = Agent()
    agent.client.stalled = True
    agent.asks(ask(CLAUDE))
    head, body = answer(b"x" * 300_000).split(b"\r\n\r\n", 1)
    agent.hears(head + b"\r\n\r\n", *(body[at : at + 65_536] for at in range(0, 300_000, 65_536)))
    held_back = not agent.upstream.reading
    agent.client.takes()
    agent.bed.turns.settle()

    assert held_back
    assert Ending.COMPLETE == agent.ended().ending
    assert agent.client.got.endswith(body)
