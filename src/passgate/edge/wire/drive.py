"""Drive a coroutine from callbacks: no task, no future, no turn of the loop.

The ordinary exchange waits twice. A task would cost it a fifth of its time; here the
callback that brings an answer resumes the coroutine in its own stack.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from passgate.gateway.interfaces import Rest

T = TypeVar("T")


class Wait(Generic[T]):
    """A value that will come once, from a callback; one coroutine awaits it."""

    __slots__ = ("_done", "_error", "_value", "_wake")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._wake: Callable[[Any], None] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            yield self
        return self.result()

    def result(self) -> T:
        """Return the value, which is there, or raise."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # fire was called, or fail

    def add_done_callback(self, wake: Callable[[Any], None]) -> None:
        """Have *wake* called when the value is there; futures have the same method."""
        self._wake = wake
        if self._done:
            wake(self)

    def fire(self, value: T) -> None:
        """Bring the value. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._value = value
            if self._wake is not None:
                self._wake(self)

    def fail(self, error: Exception) -> None:
        """Raise *error* in who awaits. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._error = error
            if self._wake is not None:
                self._wake(self)


class Drive:
    """Run coroutines to their end, one after the other, resumed by whatever they await.

    What is left to be done may go on without a coroutine, which takes up a kilobyte: it
    returns a function of what was thrown meanwhile, and that is called in its place.

    Attributes:
        coro: The one that runs, or None. It may await a :class:`Wait`, a future or a task.
    """

    __slots__ = ("_awaited", "_ended", "_pending", "coro")

    def __init__(self) -> None:
        self.coro: Any = None  # the abstract type does not know cr_running
        self._ended: Callable[[Exception | None], None] = _lost
        self._awaited: object = None
        self._pending: Exception | None = None

    def run(
        self, coro: Coroutine[Any, Any, Rest | None], ended: Callable[[Exception | None], None]
    ) -> None:
        """Run *coro* until its first wait; the one before has ended.

        Args:
            coro: What to run.
            ended: Called when it has ended and nothing goes on, with the exception that
                escaped it, or None.
        """
        self.coro, self._ended = coro, ended
        self._step(None)

    def throw(self, error: Exception) -> None:
        """Raise *error* where the coroutine waits; if it is running, where it waits next."""
        if self.coro is None:
            return
        if self.coro.cr_running:
            self._pending = error
        else:
            self._awaited = None
            self._step(error)

    def _resume(self, awaited: object) -> None:
        if awaited is self._awaited:  # else it comes too late: something was thrown
            self._awaited = None
            self._step(None)

    def _step(self, error: Exception | None) -> None:
        coro = self.coro
        try:
            awaited = coro.send(None) if error is None else coro.throw(error)
            while self._pending is not None:
                error, self._pending = self._pending, None
                awaited = coro.throw(error)
        except StopIteration as stop:
            if stop.value is None:
                self._end(None)
            else:
                error = self._pending
                self._forget()
                stop.value(error)
        except Exception as escaped:  # noqa: BLE001  handed on to who reports it
            self._end(escaped)
        else:
            self._awaited = awaited
            if awaited.__class__ is not Wait:
                # As a task does: else a second one that awaits this future would fail.
                awaited._asyncio_future_blocking = False  # noqa: SLF001  asyncio's protocol
            awaited.add_done_callback(self._resume)

    def _end(self, escaped: Exception | None) -> None:
        ended = self._ended
        self._forget()
        ended(escaped)

    def _forget(self) -> None:
        self._ended = _lost  # whom it runs for must not be held by it
        self.coro = self._pending = None


def _lost(_: Exception | None) -> None:
    """Nothing runs."""
