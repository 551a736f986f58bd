"""Run more rows than one batch of a model holds."""

from __future__ import annotations

from collections import deque
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
    running: deque[Future[dict[str, Array]]] = deque()
    results: list[dict[str, Array]] = []
    try:
        for start in range(0, max(rows, 1), size):
            if len(running) == in_flight:
                results.append(running.popleft().result())
            chunk = {name: array[start : start + size] for name, array in request.inputs.items()}
            running.append(engine.submit(replace(request, inputs=chunk)))
        results += [future.result() for future in running]
    except BaseException:
        for future in running:
            future.cancel()
        raise
    return {name: np.concatenate([result[name] for result in results]) for name in request.outputs}
