"""Drive a coroutine from callbacks: no task, no future, no turn of the loop.

The ordinary exchange waits twice. A task would cost it a fifth of its time; here the
callback that brings an answer resumes the coroutine in its own stack.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

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
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # fire was called, or fail

    def add_done_callback(self, wake: Callable[[Any], None]) -> None:
        """Have *wake* called when the value is there; futures have the same method."""
        self._wake = wake

    def fire(self, value: T) -> None:
        """Bring the value. Later calls change nothing."""
        if not self._done:
            self._value = value
            self._finish()

    def fail(self, error: Exception) -> None:
        """Raise *error* in who awaits. Later calls change nothing."""
        if not self._done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self._done = True
        if self._wake is not None:
            self._wake(self)


class Drive:
    """Run one coroutine to its end, resumed by whatever it awaits.

    Args:
        coro: May await a :class:`Wait`, a future or a task.
        ended: Called when it has ended, with the exception that escaped it, or None.
    """

    __slots__ = ("_awaited", "_coro", "_ended", "_pending")

    def __init__(
        self, coro: Coroutine[Any, Any, None], ended: Callable[[Exception | None], None]
    ) -> None:
        self._coro: Any = coro  # the abstract type does not know cr_running
        self._ended = ended
        self._awaited: object = None
        self._pending: Exception | None = None

    def start(self) -> None:
        """Run until the first wait."""
        self._step(None)

    def throw(self, error: Exception) -> None:
        """Raise *error* where the coroutine waits; if it is running, where it waits next."""
        if self._coro.cr_running:
            self._pending = error
        else:
            self._awaited = None
            self._step(error)

    def _resume(self, awaited: object) -> None:
        if awaited is self._awaited:  # else it comes too late: something was thrown
            self._awaited = None
            self._step(None)

    def _step(self, error: Exception | None) -> None:
        try:
            awaited = self._coro.send(None) if error is None else self._coro.throw(error)
            while self._pending is not None:
                error, self._pending = self._pending, None
                awaited = self._coro.throw(error)
        except StopIteration:
            self._ended(None)
        except Exception as escaped:  # noqa: BLE001  handed on to who reports it
            self._ended(escaped)
        else:
            self._awaited = awaited
            if awaited.__class__ is not Wait:
                # As a task does: else a second one that awaits this future would fail.
                awaited._asyncio_future_blocking = False  # noqa: SLF001  asyncio's protocol
            awaited.add_done_callback(self._resume)
