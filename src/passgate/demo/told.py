"""What the simulated upstream has told of usage: the sums that a meter should come to.

Taken from the parts of a body as they are sent, so of a stream that was cut it is what had
been said by then. A coded body is not read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from passgate.demo.content import Json

_PLAIN = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


class Told:
    """Sums over many answers.

    Attributes:
        answers: How many answers told anything.
        tokens: Sums by the names of the API.
    """

    def __init__(self) -> None:
        self.answers = 0
        self.tokens: Counter[str] = Counter()

    def add(self, usage: Json) -> None:
        """Take what one answer told in all."""
        if usage:
            self.answers += 1
            self.tokens.update({name: tokens for name, tokens in usage.items() if tokens})


def usage_in(part: bytes) -> dict[str, int]:
    """Return the counts that *part* of a body tells: of a message, or of whole events."""
    told: dict[str, int] = {}
    for value in _objects(part) if b'"usage"' in part else ():
        message = value.get("message")
        usage = (message if isinstance(message, dict) else value).get("usage")
        told.update(_counts(usage) if isinstance(usage, dict) else {})
    return told


def _objects(part: bytes) -> Iterator[Json]:
    lines = [part] if part.startswith(b"{") else part.splitlines()
    for line in lines:
        try:
            value = json.loads(line.removeprefix(b"data: "))
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _counts(usage: Json) -> Iterator[tuple[str, int]]:
    for name, value in usage.items():
        if name in _PLAIN and isinstance(value, int):
            yield name, value
        elif isinstance(value, dict):
            yield from ((key, n) for key, n in value.items() if isinstance(n, int))
