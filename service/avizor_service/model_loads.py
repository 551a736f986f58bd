"""Measure how much work each model has, and turn calls away that would wait for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from avizor_inference.errors import DeadlineExceeded, GatewayFull
from avizor_service.metrics import Metrics
from avizor_service.throughput import Throughput, wait_problem

# Weight of the newest call in the mean of what calls take beyond their wait.
_NEWEST = 1 / 64


class ModelLoad:
    """Measures the work of one model: rows that wait or run, and how many a second are done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.throughput, self._clock = Throughput(clock), clock
        self._own_s = 0.0

    def expected_s(self) -> tuple[float, float] | None:
        """Return the seconds until the work of others is done, and until that of one more call is. None if it is unknown.

        A call takes longer than the work before it: its batch has to run, too, and its answer to be sent. That is measured.
        """
        wait_s = self.throughput.wait_s()
        return None if wait_s is None else (wait_s, wait_s + self._own_s)

    def work(self, rows: int) -> _Work:
        """Return what counts the rows of a call as work: `with load.work(rows): ...`."""
        return _Work(self, rows)

    def note(self, expected_s: float, begin: float) -> None:
        """Take note of how long a call took from `begin` on, when a wait of `expected_s` was expected."""
        own_s = max(0.0, self._clock() - begin - expected_s)
        self._own_s += _NEWEST * (own_s - self._own_s)

    def now(self) -> float:
        """Return the time of its clock."""
        return self._clock()


class _Work:
    """Surrounds the work of one call. It is a class, since a generator of contextlib takes several times as long."""

    def __init__(self, load: ModelLoad, rows: int) -> None:
        self._load, self._rows = load, rows

    def __enter__(self) -> None:
        self._expected_s, self._begin = self._load.throughput.wait_s(), self._load.now()
        self._load.throughput.enter(self._rows)

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None) -> None:
        self._load.throughput.leave(self._rows, done=kind is None)
        if kind is None and self._expected_s is not None:
            self._load.note(self._expected_s, self._begin)


class ModelLoads:
    """Holds the load of each model. max_wait_s: longest expected wait of a call before its own rows run. clock: in seconds."""

    def __init__(self, max_wait_s: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_wait_s, self._metrics, self._clock = max_wait_s, metrics, clock
        self._loads: dict[str, ModelLoad] = {}

    def of(self, model: str) -> ModelLoad:
        """Return the load of a model that exists."""
        if load := self._loads.get(model):
            return load
        load = self._loads[model] = ModelLoad(self._clock)
        self._metrics.rows_in_progress.labels(model).set_function(lambda: load.throughput.in_progress)
        self._metrics.rows_per_second.labels(model).set_function(lambda: load.throughput.rate() or 0.0)
        return load

    def admit(self, model: str, time_remaining_s: float | None) -> None:
        """Raise GatewayFull if a call would wait for too long, DeadlineExceeded if its deadline has passed.

        A model without work takes every call: only so can be learned that it has become faster.
        """
        if time_remaining_s is not None and time_remaining_s <= 0:
            raise DeadlineExceeded("the deadline passed before the request was looked at; allow more time")
        load = self.of(model)
        if not load.throughput.in_progress:
            return
        expected = load.expected_s()
        if expected is None:
            return
        wait_s, done_s = expected
        if problem := wait_problem(wait_s, self._max_wait_s, "an answer", done_s, time_remaining_s):
            self._metrics.rejected.labels("wait").inc()
            raise GatewayFull(
                f"model {model!r} has {load.throughput.in_progress} rows to do before this request: {problem}", wait_s
            )

    def check_time(self, model: str, rows: int, time_remaining_s: float | None) -> None:
        """Raise DeadlineExceeded if so many rows of one call cannot be done in time, as far as that is known."""
        rate = self.of(model).throughput.rate()
        if time_remaining_s is not None and rate and rows / rate > time_remaining_s:
            raise DeadlineExceeded(
                f"{rows} rows of model {model!r} take about {rows / rate:.1f} s, and the deadline is in "
                f"{time_remaining_s:.1f} s; allow more time, or ask for less"
            )
