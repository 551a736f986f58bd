"""Run each model of a repository on the engine that is best for it: the one that `avizor tune` chose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.errors import EngineUnavailable
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import EnginesHere, tuned_engine


class TunedEngine(Engine):
    """Routes each request to the engine of its model. An engine is opened when a model first needs it.

    A model that was not tuned runs on ONNX Runtime. What config.pbtxt says is fixed when a model is first used, as all that the
    engines read there.

    open_one: opens an engine by its name. engines: the engine of a model by its name, where it is given.
    """

    def __init__(
        self,
        repository: ModelRepository,
        open_one: Callable[[EnginesHere], Engine],
        engines: Mapping[str, EnginesHere] | None = None,
    ) -> None:
        self._repository, self._open_one = repository, open_one
        self._names: dict[str, EnginesHere] = dict(engines or {})
        self._engines: dict[EnginesHere, Engine] = {}
        self._lock = threading.Lock()
        self._closed = False

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec. Raises SettingsError if this machine lacks the engine."""
        return self._of(model).spec(model, version)

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer."""
        return self._of(request.model).infer(request)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit."""
        return self._of(request.model).submit(request)

    def loaded(self, model: str) -> list[int] | None:
        """See Engine.loaded."""
        return self._of(model).loaded(model)

    def unload(self, model: str, version: int) -> None:
        """See Engine.unload."""
        self._of(model).unload(model, version)

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return not self._closed

    def close(self) -> None:
        """See Engine.close."""
        with self._lock:
            self._closed = True
        for engine in self._engines.values():
            engine.close()

    def _of(self, model: str) -> Engine:
        if (name := self._names.get(model)) and (engine := self._engines.get(name)):
            return engine
        with self._lock:
            if self._closed:
                raise EngineUnavailable("the embedded engine is closed")
            name = self._names.get(model) or engine_of(self._repository, model)
            if name not in self._engines:
                self._engines[name] = self._open_one(name)
            self._names[model] = name
            return self._engines[name]


def engine_of(repository: ModelRepository, model: str) -> EnginesHere:
    """Return the engine that `avizor tune` chose for a model; ONNX Runtime if it was not tuned. Raises RepositoryError."""
    return tuned_engine(repository.served(model).config) or "ort"
