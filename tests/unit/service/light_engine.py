"""An engine to which every request is light, around a real one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.errors import AvizorError


class LightEngine(Engine):
    """Runs what infer_light gets, however long it takes, with the engine that it is made of.

    runs: the requests of each run, and waits: the seconds that they had waited, added up. shares: whether requests may share a
    run. most: requests of a run; more are refused. cancelled: the seconds that each waited that was cancelled.
    """

    def __init__(self, engine: Engine, *, shares: bool = True) -> None:
        self._engine = engine
        self.shares, self.most = shares, 1000
        self.runs: list[Sequence[InferRequest]] = []
        self.waits: list[float] = []
        self.cancelled: list[float] = []

    @property
    def sizes(self) -> list[int]:
        """Return how many requests each run had."""
        return [len(requests) for requests in self.runs]

    def infer_light(self, requests: Sequence[InferRequest], waited_s: float = 0.0) -> list[dict[str, Array]] | None:
        self.runs.append(requests)
        self.waits.append(waited_s)
        if len(requests) > self.most:
            return None
        (name,) = requests[0].inputs
        rows = [request.inputs[name] for request in requests]
        try:
            answer = self._engine.infer(InferRequest(requests[0].model, {name: np.concatenate(rows)}, requests[0].outputs))
        except AvizorError:
            return None
        ends = np.cumsum([len(part) for part in rows])[:-1]
        parts = {output: np.split(values, ends) for output, values in answer.items()}
        return [{output: parts[output][number] for output in parts} for number in range(len(rows))]

    def cancelled_light(self, request: InferRequest, waited_s: float) -> None:
        self.cancelled.append(waited_s)

    def shares_light_runs(self, model: str, version: int | None = None) -> bool:
        return self.shares

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return self._engine.spec(model, version)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        return self._engine.submit(request)

    def ready(self, timeout_s: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        self._engine.close()
