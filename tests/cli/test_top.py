"""``passgate top``: what is shown fits, is harmless, and leaves the terminal as it was."""

from __future__ import annotations

import dataclasses
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from passgate.cli.top_lines import View, lines
from passgate.core.exchange import Ending, Record
from passgate.core.live import Line
from passgate.core.ratelimits import Headroom
from passgate.core.settings import Listen, Settings
from passgate.core.vitals import PoolState, State, Totals, UpstreamState, Vitals
from tests.loopback.gateway import Gateway, eventually, message, quiet_port

WAIT_S = 20.0


def line(number: int = 1, **said: Any) -> Line:
    """Return a stream that runs, but for what is *said*."""
    ordinary: dict[str, Any] = {
        "id": f"req_{number}",
        "client": "ci",
        "session": f"{number:08x}-1111-4111-8111-111111111111",
        "agent": "agent-1",
        "parent_agent": None,
        "model": "claude-opus-4-6",
        "upstream": "anthropic",
        "stream": True,
        "running_s": 10.0 + number,
        "bytes_up": 100,
        "bytes_down": 5000,
        "tokens": 1200,
        "estimated": False,
        "tokens_per_s": 80.0,
        "silent_s": 0.0,
        "cost_nusd": 12_300_000,
    }
    return Line(**ordinary | said)


UPSTREAM = UpstreamState(
    "anthropic",
    PoolState(idle=1, in_use=2),
    usable=True,
    limits=(
        Headroom("requests", 0.1, 50, 45, 0.0),
        Headroom("input_tokens", 0.8, 100, 20, 130.0),
        Headroom("5h", 1.2),
    ),
)
VITALS = Vitals(
    wall_s=100.0,
    started_s=10.0,
    in_flight=2,
    max_in_flight=1000,
    warnings=("the ledger: the disk is full",),
    upstreams=(UPSTREAM,),
)
STATE = State(
    "0.1.0",
    VITALS,
    (Totals("ci", 12, 1, 5000, 900, 2_000_000_000), Totals("dev", 1, unpriced=1)),
    (line(1), line(2, estimated=True, silent_s=75.0, tokens_per_s=None, cost_nusd=None)),
)
ENDED = Record(
    datetime(2026, 1, 1, tzinfo=UTC), "req", client="ci", model="m", ending=Ending.COMPLETE
)


def plain(view: View, width: int = 120, height: int = 32) -> list[str]:
    """Return what is shown, without its styles."""
    return [each.plain for each in lines(view, width, height)]


def view(**said: Any) -> View:
    """Return a view of an ordinary state, but for what is *said*."""
    return dataclasses.replace(View("http://127.0.0.1:8788", STATE), **said)


def test_screen() -> None:
    """The screen says what the operator looks for."""
    text = "\n".join(plain(view()))

    for expected in (
        "passgate 0.1.0   up 1m30s   in flight 2 of 1000   80 tok/s   $2.00+",
        "! the ledger: the disk is full",
        "3 open  req [|         ]  10%  in [||||||||  ]  80% 30.0s  5h [||||||||||] 120%",
        "ci                          12       1   5.0k    900      $2.00",
        "dev                          1       0      0      0          -+",
        "ci         00000001 agent-1      claude-opus-4-6    anthropic   11.0s   1.2k    80    0ms",
        "~1.2k     -  1m15s   5.0k        -",
        "q quit   s sort by: age",
    ):
        assert expected in text


def test_nothing_yet() -> None:
    """Before the first message it says for what it waits, or what is in the way."""
    assert "waiting for http://127.0.0.1:8788" in "\n".join(plain(view(state=None)))
    lost = plain(view(state=None, lost="Connection refused"))

    assert "http://127.0.0.1:8788: Connection refused; trying again" in lost


def test_lost() -> None:
    """When the gateway is lost, that is said, and the last state stays to be read."""
    shown = plain(view(lost="the gateway is silent"))

    assert "http://127.0.0.1:8788: the gateway is silent; trying again" in shown
    assert any("claude-opus-4-6" in each for each in shown)


def test_idle() -> None:
    """A gateway that has done nothing says so."""
    text = "\n".join(plain(view(state=replace(STATE, clients=(), running=()))))

    assert "nothing runs" in text
    assert "no exchange has ended yet" in text


def test_states() -> None:
    """Draining, a credential that is missing and messages that were missed are told."""
    unusable = replace(UPSTREAM, usable=False, limits=())
    vitals = replace(VITALS, draining=True, upstreams=(unusable,))
    text = "\n".join(plain(view(state=replace(STATE, vitals=vitals, dropped=1234))))

    for expected in ("DRAINING", "no usable credential", "1.2k messages missed"):
        assert expected in text


SORTED = {0: ["3", "2", "1"], 1: ["1", "3", "2"], 2: ["2", "3", "1"], 3: ["3", "1", "2"]}


@pytest.mark.parametrize(("sort", "expected"), SORTED.items())
def test_sorts(sort: int, expected: list[str]) -> None:
    """What runs is sorted by age, speed, silence or cost."""
    running = (
        line(1, tokens_per_s=90.0, silent_s=0.0, cost_nusd=20),
        line(2, tokens_per_s=None, silent_s=9.0, cost_nusd=None),
        line(3, tokens_per_s=10.0, silent_s=5.0, cost_nusd=30),
    )
    shown = plain(view(state=replace(STATE, running=running), sort=sort))

    assert expected == [each[18:19] for each in shown if "claude-opus-4-6" in each]


