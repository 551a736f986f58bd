"""Collect the rows for the models of a group into batches, across files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.engines.base import InferRequest
from avizor_inference.errors import EngineUnavailable
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.model_groups import ModelGroup

Key = TypeVar("Key")


@dataclass(frozen=True)
class Batch(Generic[Key]):
    """Holds the keys of some rows, and the model's outputs for them in the order of `ModelGroup.outputs`, each [rows, ...]."""

    keys: list[Key]
    outputs: tuple[Array, ...]


class Batcher(Generic[Key]):
    """Collects rows for a group of models and runs it whenever a batch is full.

    in_flight: batches that may run at once. With 1, each batch runs in the caller's thread, which suits an engine in this
    process: a second thread would only compete for the core. wait: for an engine that is away.
    """

    def __init__(self, group: ModelGroup, in_flight: int, wait: EngineWait | None = None) -> None:
        self._wait = wait or EngineWait()
        spec = self._wait.answer(lambda: group.engine.spec(group.name, group.version))
        (self._input,) = spec.inputs
        self._engine, self._group, self._in_flight = group.engine, group, in_flight
        self._outputs = group.outputs
        self._batch_size = min(group.batch_size, spec.max_batch_size)
        self._keys: list[Key] = []
        self._rows: list[Items] = []
        self._running: deque[tuple[list[Key], InferRequest, Future[dict[str, Array]]]] = deque()

    def push(self, key: Key, row: Items) -> Iterator[Batch[Key]]:
        """Take in one row of the model's tensor, [*item_shape], and yield the batches that are ready, in the order of the rows.

        Nothing happens until the iterator is consumed. The row is kept, not copied, until its batch starts. Raises EngineError.
        """
        self._keys.append(key)
        self._rows.append(row)
        if len(self._rows) == self._batch_size:
            yield from self._run()

    def finish(self) -> Iterator[Batch[Key]]:
        """Run what is left and yield all batches that are missing. Then the batcher is empty and can be used again."""
        if self._rows:
            yield from self._run()
        while self._running:
            yield self._collect()

    def _run(self) -> Iterator[Batch[Key]]:
        keys, inputs = self._keys, {self._input: np.stack(self._rows)}
        self._keys, self._rows = [], []
        request = InferRequest(self._group.name, inputs, self._outputs, self._group.version)
        if self._in_flight == 1:
            yield _batch(keys, self._wait.answer(lambda: self._engine.infer(request)))
            return
        self._running.append((keys, request, self._engine.submit(request)))
        if len(self._running) == self._in_flight:
            yield self._collect()

    def _collect(self) -> Batch[Key]:
        keys, request, future = self._running.popleft()
        try:
            answer = future.result()
        except EngineUnavailable as error:
            answer = self._wait.answer_later(lambda: self._engine.infer(request), error)
        return _batch(keys, answer)


def _batch(keys: list[Key], answer: dict[str, Array]) -> Batch[Key]:
    return Batch(keys, tuple(answer.values()))
