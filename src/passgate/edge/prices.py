"""Prices are looked up by a child process, which this module starts, asks and ends.

The child is ``price_child.py``. It lives as long as there are questions and a little longer;
where it fails, records wait for their price, and nothing else.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from passgate.core import pricing
from passgate.core.exchange import Record
from passgate.core.pricebook import PriceBook, Prices
from passgate.core.pricing import Key, Quote
from passgate.gateway.interfaces import Tasks

# -I: no environment variable, no user's packages and no working directory lead it astray.
COMMAND = (sys.executable, "-I", str(Path(__file__).with_name("price_child.py")))

_GATHER_S = 0.25  # models come several at a time, and a start has better things to do
_ANSWER_S = 20.0  # a machine under load takes its time to load the list
_IDLE_S = 2.0  # it takes as much memory as the gateway
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Quote)


class ChildFailed(Exception):
    """The child did not answer, or not sensibly."""


class PriceLookup:
    """A pricer: see ``interfaces.Pricer``. What it does not know it finds out.

    Args:
        book: What is known.
        tasks: Owns the one task, which runs while there is something to ask.
        late: Told of prices that were found after their record was handed on.
        notice: Told when prices cannot be looked up, once.
        command: Starts the child.
    """

    def __init__(
        self,
        book: PriceBook,
        tasks: Tasks,
        late: Callable[[Prices], None],
        notice: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.book = book
        self._tasks = tasks
        self._late = late
        self._notice = notice
        self._command = tuple(command)
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told = False

    def __call__(self, records: Sequence[Record]) -> None:
        """Price *records*, and have asked for what that needs."""
        self.book(records)
        self.wake()

    def wake(self) -> None:
        """See to it that what the book asks for is looked up."""
        if not self.book.asks:
            return
        self._more.set()
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._look_up(), "look prices up")

    async def _look_up(self) -> None:
        """Ask until nothing is left to ask; wait longer after each failure."""
        await asyncio.sleep(_GATHER_S)
        retry_s = _FIRST_RETRY_S
        while self.book.asks:
            try:
                async with self._child() as child:
                    await self._converse(child)
            except (ChildFailed, OSError) as error:
                if not self._told:
                    self._told = True
                    self._notice(
                        "prices cannot be looked up, so costs are pending; it is tried again "
                        f"({type(error).__name__}: {error})"
                    )
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[asyncio.subprocess.Process]:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # it is told no secret
            start_new_session=True,  # Ctrl-C is for the gateway, which drains first
        )
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.kill()
            await child.communicate()

    async def _converse(self, child: asyncio.subprocess.Process) -> None:
        """Ask one question after the other; return when none has come for a while.

        Raises:
            ChildFailed: It did not answer.
        """
        while True:
            self._more.clear()
            while self.book.asks:
                key = next(iter(self.book.asks))
                try:
                    schedule = await _asked(child, key)
                except ChildFailed:
                    self.book.put_off(key)  # it may be this question that it cannot take
                    raise
                for prices in self.book.learn(key, schedule):
                    if prices:
                        self._late(prices)
                    await asyncio.sleep(0)  # the others have their turn
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._more.wait()
            except TimeoutError:
                return


def look_up(keys: Sequence[Key]) -> dict[Key, pricing.Schedule]:
    """Return the rates of *keys*, for a command, which may wait; empty where that fails."""
    lines = b"\n".join(map(_question, keys))
    try:
        done = subprocess.run(  # noqa: S603  our own
            COMMAND, input=lines, capture_output=True, env={}, timeout=_ANSWER_S, check=True
        )
        quotes = [_decoder.decode(line) for line in done.stdout.splitlines()]
        found = zip(keys, quotes, strict=True)
        return {key: pricing.schedule_of(key, quote) for key, quote in found}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


async def _asked(child: asyncio.subprocess.Process, key: Key) -> pricing.Schedule:
    """Return what the child knows of *key*.

    Raises:
        ChildFailed: It did not answer, or not sensibly.
    """
    if child.stdin is None or child.stdout is None:
        raise ChildFailed("it has no pipes")
    try:
        async with asyncio.timeout(_ANSWER_S):
            child.stdin.write(_question(key) + b"\n")
            await child.stdin.drain()
            line = await child.stdout.readline()
        return pricing.schedule_of(key, _decoder.decode(line))
    except TimeoutError:
        raise ChildFailed("it does not answer") from None
    except (OSError, ValueError):
        raise ChildFailed("it ended, or answered nonsense") from None


def _question(key: Key) -> bytes:
    return _encoder.encode(
        {
            "provider": key.provider,
            "model": pricing.plain_name(key.model),
            "context": pricing.context_of(key),
        }
    )
