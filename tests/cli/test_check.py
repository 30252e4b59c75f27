"""What would run, what is wrong with it, and what the upstreams say."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from passgate import probe as probing
from passgate.cli import check
from passgate.core.settings import Settings

DIGEST = "ab" * 32
CLIENT = f'[[client]]\nname = "ci"\nkey_sha256 = "{DIGEST}"\nmodels = ["claude-*"]\n'
UPSTREAM = """
[upstream.{name}]
kind = "{kind}"
base_url = "http://127.0.0.1:{port}/pre"
credential = {credential}
"""
BY_VARIABLE = '{ kind = "api_key", env = "MINE" }'
Run = Callable[..., tuple[int, str]]


class Upstream(BaseHTTPRequestHandler):
    """Answers as its server is told to and keeps what it was asked."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        if self.server.location:
            self.send_response(307)
            self.send_header("location", self.server.location)
        else:
            self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A model API of a kind."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Upstream)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.location = ""


@pytest.fixture
def upstream() -> Iterator[Server]:
    """A model API on loopback."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``passgate check`` beside the file *text*; return its status and what it printed."""
    for name in ("ANTHROPIC_API_KEY", "PASSGATE_CONFIG", "PASSGATE_KEY", "PASSGATE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PASSGATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MINE", "s3cr3t")
    monkeypatch.chdir(tmp_path)

    def run(text: str, *words: str):
        (tmp_path / "passgate.toml").write_text(text)
        parser = argparse.ArgumentParser()
        check.add_parser(parser.add_subparsers())
        args = parser.parse_args(["check", *words])
        return args.run(args), capsys.readouterr().out

    return run


def upstream_table(
    port: int, credential: str = BY_VARIABLE, kind: str = "anthropic", name: str = "up"
) -> str:
    """Return an upstream on loopback."""
    return UPSTREAM.format(port=port, credential=credential, kind=kind, name=name)


def test_what_would_run(run: Run, tmp_path: Path) -> None:
    """Listeners, clients, upstreams, routes and credentials are all said."""
    keys = tmp_path / "keys"
    keys.write_text("one\n")
    keys.chmod(0o600)
    text = (
        CLIENT
        + 'paths = ["/v1/messages"]\nexpires = 2999-01-31T00:00:00Z\n'
        + f'[admin]\nhost = "::"\nkey_sha256 = "{DIGEST}"\n'
        + upstream_table(1)
        + upstream_table(2, '{ kind = "api_key", file = "keys" }', "gemini", "google")
        + upstream_table(3, '{ kind = "bearer", command = ["echo", "s3cr3t"] }', name="cmd")
        + upstream_table(4, '{ kind = "client" }', name="own")
        + upstream_table(5, '{ kind = "none" }', name="open")
        + '[[route]]\nmodel = "small"\nupstream = "up"\nrename = "big"\n'
    )
    status, out = run(text)

    assert (
        0,
        [
            f"config    {tmp_path}/passgate.toml",
            f"state     {tmp_path}/state",
            "data      http://127.0.0.1:8787",
            "admin     http://[::]:8788, with a key",
            "client    ci: claude-* at /v1/messages, expires 2999-01-31T00:00:00Z",
            "upstream  up: http://127.0.0.1:1/pre, api_key of the variable MINE: usable",
            f"upstream  google: http://127.0.0.1:2/pre, api_key of the file {keys}: usable, 1 key",
            "upstream  cmd: http://127.0.0.1:3/pre, bearer of the command echo: usable",
            "upstream  own: http://127.0.0.1:4/pre, the client's own credential: usable",
            "upstream  open: http://127.0.0.1:5/pre, no credential: usable",
            "route     small -> up as big",
            "all is well",
        ],
    ) == (status, out.splitlines())


def test_problems(run: Run) -> None:
    """A configuration that cannot be used is told in full, and is status 1."""
    status, out = run("[server]\nport = true\n[sevrer]\n")
    expected = (1, ["problem"] * 4)

    assert expected == (status, [line.split()[0] for line in out.splitlines()])


def test_problems_for_programs(run: Run) -> None:
    """The same as JSON."""
    status, out = run("[server]\nport = true\n[sevrer]\n", "--format", "json")
    said = json.loads(out)
    expected = (1, {"ok": False, "warnings": []}, 4)

    assert expected == (
        status,
        {key: said[key] for key in ("ok", "warnings")},
        len(said["problems"]),
    )


