"""A coroutine that callbacks drive runs as a task would run it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passgate.edge.wire.drive import Drive, Wait
from passgate.gateway.interfaces import Rest


class Seen:
    """What happened, in order; and whether it has ended."""

    def __init__(self) -> None:
        self.steps: list[object] = []
        self.ends: list[Exception | None] = []

    def drive(self, coro: Coroutine[Any, Any, Rest | None]) -> Drive:
        """Start *coro*."""
        drive = Drive()
        drive.run(coro, self.ends.append)
        return drive


async def _steps(seen: Seen, *waits: Wait[int]) -> None:
    for wait in waits:
        try:
            seen.steps.append(await wait)
        except KeyError as error:
            seen.steps.append(error.args[0])


@pytest.mark.parametrize("before", [True, False])
def test_value(before: bool) -> None:  # noqa: FBT001  a column
    """A value may be there before anybody waits, or come later: the same happens."""
    seen, one, other = Seen(), Wait[int](), Wait[int]()
    if before:
        one.fire(1)
        other.fire(2)
    seen.drive(_steps(seen, one, other))
    one.fire(1)
    other.fire(2)

    assert ([1, 2], [None]) == (seen.steps, seen.ends)


def test_runs_in_the_stack_of_who_fires() -> None:
    """There is no turn between the value and the step that it allows."""
    seen, wait = Seen(), Wait[int]()
    seen.drive(_steps(seen, wait))
    before = list(seen.steps)
    wait.fire(1)

    assert ([], [1]) == (before, seen.steps)


def test_second_value_changes_nothing() -> None:
    """A value comes once; what comes later, also a failure, is too late."""
    seen, wait = Seen(), Wait[int]()
    wait.fire(1)
    wait.fire(2)
    wait.fail(KeyError("late"))
    seen.drive(_steps(seen, wait))

    assert [1] == seen.steps


def test_failure() -> None:
    """A failure is raised where it was waited for."""
    seen, one, other = Seen(), Wait[int](), Wait[int]()
    one.fail(KeyError("early"))
    one.fire(1)
    seen.drive(_steps(seen, one, other))
    other.fail(KeyError("later"))

    assert (["early", "later"], [None]) == (seen.steps, seen.ends)


def test_escaped() -> None:
    """What nobody catches is handed to who reports it."""
    seen, wait = Seen(), Wait[int]()
    seen.drive(_steps(seen, wait))
    error = ValueError()
    wait.fail(error)

    assert [error] == seen.ends


def test_throw() -> None:
    """What is thrown is raised where the coroutine waits; the value it waited for is too late."""
    seen, one, other = Seen(), Wait[int](), Wait[int]()
    drive = seen.drive(_steps(seen, one, other))
    drive.throw(KeyError("thrown"))
    one.fire(1)
    other.fire(2)

    assert (["thrown", 2], [None]) == (seen.steps, seen.ends)


def test_throw_while_running() -> None:
    """What is thrown by a callback of the running step is raised where it waits next."""
    seen, wait = Seen(), Wait[int]()
    drives: list[Drive] = []

    async def throws() -> None:
        seen.steps.append("before")
        drives[0].throw(KeyError("first"))
        seen.steps.append("goes on")
        await _steps(seen, wait)
        drives[0].throw(KeyError("second"))
        await _steps(seen, wait)

    drives.append(Drive())
    drives[0].run(throws(), seen.ends.append)

    assert ["before", "goes on", "first", "second"] == seen.steps
    assert [None] == seen.ends


def test_throw_while_running_to_the_end() -> None:
    """Who waits no more is spared what was thrown, and so is who comes next."""
    seen, wait = Seen(), Wait[int]()
    drives: list[Drive] = []

    async def ends() -> None:
        drives[0].throw(KeyError("too late"))

    drives.append(Drive())
    drives[0].run(ends(), seen.ends.append)
    drives[0].run(_steps(seen, wait), seen.ends.append)
    wait.fire(1)

    assert ([1], [None, None]) == (seen.steps, seen.ends)


def test_wait_of_its_own_for_each() -> None:
    """Two coroutines on two waits do not wake each other."""
    one, other = Seen(), Seen()
    first, second = Wait[int](), Wait[int]()
    one.drive(_steps(one, first))
    other.drive(_steps(other, second))
    second.fire(2)

    assert ([], [2]) == (one.steps, other.steps)


async def test_futures_and_tasks() -> None:
    """A future or a task can be waited for as well, from any number of places."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    async def slowly() -> int:
        await asyncio.sleep(0)
        return 2

    task = loop.create_task(slowly())
    seens = [Seen(), Seen()]

    async def waits(seen: Seen) -> None:
        seen.steps.append(await future)
        seen.steps.append(await task)

    for seen in seens:
        seen.drive(waits(seen))
    future.set_result(1)
    await task
    await asyncio.sleep(0)

    assert [[1, 2], [1, 2]] == [seen.steps for seen in seens]
    assert [[None], [None]] == [seen.ends for seen in seens]


async def test_throw_while_a_task_is_waited_for() -> None:
    """Who is stopped leaves the task alone, which others may wait for."""
    seen = Seen()
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def waits() -> None:
        try:
            await future
        except KeyError as error:
            seen.steps.append(error.args[0])

    seen.drive(waits()).throw(KeyError("thrown"))
    future.set_result(1)
    await asyncio.sleep(0)

    assert (["thrown"], [None]) == (seen.steps, seen.ends)


events = st.lists(
    st.tuples(st.sampled_from(["fire", "fail", "throw"]), st.integers(0, 3)), max_size=10
)


@given(events)
def test_any_order(order: list[tuple[str, int]]) -> None:
    """Whatever comes in whatever order, each wait gives one thing, and the end comes once."""
    seen, waits = Seen(), [Wait[int]() for _ in range(4)]
    drive = seen.drive(_steps(seen, *waits))
    first: dict[int, object] = {}
    expected: list[object] = []

    def catch_up(thrown: object = None) -> None:
        if thrown is not None and len(expected) < len(waits):
            expected.append(thrown)
        while len(expected) < len(waits) and len(expected) in first:
            expected.append(first[len(expected)])

    for number, (what, at) in enumerate(order):
        name = f"{what} {number}"
        if what == "throw":
            if seen.ends:
                continue  # nobody runs, and a connection knows that
            drive.throw(KeyError(name))
            catch_up(name)
            continue
        if what == "fire":
            waits[at].fire(number)
        else:
            waits[at].fail(KeyError(name))
        first.setdefault(at, number if what == "fire" else name)
        catch_up()

    assert expected == seen.steps
    assert ([None] if len(expected) == len(waits) else []) == seen.ends


@pytest.mark.parametrize("thrown", [None, KeyError("left")])
def test_rest(thrown: Exception | None) -> None:
    """What a coroutine returns is called when it is gone; it has not ended, but may be to end."""
    seen, wait, told = Seen(), Wait[int](), list[tuple[Exception | None, bool]]()

    async def leaves() -> Rest:
        await wait
        if thrown is not None:
            drive.throw(thrown)  # while it runs
        return lambda error: told.append((error, drive.coro is None))

    drive = seen.drive(leaves())
    wait.fire(1)
    drive.throw(KeyError("late"))

    assert ([(thrown, True)], []) == (told, seen.ends)
