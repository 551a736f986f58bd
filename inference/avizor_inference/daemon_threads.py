"""Make calls that wait for a network in threads which do not keep a command from ending."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs calls in at most `count` threads, as a ThreadPoolExecutor does, whose calls a process waits for when it ends.

    At the end of a context, calls that have not begun are cancelled, and those that have are left to themselves.
    """

    def __init__(self, count: int) -> None:
        self._count, self._threads = count, list[threading.Thread]()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Begin a call, or let it wait for a thread."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, daemon=True)
            thread.start()
            self._threads.append(thread)
        return future

    def __enter__(self) -> DaemonThreads:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            while waiting := self._calls.get_nowait():
                waiting[0].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._calls.put(None)

    def _work(self) -> None:
        while waiting := self._calls.get():
            future, call = waiting
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


def interruptible(call: Callable[[], T]) -> T:
    """Return what a call returns that does not hear of signals: it is left to itself when one comes first.

    Python tells of a signal in the main thread only. Processes that a command starts do not see signals.
    """
    if threading.current_thread() is not threading.main_thread() or multiprocessing.parent_process() is not None:
        return call()
    with DaemonThreads(1) as threads:
        return threads.submit(call).result()
