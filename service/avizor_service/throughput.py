"""Measure how fast work leaves, to say how long work that is there will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# Seconds of work after which a measurement counts for a third. Longer than a pause of a busy machine, and short enough that a
# model that becomes slower is noticed while its queue is short.
_MEMORY_S = 5.0

# Seconds of work from which on a measurement counts. The first answers of a model say little about those that follow.
_EVIDENCE_S = 0.25

# Units that leave within so many seconds are counted as one step. It is short against the memory, and saves most of the cost.
_STEP_S = 0.01

# Part of the time until its deadline in which a call has to be expected to end. Expected times are off by some percent, and at
# the edge half of the calls would be late: computed in vain (docs/decisions/0031-admission-by-bytes-and-expected-wait.md).
_PART_OF_DEADLINE = 0.85


def wait_problem(wait_s: float, most_s: float, done: str, done_s: float, time_remaining_s: float | None) -> str:
    """Return why a call is not let in, and what to do, in words; "" if it is.

    wait_s: expected before its own work; most_s: the longest that is allowed. done, done_s: what there will be at its end, and
    in how many seconds. time_remaining_s: until its deadline; None without one.
    """
    if wait_s > most_s:
        limit = f"over the {most_s:g} s of --max-wait-s"
    elif time_remaining_s is not None and done_s > _PART_OF_DEADLINE * time_remaining_s:
        limit = f"and {done} in {done_s:.2f} s, but the deadline is in {time_remaining_s:.2f} s"
    else:
        return ""
    return f"a wait of about {wait_s:.2f} s is expected, {limit}; try again later, or allow more time"


class Throughput:
    """Counts units of work that are in progress, and measures how many a second leave. Idle time does not count.

    clock: returns seconds. one: units that leave together at most.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, one: int = 1) -> None:
        self._clock, self._one = clock, one
        self._done, self._busy_s, self._since = 0.0, 0.0, -math.inf
        self._left = 0  # units that left since then
        self._rate, self._rate_until = 0.0, -math.inf
        self._has_begun = False
        self.in_progress = 0

    def enter(self, units: int) -> None:
        """Count units that arrive."""
        if not self.in_progress:
            self._since = self._clock()
        self.in_progress += units

    def leave(self, units: int, *, done: bool) -> None:
        """Count units that leave. done: False if their work was not done, because it failed or was cancelled."""
        now = self._clock()
        if done and self._has_begun:
            self._left += units
        if now - self._since >= _STEP_S or units == self.in_progress or not self._has_begun:
            self._done, self._busy_s = self._now(now)
            self._left, self._since = 0, now
        self.in_progress -= units
        if done:
            self._has_begun = True  # the first work includes what is done once, such as to load a library

    def rate(self) -> float | None:
        """Return the units that leave in a second of work, over 0; None as long as too little was measured. Any thread may ask.

        While none has left after the first, it is as if one left now: more than that is not known.
        """
        now = self._clock()
        if now >= self._rate_until:
            done, busy_s = self._now(now)
            if busy_s < _EVIDENCE_S:
                return None
            self._rate, self._rate_until = (done or self._one) / busy_s, now + _STEP_S
        return self._rate

    def idle_s(self) -> float:
        """Return for how many seconds nothing has been in progress; 0 while something is."""
        return 0.0 if self.in_progress else self._clock() - self._since

    def wait_s(self) -> float | None:
        """Return the seconds until all that is in progress will have left; None as long as too little was measured."""
        if not self.in_progress:
            return 0.0
        rate = self.rate()
        return None if rate is None else self.in_progress / rate

    def _now(self, now: float) -> tuple[float, float]:
        """Return the units that left, and the seconds of work, up to now; both count less the longer they are past."""
        if not (self.in_progress and self._has_begun):
            return self._done, self._busy_s
        elapsed = now - self._since
        kept = math.exp(-elapsed / _MEMORY_S)
        return self._done * kept + self._left, self._busy_s * kept + elapsed
