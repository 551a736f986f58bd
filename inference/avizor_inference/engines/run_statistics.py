"""Count what an engine has run for one version of a model, as Triton's statistics do."""

from __future__ import annotations

import threading
import time
from typing import Any

from tritonclient.grpc import service_pb2 as pb

_NS = 1_000_000_000


class RunStatistics:
    """Counts requests and runs of one version of a model. Safe to use from several threads. All times are in seconds.

    A request counts once it has ended: it was answered, has failed, or was cancelled before it ran. A run has the rows of one
    request or of several; it counts when it has succeeded.
    """

    def __init__(self, model: str, version: int) -> None:
        self.model, self.version = model, version
        self._lock = threading.Lock()
        self._last_run = 0.0
        self._succeeded, self._failed, self._cancelled = _Count(), _Count(), _Count()
        # Of requests: the time in the queue, and the times of the run that each was in.
        self._queue, self._input, self._infer, self._output = _Count(), _Count(), _Count(), _Count()
        self._runs: dict[int, tuple[_Count, _Count, _Count]] = {}  # by rows: the same three, of runs

    def ran(self, rows: int, requests: int, queue_s: float, input_s: float, infer_s: float, output_s: float) -> None:
        """Count a run. queue_s: of all its requests together; input_s, infer_s, output_s: of the run."""
        with self._lock:
            self._last_run = time.time()
            self._queue.add(queue_s, requests)
            self._input.add(input_s * requests, requests)
            self._infer.add(infer_s * requests, requests)
            self._output.add(output_s * requests, requests)
            if rows not in self._runs:
                self._runs[rows] = _Count(), _Count(), _Count()
            for count, seconds in zip(self._runs[rows], (input_s, infer_s, output_s), strict=True):
                count.add(seconds, 1)

    def succeeded(self, seconds: float) -> None:
        """Count a request that was answered so many seconds after it came."""
        with self._lock:
            self._succeeded.add(seconds, 1)

    def failed(self, seconds: float = 0.0) -> None:
        """Count a request that has failed so many seconds after it came; one that was not let in, after none."""
        with self._lock:
            self._failed.add(seconds, 1)

    def cancelled(self, seconds: float) -> None:
        """Count a request that was cancelled while it waited."""
        with self._lock:
            self._cancelled.add(seconds, 1)

    def message(self) -> Any:
        """Return the counts so far as a ModelStatistics of Triton's protocol. Cancelled requests are in its response_stats."""
        with self._lock:
            message = no_statistics(self.model, self.version)
            message.last_inference = int(self._last_run * 1000)
            message.inference_count = sum(rows * counts[1].count for rows, counts in self._runs.items())
            message.execution_count = sum(counts[1].count for counts in self._runs.values())
            stats = message.inference_stats
            self._succeeded.write(stats.success)
            self._failed.write(stats.fail)
            self._queue.write(stats.queue)
            self._input.write(stats.compute_input)
            self._infer.write(stats.compute_infer)
            self._output.write(stats.compute_output)
            if self._cancelled.count:
                self._cancelled.write(message.response_stats["0"].cancel)
            for rows, (input_, infer, output) in sorted(self._runs.items()):
                batch = message.batch_stats.add(batch_size=rows)
                input_.write(batch.compute_input)
                infer.write(batch.compute_infer)
                output.write(batch.compute_output)
            return message


def no_statistics(model: str, version: int) -> Any:
    """Return the ModelStatistics of a version that nothing was asked of."""
    return pb.ModelStatistics(name=model, version=str(version), inference_stats=pb.InferStatistics())


class _Count:
    """Counts events and adds up how long they took."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float, count: int) -> None:
        self.count += count
        self.seconds += seconds

    def write(self, duration: Any) -> None:
        duration.count, duration.ns = self.count, int(self.seconds * _NS)
