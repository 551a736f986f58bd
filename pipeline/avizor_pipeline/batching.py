"""Collect the rows for the models of a group into batches, across files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.engines.base import InferRequest, check_unchanged
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import (
    BatchTooLarge,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    EngineMismatch,
    EngineUnavailable,
    GpuFull,
)
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.model_groups import ModelGroup

Key = TypeVar("Key")


@dataclass(frozen=True)
class Batch(Generic[Key]):
    """Holds the keys of some rows, and the model's outputs for them in the order of `ModelGroup.outputs`, each [rows, ...].

    error: why the model does not run on the one row that there is, which has no outputs then.
    """

    keys: list[Key]
    outputs: tuple[Array, ...]
    error: EngineError | None = None


class Batcher(Generic[Key]):
    """Collects rows for a group of models and runs it whenever a batch is full.

    in_flight: batches that may run at once. With 1, each batch runs in the caller's thread, which suits an engine in this
    process: a second thread would only compete for the core. wait: for an engine that is away.
    """

    def __init__(self, group: ModelGroup, in_flight: int, wait: EngineWait | None = None) -> None:
        self._wait = wait or EngineWait()
        self._spec = spec = self._wait.answer(lambda: group.engine.spec(group.name, group.version))
        ((self._input, tensor),) = spec.inputs.items()
        self._zeros = np.zeros((1, *tensor.item_shape), tensor.dtype)
        self._engine, self._group, self._in_flight = group.engine, group, in_flight
        self._outputs = group.outputs
        self._room = spec.max_batch_size
        self._batch_size = min(group.batch_size, self._room)
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
            yield from self._collect()

    def _run(self) -> Iterator[Batch[Key]]:
        keys, request = self._keys, self._request(np.stack(self._rows))
        self._keys, self._rows = [], []
        if self._in_flight == 1:
            yield from self._answered(keys, request, partial(self._ask, request))
            return
        self._running.append((keys, request, self._engine.submit(request)))
        if len(self._running) == self._in_flight:
            yield from self._collect()

    def _collect(self) -> Iterator[Batch[Key]]:
        keys, request, future = self._running.popleft()

        def answer() -> dict[str, Array]:
            try:
                return future.result()
            except EngineUnavailable as error:
                return self._wait.answer_later(lambda: self._infer(request), error)

        return self._answered(keys, request, answer)

    def _answered(self, keys: list[Key], request: InferRequest, answer: Callable[[], dict[str, Array]]) -> Iterator[Batch[Key]]:
        try:
            outputs = tuple(answer().values())
        except EngineError as error:
            if not _may_be_of_a_row(error):
                raise
            found = self._apart(keys, request.inputs[self._input], error)
            if all(each.error for each in found):
                self._ask(self._request(self._zeros))  # raises if the model does not run at all
            yield from found
        else:
            yield Batch(keys, outputs)

    def _apart(self, keys: list[Key], rows: Items, error: EngineError) -> list[Batch[Key]]:
        """Return what a run that failed gives in halves, until the rows are alone on which the model does not run.

        Some graphs fail at some values, such as an index that a table does not have. error: of the run.
        """
        if len(keys) == 1:
            return [self._alone(keys, rows, error)]
        found, middle = list[Batch[Key]](), len(keys) // 2
        for some, half in ((keys[:middle], rows[:middle]), (keys[middle:], rows[middle:])):
            try:
                found.append(Batch(some, tuple(self._ask(self._request(half)).values())))
            except EngineError as again:
                if not _may_be_of_a_row(again):
                    raise
                found += self._apart(some, half, again)
        return found

    def _alone(self, keys: list[Key], row: Items, error: EngineError) -> Batch[Key]:
        """Return what the model gives for one row, or the error.

        A server may have run it with a bad row of somebody else. So it is asked again with a batch that has no room for one.
        """
        if self._in_flight > 1:
            try:
                answer = self._ask(self._request(np.repeat(row, self._room, axis=0)))
                return Batch(keys, tuple(output[:1] for output in answer.values()))
            except EngineError as again:
                if not _may_be_of_a_row(again):
                    raise
                error = again
        return Batch(keys, (), error.with_traceback(None))

    def _request(self, rows: Items) -> InferRequest:
        return InferRequest(self._group.name, {self._input: rows}, self._outputs, self._group.version)

    def _ask(self, request: InferRequest) -> dict[str, Array]:
        return self._wait.answer(lambda: self._infer(request))

    def _infer(self, request: InferRequest) -> dict[str, Array]:
        """Return what the engine answers. It may have loaded the version again, for smaller batches: then these follow."""
        try:
            return self._engine.infer(request)
        except (BatchTooLarge, EngineMismatch):
            self._engine.loaded(request.model)
            spec = self._engine.spec(request.model, request.version)
            check_unchanged(spec, self._spec)
            if len(request.inputs[self._input]) <= spec.max_batch_size:
                raise
            self._room = spec.max_batch_size
            self._batch_size = min(self._batch_size, self._room)
            return infer_rows(self._engine, request)


def _may_be_of_a_row(error: EngineError) -> bool:
    """Return whether the values of a row may be the cause of an error, and not the engine or the machine."""
    return not isinstance(error, EngineUnavailable | DeadlineExceeded | EngineBusy | GpuFull) and not lacks_memory(error)
