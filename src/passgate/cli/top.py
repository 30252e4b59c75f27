"""``passgate top``: what runs now, on a screen of its own."""

from __future__ import annotations

import argparse
import os
import queue
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from passgate.cli import feed
from passgate.cli.feed import CannotRead, Event, Place
from passgate.cli.top_lines import SORTS, View, lines
from passgate.core.exchange import Record
from passgate.core.vitals import State

_LOOK_S = 0.25  # soon enough for a key, a new size and a message; a few milliseconds' work
_MAX_WAITING = 1000
_TERMINATED = 143


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command."""
    parser = commands.add_parser("top", help="watch what runs: streams, tokens a second, cost")
    feed.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watch until ``q`` or an interrupt."""
    if not sys.stdout.isatty():
        print("passgate: top needs a terminal; `passgate tail` does not", file=sys.stderr)
        return 2
    try:
        _watch(feed.place_of(args))
    except CannotRead as error:
        print(f"passgate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _watch(place: Place) -> None:
    """Draw what the feed says, again and again.

    Raises:
        CannotRead: There is no feed to be had.
    """
    from passgate.cli.screen import Console, Group, Live

    told: _Told = queue.Queue(_MAX_WAITING)
    stop = threading.Event()
    # It may wait for a gateway for long; nobody waits for it.
    threading.Thread(target=_read, args=(place, told, stop), name="feed", daemon=True).start()
    view, console = View(place.url), Console()
    signal.signal(signal.SIGTERM, _leave)  # so that the terminal is put back as it was
    try:
        with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                _take(told, view)
                size = console.size
                live.update(Group(*lines(view, size.width, size.height)), refresh=True)
                if _obeys(_key(), view):
                    return
    finally:
        stop.set()


_Told = queue.Queue[Event | CannotRead | str | None]


def _read(place: Place, told: _Told, stop: threading.Event) -> None:
    """Hand on what the feed says; a screen that is not drawn slows it down."""
    try:
        for event in feed.follow(place, told.put, stop):
            told.put(event)
    except CannotRead as error:
        told.put(error)


def _take(told: _Told, view: View) -> None:
    """Have *view* show all that was told."""
    for _ in range(_MAX_WAITING):
        try:
            said = told.get_nowait()
        except queue.Empty:
            return
        if isinstance(said, CannotRead):
            raise said
        if not isinstance(said, Event):
            view.lost = said
            continue
        try:
            if said.name == "state":
                view.state = msgspec.json.decode(said.data, type=State)
            elif said.name == "record":
                view.ended.append(msgspec.json.decode(said.data, type=Record))
        except msgspec.DecodeError:
            raise CannotRead("the gateway is of another version than this command") from None


def _obeys(key: str, view: View) -> bool:
    """Do what *key* says; return whether that is to leave."""
    if key == "s":
        view.sort = (view.sort + 1) % len(SORTS)
    return key in ("q", "Q")


@contextmanager
def _keys() -> Iterator[None]:
    """Have keys come one by one, unseen; afterwards the terminal is as it was."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _key() -> str:
    """Return the next key, or nothing after a while without one."""
    if not sys.stdin.isatty():
        select.select([], [], [], _LOOK_S)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], _LOOK_S)
    return os.read(sys.stdin.fileno(), 1).decode("latin-1") if ready else ""


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(_TERMINATED)
