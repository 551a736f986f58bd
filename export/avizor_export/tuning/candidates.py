"""What `avizor tune` compares: candidate settings under a load, what was measured at each, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from avizor_inference.errors import ExportError

# Candidates whose throughput is this near to the best are held to be as good: among them latency decides.
NEAR_THE_BEST = 0.95
# A 99th percentile of fewer calls is hardly more than their slowest.
_CALLS_FOR_P99 = 100


@dataclass(frozen=True)
class Candidate:
    """One way to serve a model, under one load.

    instances: embedded, calls that run at once on one session; on Triton, instances of the model.
    threads: for one run; 0 is as many as there are cores.
    batch: rows of each call; on Triton one, since its batcher puts them together.
    clients: calls under way at once.
    queue_delay_us: Triton's; None embedded.
    preferred: Triton's preferred batch sizes, ascending.
    """

    instances: int
    threads: int
    batch: int
    clients: int
    queue_delay_us: int | None = None
    preferred: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [f"instances {self.instances}", f"threads {self.threads or 'auto'}"]
        if self.queue_delay_us is None:
            return ", ".join([*parts, f"batch {self.batch}"])
        parts += [f"queue delay {self.queue_delay_us} us", f"preferred batch {self.preferred_text}"]
        return ", ".join([*parts, f"{self.clients} clients"])

    @property
    def preferred_text(self) -> str:
        """The preferred batch sizes for people."""
        return " ".join(map(str, self.preferred)) or "none"


@dataclass(frozen=True)
class Round:
    """What one round of calls gave: rows per second, the 99th percentile of a call's time in ms, and how many calls."""

    rows_per_s: float
    p99_ms: float
    calls: int


@dataclass(frozen=True)
class Measured:
    """A candidate and its rounds, which were interleaved with those of the other candidates."""

    candidate: Candidate
    rounds: tuple[Round, ...]

    @property
    def rows_per_s(self) -> float:
        """Median of the rounds."""
        return median(each.rows_per_s for each in self.rounds)

    @property
    def p99_ms(self) -> float:
        """Median of the rounds."""
        return median(each.p99_ms for each in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and largest rows per second of a round."""
        rates = [each.rows_per_s for each in self.rounds]
        return min(rates), max(rates)

    @property
    def p99_spread(self) -> tuple[float, float]:
        """Least and largest p99 of a round, in ms."""
        latencies = [each.p99_ms for each in self.rounds]
        return min(latencies), max(latencies)


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen, and why, for people."""

    chosen: Measured
    reason: str


def choose(measured: Sequence[Measured], max_p99_ms: float | None) -> Choice:
    """With a limit: the highest throughput whose p99 is within it. Without: the least p99 near the best throughput.

    Raises ExportError if no candidate is within the limit.
    """
    if max_p99_ms is None:
        best = max(each.rows_per_s for each in measured)
        near = [each for each in measured if each.rows_per_s >= NEAR_THE_BEST * best]
        chosen = min(near, key=lambda each: each.p99_ms)
        share = f"{1 - NEAR_THE_BEST:.0%}"
        why = f"the least p99 of the {len(near)} candidates within {share} of the best, {best:.0f} rows/s"
        return Choice(chosen, why if len(near) > 1 else f"the best throughput, and no other candidate within {share} of it")
    within = [each for each in measured if each.p99_ms <= max_p99_ms]
    if not within:
        least = min(measured, key=lambda each: each.p99_ms)
        raise ExportError(
            f"no candidate has a p99 within {max_p99_ms:g} ms; the least is {least.p99_ms:.2f} ms ({least.candidate}): "
            "allow more, or make the model smaller"
        )
    chosen = max(within, key=lambda each: each.rows_per_s)
    share = f"{len(within)} of {len(measured)} candidates are"
    return Choice(chosen, f"the highest throughput with a p99 within {max_p99_ms:g} ms ({share})")


def candidate_table(measured: Sequence[Measured], chosen: Measured) -> Iterator[str]:
    """The trade-off as lines of text, the chosen candidate marked; medians, with the least and largest round in brackets."""
    columns = _COLUMNS if measured[0].candidate.queue_delay_us is None else _TRITON_COLUMNS
    rows = [tuple(columns)]
    rows += [tuple(cell(each) for cell in columns.values()) for each in measured]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    for row, each in zip(rows, [None, *measured], strict=True):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{'*' if each is chosen else ' '} {cells}"
    if min(round.calls for each in measured for round in each.rounds) < _CALLS_FOR_P99:
        yield f"  (p99 of a round of fewer than {_CALLS_FOR_P99} calls is about the slowest of them: give more --seconds)"


def _rate(each: Measured) -> str:
    least, most = each.spread
    return f"{each.rows_per_s:.0f} ({least:.0f}-{most:.0f})"


def _latency(each: Measured) -> str:
    least, most = each.p99_spread
    return f"{each.p99_ms:.2f} ({least:.2f}-{most:.2f})"


_Cell = Callable[[Measured], str]
_INSTANCES: dict[str, _Cell] = {
    "instances": lambda each: str(each.candidate.instances),
    "threads": lambda each: str(each.candidate.threads or "auto"),
}
_FIGURES: dict[str, _Cell] = {"rows/s": _rate, "p99 ms": _latency}
_COLUMNS: dict[str, _Cell] = {**_INSTANCES, "batch": lambda each: str(each.candidate.batch), **_FIGURES}
_TRITON_COLUMNS: dict[str, _Cell] = {
    **_INSTANCES,
    "delay us": lambda each: str(each.candidate.queue_delay_us),
    "preferred": lambda each: each.candidate.preferred_text,
    "clients": lambda each: str(each.candidate.clients),
    **_FIGURES,
}
