"""The live feed, read: what `tail` and `top` share.

Blocking, on the standard library's HTTP client: a person's command has nothing else to do.
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from passgate import config
from passgate.cli.env import url_of
from passgate.config import ConfigError

# The state comes each second: so long without it, and the gateway is gone or hangs.
_SILENT_S = 10.0
_FIRST_WAIT_S, _LAST_WAIT_S = 0.25, 5.0
# A state of two hundred running exchanges is a tenth of it.
_MAX_LINE_BYTES = 4 << 20
_MAX_KEY_BYTES = 4096
_OK = 200
_LATER = frozenset({429, 500, 502, 503, 504, 529})
_REFUSALS = {
    401: "the operator's listener wants the admin key: --key-file FILE, or PASSGATE_ADMIN_KEY",
    403: "the operator's listener does not go by this host name: add it to [admin] allowed_hosts",
    404: "there is no live feed: is it the operator's listener (port 8788), of this version?",
}


class CannotRead(Exception):
    """The feed cannot be had, and trying again would not help; the text says what to do."""


class Lost(Exception):
    """The feed has ended, or could not be reached; the text says how."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message.

    Attributes:
        name: ``record`` or ``state``.
        data: Its JSON.
    """

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where the feed is, and the key it takes, or None."""

    url: str
    key: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where the feed is."""
    parser.add_argument("--config", metavar="FILE", help="passgate.toml that says where it listens")
    parser.add_argument(
        "--url", help="the operator's listener, if not where the configuration says"
    )
    parser.add_argument(
        "--key-file", metavar="FILE", help="holds the admin key; or set PASSGATE_ADMIN_KEY"
    )


def place_of(args: argparse.Namespace) -> Place:
    """Return where the feed is.

    Raises:
        CannotRead: That cannot be found out.
    """
    return Place(_url(args), _key(args.key_file))


def _url(args: argparse.Namespace) -> str:
    if args.url is not None:
        parts = urlsplit(args.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotRead("--url must be http://HOST:PORT of the operator's listener")
        return str(args.url).rstrip("/")
    try:
        url = url_of(config.admin_listen(args.config))
    except ConfigError as error:
        raise CannotRead("; ".join(error.problems)) from None
    if url is None:
        raise CannotRead("the operator's port is chosen at the start: say it as --url")
    return url


def _key(file: str | None) -> str | None:
    if file is None:
        return config.process_environ().get("PASSGATE_ADMIN_KEY") or None
    try:
        with Path(file).open("rb") as opened:
            key = opened.read(_MAX_KEY_BYTES).strip()
        return key.decode("ascii")
    except OSError as error:
        raise CannotRead(f"--key-file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotRead("--key-file: it holds no key") from None


def follow(
    place: Place, told: Callable[[str | None], None], stop: threading.Event
) -> Iterator[Event]:
    """Yield every message, over restarts of the gateway, until *stop* is set.

    Args:
        place: Where.
        told: Called with why the feed was lost, once for each loss, and with None when it
            is read (again).
        stop: Ends the waiting in between.

    Raises:
        CannotRead: Trying again would not help.
    """
    wait_s = _FIRST_WAIT_S
    reads: bool | None = None  # before it was found out
    while not stop.is_set():
        try:
            for event in read(place):
                if not reads:
                    told(None)
                    reads, wait_s = True, _FIRST_WAIT_S
                yield event
        except Lost as error:
            if reads is not False:
                told(str(error))
                reads = False
        stop.wait(wait_s)
        wait_s = min(wait_s * 2, _LAST_WAIT_S)


def read(place: Place) -> Iterator[Event]:
    """Yield every message of one connection.

    Raises:
        CannotRead: Trying again would not help.
        Lost: It ended, or was never there.
    """
    connection = _connection(place.url)
    try:
        answer = _ask(connection, place)
        yield from _events(answer)
    except http.client.HTTPException as error:
        raise Lost(f"what answers there is no gateway ({type(error).__name__})") from None
    except TimeoutError:
        raise Lost("the gateway is silent") from None
    except OSError as error:
        raise Lost(error.strerror or str(error)) from None
    finally:
        connection.close()
    raise Lost("the gateway has ended the feed")


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=_SILENT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=_SILENT_S)


def _ask(connection: http.client.HTTPConnection, place: Place) -> http.client.HTTPResponse:
    headers = {} if place.key is None else {"x-api-key": place.key}
    try:
        connection.request("GET", f"{urlsplit(place.url).path}/live", headers=headers)
    except ValueError:
        raise CannotRead("the admin key has a character that no key has") from None
    answer = connection.getresponse()
    if answer.status in _LATER:
        raise Lost(f"the gateway answered {answer.status}")
    if answer.status != _OK:
        said = _REFUSALS.get(answer.status, f"it answered {answer.status}")
        raise CannotRead(f"{place.url}: {said}")
    if answer.getheader("content-type") != "text/event-stream":
        raise CannotRead(f"{place.url}: {_REFUSALS[404]}")
    return answer


def _events(answer: http.client.HTTPResponse) -> Iterator[Event]:
    name = ""
    while line := answer.readline(_MAX_LINE_BYTES):
        if not line.endswith(b"\n"):
            raise Lost("the gateway broke off")
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            yield Event(name, value)
