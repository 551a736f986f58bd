"""Await the engine's results on the event loop, which is woken once for all that are set back to back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from avizor_service.leaving import leave

Result = TypeVar("Result")


class EngineResults:
    """Brings results from threads of an engine to the event loop that creates it.

    `asyncio.wrap_future` does so too. It wakes the loop for each future, which for a batch of 32 calls is a system call and a
    change of threads for each of them.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._woken = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that the results are brought to."""
        return self._loop

    async def result(self, future: Future[Result]) -> Result:
        """Return what the future returns, or raise what it raises. If the caller is cancelled, so is the future.

        A future that runs, and so cannot be cancelled, is waited for.
        """
        waiter: asyncio.Future[Result] = self._loop.create_future()
        future.add_done_callback(partial(self._arrived, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            await leave(future)
            raise
        finally:
            del waiter, future  # an error's traceback holds this frame, which would hold the request until a full collection

    def _arrived(self, waiter: asyncio.Future[Any], future: Future[Any]) -> None:
        """Take note of a result, in the thread that set it."""
        self._done.append((waiter, future))
        # The order matters: `_deliver` lowers the flag before it looks for results, so none is left behind.
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._done:
            waiter, future = self._done.popleft()
            if waiter.done():  # its call was cancelled
                continue
            if future.cancelled():
                waiter.cancel()
            elif error := future.exception():
                waiter.set_exception(error)
            else:
                waiter.set_result(future.result())
