"""The tests of ``gateway/metering.py``."""

from __future__ import annotations

import gzip

import pytest

from passgate.core import messages_meter
from passgate.core.exchange import AnswerHead
from passgate.core.meter import NOTHING, Meter, Metered
from passgate.edge.codings import decoder_for
from passgate.gateway.metering import Meters


def meters() -> Meters:
    """Return meters with the real codings, and a clock that stands."""
    return Meters(decoder_for, lambda: 1.0)


def answer(status: int, coding: bytes | None = None) -> AnswerHead:
    """Return the head of an answer."""
    said = {} if coding is None else {b"content-encoding": coding}
    return AnswerHead(status, b"", said, 0, chunked=False, keep_alive=True)


@pytest.mark.parametrize(
    ("status", "coding", "metered", "failures"),
    [
        pytest.param(200, None, True, 0, id="a good answer"),
        pytest.param(299, None, True, 0, id="any success"),
        pytest.param(400, None, False, 0, id="an error is free"),
        pytest.param(304, None, False, 0, id="no answer"),
        pytest.param(199, None, False, 0, id="an interim one"),
        pytest.param(200, b"gzip", True, 0, id="a coding that is known"),
        pytest.param(200, b"Identity", True, 0, id="no coding, said so"),
        pytest.param(200, b"compress", False, 1, id="a coding that nobody reads"),
    ],
)
def test_which_answers(status: int, coding: bytes | None, *, metered: bool, failures: int) -> None:
    """Good answers are metered; one that cannot be read is counted."""
    made = meters()
    metering = made.meter(messages_meter.meter_for, answer(status, coding))

    assert (metered, failures) == (metering is not None, made.failures)


MESSAGE = b'{"model":"claude-x","usage":{"input_tokens":3,"output_tokens":5}}'


@pytest.mark.parametrize(
    ("status", "coding", "body", "expected", "failures"),
    [
        pytest.param(200, None, MESSAGE, ("final", 3), 0, id="a message"),
        pytest.param(200, None, b" \r\n" + MESSAGE, ("final", 3), 0, id="behind space"),
        pytest.param(200, b"gzip", gzip.compress(MESSAGE), ("final", 3), 0, id="packed"),
        pytest.param(200, b"gzip", MESSAGE, ("none", None), 1, id="not packed as it says"),
        pytest.param(200, b"compress", MESSAGE, None, 1, id="a coding that nobody reads"),
        pytest.param(200, None, b"{", ("none", None), 0, id="cut"),
        pytest.param(200, None, b"", ("none", None), 0, id="nothing"),
        pytest.param(529, None, MESSAGE, None, 0, id="an error is free"),
    ],
)
def test_what_came_whole(
    status: int,
    coding: bytes | None,
    body: bytes,
    expected: tuple[str, int | None] | None,
    failures: int,
) -> None:
    """A body that came with its head is read as any other, when it is asked for."""
    made = meters()
    metering = made.whole(messages_meter.meter_for, answer(status, coding), body, 2.0)
    metered = None if metering is None else metering.close(complete=True)
    told = None if metered is None else (metered.kind, metered.usage.input_tokens)

    assert (expected, failures) == (told, made.failures)


def test_whole_body_is_read_once_it_is_over() -> None:
    """Until then it tells nothing; the first of its content came when it did."""

    class First:
        """A meter whose content begins with the body."""

        def feed(self, data: bytes) -> bool:
            """See ``meter.Meter``."""
            return data == b"{}"

        def running(self) -> tuple[int | None, bool]:
            """See ``meter.Meter``."""
            return 1, True

        def close(self, *, complete: bool) -> Metered:
            """See ``meter.Meter``."""
            return Metered("final" if complete else "partial")

    metering = meters().whole(lambda _: First(), answer(200), b"{}", 2.0)
    assert metering is not None
    before = (metering.running(), metering.first_token_s)

    assert ((None, False), None) == before
    assert (Metered("final"), 2.0) == (metering.close(complete=True), metering.first_token_s)


def test_meter_of_a_whole_body_that_fails() -> None:
    """It is counted, and costs the record nothing but the usage."""

    def fails(_: bytes) -> Meter:
        raise ValueError

    made = meters()
    metering = made.whole(fails, answer(200), b"{}", 2.0)
    assert metering is not None

    assert (NOTHING, 1) == (metering.close(complete=True), made.failures)


def test_what_has_no_meter() -> None:
    """Where no usage is told nothing looks for it."""
    assert meters().meter(None, answer(200)) is None
    assert meters().whole(None, answer(200), MESSAGE, 2.0) is None
