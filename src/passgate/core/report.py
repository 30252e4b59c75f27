"""What a report tells of a ledger: sums by group, cache savings, percentiles, the agents' tree.

Sums come from the ledger as rows, labels first and counters last; nothing here knows SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from heapq import nsmallest
from itertools import accumulate
from operator import add, itemgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from passgate.core.pricing import Rates, nano_usd

_MILLION = 1_000_000


class Sums(msgspec.Struct, frozen=True):
    """What the exchanges of one group came to.

    Attributes:
        requests: Exchanges of known clients.
        errors: Those that were answered with an error, or broke.
        metered: Those of which anything is known that they consumed.
        partial: Metered ones whose end was not told, so that their output may be an estimate.
        cost_nusd: Of those that have a price.
        approximate: Priced ones whose price is a guess.
        unpriced: Metered ones without a price.
        unpriced_output_tokens: Their output.
        saved_nusd: What caching saved, at the usual rates of each model; less than nothing
            where more was written than was worth it.
        hour_nusd: What the cache entries that live an hour cost more than ones of five minutes.
        unsaved: Metered ones that the two above leave out, since no rates are known.
    """

    requests: int = 0
    errors: int = 0
    metered: int = 0
    partial: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    thinking_tokens: int = 0
    web_searches: int = 0
    cost_nusd: int = 0
    approximate: int = 0
    unpriced: int = 0
    unpriced_output_tokens: int = 0
    saved_nusd: int = 0
    hour_nusd: int = 0
    unsaved: int = 0

    @property
    def whole_input_tokens(self) -> int:
        """All input, whatever a cache had to do with it."""
        written = self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.input_tokens + self.cache_read_tokens + written

    @property
    def hit_share(self) -> float | None:
        """How much of the input was read from a cache, or None without any input."""
        whole = self.whole_input_tokens
        return self.cache_read_tokens / whole if whole else None

    @property
    def known_cost_nusd(self) -> int | None:
        """The cost, or None where nothing has a price; without consumption it is nothing."""
        return None if self.unpriced and self.unpriced == self.metered else self.cost_nusd

    @property
    def known_saved_nusd(self) -> int | None:
        """What caching saved, or None where no rates are known of what was consumed."""
        return None if self.unsaved and self.unsaved == self.metered else self.saved_nusd


COUNTERS = Sums.__struct_fields__[:-3]
"""What the ledger counts; the rest is computed here."""


_METERED, _READ, _FIVE, _HOUR = map(
    COUNTERS.index,
    ("metered", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
)


class Row(NamedTuple):
    """The sums of some exchanges of one model that share their labels.

    Attributes:
        labels: Client, or session, agent and its parent.
        day: When they began, in UTC, counted from 1970.
        upstream: Where they went.
        model: Which model served, empty where that is not known.
        counters: In the order of :data:`COUNTERS`.
    """

    labels: tuple[str | None, ...]
    day: int
    upstream: str
    model: str
    counters: tuple[int, ...]


RatesOf = Callable[[Row], Rates | None]
K = TypeVar("K", bound=Hashable)


def fold(rows: Iterable[Row], key: Callable[[Row], K], rates_of: RatesOf) -> dict[K, Sums]:
    """Return the sums of *rows* by *key*; *rows* may be many, the keys are few."""
    sums: dict[K, tuple[int, ...]] = {}
    known: dict[tuple[str, int], Rates | None] = {}
    for row in rows:
        place = row.model, row.day
        if place not in known:
            known[place] = rates_of(row)
        added = (*row.counters, *_worth(row.counters, known[place]))
        before = sums.get(of := key(row))
        sums[of] = added if before is None else tuple(map(add, before, added))
    return {of: _sums(columns) for of, columns in sums.items()}


def _sums(columns: tuple[int, ...]) -> Sums:
    *counted, saved, longer, unsaved = columns
    rounded = nano_usd(saved * _MILLION), nano_usd(longer * _MILLION)
    return Sums(*(*counted, *rounded, unsaved))


def total(groups: Iterable[Sums]) -> Sums:
    """Return the sums of all *groups* together."""
    every = list(groups)
    if len(every) == 1:
        return every[0]
    columns = zip(*map(msgspec.structs.astuple, every), strict=True)
    return Sums(*map(sum, columns))


def _worth(counters: tuple[int, ...], rates: Rates | None) -> tuple[int, int, int]:
    """Return ``saved_nusd`` and ``hour_nusd`` of a row, a million times, and ``unsaved``."""
    if rates is None:
        return 0, 0, counters[_METERED]
    tier = rates.tiers[0]
    hour = counters[_HOUR]
    saved = (
        counters[_READ] * (tier.input_rate - tier.cache_read_rate)
        + counters[_FIVE] * (tier.input_rate - tier.cache_write_5m_rate)
        + hour * (tier.input_rate - tier.cache_write_1h_rate)
    )
    longer = hour * (tier.cache_write_1h_rate - tier.cache_write_5m_rate)
    return saved, longer, 0


# Time.

# What the ledger groups times by: sixteen steps to each doubling of 1/64 ms. A step is at most
# a sixteenth of what it begins with, so a percentile is off by less than that.
STEPS = 16
PER_MS = 64


def step_bounds_ms(step: int) -> tuple[float, float]:
    """Return where a step begins and where the next one does."""
    shift = max(0, step // STEPS - 1)
    begins = (step - STEPS * shift) << shift
    return begins / PER_MS, (begins + (1 << shift)) / PER_MS


def percentile_ms(times: Mapping[int, int], percent: float) -> float | None:
    """Return the time that *percent* of a hundred do not exceed, None without any.

    Args:
        times: Step -> how many took so long.
        percent: From 0 to 100.
    """
    if not times:
        return None
    wanted = sum(times.values()) * percent / 100
    steps = sorted(times)
    upto = accumulate(times[step] for step in steps)
    step, reached = next(each for each in zip(steps, upto, strict=True) if each[1] >= wanted)
    begins, ends = step_bounds_ms(step)
    before = reached - times[step]
    return begins + (ends - begins) * max(0.0, wanted - before) / times[step]


class Percentiles(NamedTuple):
    """Times in milliseconds, None where nothing was timed."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


