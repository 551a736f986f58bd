"""Hold up the calls that arrive while the gateway closes its listeners and connections to new calls."""

from __future__ import annotations

import asyncio
import time

# The pause, in seconds, in which no call arrives: so long at first. The longer none comes, the shorter a pause is enough.
_QUIET_S = 0.05
_LOOK_S = 0.002


class Door:
    """Lets calls in; once closed, calls wait until it is opened again."""

    def __init__(self) -> None:
        self.closed = False
        self._opened = asyncio.Event()
        self._last_arrival, self._waiting = 0.0, 0

    def close(self) -> None:
        """Let calls wait from now on."""
        self.closed, self._last_arrival = True, time.monotonic()

    def open(self) -> None:
        """Let in those that wait, and all later ones."""
        self.closed = False
        self._opened.set()

    async def wait(self) -> None:
        """Wait until the door is open again."""
        self._last_arrival = time.monotonic()
        self._waiting += 1
        try:
            await self._opened.wait()
        finally:
            self._waiting -= 1

    async def quiet(self, limit_s: float, most_waiting: int) -> None:
        """Return in a pause between calls; after limit_s seconds, or when so many calls wait, at the latest."""
        started = time.monotonic()
        while self._waiting < most_waiting:
            now = time.monotonic()
            left = max(0.0, 1 - (now - started) / limit_s)
            if now - self._last_arrival >= _QUIET_S * left**2:
                return
            await asyncio.sleep(_LOOK_S)
