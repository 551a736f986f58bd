"""Name the signals that end a command: Ctrl-C, a service manager's request to stop, and a closed terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that stop a command while processes are started. They inherit this.

    So a command that is stopped leaves no process half started. And what a terminal or a service manager sends to all processes
    of a command reaches those only through the command, which then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
