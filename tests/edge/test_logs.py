"""One line per exchange, whoever reads them, and however slowly."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core.exchange import Ending, Record
from passgate.edge.logs import LogLines, Strangers, as_json, as_text

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def record(id_: str = "1", client: str | None = "ci", at_s: float = 0.0, **more: Any) -> Record:
    """Return the record of an exchange that began *at_s* after noon."""
    return Record(NOON + timedelta(seconds=at_s), id_, client, **more)


class Pipe:
    """A pipe that is read to its end by a thread.

    Attributes:
        fd: Where it is written to.
    """

    def __init__(self) -> None:
        self._read, self.fd = os.pipe()
        self._got = b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with os.fdopen(self._read, "rb") as stream:
            self._got = stream.read()

    def lines(self) -> list[Any]:
        """Close it, and return what was written as JSON, a line each."""
        os.close(self.fd)
        self._thread.join(10)
        return [json.loads(line) for line in self._got.splitlines()]


@contextmanager
def unread() -> Iterator[LogLines]:
    """Log to a pipe that nobody reads."""
    read, write = os.pipe()
    log = LogLines(write, "json")
    yield log
    os.close(read)  # which ends every write
    log.close(wait_s=10)
    os.close(write)


def test_json() -> None:
    """For programs: one object a line, all fields, times that a machine sorts."""
    lines = as_json([record("1", status=200), record("2", model='a\n"b')]).splitlines()
    first, second = map(json.loads, lines)

    assert ("2026-01-02T12:00:00Z", "1", 200, "client_left") == (
        first["ts"],
        first["id"],
        first["status"],
        first["ending"],
    )
    assert 'a\n"b' == second["model"]


def test_text() -> None:
    """For people: one line with what matters, the rest left out."""
    got = as_text([record(status=200, ending=Ending.COMPLETE, duration_ms=1.5, path="/v1/x")])
    expected = (
        b"2026-01-02T12:00:00Z status=200 ending=complete duration_ms=1.5 client=ci method= "
        b"path=/v1/x model=- upstream=- id=1\n"
    )

    assert expected == got


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"usage": "none"}, b" upstream=- id="),
        ({"usage": "final", "output_tokens": 0}, b" upstream=- in=- cached=- out=0 id="),
        (
            {
                "usage": "final",
                "input_tokens": 5,
                "cache_read_tokens": 70,
                "cache_write_5m_tokens": 1,
                "cache_write_1h_tokens": 2,
                "output_tokens": 9,
            },
            b" upstream=- in=8 cached=70 out=9 id=",
        ),
        ({"usage": "partial", "input_tokens": 5, "output_tokens": 9}, b" in=5 cached=- out=~9 id="),
    ],
)
def test_text_of_tokens(told: dict[str, Any], expected: bytes) -> None:
    """It says what was used, and where that is not the whole truth."""
    assert expected in as_text([record(**told)])


def test_text_of_a_fault() -> None:
    """Where something went wrong, the line says what."""
    assert b" error=busy id=1\n" in as_text([record(error="busy")])


@given(st.text(), st.text())
def test_text_is_plain(model: str, path: str) -> None:
    """Whatever a client names, a line stays one line, and no terminal obeys it."""
    got = as_text([record(model=model, path=path)])

    assert got.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in got[:-1])


@pytest.mark.parametrize("format_", ["json", "text"])
def test_lines_are_written(format_: str) -> None:
    """What was handed over is on the descriptor when the log is closed, in order."""
    read, write = os.pipe()
    log = LogLines(write, format_)
    log([record("1"), record("2")])
    log([record("3")])
    log.close()
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        got = stream.read().splitlines()

    assert 3 == len(got)
    assert all(f"{number}".encode() in line for number, line in enumerate(got, 1))
    assert 0 == log.dropped


def test_format_may_change() -> None:
    """A reload may change how lines are written, from the next one on."""
    read, write = os.pipe()
    log = LogLines(write, "text")
    log([record("1")])
    log.goes_by("json")
    log([record("2")])
    log.close()
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        first, second = stream.read().splitlines()

    assert (b"2026", b"{") == (first[:4], second[:1])


def test_stalled_reader_costs_lines_not_time() -> None:
    """With a reader that reads nothing, batches are dropped and counted; nobody waits."""
    with unread() as log:
        batch = [record(str(number)) for number in range(500)]  # more than a pipe holds
        for _ in range(200):
            log(batch)
        log.close(wait_s=0.01)
        dropped = log.dropped

    assert 500 * 130 <= dropped <= 500 * 200
    assert 0 == dropped % 500


def test_reader_that_is_gone() -> None:
    """Lines to a closed descriptor are counted, and the next ones are tried again."""
    read, write = os.pipe()
    os.close(read)
    log = LogLines(write, "json")
    log([record("1"), record("2")])
    log([record("3")])
    log.close()
    os.close(write)

    assert 3 == log.dropped


def test_unknown_callers_do_not_fill_the_disk() -> None:
    """Of what unknown callers do, ten lines a second are written, and a sum of the rest."""
    pipe = Pipe()
    log = LogLines(pipe.fd, "json")
    for second in range(2):
        for part in range(3):
            strangers = [record(f"{second}{part}{n}", None, second) for n in range(20)]
            log([*strangers, record("known", at_s=second)])
    log([record("later", at_s=5)])
    log.close()
    lines = pipe.lines()
    sums = [line for line in lines if "refused_unknown_callers" in line]
    single = [line for line in lines if line.get("client") is None and "id" in line]

    assert 20 == len(single)
    assert [50, 50] == [line["refused_unknown_callers"] for line in sums]
    assert ["2026-01-02T12:00:00Z", "2026-01-02T12:00:01Z"] == [line["ts"] for line in sums]
    assert 6 == sum(line.get("id") == "known" for line in lines)


def test_sum_at_the_end() -> None:
    """What was not said when the gateway stops is summed then."""
    pipe = Pipe()
    log = LogLines(pipe.fd, "json")
    log([record(str(number), None) for number in range(25)])
    log.close()

    assert 15 == pipe.lines()[-1]["refused_unknown_callers"]


def test_sum_that_is_dropped_is_counted() -> None:
    """A sum for which there is no room is a dropped line, too."""
    with unread() as log:
        batch = [record(str(number)) for number in range(500)]
        for _ in range(80):
            log(batch)
        log([record("a", None) for _ in range(11)])
        before = log.dropped
        log([record("b", at_s=1)])
        after = log.dropped

    assert 2 == after - before


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_every_stranger_counts(events: list[tuple[int, bool]]) -> None:
    """Lines and sums together are as many as there were callers, however they come."""
    strangers, single, summed = Strangers(), 0, b""
    second = NOON
    for step, known in events:
        second += timedelta(seconds=step)
        if second != strangers.second:
            summed += strangers.summed(second)
        if not known:
            single += strangers.admits(record(client=None))
    summed += strangers.summed(None)
    sums = [json.loads(line)["refused_unknown_callers"] for line in summed.splitlines()]

    assert sum(not known for _, known in events) == single + sum(sums)
    assert all(unsaid > 0 for unsaid in sums)
