"""Describe the candidate settings that `avizor tune` compares and what was measured of each, and choose one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from avizor_inference.errors import ExportError
from avizor_inference.repository.triton_config import EnginesHere

# Candidates with at least this share of the best throughput count as equally fast: among them, latency decides.
NEAR_THE_BEST = 0.95
# With fewer calls, the 99th percentile is about the slowest call.
_CALLS_FOR_P99 = 100


@dataclass(frozen=True)
class Candidate:
    """Hold one way to serve a model, and the load that it is measured under.

    instances: with the embedded engine, calls that run at once on one session; on Triton, instances of the model.
    threads: for one run of the model; 0 is one for each core.
    batch: rows of each call; 1 on Triton, whose batcher combines calls.
    clients: calls under way at once.
    queue_delay_us: how long a request waits in Triton for others, in microseconds; None with the embedded engine.
    preferred: Triton's preferred batch sizes, ascending.
    engine: that runs it in this process; None on Triton.
    """

    instances: int
    threads: int
    batch: int
    clients: int
    queue_delay_us: int | None = None
    preferred: tuple[int, ...] = ()
    engine: EnginesHere | None = None

    def __str__(self) -> str:
        engine = [f"engine {self.engine}"] if self.engine else []
        parts = [*engine, f"instances {self.instances}", f"threads {self.threads or 'auto'}"]
        if self.queue_delay_us is None:
            return ", ".join([*parts, f"batch {self.batch}"])
        parts += [f"queue delay {self.queue_delay_us} us", f"preferred batch {self.preferred_text}"]
        return ", ".join([*parts, f"{self.clients} clients"])

    @property
    def preferred_text(self) -> str:
        """Return the preferred batch sizes as text for people."""
        return " ".join(map(str, self.preferred)) or "none"


@dataclass(frozen=True)
class Round:
    """Hold the result of one round of calls: rows per second, the 99th percentile of a call's time in ms, number of calls."""

    rows_per_s: float
    p99_ms: float
    calls: int


@dataclass(frozen=True)
class Measured:
    """Hold a candidate and its rounds, which were interleaved with those of the other candidates."""

    candidate: Candidate
    rounds: tuple[Round, ...]

    @property
    def rows_per_s(self) -> float:
        """Return rows per second, the median of the rounds."""
        return median(self._rates)

    @property
    def p99_ms(self) -> float:
        """Return the p99 of a call in ms, the median of the rounds."""
        return median(self._latencies)

    @property
    def spread(self) -> tuple[float, float]:
        """Return the lowest and highest rows per second of a round."""
        return min(self._rates), max(self._rates)

    @property
    def p99_spread(self) -> tuple[float, float]:
        """Return the lowest and highest p99 of a round, in ms."""
        return min(self._latencies), max(self._latencies)

    @property
    def _rates(self) -> list[float]:
        return [round_.rows_per_s for round_ in self.rounds]

    @property
    def _latencies(self) -> list[float]:
        return [round_.p99_ms for round_ in self.rounds]


@dataclass(frozen=True)
class Choice:
    """Hold the candidate that was chosen, and why, for people."""

    chosen: Measured
    reason: str


def choose(measured: Sequence[Measured], max_p99_ms: float | None) -> Choice:
    """Return the candidate with the highest throughput whose p99 is within the limit.

    Without a limit, return the one with the lowest p99 among those near the best throughput (NEAR_THE_BEST). Raises
    ExportError if no candidate is within the limit.
    """
    if max_p99_ms is None:
        best = max(candidate.rows_per_s for candidate in measured)
        near = [candidate for candidate in measured if candidate.rows_per_s >= NEAR_THE_BEST * best]
        share = f"{1 - NEAR_THE_BEST:.0%}"
        reason = f"the lowest p99 of the {len(near)} candidates within {share} of the best, {best:.0f} rows/s"
        if len(near) == 1:
            reason = f"the best throughput, and no other candidate within {share} of it"
        return Choice(min(near, key=_p99_ms), reason)
    within = [candidate for candidate in measured if candidate.p99_ms <= max_p99_ms]
    if not within:
        lowest = min(measured, key=_p99_ms)
        raise ExportError(
            f"no candidate has a p99 within {max_p99_ms:g} ms; the lowest is {lowest.p99_ms:.2f} ms ({lowest.candidate}): "
            "allow more, or make the model smaller"
        )
    count = f"{len(within)} of {len(measured)} candidates are"
    reason = f"the highest throughput with a p99 within {max_p99_ms:g} ms ({count})"
    return Choice(max(within, key=_rows_per_s), reason)


def candidate_table(measured: Sequence[Measured], chosen: Measured) -> Iterator[str]:
    """Yield a table of all candidates: medians, with the lowest and highest round in brackets. A star marks the chosen one."""
    columns = _COLUMNS if measured[0].candidate.queue_delay_us is None else _TRITON_COLUMNS
    rows = [tuple(columns)]
    rows += [tuple(cell(candidate) for cell in columns.values()) for candidate in measured]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row, candidate in zip(rows, [None, *measured], strict=True):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{'*' if candidate is chosen else ' '} {cells}"
    if min(round_.calls for candidate in measured for round_ in candidate.rounds) < _CALLS_FOR_P99:
        yield f"  (p99 of a round of fewer than {_CALLS_FOR_P99} calls is about the slowest of them: give more --seconds)"


def _rows_per_s(measured: Measured) -> float:
    return measured.rows_per_s


def _p99_ms(measured: Measured) -> float:
    return measured.p99_ms


def _rate(measured: Measured) -> str:
    lowest, highest = measured.spread
    return f"{measured.rows_per_s:.0f} ({lowest:.0f}-{highest:.0f})"


def _latency(measured: Measured) -> str:
    lowest, highest = measured.p99_spread
    return f"{measured.p99_ms:.2f} ({lowest:.2f}-{highest:.2f})"


_Cell = Callable[[Measured], str]
_INSTANCES: dict[str, _Cell] = {
    "instances": lambda measured: str(measured.candidate.instances),
    "threads": lambda measured: str(measured.candidate.threads or "auto"),
}
_NUMBERS: dict[str, _Cell] = {"rows/s": _rate, "p99 ms": _latency}
_COLUMNS: dict[str, _Cell] = {
    "engine": lambda measured: measured.candidate.engine or "",
    **_INSTANCES,
    "batch": lambda measured: str(measured.candidate.batch),
    **_NUMBERS,
}
_TRITON_COLUMNS: dict[str, _Cell] = {
    **_INSTANCES,
    "delay us": lambda measured: str(measured.candidate.queue_delay_us),
    "preferred": lambda measured: measured.candidate.preferred_text,
    "clients": lambda measured: str(measured.candidate.clients),
    **_NUMBERS,
}
