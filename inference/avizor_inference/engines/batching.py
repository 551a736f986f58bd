"""Batch the requests of many callers for an engine that does not do so itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.engines.batch_policy import BatchPolicy
from avizor_inference.engines.batch_queue import Pending
from avizor_inference.engines.core_share import core_share
from avizor_inference.engines.model_batcher import ModelBatcher
from avizor_inference.engines.run_statistics import StatisticsOfVersions
from avizor_inference.engines.watchdog import Watchdog
from avizor_inference.errors import EngineUnavailable
from avizor_inference.repository.models import ModelRepository

LAST_RUNS_S = 2.0


class BatchingEngine(Engine):
    """Wraps an engine, and runs requests of many callers together, as each model's config.pbtxt says.

    Applied are max_batch_size, `dynamic_batching` (preferred_batch_size, max_queue_delay_microseconds, the queue policy), and
    how many runs go on at once (core_share). Requests share a run if they are for the same version and the same outputs.
    Without `dynamic_batching` each request has a run to itself.

    A request that is cancelled, or whose deadline passes, before its run begins leaves the queue and is never run. A run that
    has begun is ended only when the deadlines of all its requests have passed. The answers of one run are set one right
    after the other. For a model as fast as LeNet there is `infer_light`.
    """

    def __init__(
        self,
        engine: Engine,
        repository: ModelRepository,
        cores: int | None = None,
        statistics: StatisticsOfVersions | None = None,
    ) -> None:
        self._engine, self._repository, self._cores = engine, repository, cores
        self._statistics = statistics or StatisticsOfVersions()
        self._watchdog = Watchdog("avizor-batch-deadlines")
        self._batchers: dict[tuple[str, int | None], ModelBatcher] = {}
        self._lock = threading.Lock()
        self._closed = False

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec."""
        return self._batcher(model, version).spec

    def submit(self, request: InferRequest) -> Pending:
        """See Engine.submit. Raises EngineBusy too, if as many requests wait as the model's config.pbtxt allows.

        Does not wait, if the model has been used before or its spec was asked for. The future can be cancelled until the
        request runs.
        """
        return self._batcher(request.model, request.version).submit(request)

    def infer_light(self, requests: Sequence[InferRequest], waited_s: float = 0.0) -> list[dict[str, Array]] | None:
        """See Engine.infer_light, and ModelBatcher's."""
        batcher = self._batchers.get((requests[0].model, requests[0].version))
        return batcher.infer_light(requests, waited_s) if batcher else None

    def cancelled_light(self, request: InferRequest, waited_s: float) -> None:
        """See Engine.cancelled_light."""
        if batcher := self._batchers.get((request.model, request.version)):
            batcher.statistics.cancelled(waited_s)

    def shares_light_runs(self, model: str, version: int | None = None) -> bool:
        """See Engine.shares_light_runs, and ModelBatcher's."""
        batcher = self._batchers.get((model, version))
        return batcher is not None and batcher.shares_light_runs

    def statistics(self, model: str = "", version: int | None = None) -> list[Any]:
        """See Engine.statistics. They begin when a version is first used."""
        return self._statistics.messages(model, version)

    def loaded(self, model: str) -> list[int] | None:
        """See Engine.loaded."""
        return self._engine.loaded(model)

    def unload(self, model: str, version: int) -> None:
        """See Engine.unload. Ends the threads of the version."""
        with self._lock:
            found = self._batchers.get((model, version))
            self._batchers = {key: batcher for key, batcher in self._batchers.items() if batcher is not found}
        if found:
            found.close()
            found.join()
        self._engine.unload(model, version)

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return not self._closed and self._engine.ready(timeout_s)

    def close(self) -> None:
        """See Engine.close. Requests that wait fail with EngineUnavailable. Ends every thread.

        Runs that go on have LAST_RUNS_S seconds; then the engine ends them.
        """
        with self._lock:
            self._closed = True
            batchers = set(self._batchers.values())
            self._batchers.clear()
        for batcher in batchers:
            batcher.close()
        last = time.monotonic() + LAST_RUNS_S
        for batcher in batchers:
            batcher.join(last)
        self._engine.close()
        for batcher in batchers:
            batcher.join()
        self._watchdog.close()

    def _batcher(self, model: str, version: int | None) -> ModelBatcher:
        if batcher := self._batchers.get((model, version)):
            return batcher
        spec = self._engine.spec(model, version)
        with self._lock:
            if self._closed:
                raise EngineUnavailable("the engine is closed")
            batcher = self._batchers.get((model, spec.version)) or self._open(spec)
            # Under both keys: the engine keeps what "the newest" first meant, too.
            self._batchers[model, spec.version] = self._batchers[model, version] = batcher
            return batcher

    def _open(self, spec: ModelSpec) -> ModelBatcher:
        config = self._repository.version(spec.name, spec.version).config
        share = core_share(config, on_gpu=spec.engine_class == "onnxruntime-cuda", cores=self._cores)
        statistics = self._statistics.of(spec.name, spec.version)
        return ModelBatcher(self._engine, spec, BatchPolicy.of(config), share.runs, self._watchdog, statistics)
