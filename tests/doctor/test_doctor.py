"""Each row of the doctor is seen to pass, and to fail for the flaw that it looks for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench import nginx
from passgate.cli.main import main
from passgate.core.settings import Settings
from passgate.doctor import ROWS, examine
from passgate.doctor.upstream import Upstream
from passgate.doctor.visit import Verdict, Visit
from passgate.doctor.wire import Place
from tests.attack.targets import free_port, hardened_nginx
from tests.doctor.naive import KEY, Naive
from tests.loopback.certificates import OPENSSL, authority, server_side, signed
from tests.loopback.gateway import Gateway
from tests.loopback.upstream import Beside

_MODEL = "claude-a"
# Flaw -> the rows that fail for it, and no other.
FLAWS: dict[str, set[str]] = {
    "no warm-up": {"reach"},
    "knows nobody": {"key"},
    "takes any key": {"other keys", "final"},
    "takes no key": {"other keys"},
    "takes one of two": {"other keys"},
    "other words": {"other keys", "final"},
    "not final": {"final"},
    "goes elsewhere": {"upstream"},
    "passes the key": {"upstream"},
    "buffers": {"stream"},
    "drops pings": {"pings"},
    "drops comments": {"pings"},
    "drops betas": {"betas"},
    "one of a name": {"betas"},
    "known fields": {"betas"},
    "re-encodes": {"body"},
    "drops unknown": {"body"},
    "rewrites answers": {"reply"},
    "drops fields": {"reply", "errors"},
    "mangles errors": {"errors"},
    "retries errors": {"errors"},
    "unpacks": {"compression"},
    "no coding": {"compression"},
    "no count_tokens": {"count_tokens"},
    "redirects models": {"models"},
    "drops the query": {"query"},
    "small bodies": {"large"},
    "goes on": {"cancel", "cancel early"},
    "ends cleanly": {"broken"},
    "repeats": {"once"},
    "follows": {"redirect"},
    "passes hops": {"hops"},
    "passes hops back": {"hops"},
    "leaks the key": {"key stays"},
    "echoes": {"credential stays"},
}


def found(visit: Visit, verdict: Verdict) -> dict[str, str]:
    """Return the rows with that verdict, and the reason of each."""
    return {row.name: what.reason for row, what in examine(visit) if what.verdict is verdict}


@pytest.fixture
def upstream() -> Iterator[tuple[Upstream, int]]:
    """The doctor's own, and its port."""
    port = free_port()
    with Upstream("127.0.0.1", port) as listening:
        yield listening, port


def test_every_row_can_fail() -> None:
    """No row is there that has never failed."""
    assert {row.name for row in ROWS} == set().union(*FLAWS.values())


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaw(upstream: tuple[Upstream, int], flaw: str) -> None:
    """A gateway with a flaw fails the rows that look for it, and no other."""
    listening, port = upstream
    with Naive(port, {flaw}) as gateway:
        failed = found(Visit(Place.of(gateway.url), KEY, _MODEL, upstream=listening), Verdict.FAIL)

    assert FLAWS[flaw] == set(failed), failed


def test_plain_gateway(upstream: tuple[Upstream, int]) -> None:
    """The same gateway without a flaw fails no row."""
    listening, port = upstream
    with Naive(port) as gateway:
        visit = Visit(Place.of(gateway.url), KEY, _MODEL, upstream=listening)

        assert {row.name for row in ROWS} == set(found(visit, Verdict.OK))


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, str]]:
    """Run the command; return its exit status and the verdict of each row."""
    status = main(["doctor", *arguments, "--format", "json"])
    said = json.loads(capsys.readouterr().out)

    assert said["ok"] == (status == 0)
    return status, {row["row"]: row["verdict"] for row in said["rows"]}


def towards(port: int) -> Callable[[Settings], Settings]:
    """Return what makes a gateway send to *port*."""

    def change(settings: Settings) -> Settings:
        [upstream] = settings.upstreams
        return replace(settings, upstreams=(replace(upstream, port=port),))

    return change


@pytest.mark.parametrize("shown", ["x-api-key", "bearer"])
def test_passgate(capsys: pytest.CaptureFixture[str], shown: str) -> None:
    """Passgate passes every row, from both sides, however the key is shown."""
    port = free_port()
    more = ["--bearer"] if shown == "bearer" else []
    with Gateway(towards(port)) as gateway:
        asked = (gateway.url, "--key", gateway.key, "--upstream-port", str(port))
        status, rows = doctor(capsys, *asked, *more)

    assert (0, dict.fromkeys((row.name for row in ROWS), "ok")) == (status, rows)


