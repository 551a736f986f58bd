"""Run in threads what would wait on the event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from avizor_service.leaving import result_of

Result = TypeVar("Result")

# Work on so many bytes, such as a copy or a check of a tensor, is done on the event loop: it takes less time than the way to a
# thread and back. More would hold up the other calls.
LIGHT_BYTES = 1 << 20


@dataclass(frozen=True)
class Threads:
    """Holds a pool of threads that may wait for a disk or an engine.

    If the caller is cancelled, what has not begun is not done, and what runs is waited for.
    """

    waiting: Executor

    async def wait_for(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return `function(*arguments)`, run by one of the threads."""
        return await result_of(self.waiting.submit(function, *arguments))


@contextlib.contextmanager
def open_threads(waiting: int, name: str = "avizor-wait") -> Iterator[Threads]:
    """Yield a pool of so many threads; join them at the end. name: what the names of the threads begin with."""
    with ThreadPoolExecutor(waiting, name) as waiters:
        yield Threads(waiters)
