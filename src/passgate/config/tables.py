"""TOML tables read key by key: what is wrong becomes a problem in a list, never an exception.

No message shows a value, which could be a secret that was put where it does not belong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from passgate.config.grammar import SPAN, SPAN_WITH_ZERO, is_span

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_PRICE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,9})?")

_LATER = frozenset({"limit", "limits", "budget", "budgets"})
_RAW_SECRET = frozenset(
    {"api_key", "apikey", "auth_token", "bearer", "key", "password", "secret", "token", "value"}
)
NO_SECRETS_HERE = (
    "a secret has no place here: name where it is, as `env`, `file` or `command` of a "
    "credential, or its SHA-256 as `key_sha256`"
)
COMES_LATER = "comes in a later release; this one does not know it"

_TYPE_NAMES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "an array",
    dict: "a table",
}


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: Everything that is wrong, each with its file, table and key.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(slots=True)
class Findings:
    """What reading the configuration found, a sentence each.

    Attributes:
        problems: What keeps the gateway from starting.
        warnings: What the operator should know. ``/ready`` shows them to whoever has a
            key, so they name tables and keys, and no file.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Go on only if there is no problem.

        Raises:
            ConfigError: With every problem.
        """
        if self.problems:
            raise ConfigError(tuple(_printable(problem) for problem in self.problems))


class Table:
    """One table, of which each key is taken once; :meth:`close` finds what nobody took.

    Args:
        file: The file it stands in, as problems name it.
        name: The table as TOML writes it, such as ``[server]``; empty for the file itself.
        raw: What the parser made of it.
        findings: Where problems go.
    """

    def __init__(self, file: str, name: str, raw: Mapping[str, object], findings: Findings) -> None:
        self.file = file
        self.name = name
        self.findings = findings
        self._raw = dict(raw)
        self._asked: set[str] = set()

    def problem(self, key: str | None, what: str) -> None:
        """Note that *key* of this table is wrong; None for the table as a whole."""
        self.findings.problems.append(self._place(key) + what)

    def warn(self, key: str, what: str) -> None:
        """Note something about *key* of this table that the operator should know."""
        self.findings.warnings.append(f"{self.name} {_shown(key)}: {what}")

    def has(self, key: str) -> bool:
        """Return whether *key* is present, whatever it holds."""
        return key in self._raw

    def peek(self, key: str) -> object:
        """Return what *key* holds, unchecked; it still waits to be taken."""
        return self._raw.get(key)

    def text(self, key: str, *, needed: bool = False) -> str | None:
        """Return the text at *key*, or None where it is absent or wrong."""
        value = self._take(key, needed=needed)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong_type(key, "text", value)
            return None
        if not value or not value.isprintable():
            self.problem(key, "must be printable text, and not empty")
            return None
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return the array of texts at *key*, or *default* where it is absent or wrong."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, list):
            self._wrong_type(key, "an array of texts", value)
            return default
        entries = [entry for entry in value if isinstance(entry, str)]
        fine = [entry for entry in entries if entry and entry.isprintable()]
        if not value or len(fine) != len(value):
            self.problem(key, "must be an array of printable texts, with at least one")
            return default
        return tuple(fine)

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str | None:
        """Return the text at *key*, which is one of *allowed*.

        Args:
            key: What to read.
            allowed: What it may be.
            default: Returned where it is absent; None makes the key needed.
        """
        if not self.has(key) and default is not None:
            self._asked.add(key)
            return default
        value = self.text(key, needed=True)
        if value is not None and value not in allowed:
            names = " or ".join(f'"{name}"' for name in allowed)
            self.problem(key, f"must be {names}")
            return None
        return value

    def flag(self, key: str) -> bool:
        """Return the boolean at *key*; absent or wrong is False."""
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._wrong_type(key, "true or false", value)
        return False

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """Return the whole number at *key*, within its range."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong_type(key, "a whole number", value)
            return default
        if not least <= value <= most:
            self.problem(key, f"must be from {least} to {most}")
            return default
        return value

    def seconds(self, key: str, default: float, *, zero: bool = False) -> float:
        """Return the span of time at *key*, in seconds; at most a week.

        Args:
            key: What to read.
            default: Returned where it is absent or wrong.
            zero: Whether it may be 0.
        """
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong_type(key, "a number of seconds", value)
            return default
        if not is_span(value, zero=zero):
            self.problem(key, SPAN_WITH_ZERO if zero else SPAN)
            return default
        return float(value)

    def instant(self, key: str) -> float | None:
        """Return the moment at *key* as seconds since 1970, or None."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            self.problem(key, "must be a date and time with its offset, as 2027-01-31T00:00:00Z")
            return None
        return (value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()

    def digest(self, key: str, *, needed: bool = False) -> bytes | None:
        """Return the SHA-256 at *key*, 32 bytes, or None where it is absent or wrong."""
        value = self.text(key, needed=needed)
        if value is None:
            return None
        if not _DIGEST.fullmatch(value):
            self.problem(key, "must be the SHA-256 of the key in 64 hex digits, not the key")
            return None
        return bytes.fromhex(value)

    def price(self, key: str, *, needed: bool = False) -> Decimal | None:
        """Return the amount of USD at *key*, or None where it is absent or wrong.

        It is written as text: TOML's numbers with a point cannot hold every price.
        """
        value = self._take(key, needed=needed)
        if value is None:
            return None
        if not isinstance(value, str) or not _PRICE.fullmatch(value):
            self.problem(key, 'must be an amount of USD in quotes, such as "1.25"')
            return None
        return Decimal(value)

    def table(self, key: str, *, needed: str = "") -> Table | None:
        """Return the table at *key*, or None where it is absent or wrong.

        Args:
            key: What to read.
            needed: What to say where it is absent; empty where it may be.
        """
        value = self._take(key)
        if value is None:
            if needed:
                self.problem(key, needed)
            return None
        if not isinstance(value, dict):
            if key == "credential" and isinstance(value, str):
                self.problem(key, NO_SECRETS_HERE)
            else:
                self._wrong_type(key, "a table", value)
            return None
        inner = f"{self.name[1:-1]}.{_shown(key)}" if self.name else _shown(key)
        return Table(self.file, f"[{inner}]", value, self.findings)

    def tables(self, key: str) -> list[Table]:
        """Return the tables of the array at *key*, none where it is absent or wrong."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self.problem(None, f"`{_shown(key)}` must be written as [[{_shown(key)}]]")
            return []
        return [
            Table(self.file, f"[[{key}]] number {number}", row, self.findings)
            for number, row in enumerate(value, 1)
        ]

    def keys(self) -> list[str]:
        """Return every key that nobody took yet."""
        return list(self._raw)

    def close(self) -> None:
        """Note every key that nobody took: it is unknown."""
        what = "key" if self.name else "table or key"
        for key in self._raw:
            if key in _LATER:
                self.problem(key, COMES_LATER)
            elif key in _RAW_SECRET and self.name:
                self.problem(key, NO_SECRETS_HERE)
            else:
                from difflib import get_close_matches  # 0.2 MB, which a good file needs not

                close = get_close_matches(key, self._asked, 1)
                self.problem(key, f"unknown {what}" + (f", perhaps `{close[0]}`?" if close else ""))

    def _take(self, key: str, *, needed: bool = False) -> object:
        self._asked.add(key)
        if needed and key not in self._raw:
            self.problem(key, "is missing")
        return self._raw.pop(key, None)

    def _wrong_type(self, key: str, wanted: str, value: object) -> None:
        got = _TYPE_NAMES.get(type(value), "a date or time")
        self.problem(key, f"must be {wanted}, not {got}")

    def _place(self, key: str | None) -> str:
        table = f" {self.name}" if self.name else ""
        if key is None:
            return f"{self.file}:{table}{':' if table else ''} "
        return f"{self.file}:{table} {_shown(key)}: "


def _shown(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _printable(text: str) -> str:
    """Return *text* without what a terminal would obey, such as in a path."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
