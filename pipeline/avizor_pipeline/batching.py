"""Batches of windows, collected across files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from avizor_inference.arrays import Array, Samples
from avizor_inference.engines.base import Engine
from avizor_pipeline.models import JobModel

# Called with one window's result.
Taker = Callable[[Array], None]


class Batcher:
    """Collects windows for one model, across files, and runs it whenever a batch is full.

    in_flight: batches that may be under way at once. 1 runs each where it stands, which is right for an engine in this very
    process: a second thread would only fight for the core.
    """

    def __init__(self, engine: Engine, model: JobModel, batch_size: int, in_flight: int) -> None:
        spec = engine.spec(model.name, model.choice.version)
        (self._input,) = spec.inputs
        self._engine, self._model, self._in_flight = engine, model, in_flight
        shape = (min(batch_size, spec.max_batch_size), model.format.window)
        self._free = [np.empty(shape, dtype=np.float32) for _ in range(in_flight)]
        self._batch = self._free.pop()
        self._takers: list[Taker] = []
        self._under_way: deque[tuple[Future[dict[str, Array]], Array, list[Taker]]] = deque()

    def add(self, samples: Samples, taker: Taker) -> None:
        """Take float32[window]; `taker` is called with its result, in order, once its batch has run."""
        self._batch[len(self._takers)] = samples
        self._takers.append(taker)
        if len(self._takers) == len(self._batch):
            self._run()

    def flush(self) -> None:
        """Run what has been collected, and wait for all that is under way."""
        if self._takers:
            self._run()
        while self._under_way:
            self._collect()

    def _run(self) -> None:
        takers, self._takers = self._takers, []
        name, version, outputs = self._model.name, self._model.choice.version, [self._model.output]
        inputs = {self._input: self._batch[: len(takers)]}
        if self._in_flight == 1:
            _deliver(self._engine.infer(name, inputs, outputs, version=version), takers)
            return
        self._under_way.append((self._engine.submit(name, inputs, outputs, version=version), self._batch, takers))
        if not self._free:
            self._collect()
        self._batch = self._free.pop()

    def _collect(self) -> None:
        future, batch, takers = self._under_way.popleft()
        _deliver(future.result(), takers)
        self._free.append(batch)


def _deliver(answer: dict[str, Array], takers: list[Taker]) -> None:
    (results,) = answer.values()
    for taker, result in zip(takers, results, strict=True):
        taker(result)