def test_what_would_run_for_programs(run: Run, tmp_path: Path) -> None:
    """All of it as JSON, without a secret."""
    status, out = run(CLIENT + upstream_table(1), "--format", "json")
    client = {"name": "ci", "models": ["claude-*"], "paths": ["*"], "expires": None}
    upstream = {
        "name": "up",
        "kind": "anthropic",
        "base_url": "http://127.0.0.1:1/pre",
        "credential": "api_key",
        "source": "env",
        "usable": True,
        "status": None,
        "keys": None,
        "usable_keys": None,
    }
    expected = {
        "ok": True,
        "problems": [],
        "warnings": [],
        "config": str(tmp_path / "passgate.toml"),
        "state_dir": str(tmp_path / "state"),
        "data": "http://127.0.0.1:8787",
        "admin": "http://127.0.0.1:8788",
        "clients": [client],
        "upstreams": [upstream],
        "routes": [{"model": "*", "upstream": "up", "rename": None}],
    }

    assert (0, expected) == (status, json.loads(out))


def test_unusable_credential(run: Run) -> None:
    """A source that gives nothing is a problem, though the configuration is well."""
    status, out = run(CLIENT + upstream_table(1, '{ kind = "bearer", command = ["false"] }'))
    expected = (1, True, True)

    assert expected == (
        status,
        "bearer of the command false: not usable" in out,
        "problem   upstream up: the credential's command ended with status 1" in out,
    )


def test_warnings(run: Run, tmp_path: Path) -> None:
    """Warnings are told and are no failure."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    status, out = run(CLIENT + upstream_table(1, '{ kind = "bearer", file = "token" }'))
    expected = (0, 1)

    assert expected == (status, out.count("warning   "))


def test_notice_of_a_plan_token_that_a_command_prints(run: Run) -> None:
    """What only running the command shows is told as well, without the token."""
    token = "-".join(("sk", "ant", "oat01", "x"))
    command = f'{{ kind = "bearer", command = ["echo", "{token}"] }}'
    status, out = run(CLIENT + upstream_table(1, command))
    expected = (0, 1, False)

    assert expected == (status, out.count("warning   upstream up: this is"), token in out)


# --live


@pytest.mark.parametrize(
    ("kind", "credential", "expected"),
    [
        pytest.param(
            "anthropic",
            BY_VARIABLE,
            ("/pre/v1/models?limit=1", {"x-api-key": "s3cr3t", "anthropic-version": "2023-06-01"}),
            id="api key",
        ),
        pytest.param(
            "anthropic",
            '{ kind = "bearer", env = "MINE" }',
            ("/pre/v1/models?limit=1", {"authorization": "Bearer s3cr3t"}),
            id="bearer",
        ),
        pytest.param(
            "gemini",
            BY_VARIABLE,
            ("/pre/v1beta/models?pageSize=1", {"x-goog-api-key": "s3cr3t"}),
            id="gemini",
        ),
        pytest.param(
            "anthropic",
            '{ kind = "none" }',
            ("/pre/v1/models?limit=1", {"anthropic-version": "2023-06-01"}),
            id="none",
        ),
    ],
)
def test_live_asks_for_something_free(
    run: Run,
    upstream: Server,
    kind: str,
    credential: str,
    expected: tuple[str, dict[str, str]],
) -> None:
    """Each upstream is asked once, for its models, with its credential and nobody's name."""
    status, out = run(CLIENT + upstream_table(upstream.server_port, credential, kind), "--live")
    [(path, fields)] = upstream.asked
    of_credentials = {"x-api-key", "authorization", "x-goog-api-key"}

    assert (0, True, *expected, of_credentials & expected[1].keys(), True) == (
        status,
        "answered 200" in out,
        path,
        {name: fields.get(name) for name in expected[1]},
        of_credentials & fields.keys(),
        fields["user-agent"].startswith("passgate/"),
    )


@pytest.mark.parametrize(
    ("answer", "credential", "expected"),
    [
        pytest.param(401, BY_VARIABLE, "refuses the credential (401)", id="401"),
        pytest.param(403, BY_VARIABLE, "refuses the credential (403)", id="403"),
        pytest.param(401, '{ kind = "client" }', None, id="401 for want of a client"),
        pytest.param(404, BY_VARIABLE, None, id="404, an upstream without that list"),
        pytest.param(429, BY_VARIABLE, None, id="429"),
        pytest.param(503, BY_VARIABLE, "is out of order (503)", id="503"),
    ],
)
def test_live_judges_the_answer(
    run: Run, upstream: Server, answer: int, credential: str, expected: str | None
) -> None:
    """A refused credential and a broken upstream are problems; other answers are answers."""
    upstream.status = answer
    text = CLIENT + upstream_table(upstream.server_port, credential)
    status, out = run(text, "--live", "--format", "json")
    said = json.loads(out)

    assert (
        1 if expected else 0,
        answer,
        [f"upstream up: {expected}"] if expected else [],
    ) == (status, said["upstreams"][0]["status"], said["problems"])


