"""What exchanges came to, kept beside them: by day, and by session.

A report over a million exchanges would have to sort them. So there is a row for each day and
client, and one for each day and session: who writes exchanges adds them up a little later, a
thousand at a time, and triggers follow what prices or deletes them after that. What was not
added up yet, say because an older version wrote it, is read beside it, so that the sums are
always those of the exchanges.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

DAY_MICROS = 86_400_000_000
# At a time: a few milliseconds. SQLite fails where a sum overflows, and an upstream's nonsense
# must not make it: a count is below 2**53, so a thousand of them fit, and a cost is bounded.
MOST_ROWS = 1_000
_MOST_NUSD = 1 << 53

# Column -> what one exchange adds to it; ``{row}`` is the exchange.
_PRICED = {
    "cost_nusd": f"min({{row}}.cost_nusd, {_MOST_NUSD})",
    "approximate": "{row}.price_status IS 'approximate'",
    "unpriced": "{row}.price_status IN ('unknown', 'pending')",
    "unpriced_output_tokens": (
        "iif({row}.price_status IN ('unknown', 'pending'), {row}.output_tokens, 0)"
    ),
}
_ADDED = {
    "requests": "1",
    "errors": "({row}.error IS NOT NULL OR ifnull({row}.status, 0) >= 400)",
    "metered": "{row}.usage <> 'none'",
    "partial": "{row}.usage = 'partial'",
    "input_tokens": "{row}.input_tokens",
    "output_tokens": "{row}.output_tokens",
    "cache_read_tokens": "{row}.cache_read_tokens",
    "cache_write_5m_tokens": "{row}.cache_write_5m_tokens",
    "cache_write_1h_tokens": "{row}.cache_write_1h_tokens",
    "thinking_tokens": "{row}.thinking_tokens",
    "web_searches": "{row}.web_searches",
    **_PRICED,
}
COUNTERS = tuple(_ADDED)


DAY = f"{{row}}.ts / {DAY_MICROS}"
MODEL = "coalesce({row}.model_served, {row}.model, '')"
_UPSTREAM = "ifnull({row}.upstream, '')"


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of sums.

    Attributes:
        name: Of the table.
        keys: Column -> what of an exchange it holds, ``{row}`` is the exchange.
    """

    name: str
    keys: Mapping[str, str]

    @property
    def key_columns(self) -> str:
        """Its keys, as a list of SQL."""
        return ", ".join(self.keys)

    @property
    def columns(self) -> str:
        """Its keys and counters, as a list of SQL."""
        return ", ".join((*self.keys, *COUNTERS))

    @property
    def summed(self) -> str:
        """Select what it holds from the day ``:day`` on."""
        return f"SELECT {self.columns} FROM {self.name} WHERE day >= :day"  # noqa: S608

    @property
    def not_summed(self) -> str:
        """Select the same of the exchanges ``:low`` to ``:high`` that began since ``:ts``."""
        return f"{self._grouped} AND +ts >= :ts GROUP BY {self._by}"

    @property
    def add(self) -> str:
        """Add the exchanges ``:low`` to ``:high``."""
        grow = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTERS)
        return (
            f"INSERT INTO {self.name} ({self.columns}) {self._grouped} GROUP BY {self._by} "
            f"ON CONFLICT ({self.key_columns}) DO UPDATE SET {grow}"
        )

    @property
    def table(self) -> str:
        """Make it."""
        types = {name: "INTEGER" if name == "day" else "TEXT" for name in self.keys}
        types |= dict.fromkeys(COUNTERS, "INTEGER")
        columns = ", ".join(f"{name} {type_} NOT NULL" for name, type_ in types.items())
        return (
            f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({self.key_columns})) WITHOUT ROWID"
        )

    @property
    def priced(self) -> str:
        """Follow an exchange that was priced anew."""
        return f"{self._change('-', 'old', _PRICED)} {self._change('+', 'new', _PRICED)}"

    @property
    def deleted(self) -> str:
        """Follow an exchange that was deleted."""
        gone = f"DELETE FROM {self.name} WHERE {self._of('old')} AND requests = 0;"  # noqa: S608
        return f"{self._change('-', 'old', _ADDED)} {gone}"

    @property
    def _by(self) -> str:
        return ", ".join(str(number) for number in range(1, len(self.keys) + 1))

    @property
    def _grouped(self) -> str:
        # Null, such as of a count that was not told, adds nothing.
        sums = [f"ifnull(sum({each}), 0)" for each in _ADDED.values()]
        columns = ", ".join((*self.keys.values(), *sums)).format(row="exchanges")
        return f"SELECT {columns} FROM exchanges WHERE seq BETWEEN :low AND :high"  # noqa: S608

    def _of(self, row: str) -> str:
        values = ", ".join(self.keys.values()).format(row=row)
        return f"({self.key_columns}) = ({values})"

    def _change(self, sign: str, row: str, columns: Mapping[str, str]) -> str:
        changes = ", ".join(
            f"{name} = {name} {sign} ifnull({each.format(row=row)}, 0)"
            for name, each in columns.items()
        )
        return f"UPDATE {self.name} SET {changes} WHERE {self._of(row)};"  # noqa: S608


DAILY = Kept(
    "sums_daily",
    {"day": DAY, "upstream": _UPSTREAM, "client": "{row}.client", "model": MODEL},
)
SESSIONS = Kept(
    "sums_sessions",
    {
        "day": DAY,
        "session": "ifnull({row}.session, '')",
        "agent": "ifnull({row}.agent, '')",
        "parent_agent": "ifnull({row}.parent_agent, '')",
        "upstream": _UPSTREAM,
        "model": MODEL,
    },
)

_SUMMED = "WHEN old.seq <= (SELECT seq FROM summed_upto)"
STEP = (
    DAILY.table,
    SESSIONS.table,
    "CREATE TABLE summed_upto (seq INTEGER NOT NULL)",
    "INSERT INTO summed_upto VALUES (0)",
    f"""
    CREATE TRIGGER summed_priced AFTER UPDATE OF cost_nusd, price_status ON exchanges {_SUMMED}
    BEGIN {DAILY.priced} {SESSIONS.priced} END
    """,
    f"""
    CREATE TRIGGER summed_deleted AFTER DELETE ON exchanges {_SUMMED}
    BEGIN {DAILY.deleted} {SESSIONS.deleted} END
    """,
)
UPTO = "SELECT seq FROM summed_upto"
_BORDERS = """
    SELECT upto.seq + 1, (
        SELECT seq FROM exchanges WHERE seq > upto.seq ORDER BY seq LIMIT 1 OFFSET ?
    ) FROM summed_upto AS upto
"""
_ADD = (DAILY.add, SESSIONS.add, "UPDATE summed_upto SET seq = :high")


def sum_up(connection: sqlite3.Connection) -> bool:
    """Add up the oldest exchanges that are not, where a thousand are; return whether it did.

    A few at a time would cost each of them more. Until then they are read beside the sums.
    """
    if _next(connection) is None:
        return False
    connection.execute("BEGIN IMMEDIATE")
    if bounds := _next(connection):  # nobody deletes any from here on
        for statement in _ADD:
            connection.execute(statement, bounds)
    connection.execute("COMMIT")
    return True


def _next(connection: sqlite3.Connection) -> dict[str, int] | None:
    low, high = connection.execute(_BORDERS, (MOST_ROWS - 1,)).fetchone()
    return None if high is None else {"low": low, "high": high}
