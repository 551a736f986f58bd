"""Wait for work that was given to a thread. A call that is cancelled does not end before its work has."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


async def result_of(future: Future[Result]) -> Result:
    """Return what a future returns, or raise what it raises. If the caller is cancelled, see `leave`."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        await leave(future)
        raise
    finally:
        del future  # its error's traceback holds this frame, which would hold the caller's request until a full collection


async def leave(future: Future[Any]) -> None:
    """Cancel a future. If it runs already, wait until it has ended, however often the caller is cancelled meanwhile.

    Until then it holds a thread and the caller's data, so the caller's place and memory are not free.
    """
    future.cancel()
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await asyncio.wrap_future(future)
