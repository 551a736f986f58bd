"""Hold up the calls that arrive while the gateway closes its listeners and connections to new calls."""

from __future__ import annotations

import asyncio
import time

# The pause, in seconds, in which no call arrives: so long at first. The longer none comes, the shorter a pause is enough.
_QUIET_S = 0.05
_LOOK_S = 0.002
_COUNTED_S = 2 * _LOOK_S

# A caller who has an answer is expected back within so many seconds: longer than the way around half of the earth and back. The
# gateway does not wait for them for longer than _EXPECTED_S in all.
_RETURN_S = 0.3
_EXPECTED_S = 2 * _RETURN_S


class Door:
    """Lets calls in; once closed, calls wait until it is opened again.

    is_watched: whether who comes and who goes has to be told, by `enter` and `leave`.
    """

    def __init__(self) -> None:
        self.is_watched = False
        self._closed = False
        self._opened = asyncio.Event()
        self._arrivals, self._waiting = 0, 0
        self._now = 0.0  # a clock that goes with the looks
        self._away: dict[str, float] = {}  # connection -> when it had its last answer, of those from which none came since

    async def watch(self, idle_s: float) -> None:
        """Note who calls, until everybody has come by who sends the next call when the last one has its answer.

        idle_s: for how many seconds no call has been in progress.
        """
        self.is_watched = True
        while self._now < _RETURN_S - idle_s:
            await self._look()

    def close(self) -> None:
        """Let calls wait from now on."""
        self.is_watched = self._closed = True

    def open(self) -> None:
        """Let in those that wait, and all later ones."""
        self.is_watched = self._closed = False
        self._opened.set()

    async def enter(self, connection: str) -> None:
        """Let a call of a connection in; if the door is closed, once it is open again."""
        self._arrivals += 1
        self._away.pop(connection, None)
        if self._closed:
            self._waiting += 1
            try:
                await self._opened.wait()
            finally:
                self._waiting -= 1

    def leave(self, connection: str) -> None:
        """Note that a call of a connection has its answer."""
        self._away.pop(connection, None)  # the newest is the last
        self._away[connection] = self._now

    async def quiet(self, limit_s: float, most_waiting: int) -> None:
        """Return in a pause between calls, once those are back who have had an answer; or when so many calls wait.

        limit_s: seconds after which no pause is waited for any more. Those in which somebody is expected do not count.
        """
        counted = quiet = 0.0
        began, arrivals = self._now, self._arrivals
        while self._waiting < most_waiting:
            is_expected = self._is_somebody_away() and self._now - began < _EXPECTED_S
            if not is_expected and quiet >= _QUIET_S * max(0.0, 1 - counted / limit_s) ** 2:
                return
            passed = await self._look()
            counted += 0.0 if is_expected else passed
            quiet, arrivals = (quiet + passed if arrivals == self._arrivals else 0.0), self._arrivals

    def _is_somebody_away(self) -> bool:
        return bool(self._away) and self._now - next(reversed(self._away.values())) < _RETURN_S

    async def _look(self) -> float:
        """Wait for a moment, and return how much of it counts.

        Where other processes have the machine, the loop turns slowly, and so do the calls come that were sent before. So of the
        time between two looks only a little counts.
        """
        looked = time.monotonic()
        await asyncio.sleep(_LOOK_S)
        passed = min(time.monotonic() - looked, _COUNTED_S)
        self._now += passed
        return passed
