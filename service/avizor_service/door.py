"""Hold up the calls that arrive while the gateway closes its listeners and connections to new calls."""

from __future__ import annotations

import asyncio
import time

# So long has no call to arrive for the door to be quiet at first; the longer that takes, the shorter a pause is enough.
_QUIET_S = 0.05
_LOOK_S = 0.002


class Door:
    """Lets calls in; once closed, calls wait until it is opened again."""

    def __init__(self) -> None:
        self.closed = False
        self._opened = asyncio.Event()
        self._last_arrival = 0.0

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
        await self._opened.wait()

    async def quiet(self, limit_s: float) -> None:
        """Return in a pause between calls, or after limit_s seconds at the latest."""
        started = time.monotonic()
        while True:
            now = time.monotonic()
            left = 1 - (now - started) / limit_s
            if now - self._last_arrival >= _QUIET_S * left:
                return
            await asyncio.sleep(_LOOK_S)
