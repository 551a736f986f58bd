"""Run more rows than one batch of a model holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest


def infer_rows(engine: Engine, request: InferRequest, *, in_flight: int = 4) -> dict[str, Array]:
    """Run a request of any number of rows, at least one: in chunks of at most the model's batch, `in_flight` at a time.

    `timeout_s` of the request holds for each chunk. Raises what Engine.infer raises; chunks that wait are then cancelled, and
    those that run abandoned.
    """
    rows = len(next(iter(request.inputs.values())))
    size = engine.spec(request.model, request.version).max_batch_size
    chunks = (
        {name: array[start : start + size] for name, array in request.inputs.items()} for start in range(0, max(rows, 1), size)
    )
    results = list(infer_batches(engine, request, chunks, in_flight=in_flight))
    return {name: np.concatenate([result[name] for result in results]) for name in request.outputs}


def infer_batches(
    engine: Engine, request: InferRequest, batches: Iterable[Mapping[str, Array]], *, in_flight: int = 4
) -> Iterator[dict[str, Array]]:
    """Run the request with each of these inputs, and yield the results in their order.

    A batch is taken from `batches` when it is about to be sent, so that at most `in_flight` + 1 of them are in memory.
    Raises what Engine.infer raises; see infer_rows.
    """
    running: deque[Future[dict[str, Array]]] = deque()
    try:
        for inputs in batches:
            if len(running) == in_flight:
                yield running.popleft().result()
            running.append(engine.submit(replace(request, inputs=inputs)))
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
