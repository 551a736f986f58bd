"""Hold up the calls that arrive while the gateway closes its listeners and connections to new calls."""

from __future__ import annotations

import asyncio
import time

# The pause, in seconds, in which no call arrives: so long at first. The longer none comes, the shorter a pause is enough.
_QUIET_S = 0.05
_LOOK_S = 0.002
_COUNTED_S = 2 * _LOOK_S


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
        """Return in a pause between calls; after limit_s seconds, or when so many calls wait, at the latest.

        Where other processes have the machine, the loop turns slowly, and so do the calls come that were sent before. So of the
        time between two looks only a little counts.
        """
        counted = quiet = 0.0
        looked, arrival = time.monotonic(), self._last_arrival
        while self._waiting < most_waiting:
            left = max(0.0, 1 - counted / limit_s)
            if quiet >= _QUIET_S * left**2:
                return
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            passed, looked = min(now - looked, _COUNTED_S), now
            counted += passed
            quiet, arrival = (quiet + passed if arrival == self._last_arrival else 0.0), self._last_arrival
