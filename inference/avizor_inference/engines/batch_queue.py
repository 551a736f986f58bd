"""Keep the requests for one model that wait, and take batches out."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import chain

from avizor_inference.arrays import Array
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.batch_policy import BatchPolicy
from avizor_inference.errors import DeadlineExceeded, EngineBusy, EngineError


class Pending(Future[dict[str, Array]]):
    """Holds a request that waits or runs, and is the future of its answer. Cancelled while it waits, it leaves the queue.

    rows: of the request. arrived: time.monotonic(). deadline: by that clock; inf without a timeout.
    """

    def __init__(self, request: InferRequest, rows: int, arrived: float, leave: Callable[[Pending], object]) -> None:
        super().__init__()
        self.request, self.rows, self.arrived = request, rows, arrived
        self.outputs = tuple(request.outputs)
        self.has_answer = False
        self.deadline = math.inf if request.timeout_s is None else arrived + request.timeout_s
        self._leave = leave

    def cancel(self) -> bool:
        """Cancel the request unless it runs or has ended; return whether it is cancelled."""
        cancelled = super().cancel()
        if cancelled:
            self._leave(self)
        return cancelled


class BatchQueue:
    """Holds the waiting requests of one model, oldest first. Its user holds a lock around each call."""

    def __init__(self, model: str, policy: BatchPolicy) -> None:
        self._model, self._policy = model, policy
        # Ordered, and one that is cancelled leaves at once, wherever it is. Those that waited too long come after all others.
        self._in_time: OrderedDict[Pending, None] = OrderedDict()
        self._late: OrderedDict[Pending, None] = OrderedDict()
        self._due_before = -math.inf
        self.rows = 0

    def __len__(self) -> int:
        return len(self._in_time) + len(self._late)

    def __iter__(self) -> Iterator[Pending]:
        return chain(self._in_time, self._late)

    def add(self, pending: Pending) -> None:
        """Add a request at the end. Raises EngineBusy if as many wait as may."""
        limit = self._policy.max_waiting
        if limit and len(self) >= limit:
            raise EngineBusy(
                f"{limit} requests wait for model {self._model!r}, as many as max_queue_size in its config.pbtxt lets wait; "
                "try again later"
            )
        self._in_time[pending] = None
        self.rows += pending.rows

    def remove(self, pending: Pending) -> bool:
        """Take a request out; return whether it waited until now. From then on it cannot be cancelled."""
        for requests in (self._in_time, self._late):
            if pending in requests:
                del requests[pending]
                self.rows -= pending.rows
                return pending.set_running_or_notify_cancel()
        return False

    def fails_at(self, pending: Pending) -> float:
        """Return the time at which a request that still waits has failed: by its deadline, or by the queue's limit."""
        limit = pending.arrived + self._policy.wait_limit_s if self._policy.refuses else math.inf
        return min(pending.deadline, limit)

    def refusal(self, pending: Pending, now: float) -> EngineError:
        """Return the error of a request that waited until `now`, when it has failed."""
        if now >= pending.deadline:
            return DeadlineExceeded(
                f"the deadline of {pending.request.timeout_s} s passed before model {self._model!r} started"
            )
        return EngineBusy(
            f"the request waited for model {self._model!r} longer than default_timeout_microseconds in its config.pbtxt "
            f"({self._policy.wait_limit_s * 1e6:.0f}) allows; try again later"
        )

    def due(self, *, others_run: bool) -> float:
        """Return the time from which the next batch may run. There is at least one request.

        A request that is alone runs at once: nobody is there to share a batch with, and waiting would only cost it time.
        """
        oldest = next(iter(self))
        filled = self.rows >= self._policy.runs_at
        if filled or oldest.arrived <= self._due_before or (len(self) == 1 and not others_run):
            return oldest.arrived
        return oldest.arrived + self._policy.delay_s

    def make_all_due(self, now: float) -> None:
        """Let requests that arrived before `now` run as soon as there is a thread."""
        self._due_before = now

    def take(self, now: float, most: int) -> tuple[list[Pending], list[Pending]]:
        """Take out the next batch, in the order of arrival, and the requests before its last one that have failed by `now`.

        most: rows of the batch, where no preferred size is filled and its first request has no more. A batch holds requests
        for the same outputs: to compute those of the others too could cost more than a second run. It is empty if every
        request was cancelled or has failed.
        """
        self._set_late_ones_back(now)
        size = self._policy.size(self.rows, most)
        batch: list[Pending] = []
        failed: list[Pending] = []
        rows = 0
        for pending in list(self):
            if now >= self.fails_at(pending):
                failed += [pending] if self.remove(pending) else []
            elif batch and (not self._policy.together or rows + pending.rows > size):
                break
            elif (not batch or pending.outputs == batch[0].outputs) and self.remove(pending):
                batch.append(pending)
                rows += pending.rows
        return batch, failed

    def _set_late_ones_back(self, now: float) -> None:
        if self._policy.refuses:
            return
        while self._in_time and now - next(iter(self._in_time)).arrived > self._policy.wait_limit_s:
            self._late[self._in_time.popitem(last=False)[0]] = None
