"""Count calls and those that failed, and say during which replacement."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

BETWEEN = "between replacements"


@dataclass
class Period:
    """A replacement and the time after it, in which its failures show. Seconds since the start of the run.

    lasted_s: of the replacement alone. note: what was observed of it.
    """

    name: str
    begun_s: float
    lasted_s: float = 0.0
    note: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)


class Ledger:
    """What became of the calls of each kind. Safe to use from threads."""

    def __init__(self) -> None:
        self.periods = [Period(BETWEEN, 0.0)]
        self.slowest_s: dict[str, float] = {}
        self.seen: Counter[tuple[str, str]] = Counter()
        self._now = self.periods[0]
        self._lock, self._started = threading.Lock(), time.monotonic()

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def current(self) -> Period:
        """What a call that begins now belongs to."""
        return self._now

    def begin(self, name: str) -> Period:
        """What is counted from now on belongs to this replacement."""
        self._now = Period(name, self.now_s)
        self.periods.append(self._now)
        return self._now

    def end(self) -> None:
        """What is counted from now on belongs to no replacement."""
        self._now = self.periods[0]

    def answered(self, kind: str, seconds: float, period: Period, what: str = "") -> None:
        """A call has its answer. period: in which it began. what: that the answer told, such as `version 2`."""
        with self._lock:
            period.calls[kind] += 1
            self.slowest_s[kind] = max(seconds, self.slowest_s.get(kind, 0.0))
            self.seen[kind, what] += 1

    def failed(self, kind: str, code: str, message: str, period: Period) -> None:
        """A call has failed. It counts where it ended, if a replacement began meanwhile."""
        with self._lock:
            period = period if period is not self.periods[0] else self._now
            period.calls[kind] += 1
            period.failed[kind, code] += 1
            period.examples.setdefault((kind, code), f"{self.now_s:.1f} s: {message[:200]}")

    def has_told(self, kind: str, start: str) -> bool:
        """Whether an answer of a kind told something that begins so."""
        with self._lock:
            return any(each == kind and what.startswith(start) for each, what in self.seen)

    def table(self) -> str:
        """Return two tables in Markdown: calls by kind, and failures by replacement."""
        with self._lock:
            return "\n".join([*self._kinds(), "", *self._replacements(), "", *self._examples()]) + "\n"

    def _kinds(self) -> list[str]:
        calls = sum((period.calls for period in self.periods), Counter[str]())
        failed: Counter[str] = Counter()
        for period in self.periods:
            for (kind, _), count in period.failed.items():
                failed[kind] += count
        lines = ["| kind of call | calls | failed | slowest answer |", "|---|---|---|---|"]
        lines += [f"| {kind} | {calls[kind]:,} | {failed[kind]:,} | {self.slowest_s.get(kind, 0):.2f} s |" for kind in calls]
        return [*lines, f"| all | {calls.total():,} | {failed.total():,} | |"]

    def _replacements(self) -> list[str]:
        lines = ["| replaced | at | took | calls | failed | which |", "|---|---|---|---|---|---|"]
        for period in self.periods:
            which = ", ".join(f"{kind}: {count} {code}" for (kind, code), count in period.failed.items())
            at = f"{period.begun_s / 60:.1f} min" if period.lasted_s else ""
            took = f"{period.lasted_s:.1f} s" if period.lasted_s else ""
            cells = (period.name, at, took, f"{period.calls.total():,}", period.failed.total(), f"{which}; {period.note}")
            lines.append(f"| {' | '.join(map(str, cells)).replace('; |', '|')} |".replace("| ; ", "| "))
        return lines

    def _examples(self) -> list[str]:
        return [
            f"* {period.name}, {kind}, {code}: {example}"
            for period in self.periods
            for (kind, code), example in period.examples.items()
        ]
