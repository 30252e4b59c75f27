"""Records for tests of what keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from passgate.core.exchange import Ending, Record

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def record(number: int = 0, **fields: Any) -> Record:
    """Return an exchange that began *number* seconds after :data:`BEGAN`."""
    given: dict[str, Any] = {
        "ts": BEGAN + timedelta(seconds=number),
        "id": f"req_{number:06}",
        "client": "ci",
        "ending": Ending.COMPLETE,
    }
    return Record(**given | fields)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_COUNT = st.integers(0, 2**63 - 1)
_MS = st.floats(0, 1e9, allow_nan=False)
_OF_TYPE = {
    "str": _TEXT,
    "str | None": st.none() | _TEXT,
    "int": _COUNT,
    "int | None": st.none() | _COUNT,
    "float": _MS,
    "float | None": st.none() | _MS,
    "bool": st.booleans(),
    "Ending": st.sampled_from(Ending),
    "datetime": st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  made aware
}


def records() -> st.SearchStrategy[Record]:
    """Return records with anything in each field that its type allows."""
    fields = {name: _OF_TYPE[of] for name, of in Record.__annotations__.items()}
    return st.builds(Record, **fields | {"client": _TEXT})
