"""The operator's page: it says what it should, loads nothing, and runs nobody's text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.admin import dashboard
from passgate.core.live import Line
from passgate.core.ratelimits import Headroom
from passgate.core.vitals import PoolState, Spent, State, Totals, UpstreamState, Vitals


class Reader(HTMLParser):
    """Reads a page as a browser would.

    Attributes:
        tags: Every element, in order, with its attributes.
        open: What is open.
        text: What stands between the tags.
    """

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        self.text.append(data)


def line(number: int = 1, name: str = "ci") -> Line:
    """Return a stream that runs; *name* stands wherever a client can choose."""
    return Line(
        id=f"req_{number}",
        client=name,
        session=name,
        agent=name,
        parent_agent=name,
        model=name,
        upstream=name,
        stream=True,
        running_s=75.0,
        bytes_up=1,
        bytes_down=5000,
        tokens=1200,
        estimated=True,
        tokens_per_s=80.0,
        silent_s=0.0,
        cost_nusd=12_300_000,
    )


def state(name: str = "ci", running: int = 1) -> State:
    """Return a state of which *name* is everywhere."""
    upstream = UpstreamState(
        name,
        PoolState(idle=1, in_use=2),
        usable=False,
        limits=(Headroom("tokens", 0.95, 100, 5, 130.0), Headroom("5h", 0.5)),
    )
    vitals = Vitals(
        wall_s=100.0,
        started_s=10.0,
        in_flight=running,
        max_in_flight=1000,
        draining=True,
        warnings=(name,),
        upstreams=(upstream,),
        log_dropped=7,
    )
    clients = (Totals(name, 12, 1, 5000, 900, 2_000_000_000, 3),)
    lines = tuple(line(number, name) for number in range(running))
    return State(name, vitals, clients, lines)


def spent(*names: str) -> list[Spent]:
    """Return what was spent, by these names."""
    totals = tuple(Totals(name, 1, unpriced=1) for name in names)
    return [Spent("Today", totals, totals), Spent("The last 30 days", totals, ())]


def test_page() -> None:
    """It says what runs, how upstreams are, what was spent, and what the operator should know."""
    text = " ".join(Reader(dashboard.page(state(), spent("dev"))).text)

    for expected in (
        "up 1m30s, 1 of 1000 exchanges in flight",
        "stopping",
        "7 log lines were lost",
        "1m15s ~1.2k 5.0k $0.0123",
        "2 in use, 1 idle none usable tokens 95%, resets in 30.0s; 5h 50%",
        "Today",
        "dev 1 0 0 0 1 without a price",
        "The last 30 days",
        "no exchange yet",
    ):
        assert expected in text


def test_without_a_ledger() -> None:
    """Where there is no ledger the counts since the start are shown, and that it is so."""
    text = " ".join(Reader(dashboard.page(state(), None)).text)

    assert "Since the start" in text
    assert "ci 12 1 5.0k 900 $2.00 and 3 without a price" in text


def test_idle() -> None:
    """A gateway that does nothing says so."""
    assert "nothing runs" in Reader(dashboard.page(state(running=0), [])).text


def test_long_lists() -> None:
    """A page has an end, and says how much is left out."""
    page = dashboard.page(state(running=200), spent(*map(str, range(100))))
    text = " ".join(Reader(page).text)

    assert "and 150 more" in text
    assert "and 70 more" in text
    assert len(page) < 100_000


def test_loads_and_sends_nothing() -> None:
    """It needs no script, loads its own style alone, and has nothing to press."""
    tags = Reader(dashboard.page(state(), spent("dev"))).tags
    loads = [
        (tag, name, value)
        for tag, attributes in tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "style", "data") or name.startswith("on")
    ]

    assert [("link", "href", "/style.css")] == loads
    assert not {"script", "iframe", "img", "form", "object"} & {tag for tag, _ in tags}
    assert b"default-src 'none'; style-src 'self'" in dashboard.FIELDS
    assert b"url(" not in dashboard.STYLE
    assert b"@import" not in dashboard.STYLE


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; </td></table><h1>",
    "&lt;script&gt;",
    "\x1b[2J\x00\u202e",
    "</title></head><body onload=alert(1)>",
)


def structure(page: bytes) -> list[tuple[str, dict[str, str | None]]]:
    """Return the elements of a page."""
    reader = Reader(page)

    assert [] == reader.open
    return reader.tags


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    """Whatever a name is, it is text: the page has the same elements as with a harmless one."""
    page = dashboard.page(state(name), spent(name))

    assert structure(dashboard.page(state(), spent("dev"))) == structure(page)
    assert page.isascii()


@given(st.text())
def test_any_name(name: str) -> None:
    """As well for any other."""
    assert structure(dashboard.page(state(), spent("dev"))) == structure(
        dashboard.page(state(name), spent(name))
    )


def test_names_are_readable() -> None:
    """A name reads as it is."""
    text = "".join(Reader(dashboard.page(state("a<b"), spent("a<b"))).text)

    assert "a<b" in text
