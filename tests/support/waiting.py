"""Wait for what a running program is to come to."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Return once it holds. Fails after `limit_s` seconds, which no test needs on a machine that has time for it."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
