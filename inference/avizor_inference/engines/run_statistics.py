"""Count what an engine has run for each version of each model, as Triton's statistics do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tritonclient.grpc import service_pb2 as pb

_NS = 1_000_000_000

# Of a request, and of a run: the times of its three parts.
_PARTS = ("compute_input", "compute_infer", "compute_output")

_LAST_RUN = "last_run"  # not a sum: when it was, in seconds since 1970


class Count:
    """Counts events and adds up how long they took."""

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float, count: int) -> None:
        """Count so many events more, which took so long together."""
        self.count += count
        self.seconds += seconds

    def set(self, seconds: float) -> None:
        """Note a time that is not a sum."""
        self.seconds = seconds

    def write(self, duration: Any) -> None:
        """Fill in a StatisticDuration of Triton's protocol."""
        duration.count, duration.ns = self.count, int(self.seconds * _NS)


class RunStatistics:
    """Counts requests and runs of one version of a model. Safe to use from several threads. All times are in seconds.

    A request counts once it has ended: it was answered, has failed, or was cancelled before it ran. A run has the rows of one
    request or of several; it counts when it has succeeded.

    count(name): returns where what has this name is counted.
    """

    def __init__(self, model: str, version: int, count: Callable[[str], Count] = lambda _name: Count()) -> None:
        self.model, self.version = model, version
        self._lock, self._make = threading.Lock(), count
        self._counts: dict[str, Count] = {}
        self._of_parts: dict[int, list[tuple[Count, Count]]] = {}  # rows of a run -> each part of a request, and of such a run

    def ran(self, rows: int, requests: int, queue_s: float, input_s: float, infer_s: float, output_s: float) -> None:
        """Count a run. queue_s: of all its requests together; input_s, infer_s, output_s: of the run."""
        with self._lock:
            self._of(_LAST_RUN).set(time.time())
            self._of("queue").add(queue_s, requests)
            for (of_request, of_run), seconds in zip(self._parts(rows), (input_s, infer_s, output_s), strict=True):
                of_request.add(seconds * requests, requests)
                of_run.add(seconds, 1)

    def succeeded(self, seconds: float, requests: int = 1) -> None:
        """Count a request that was answered so many seconds after it came; or several, and the seconds of all added up."""
        with self._lock:
            self._of("success").add(seconds, requests)

    def failed(self, seconds: float = 0.0) -> None:
        """Count a request that has failed so many seconds after it came; one that was not let in, after none."""
        with self._lock:
            self._of("fail").add(seconds, 1)

    def cancelled(self, seconds: float) -> None:
        """Count a request that was cancelled while it waited."""
        with self._lock:
            self._of("cancel").add(seconds, 1)

    def message(self) -> Any:
        """Return the counts so far, as `statistics_message` does."""
        with self._lock:
            return statistics_message(self.model, self.version, self._counts)

    def _of(self, name: str) -> Count:
        if name not in self._counts:
            self._counts[name] = self._make(name)
        return self._counts[name]

    def _parts(self, rows: int) -> list[tuple[Count, Count]]:
        if rows not in self._of_parts:
            self._of_parts[rows] = [(self._of(part), self._of(_of_run(part, rows))) for part in _PARTS]
        return self._of_parts[rows]


class StatisticsOfVersions:
    """Holds the statistics of each version that was used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[tuple[str, int], RunStatistics] = {}

    def of(self, model: str, version: int) -> RunStatistics:
        """Return where the runs of a version are counted, from now on also by others that ask for it."""
        with self._lock:
            if (model, version) not in self._of:
                self._of[model, version] = RunStatistics(model, version, lambda name: self.count(model, version, name))
            return self._of[model, version]

    def count(self, _model: str, _version: int, _name: str) -> Count:
        """Return a new count of a version, for what has this name."""
        return Count()

    def messages(self, model: str = "", version: int | None = None) -> list[Any]:
        """Return the ModelStatistics of each version that was used, in order. model: empty for all. version: None for all."""
        with self._lock:
            chosen = sorted(key for key in self._of if model in ("", key[0]) and version in (None, key[1]))
            return [self._of[key].message() for key in chosen]


def statistics_message(model: str, version: int, counts: Mapping[str, Count]) -> Any:
    """Return counts, by their names, as a ModelStatistics of Triton. Cancelled requests are in its response_stats."""
    message = no_statistics(model, version)
    for name in ("success", "fail", "queue", *_PARTS):
        if name in counts:
            counts[name].write(getattr(message.inference_stats, name))
    if "cancel" in counts:
        counts["cancel"].write(message.response_stats["0"].cancel)
    if _LAST_RUN in counts:
        message.last_inference = int(counts[_LAST_RUN].seconds * 1000)
    sizes = sorted(int(name.split()[1]) for name in counts if name.startswith(f"{_PARTS[0]} "))
    for rows in sizes:
        batch = message.batch_stats.add(batch_size=rows)
        for part in _PARTS:
            if (name := _of_run(part, rows)) in counts:
                counts[name].write(getattr(batch, part))
        message.inference_count += rows * batch.compute_infer.count
        message.execution_count += batch.compute_infer.count
    return message


def merged(several: list[Count], name: str) -> Count:
    """Return several counts of one name as one."""
    whole = Count()
    if name == _LAST_RUN:
        whole.set(max(each.seconds for each in several))
    else:
        for each in several:
            whole.add(each.seconds, each.count)
    return whole


def no_statistics(model: str, version: int) -> Any:
    """Return the ModelStatistics of a version that nothing was asked of."""
    message = pb.ModelStatistics(name=model, version=str(version), inference_stats=pb.InferStatistics())
    for field in message.inference_stats.DESCRIPTOR.fields:
        getattr(message.inference_stats, field.name).SetInParent()  # zero, and there
    return message


def _of_run(part: str, rows: int) -> str:
    return f"{part} {rows}"
