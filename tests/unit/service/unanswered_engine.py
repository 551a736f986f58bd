"""An engine that holds its answers back until a test lets them go, around a real one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec


class UnansweredEngine(Engine):
    """Takes requests and answers none before `release`. submitted: the requests and their futures, in order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._passes = False
        self.submitted: list[tuple[InferRequest, Future[dict[str, Array]]]] = []

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return self._engine.spec(model, version)

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Answer requests at once, and do not keep them: what a gateway asks before it serves a version."""
        self._passes = True
        yield
        self._passes = False

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        if self._passes:
            return self._engine.submit(request)
        future: Future[dict[str, Array]] = Future()
        self.submitted.append((request, future))
        return future

    def release(self, number: int = 0) -> None:
        """Answer one of the requests that are held."""
        request, future = self.submitted[number]
        future.set_result(self._engine.infer(request))

    def ready(self, timeout_s: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        self._engine.close()