NOT_TIMED = Percentiles()


def percentiles(times: Mapping[int, int]) -> Percentiles:
    """Return the percentiles that a report shows."""
    return Percentiles(*(percentile_ms(times, percent) for percent in (50, 95, 99)))


# The agents' tree.


class Branch(NamedTuple):
    """A session or an agent, with all that it started.

    Attributes:
        session: The session, or None for what was in none.
        agent: The agent, or None for the session as a whole.
        parent: Who started the agent, None for the session itself.
        depth: How far below the session.
        sums: Of it and of all below it.
    """

    session: str | None
    agent: str | None
    parent: str | None
    depth: int
    sums: Sums


Place = tuple[str | None, ...]


def tree(groups: Mapping[Place, Sums], most: int | None = None) -> list[Branch]:
    """Return sessions and their agents, the dearest first, each before what is below it.

    An agent whose parent is not there, or is below itself, stands below its session.

    Args:
        groups: (session, agent, parent) -> sums. An agent may have named several parents.
        most: How many sessions, or None for all.
    """
    sessions: dict[str | None, dict[str | None, dict[str | None, Sums]]] = {}
    for (session, agent, parent), sums in groups.items():
        sessions.setdefault(session, {}).setdefault(agent, {})[parent] = sums
    if most is not None and most < len(sessions):
        dear: dict[str | None, tuple[int, int]] = {}
        for (session, _, _), sums in groups.items():
            cost, requests = dear.get(session, (0, 0))
            dear[session] = cost + sums.cost_nusd, requests + sums.requests
        least = [
            (-cost, -requests, session or "", session) for session, (cost, requests) in dear.items()
        ]
        sessions = {
            each[3]: sessions[each[3]] for each in nsmallest(most, least, key=itemgetter(0, 1, 2))
        }
    trees = [_session(session, agents) for session, agents in sessions.items()]
    trees.sort(key=_dearest)
    return [branch for branches in trees for branch in branches]


def branches_of(groups: Iterable[Place]) -> int:
    """Return how many branches the whole tree of *groups* has."""
    agents = {place[:2] for place in groups}
    return len(agents | {(session, None) for session, _ in agents})


def _session(
    session: str | None, agents: Mapping[str | None, Mapping[str | None, Sums]]
) -> list[Branch]:
    own = {agent: total(parents.values()) for agent, parents in agents.items()}
    parents = {agent: _parent(agent, agents) for agent in agents if agent is not None}
    below: dict[str | None, list[str]] = {}
    for agent, parent in parents.items():
        below.setdefault(parent, []).append(agent)

    def grown(agent: str | None, depth: int) -> list[Branch]:
        branches = [grown(each, depth + 1) for each in below.get(agent, ())]
        branches.sort(key=_dearest)
        sums = total([own.get(agent, Sums()), *(each[0].sums for each in branches)])
        parent = None if agent is None else parents[agent]
        return [Branch(session, agent, parent, depth, sums), *(b for bs in branches for b in bs)]

    return grown(None, 0)


def _parent(
    agent: str | None, agents: Mapping[str | None, Mapping[str | None, Sums]]
) -> str | None:
    """Return the parent of *agent* by which it hangs on its session, None for the session."""
    parent = _said_parent(agent, agents)
    seen, above = {agent}, parent
    while above is not None:
        if above in seen:
            return None
        seen.add(above)
        above = _said_parent(above, agents)
    return parent


def _said_parent(
    agent: str | None, agents: Mapping[str | None, Mapping[str | None, Sums]]
) -> str | None:
    said = [parent for parent in agents[agent] if parent is not None and parent in agents]
    return min(said) if said else None


def _dearest(branches: list[Branch]) -> tuple[Any, ...]:
    first = branches[0]
    return (-first.sums.cost_nusd, -first.sums.requests, first.session or "", first.agent or "")