@given(
    st.integers(1, 250),
    st.integers(1, 60),
    st.integers(0, 80),
    st.integers(0, 30),
    st.integers(0, 100),
    st.text(),
)
def test_fits(
    width: int, height: int, running: int, clients: int, ended: int, hostile: str
) -> None:
    """Whatever there is to show and on whatever screen: no line too wide, none too many."""
    state = replace(
        STATE,
        running=tuple(line(n, model=hostile, session=hostile) for n in range(running)),
        clients=tuple(Totals(f"client-{n}", n) for n in range(clients)),
    )
    seen = view(state=state)
    seen.ended.extend([replace_model(hostile)] * ended)
    shown = plain(seen, width, height)

    assert len(shown) == height
    assert all(len(each) <= width for each in shown)
    assert all(each.isascii() and (each.isprintable() or not each) for each in shown)


def replace_model(model: str) -> Record:
    """Return a record that has ended, of that model."""
    return Record(datetime(2026, 1, 1, tzinfo=UTC), "req", model=model, ending=Ending.COMPLETE)


def test_smallest_usual_screen() -> None:
    """On 80 columns and 24 lines there is room for streams, and for what has ended."""
    state = replace(STATE, running=tuple(line(n) for n in range(40)))
    seen = view(state=state)
    seen.ended.extend([ENDED] * 50)
    shown = plain(seen, 80, 24)

    assert 5 <= sum("claude-opus-4-6" in each for each in shown)
    assert any("... and" in each for each in shown)
    assert "ENDED" in shown


# In a terminal.


class Terminal:
    """``passgate top`` in a terminal of its own.

    Attributes:
        screen: All that was written to the terminal.
    """

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PASSGATE")}  # noqa: TID251
        self.process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-W", "error", "-m", "passgate", "top", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=clean | {"TERM": "xterm-256color", "LINES": "", "COLUMNS": ""},
        )
        self.screen = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._ours, 65536):
                self.screen += data.decode()

    def shows(self, text: str) -> None:
        """Wait until *text* was written."""
        eventually(lambda: text in self.screen, WAIT_S)

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self._ours, key.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        termios.tcsetwinsize(self._theirs, (rows, columns))

    def ended(self) -> int:
        """Return its status once it has ended, and the terminal is as it was."""
        status = self.process.wait(WAIT_S)

        assert self._before == termios.tcgetattr(self._theirs)
        return status

    def close(self) -> None:
        """Let go of the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        os.close(self._theirs)
        self._thread.join(WAIT_S)
        os.close(self._ours)


@contextmanager
def terminal(cwd: Path, *arguments: str) -> Iterator[Terminal]:
    """Run it for a while."""
    running = Terminal(cwd, *arguments)
    try:
        yield running
    finally:
        running.close()


_ALTERNATE, _USUAL, _CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


def test_in_a_terminal(tmp_path: Path) -> None:
    """It draws on a screen of its own, follows the terminal's size, and leaves on ``q``."""
    with (
        Gateway() as gateway,
        terminal(tmp_path, "--url", f"http://127.0.0.1:{gateway.admin_port}") as top,
    ):
        top.shows("nothing runs")
        gateway.ask(gateway.post(message("claude-text-5", stream=True)))
        top.shows("claude-text-5")
        top.resize(30, 130)
        top.shows("UPSTREAM")
        top.press("s")
        top.shows("sort by: tokens/s")
        top.press("q")
        status = top.ended()

    assert 0 == status
    assert _ALTERNATE in top.screen
    assert _USUAL in top.screen.rpartition(_ALTERNATE)[2]
    assert _CURSOR in top.screen


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "SIGTERM"])
def test_signals(tmp_path: Path, signum: signal.Signals) -> None:
    """An interrupt ends it as ``q`` does, also while there is no gateway."""
    with terminal(tmp_path, "--url", "http://127.0.0.1:9") as top:
        top.shows("Connection refused")
        top.process.send_signal(signum)
        status = top.ended()

    assert {signal.SIGINT: 0, signal.SIGTERM: 143}[signum] == status
    assert _USUAL in top.screen
    assert "Traceback" not in top.screen


def test_restart(tmp_path: Path) -> None:
    """A gateway that restarts is lost, said so, and found again."""
    port = quiet_port()

    def change(settings: Settings) -> Settings:
        return replace(settings, admin=replace(settings.admin, listen=Listen(port=port)))

    with (
        Gateway(change) as gateway,
        terminal(tmp_path, "--url", f"http://127.0.0.1:{port}") as top,
    ):
        top.shows("nothing runs")
        gateway.call(gateway.app.close())
        top.shows("trying again")
        seen = len(top.screen)
        with Gateway(change):
            eventually(lambda: "no exchange has ended yet" in top.screen[seen:], WAIT_S)
            top.press("q")
            assert 0 == top.ended()


def test_no_terminal(tmp_path: Path) -> None:
    """Without a terminal it says what to use instead."""
    done = subprocess.run(
        [sys.executable, "-m", "passgate", "top"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert (2, "") == (done.returncode, done.stdout)
    assert "passgate tail" in done.stderr


def test_key_of_a_listener_that_wants_one(tmp_path: Path) -> None:
    """What would not get better by waiting ends it, with the terminal put back."""
    with Gateway() as gateway, terminal(tmp_path, "--url", gateway.url) as top:
        status = top.ended()

    assert 1 == status
    assert "operator's listener" in top.screen.rpartition(_USUAL)[2].replace("\r\n", " ")
