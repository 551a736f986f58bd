"""Collect the rows for one model into batches, across files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.engines.base import Engine, InferRequest
from avizor_pipeline.models import JobModel

Key = TypeVar("Key")

# One row's part of each output.
Outputs = tuple[Array, ...]


class Batcher(Generic[Key]):
    """Collects rows for one model and runs it whenever a batch is full.

    in_flight: batches that may run at once. With 1, each batch runs in the caller's thread, which suits an engine in this
    process: a second thread would only compete for the core.
    """

    def __init__(self, engine: Engine, model: JobModel, in_flight: int) -> None:
        spec = engine.spec(model.name, model.choice.version)
        (self._input,) = spec.inputs
        self._engine, self._model, self._in_flight = engine, model, in_flight
        self._batch_size = min(model.choice.batch_size, spec.max_batch_size)
        self._keys: list[Key] = []
        self._rows: list[Items] = []
        self._running: deque[tuple[list[Key], Future[dict[str, Array]]]] = deque()

    def push(self, key: Key, row: Items) -> Iterator[tuple[Key, Outputs]]:
        """Take in one row of the model's tensor, [*item_shape], and yield the results that are ready, in the order of the rows.

        A result is the key of a row and its part of each output, in the order of the model's `outputs`.
        Nothing happens until the iterator is consumed. The row is kept, not copied, until its batch starts. Raises EngineError.
        """
        self._keys.append(key)
        self._rows.append(row)
        if len(self._rows) == self._batch_size:
            yield from self._run()

    def finish(self) -> Iterator[tuple[Key, Outputs]]:
        """Run what is left and yield all results that are missing. Then the batcher is empty and can be used again."""
        if self._rows:
            yield from self._run()
        while self._running:
            yield from self._collect()

    def _run(self) -> Iterator[tuple[Key, Outputs]]:
        keys, inputs = self._keys, {self._input: np.stack(self._rows)}
        self._keys, self._rows = [], []
        request = InferRequest(self._model.name, inputs, self._model.outputs, self._model.choice.version)
        if self._in_flight == 1:
            yield from _pair(keys, self._engine.infer(request))
            return
        self._running.append((keys, self._engine.submit(request)))
        if len(self._running) == self._in_flight:
            yield from self._collect()

    def _collect(self) -> Iterator[tuple[Key, Outputs]]:
        keys, future = self._running.popleft()
        return _pair(keys, future.result())


def _pair(keys: list[Key], answer: dict[str, Array]) -> Iterator[tuple[Key, Outputs]]:
    return zip(keys, zip(*answer.values(), strict=True), strict=True)
