"""Name the signals that end a command: Ctrl-C, a service manager's request to stop, and a closed terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_blocked(signals: Sequence[signal.Signals] = STOP_SIGNALS) -> Iterator[None]:
    """Block the signals that stop a command while processes are started. They inherit this.

    So a command that is stopped leaves no process half started. And what a terminal or a service manager sends to all processes
    of a command reaches those only through the command, which then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handlers_held() -> Iterator[None]:
    """Let the handlers of these signals run after the block, where it is in the main thread.

    Another thread, which does not block them, may be given a signal, and Python runs its handler in the main thread, whatever
    that blocks. Not for a program that gets signals through `signal.set_wakeup_fd`, as asyncio does.
    """
    is_main, waiting = threading.current_thread() is threading.main_thread(), list[signal.Signals]()
    own = {number: handler for number in STOP_SIGNALS if is_main and callable(handler := signal.getsignal(number))}
    try:
        for number in own:
            signal.signal(number, lambda number, _: waiting.append(signal.Signals(number)))
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)
