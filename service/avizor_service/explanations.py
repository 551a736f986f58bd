"""Bound how many explanations are computed at once: each is many runs of a model, and others have to get their turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from avizor_inference.errors import GatewayFull
from avizor_service.drawing.drawer import Drawer
from avizor_service.metrics import Metrics
from avizor_service.threads import Threads
from avizor_service.throughput import Throughput
from avizor_service.whole import ALONE, Whole


class Explanations:
    """Counts the calls of Explain that are computed. threads: for their computations, at least `most`. drawer: of pictures."""

    def __init__(self, metrics: Metrics, most: int, threads: Threads, drawer: Drawer, whole: Whole = ALONE) -> None:
        self._rejected, self.threads, self.drawer = metrics.rejected, threads, drawer
        self._places, self._calls = whole.limit("explanations", most), Throughput()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Surround the computation of one call. Raises GatewayFull if there is no place for it.

        A call has its place neither while it is received nor while its client reads the answer, however slowly.
        """
        if not self._places.take():
            self._rejected.labels("explanations").inc()
            raise GatewayFull(
                f"{self._places.most} explanations are computed, as many as this gateway does at once "
                "(--max-explanations); try again",
                self._calls.wait_s(),
            )
        self._calls.enter(1)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            self._places.give()
            self._calls.leave(1, done=is_done)
