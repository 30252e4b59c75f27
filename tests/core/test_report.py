"""What a report tells: sums by group, what caching saved, percentiles, the agents' tree."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.core import pricing, report
from passgate.core.pricing import Override, Rates
from passgate.core.report import Branch, Percentiles, Row, Sums

[OPUS] = pricing.schedule_of_override(
    Override("anthropic", "m", Decimal(4), Decimal(20), Decimal("0.2"), Decimal(5), Decimal(8))
)


def row(label: str, counts: dict[str, int]) -> Row:
    """Return a row with these counters."""
    counters = tuple(counts.get(name, 0) for name in report.COUNTERS)
    return Row((label,), 20_000, "claude", "m", counters)


def label(each: Row) -> str | None:
    """Return what the tests group by."""
    return each.labels[0]


def no_rates(_: Row) -> Rates | None:
    """Know no price."""
    return None


# Sums.


def test_counters() -> None:
    """The ledger counts all but what hangs on rates."""
    assert ("saved_nusd", "hour_nusd", "unsaved") == Sums.__struct_fields__[-3:]
    assert Sums.__struct_fields__[:-3] == report.COUNTERS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99), st.integers(0, 99))))
def test_fold(given_: list[tuple[str, int, int]]) -> None:
    """Every row is in one group, once."""
    rows = [row(name, {"requests": one, "cost_nusd": other}) for name, one, other in given_]
    got = report.fold(rows, label, no_rates)
    expected = {
        each: (
            sum(one for name, one, _ in given_ if name == each),
            sum(other for name, _, other in given_ if name == each),
        )
        for each in {name for name, _, _ in given_}
    }

    assert expected == {each: (sums.requests, sums.cost_nusd) for each, sums in got.items()}
    assert sum(one for _, one, _ in given_) == report.total(got.values()).requests


def test_saved() -> None:
    """A read costs less than input, a write more: what that came to, summed up unrounded."""
    counts = {
        "metered": 2,
        "cache_read_tokens": 50_000,
        "cache_write_5m_tokens": 1000,
        "cache_write_1h_tokens": 2000,
    }
    [known] = report.fold([row("a", counts)] * 3, label, lambda _: OPUS).values()
    [unknown] = report.fold([row("a", counts)] * 3, label, no_rates).values()

    assert 3 * (50_000 * 3800 - 1000 * 1000 - 2000 * 4000) == known.saved_nusd
    assert 3 * 2000 * 3000 == known.hour_nusd
    assert (0, 0, 6, None) == (
        unknown.saved_nusd,
        unknown.hour_nusd,
        unknown.unsaved,
        unknown.known_saved_nusd,
    )
    assert (0, known.saved_nusd) == (known.unsaved, known.known_saved_nusd)


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        (Sums(), (None, 0, 0)),
        (Sums(metered=2, unpriced=2, unsaved=2), (None, None, None)),
        (Sums(metered=2, unpriced=1, unsaved=1, cost_nusd=7, saved_nusd=3), (None, 7, 3)),
        (Sums(metered=1, input_tokens=1, cache_read_tokens=3), (0.75, 0, 0)),
        (
            Sums(input_tokens=1, cache_write_5m_tokens=1, cache_write_1h_tokens=2),
            (0.0, 0, 0),
        ),
    ],
)
def test_known(sums: Sums, expected: tuple[float | None, int | None, int | None]) -> None:
    """What is not known is not nothing."""
    assert expected == (sums.hit_share, sums.known_cost_nusd, sums.known_saved_nusd)


def test_total() -> None:
    """Of nothing it is nothing, of one that one."""
    one = Sums(requests=1, unsaved=2)

    assert Sums() == report.total([])
    assert one == report.total([one])
    assert Sums(requests=2, unsaved=4) == report.total([one, one])


# Time.


@given(st.integers(0, 2**36))
def test_steps(units: int) -> None:
    """Every time is in the step that says so, and no step is wider than a sixteenth."""
    shift = max(0, units.bit_length() - 5)
    begins_ms, ends_ms = report.step_bounds_ms((units >> shift) + report.STEPS * shift)

    assert begins_ms <= units / report.PER_MS < ends_ms
    assert ends_ms - begins_ms <= max(1 / report.PER_MS, begins_ms / report.STEPS)


def test_no_times() -> None:
    """Without any time there is no percentile."""
    assert Percentiles(None, None, None) == report.percentiles({}) == report.NOT_TIMED


@given(st.lists(st.integers(0, 2**20), min_size=1), st.sampled_from([0, 1, 50, 95, 99, 100]))
def test_percentiles(times: list[int], percent: int) -> None:
    """A percentile is off from the one of all times by less than the width of a step."""
    steps: dict[int, int] = {}
    for each in times:
        shift = max(0, each.bit_length() - 5)
        step = (each >> shift) + report.STEPS * shift
        steps[step] = steps.get(step, 0) + 1
    exact = sorted(times)[max(0, -(-len(times) * percent // 100) - 1)] / report.PER_MS
    got = report.percentile_ms(steps, percent)

    assert got is not None
    assert abs(got - exact) <= max(1 / report.PER_MS, exact / report.STEPS)


# The tree.


def branches(*groups: tuple[Any, ...]) -> list[tuple[str | None, str | None, int, int]]:
    """Return session, agent, depth and requests of each line of the tree of *groups*."""
    found = report.tree({group[:3]: Sums(requests=1, cost_nusd=group[3]) for group in groups})
    return [(each.session, each.agent, each.depth, each.sums.requests) for each in found]


TREES = [
    pytest.param([], [], id="nothing"),
    pytest.param([(None, None, None, 1)], [(None, None, 0, 1)], id="in no session"),
    pytest.param(
        [("s", None, None, 1), ("t", None, None, 2)],
        [("t", None, 0, 1), ("s", None, 0, 1)],
        id="the dearest first",
    ),
    pytest.param(
        [("s", None, None, 1), ("s", "a", None, 1), ("s", "b", "a", 1), ("s", "c", "a", 2)],
        [("s", None, 0, 4), ("s", "a", 1, 3), ("s", "c", 2, 1), ("s", "b", 2, 1)],
        id="below one another, with all below",
    ),
    pytest.param(
        [("s", "a", None, 1)], [("s", None, 0, 1), ("s", "a", 1, 1)], id="a session of agents"
    ),
    pytest.param(
        [("s", "a", "gone", 1)],
        [("s", None, 0, 1), ("s", "a", 1, 1)],
        id="a parent that is not there",
    ),
    pytest.param(
        [("s", "a", "b", 1), ("s", "b", "a", 1)],
        [("s", None, 0, 2), ("s", "a", 1, 1), ("s", "b", 1, 1)],
        id="each below the other",
    ),
    pytest.param([("s", "a", "a", 1)], [("s", None, 0, 1), ("s", "a", 1, 1)], id="its own parent"),
    pytest.param(
        [("s", "a", None, 1), ("s", "b", None, 1), ("s", "b", "a", 1)],
        [("s", None, 0, 3), ("s", "a", 1, 3), ("s", "b", 2, 2)],
        id="a parent that was not always told",
    ),
    pytest.param(
        [("s", "a", None, 1), ("t", "b", "a", 1)],
        [("s", None, 0, 1), ("s", "a", 1, 1), ("t", None, 0, 1), ("t", "b", 1, 1)],
        id="a parent of another session",
    ),
]


@pytest.mark.parametrize(("groups", "expected"), TREES)
def test_tree(groups: list[tuple[Any, ...]], expected: list[Any]) -> None:
    """Agents stand below who started them, sessions above all of theirs."""
    assert expected == branches(*groups)


_NAMES = st.sampled_from(["a", "b", "c", "d", None])


@given(st.dictionaries(st.tuples(st.sampled_from("st"), _NAMES, _NAMES), st.integers(1, 9)))
def test_any_tree(groups: dict[tuple[str, str | None, str | None], int]) -> None:
    """Whoever names whom as parent: each is there once, and sessions have all there is."""
    found = report.tree({group: Sums(requests=many) for group, many in groups.items()})
    agents = {(session, agent) for session, agent, _ in groups}

    assert len(found) == len({(each.session, each.agent) for each in found})
    assert agents <= {(each.session, each.agent) for each in found}
    assert sum(groups.values()) == sum(each.sums.requests for each in found if not each.depth)
    assert len(found) == report.branches_of(groups)


@given(
    st.dictionaries(st.tuples(st.sampled_from("stuv"), _NAMES, _NAMES), st.integers(1, 3)),
    st.integers(0, 5),
)
def test_dearest_of_a_tree(
    groups: dict[tuple[str, str | None, str | None], int], most: int
) -> None:
    """Of many sessions only the dearest may be wanted: they are the first of the whole tree."""
    sums: dict[report.Place, Sums] = {
        group: Sums(requests=many, cost_nusd=many % 2) for group, many in groups.items()
    }
    whole, found = report.tree(sums), report.tree(sums, most)
    roots = [at for at, branch in enumerate(whole) if not branch.depth] + [len(whole)]

    assert whole[: roots[min(most, len(roots) - 1)]] == found


def test_branch_says_its_parent() -> None:
    """A branch names who started it."""
    groups: dict[report.Place, Sums] = {("s", "a", None): Sums(), ("s", "b", "a"): Sums()}
    found: list[Branch] = report.tree(groups)

    assert [(None, 0), (None, 1), ("a", 2)] == [(each.parent, each.depth) for each in found]
    assert msgspec.structs.astuple(Sums()) == msgspec.structs.astuple(found[0].sums)