def test_from_outside_alone(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """Without being the upstream, what cannot be seen is said to be unseen, never well."""
    status, rows = doctor(capsys, gateway.url, "--key", gateway.key)
    alone = {row.name for row in ROWS if row.alone is not None}

    assert status == 0
    assert {row.name for row in ROWS} - alone == {n for n in rows if rows[n] == "unseen"} - alone
    assert {"ok", "unseen"} == set(rows.values())
    assert {n for n in alone if rows[n] == "unseen"} <= {"stream", "compression"}


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
def test_nginx(capsys: pytest.CaptureFixture[str]) -> None:
    """Nginx relays well; whose key is refused and why, it does not say as the API does."""
    with hardened_nginx() as target:
        port = target.tap.port
        target.tap.__exit__()  # the doctor takes its place
        url = f"http://127.0.0.1:{target.port}"
        asked = (url, "--key", target.keys.key, "--upstream-port", str(port))
        status, rows = doctor(capsys, *asked)

    assert status == 1
    assert {"other keys", "final", "hops", "credential stays"} <= {
        name for name in rows if rows[name] == "fail"
    }
    assert {"ok"} == {rows[name] for name in ("stream", "body", "pings", "cancel", "broken")}


def test_as_a_program(capsys: pytest.CaptureFixture[str], gateway: Gateway) -> None:
    """The table has a line for each row, and the key may come from where nobody sees it."""
    variable = "PASSGATE_DOCTOR_TEST_KEY"
    os.environ[variable] = gateway.key  # noqa: TID251  what the command is told to read
    try:
        status = main(["doctor", f"{gateway.url}/v1/", "--key-env", variable])
    finally:
        del os.environ[variable]  # noqa: TID251  as above
    lines = capsys.readouterr().out.splitlines()
    named = [line[:17].strip() for line in lines[1:-1] if line[0] != " "]

    assert status == 0
    assert [row.name for row in ROWS] == named
    assert gateway.key not in "".join(lines)


def test_key_file(capsys: pytest.CaptureFixture[str], gateway: Gateway, tmp_path: Path) -> None:
    """A key from a file is the same."""
    file = tmp_path / "key"
    file.write_text(f"{gateway.key}\n")

    assert 0 == doctor(capsys, gateway.url, "--key-file", str(file))[0]


WRONG_USE = {
    "no URL": ("here", "--key", "k"),
    "another scheme": ("ftp://h", "--key", "k"),
    "a query": ("http://h/?a=1", "--key", "k"),
    "an empty variable": ("http://h", "--key-env", "PASSGATE_NOT_SET"),
    "a file that is not there": ("http://h", "--key-file", "not-there"),
    "a key with a blank": ("http://h", "--key", "a b"),
    "an address that cannot be had": (
        *("http://h", "--key", "k", "--upstream-port", "1"),
        *("--upstream-host", "192.0.2.1"),
    ),
}


@pytest.mark.parametrize("arguments", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """What cannot be begun ends with status 2 and a sentence."""
    assert 2 == main(["doctor", *arguments])
    assert capsys.readouterr().err.startswith("passgate doctor: ")


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the first row fails, and the others say nothing."""
    status, rows = doctor(capsys, f"http://127.0.0.1:{free_port()}", "--key", "k" * 40)

    assert status == 1
    assert rows.pop("reach") == "fail"
    assert {"skip"} == set(rows.values())


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command")
def test_tls(tmp_path: Path) -> None:
    """A gateway behind TLS is looked at with the certificates that are named."""
    trusted = authority(tmp_path, "one")
    context = server_side(signed(tmp_path, "good", "IP:127.0.0.1,DNS:localhost"))
    with Beside(tls=context) as beside:
        place = Place.of(f"https://localhost:{beside.port}")
        known = examine(Visit(place, KEY, _MODEL, trusted=str(trusted)))
        unknown = examine(Visit(place, KEY, _MODEL))

        assert Verdict.OK is next(known)[1].verdict
        assert Verdict.FAIL is next(unknown)[1].verdict