def test_keys_of_gemini(run: Run, upstream: Server, tmp_path: Path) -> None:
    """How many keys a file holds is said, and live each of them is asked with."""
    (tmp_path / "keys").write_text("team=one\ntwo\n")
    (tmp_path / "keys").chmod(0o600)
    credential = '{ kind = "api_key", file = "keys" }'
    text = CLIENT + upstream_table(upstream.server_port, credential, "gemini")
    _, quiet = run(text)
    _, good = run(text, "--live")
    upstream.status = 400
    status, bad = run(text, "--live", "--format", "json")
    said = json.loads(bad)
    refused = [f"upstream up: refuses the credential (400) with {k}" for k in ("team", "key 2")]

    assert "usable, 2 of 2 keys" in quiet
    assert "usable, 2 of 2 keys, answered 200" in good
    asked = [fields["x-goog-api-key"] for _, fields in upstream.asked]

    assert [["one", "two"]] * 2 == [sorted(asked[:2]), sorted(asked[2:])]
    assert (1, "; ".join(refused).replace("; upstream up:", ";")) == (status, said["problems"][0])
    assert (2, 0) == tuple(said["upstreams"][0][key] for key in ("keys", "usable_keys"))


def test_live_with_a_plan_token(
    run: Run, upstream: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan's token is asked with as the gateway would: as what it is, and with the notice."""
    monkeypatch.setenv("MINE", "-".join(("sk", "ant", "oat01", "x")))
    credential = '{ kind = "bearer", env = "MINE" }'
    status, out = run(CLIENT + upstream_table(upstream.server_port, credential), "--live")
    [(_, fields)] = upstream.asked
    expected = (0, "oauth-2025-04-20", 1)

    assert expected == (status, fields["anthropic-beta"], out.count("warning"))


def test_live_speaks_tls(run: Run, upstream: Server) -> None:
    """An https upstream gets nothing in the open, and its certificate has to be good."""
    text = CLIENT + upstream_table(upstream.server_port).replace("http:", "https:")
    _, out = run(text, "--live", "--format", "json")
    [problem] = json.loads(out)["problems"]
    expected = (True, 0)

    assert expected == (problem.startswith("upstream up: could not be asked"), len(upstream.asked))


def test_live_follows_no_redirect(run: Run, upstream: Server) -> None:
    """A redirect would take the credential elsewhere."""
    upstream.location = f"http://127.0.0.1:{upstream.server_port}/elsewhere"
    run(CLIENT + upstream_table(upstream.server_port), "--live")
    expected = ["/pre/v1/models?limit=1"]

    assert expected == [path for path, _ in upstream.asked]


def test_live_without_a_proxy(run: Run, upstream: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gateway would not do, the check does not do either."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    status, _ = run(CLIENT + upstream_table(upstream.server_port), "--live")
    expected = (0, 1)

    assert expected == (status, len(upstream.asked))


def test_live_with_nobody_there(run: Run) -> None:
    """An upstream that cannot be reached is a problem, which names no address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    _, out = run(CLIENT + upstream_table(port), "--live", "--format", "json")
    expected = ["upstream up: could not be asked: Connection refused"]

    assert expected == json.loads(out)["problems"]


def test_live_with_no_http(run: Run) -> None:
    """What answers in another language is a problem."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-x\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        _, out = run(CLIENT + upstream_table(server.getsockname()[1]), "--live", "--format", "json")
        thread.join()
    expected = ["upstream up: could not be asked: BadStatusLine"]

    assert expected == json.loads(out)["problems"]


def test_live_with_silence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that says nothing is waited for, and not for ever."""
    monkeypatch.setattr(probing, "_LIMIT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, out = run(CLIENT + upstream_table(server.getsockname()[1]), "--live", "--format", "json")

    assert True is json.loads(out)["problems"][0].startswith("upstream up: ")


# On a terminal.


@pytest.mark.parametrize(("no_color", "expected"), [("", True), ("1", False)])
def test_colours(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_color: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """Colours are for a terminal, unless NO_COLOR says otherwise."""
    (tmp_path / "passgate.toml").write_text("[sevrer]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal, os.fdopen(theirs, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        check.run(argparse.Namespace(config=None, live=False, format="text"))
        out.flush()
        got = terminal.read(65536)

    assert expected == (b"\x1b[31m" in got)


# What it stands on.


def test_probe_of_nothing() -> None:
    """Without upstreams there is nothing to find."""
    got = asyncio.run(probing.probe(Settings()))

    assert not got
