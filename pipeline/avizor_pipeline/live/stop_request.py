"""Take the first signal to stop as a request, so that a live job ends when what it has begun is done."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from avizor_inference.stop_signals import STOP_SIGNALS

# Seconds within which a second signal is the first one again: some service managers send it to a process and to its group.
_SAME_S = 0.5


class StopRequest:
    """Holds whether a job is asked to stop. number: of the signal; 0 before it comes."""

    def __init__(self) -> None:
        self.number, self.at = 0, 0.0

    def __bool__(self) -> bool:
        return self.number != 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Take signals to stop while the context is open: the first is a request, the second does what it did before.

    Signals that are ignored stay so.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    taken = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def ask(number: int, frame: FrameType | None) -> None:
        if not request:
            request.number, request.at = number, time.monotonic()
        elif time.monotonic() - request.at > _SAME_S:
            give_back()
            signal.raise_signal(number)

    def give_back() -> None:
        for number, handler in taken.items():
            signal.signal(number, handler)

    for number in taken:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        give_back()
