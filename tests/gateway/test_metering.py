"""The tests of ``gateway/metering.py``."""

from __future__ import annotations

import pytest

from passgate.core import messages_meter
from passgate.core.exchange import AnswerHead
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


def test_what_has_no_meter() -> None:
    """Where no usage is told nothing looks for it."""
    assert meters().meter(None, answer(200)) is None
