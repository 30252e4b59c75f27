"""passgate withstands every attack, and the judge would say if it did not.

``make attack`` plays the same beside nginx, with what is slow; ``tests/loopback`` says of the
same tables in which words and with which record passgate refuses.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from bench import nginx
from tests.attack.__main__ import main
from tests.attack.judge import Verdict
from tests.attack.score import every, played, table
from tests.attack.tap import Tap
from tests.attack.targets import Keys, Target, passgate

SHORT = [attack for attack in every() if not attack.name.startswith("slow: ")]
GROUPS = sorted({attack.group for attack in SHORT})


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A passgate of its own process."""
    with passgate() as running:
        yield running


@pytest.mark.parametrize("group", GROUPS)
def test_withstands(target: Target, group: str) -> None:
    """Each attack is refused, or goes on as one valid message with nothing it must not have."""
    attacks = [attack for attack in SHORT if attack.group == group]
    found = played(target, attacks)

    assert [] == [
        (attack.name, outcome.why)
        for attack, outcome in zip(attacks, found, strict=True)
        if outcome.verdict is Verdict.WRONG
    ]


def test_the_judge_sees() -> None:
    """What only copies bytes does badly in every group: no attack is won by doing nothing."""
    names = {"two equal lengths", "no Host", "HTTP/0.9", "NUL in a value", "a folded coding"}
    names |= {"path /v1/./models", "path //v1/models", "path /v1/a%2fb", "unknown", "HEAD"}
    names |= {"Bearer", "a cookie", "who asked", "X-Host", "Host", "surplus", "hop-by-hop"}
    attacks = [attack for attack in SHORT if attack.name in names]
    with Tap() as tap, _copying(tap.port) as port:
        found = played(Target("copies", port, Keys.made(), tap), attacks)
    wrong = [outcome.verdict is Verdict.WRONG for outcome in found]

    for group in set(GROUPS) - {"phases"}:
        assert any(w for attack, w in zip(attacks, wrong, strict=True) if attack.group == group)
    assert sum(wrong) > len(wrong) * 0.7


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
def test_beside_nginx(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are attacked with the same bytes, and differ where a secret stands in the query."""
    status = main(["--only", "?a=<test>"])
    lines = capsys.readouterr().out.splitlines()

    assert 0 == status
    assert "| attacks | passgate | nginx |" == lines[0]
    assert "| bypass | 1/1 | 0/1 |" in lines
    assert any(line.startswith("| bypass: ?a=<test> | refused | **wrong**") for line in lines)


def test_table_breaks_at_no_name() -> None:
    """A name or reason with odd bytes in it leaves the table whole."""
    attacks = [attack for attack in SHORT if attack.group == "bypass"]
    lines = list(table(attacks, {}))

    assert all(line.isprintable() for line in lines)


@contextlib.contextmanager
def _copying(upstream_port: int) -> Iterator[int]:
    """Run what only copies bytes between a client and the upstream."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    open_: list[socket.socket] = [listening]

    def copy(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                up = socket.create_connection(("127.0.0.1", upstream_port))
                open_.extend((client, up))
                for pair in ((client, up), (up, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        for each in open_:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
