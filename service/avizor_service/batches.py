"""Free the memory of gRPC's batches that fail, or that nobody awaits any more.

A batch is what gRPC calls one read, or one answer with its status. grpc.aio frees its memory in the coroutine that awaits it,
and only if it succeeds: https://github.com/grpc/grpc/issues/43360. So a call that its client gives up leaves 100 to 900 bytes
for ever. Here the coroutine of a batch runs apart from the task that awaits it, so that it always reaches its end.

That costs every call some microseconds. So it is done only while clients give up calls, and for a minute after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
from grpc._cython import cygrpc

# It uses what is inside grpcio, which other versions may do in another way. Others run as they are.
KNOWN = grpc.__version__.startswith("1.85.")

_FREED_S = 60.0
_run: Callable[..., Coroutine[None, None, None]] = cygrpc.execute_batch
_freed_until = 0.0


def call_ended_early() -> None:
    """Note that a call was given up by its client, or is late: others may follow, and for a minute all batches are freed."""
    global _freed_until
    _freed_until = time.monotonic() + _FREED_S
    if KNOWN:
        cygrpc.execute_batch = _execute_batch


def _execute_batch(call: object, operations: tuple[object, ...], loop: asyncio.AbstractEventLoop) -> Awaitable[None]:
    """Start a batch. Return what awaits it, and raises what gRPC's own function would raise."""
    if time.monotonic() > _freed_until:
        cygrpc.execute_batch = _run
    if isinstance(operations[0], cygrpc.ReceiveCloseOnServerOperation):  # it never fails, and nobody leaves it
        return _run(call, operations, loop)
    batch = _Batch(loop)
    batch.start(call, operations)
    return batch.ended


class _Batch:
    """Stands between gRPC, for which it is an event loop and its future, and the task that awaits `ended`."""

    __slots__ = ("_loop", "_running", "ended")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ended: asyncio.Future[None] = loop.create_future()

    def start(self, call: object, operations: tuple[object, ...]) -> None:
        """Run gRPC's coroutine until it awaits its future."""
        self._running = _run(call, operations, self)
        self._running.send(None)

    def create_future(self) -> _Batch:
        return self

    def __await__(self) -> Iterator[None]:
        return iter((None,))

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Run gRPC's callback for the end of the batch: at once, where this is the thread of the loop."""
        if asyncio._get_running_loop() is self._loop:
            callback(*arguments)
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)

    def cancelled(self) -> bool:
        return False

    def set_result(self, _result: None) -> None:
        self._end(None)

    def set_exception(self, error: Exception) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Run gRPC's coroutine to its end, also after a failure: it frees the batch. Then tell the task, if it still waits."""
        try:
            self._running.send(None)
        except StopIteration:
            pass
        except Exception as failure:  # the task has to hear of it, and gRPC would not tell
            error = error or failure
        del self._running  # it holds this object
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
