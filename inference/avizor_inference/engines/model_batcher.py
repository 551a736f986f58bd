"""Run the requests for one model in batches, in threads of that model."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request, seconds_left
from avizor_inference.engines.batch_policy import BatchPolicy
from avizor_inference.engines.batch_queue import BatchQueue, Pending
from avizor_inference.engines.run_statistics import RunStatistics
from avizor_inference.engines.watchdog import Watchdog
from avizor_inference.errors import DeadlineExceeded, EngineBusy, EngineUnavailable

Answer = dict[str, Array] | Exception

# Seconds of CPU time that a share of the waiting requests takes at least: for less, a second thread costs more than it gains.
LEAST_SHARE_S = 1e-3

# Seconds of CPU time that a light run takes at most. To hand a request to a thread and its answer back costs as much (decision
# 28), and it may be the gateway's event loop that is held up. A run that takes much longer than expected is ended.
LIGHT_S, LIGHT_LIMIT_S = 2e-4, 0.1

# The same for all requests together that share a light run. Each is light by itself, so the loop would be held up for longer in
# all if they ran one by one.
SHARED_LIGHT_S = 1e-2

# Light runs after which the CPU time of the next one is measured: to ask for it is a system call, and two of them for each run
# took a good part of the time of a small model. After one that took LONG_S by the clock a thread measures the next.
LIGHT_RUNS_UNMEASURED, LONG_S = 31, 2e-3


class ModelBatcher:
    """Queues requests for one version of a model and runs them in batches, at most `runs` at once, besides a light run.

    There is a thread for each of these runs, started when it is first needed. One of those that are free waits until the next
    batch is due; the others sleep.
    """

    def __init__(
        self,
        engine: Engine,
        spec: ModelSpec,
        policy: BatchPolicy,
        runs: int,
        watchdog: Watchdog,
        statistics: RunStatistics,
    ) -> None:
        self._engine, self.spec, self._policy, self._runs, self._watchdog = engine, spec, policy, runs, watchdog
        self._queue = BatchQueue(spec.name, policy)
        self.statistics = statistics
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)  # wakes one free thread
        self._filled = threading.Condition(self._lock)  # wakes the thread that waits until a batch is due
        self._threads: list[threading.Thread] = []
        self._free = 0  # threads that wait for `_arrived`, without one that was woken up
        self._waking = self._waiting_for_due = False
        self._running = self._running_rows = 0
        self._row_s = 0.0  # CPU time of a row in the latest runs that were measured; 0 before the first has ended
        self._unmeasured = 0  # light runs since the last one that was measured
        self._closed = False
        # Each request with a run to itself may mean that runs are not to be at the same time. A GPU takes no CPU time.
        self._may_be_light = policy.together and spec.engine_class == "onnxruntime-cpu"

    @property
    def rows(self) -> int:
        """Return how many rows wait or run."""
        return self._queue.rows + self._running_rows

    def submit(self, request: InferRequest) -> Pending:
        """Queue a request. Raises what Engine.submit raises, and EngineBusy."""
        now = time.monotonic()
        pending = Pending(request, check_request(self.spec, request), now, self._cancelled)
        seconds_left(request, now)
        with self._lock:
            if self._closed:
                raise EngineUnavailable("the engine was closed")
            try:
                self._queue.add(pending)
            except EngineBusy:
                self.statistics.failed()
                raise
            self._wake()
        self._watch(pending, self._queue.fails_at(pending))
        return pending

    @property
    def shares_light_runs(self) -> bool:
        """Return whether light requests may wait for each other. Without a queue delay none waits for another."""
        return self._may_be_light and self._policy.delay_s > 0

    def infer_light(self, requests: Sequence[InferRequest], waited_s: float = 0.0) -> list[dict[str, Array]] | None:
        """Run requests in the caller's thread, if they are light by the CPU time of the latest runs. See Engine.infer_light."""
        sizes = [_light_rows(request) for request in requests]
        rows = sum(sizes)
        with self._lock:
            busy = self._closed or self._queue or self._running
            if busy or not self._may_be_light or not self._are_light(sizes):
                return None
            self._running, self._running_rows = 1, rows
            measures = self._unmeasured >= LIGHT_RUNS_UNMEASURED or len(requests) > 2
            self._unmeasured = 0 if measures else self._unmeasured + 1
            long_s = LONG_S + rows * self._row_s
        began, at = time.thread_time() if measures else 0.0, time.monotonic()
        try:
            return self._light_answers(requests, sizes, waited_s)
        except Exception:  # a thread finds out why
            return None
        finally:
            if measures:
                self._end(rows, time.thread_time() - began)
            else:
                self._end(rows, None, forgets=time.monotonic() - at > long_s)

    def close(self) -> None:
        """Fail the requests that wait, and let the runs that go on be the last ones."""
        with self._lock:
            self._closed = True
            waiting = [pending for pending in list(self._queue) if self._queue.remove(pending)]
            self._arrived.notify_all()
            self._filled.notify_all()
        for pending in waiting:
            self._answer(pending, EngineUnavailable("the engine was closed before the request ran"))

    def join(self, until: float = math.inf) -> None:
        """Wait until the last runs have ended after `close`, up to a time by time.monotonic()."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if until == math.inf else max(0.0, until - time.monotonic()))

    def _wake(self) -> None:
        """Make sure that a thread looks at the queue. The lock is held."""
        if self._waiting_for_due:
            if self._queue.rows >= self._policy.runs_at:
                self._filled.notify()
        elif self._waking:
            return
        elif self._free:
            self._free -= 1
            self._waking = True
            self._arrived.notify()
        elif len(self._threads) < self._runs:
            name = f"avizor-batch-{self.spec.name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            thread.start()  # it waits for the lock
            self._waking = True
            self._threads.append(thread)

    def _are_light(self, sizes: Sequence[int]) -> bool:
        """Return whether requests of so many rows are light. The lock is held."""
        least, most, of_all = (rows * self._row_s for rows in (min(sizes), max(sizes), sum(sizes)))
        return least > 0 and most <= LIGHT_S and of_all <= SHARED_LIGHT_S

    def _light_answers(self, requests: Sequence[InferRequest], sizes: Sequence[int], waited_s: float) -> list[dict[str, Array]]:
        began, count = time.monotonic(), len(requests)
        if count > 1:  # arrays of several types would become one of a type that the model may take
            for request in requests:
                check_request(self.spec, request)
        limit_s = min([LIGHT_LIMIT_S, *[request.timeout_s for request in requests if request.timeout_s is not None]])
        answers = self._run_together(requests, sizes, waited_s, began + limit_s)
        self.statistics.succeeded(waited_s + count * (time.monotonic() - began), count)
        return answers

    def _cancelled(self, pending: Pending) -> None:
        self._leave(pending)
        self.statistics.cancelled(time.monotonic() - pending.arrived)

    def _leave(self, pending: Pending) -> bool:
        with self._lock:
            waited = self._queue.remove(pending)
        self._watchdog.forget(pending)
        return waited

    def _watch(self, pending: Pending, fails_at: float) -> None:
        if fails_at < math.inf:
            self._watchdog.watch(pending, fails_at, lambda: self._expire(pending))
            if pending.done():  # so fast that there was nothing to forget yet
                self._watchdog.forget(pending)

    def _expire(self, pending: Pending) -> None:
        """Fail a request whose time is over. Its run goes on: others may share it."""
        now = time.monotonic()
        if self._leave(pending):
            self._answer(pending, self._queue.refusal(pending, now))
        elif now >= pending.deadline:
            self._answer(pending, self._too_slow(pending))
        else:  # it began to run before the queue's limit
            self._watch(pending, pending.deadline)

    def _work(self) -> None:
        while batch := self._next():
            self._serve(batch)
            del batch  # or this thread would keep it in memory until another one comes

    def _serve(self, batch: Sequence[Pending]) -> None:
        """Run a batch, and answer each of its requests."""
        rows, began = sum(pending.rows for pending in batch), time.thread_time()
        answers = self._run(batch)
        self._end(rows, time.thread_time() - began)  # before the answers: who gets one may ask again at once
        for pending, answer in zip(batch, answers, strict=True):
            self._answer(pending, answer)

    def _end(self, rows: int, cpu_s: float | None, *, forgets: bool = False) -> None:
        """Take note of a run that has ended, and of what it has cost; None if that was not measured.

        forgets: what was measured before is not to be trusted.
        """
        with self._lock:
            self._running -= 1
            self._running_rows -= rows
            if forgets:
                self._row_s = 0.0
            if cpu_s is not None:
                self._row_s += (cpu_s / rows - self._row_s) / (4 if self._row_s else 1)

    def _next(self) -> list[Pending]:
        """Wait for the next batch and return it; empty when the engine is closed."""
        while not self._closed:
            with self._lock:
                batch, failed = self._wait()
            for pending in failed:
                self._answer(pending, self._queue.refusal(pending, time.monotonic()))
            if batch:
                return batch
        return []

    def _wait(self) -> tuple[list[Pending], list[Pending]]:
        """Wait until a batch is due, and take it. The lock is held."""
        self._waking = False
        while not self._closed:
            if not self._queue or self._waiting_for_due:
                self._free += 1
                self._arrived.wait()
                self._waking = False
                continue
            left = self._queue.due(others_run=self._running > 0) - time.monotonic()
            if left > 0:
                self._waiting_for_due = True
                self._filled.wait(left)
                self._waiting_for_due = False
                continue
            return self._take()
        return [], []

    def _take(self) -> tuple[list[Pending], list[Pending]]:
        """Take a batch. Threads that are free get their share of what waits, at once, unless the shares were too small."""
        now, rows = time.monotonic(), self._queue.rows
        share = -(-rows // max(1, self._runs - self._running))  # a light run may be one more than `runs`
        most = share if share * self._row_s >= LEAST_SHARE_S else rows
        if most < rows:
            self._queue.make_all_due(now)
        batch, failed = self._queue.take(now, most)
        if batch:
            self._running += 1
            self._running_rows += sum(pending.rows for pending in batch)
        if self._queue:
            self._wake()
        return batch, failed

    def _run(self, batch: Sequence[Pending]) -> list[Answer]:
        """Return an answer for each request. If a run fails, each runs alone, so that a bad one costs the others nothing."""
        try:
            return self._answers_of_run(batch)
        except DeadlineExceeded:
            return [self._too_slow(pending) for pending in batch]
        except EngineUnavailable as error:
            return [EngineUnavailable(str(error)) for _ in batch]
        except Exception as error:
            return [error] if len(batch) == 1 else [self._run([pending])[0] for pending in batch]

    def _answers_of_run(self, batch: Sequence[Pending]) -> list[Answer]:
        """Return the answers of a run, which is ended when the last deadline has passed."""
        began = time.monotonic()
        queue_s = sum(began - pending.arrived for pending in batch)
        until = max(pending.deadline for pending in batch)
        sizes = [pending.rows for pending in batch]
        return [*self._run_together([pending.request for pending in batch], sizes, queue_s, until)]

    def _run_together(
        self, requests: Sequence[InferRequest], sizes: Sequence[int], queue_s: float, until: float
    ) -> list[dict[str, Array]]:
        """Run requests for the same outputs together, and count the run. Raises what Engine.infer raises.

        sizes: the rows of each. queue_s: seconds that they waited, all added up. until: when the run is ended, by
        time.monotonic(); inf for never.
        """
        began = time.monotonic()
        inputs = {name: _joined([request.inputs[name] for request in requests]) for name in requests[0].inputs}
        ready = time.monotonic()
        timeout_s = None if until == math.inf else until - ready
        result = self._engine.infer(InferRequest(self.spec.name, inputs, requests[0].outputs, self.spec.version, timeout_s))
        ran = time.monotonic()
        answers = [*_shares(sizes, result)]
        self.statistics.ran(sum(sizes), len(sizes), queue_s, ready - began, ran - ready, time.monotonic() - ran)
        return answers

    def _answer(self, pending: Pending, answer: Answer) -> None:
        """Set a request's answer, unless it has one: its deadline may have passed at this moment. It is counted before."""
        with self._lock:
            first, pending.has_answer = not (pending.has_answer or pending.cancelled()), True
        if first:
            seconds = time.monotonic() - pending.arrived
            if isinstance(answer, Exception):
                self.statistics.failed(seconds)
                pending.set_exception(answer)
            else:
                self.statistics.succeeded(seconds)
                pending.set_result(answer)
        self._watchdog.forget(pending)  # last, or one that is watched at this moment would be kept

    def _too_slow(self, pending: Pending) -> DeadlineExceeded:
        return DeadlineExceeded(f"model {self.spec.name!r} did not answer within {pending.request.timeout_s} s")


def _light_rows(request: InferRequest) -> int:
    """Return the rows of a request that was not checked; 0 if it has none."""
    return next((array.shape[0] for array in request.inputs.values() if array.shape), 0)


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _shares(sizes: Sequence[int], result: dict[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield the part of a run's result that belongs to each request, which have so many rows."""
    if len(sizes) == 1:
        yield result
        return
    start = 0
    for size in sizes:
        end = start + size
        yield {name: array[start:end] for name, array in result.items()}
        start = end
