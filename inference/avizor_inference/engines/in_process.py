"""Run models in this process: what all engines that do so have in common, whatever computes the graph."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_batch_size, check_request, seconds_left
from avizor_inference.engines.core_share import CoreShare, core_share
from avizor_inference.engines.watchdog import Watchdog
from avizor_inference.error_text import one_line
from avizor_inference.errors import DeadlineExceeded, EngineError, EngineUnavailable, GpuFull, VersionRefused
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration import EngineClass, RunPrecision
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import CONFIG_FILE, intra_op_threads
from avizor_inference.this_machine import usable_cores


class Run(Hashable, Protocol):
    """Computes one batch, once. stopped: whether `stop` was called."""

    stopped: bool

    def __call__(self, outputs: Sequence[str], inputs: dict[str, Array]) -> list[Array]:
        """Return the named outputs. Raises whatever the runtime raises."""

    def stop(self) -> None:
        """End the computation soon: it raises. Called from another thread, before, while or after it runs."""


@dataclass(frozen=True)
class Opened:
    """Holds a version that is ready: its description, and what makes a run of it."""

    spec: ModelSpec
    start: Callable[[], Run]


@dataclass(frozen=True)
class GraphTensor:
    """Describes an input or output as the graph has it. dtype: numpy's name, or the runtime's where numpy has none.

    item_shape: None for a size that the graph leaves open.
    """

    name: str
    dtype: str
    item_shape: tuple[int | None, ...]


class InProcessEngine(Engine):
    """Runs a repository's models in this process, and follows each model's config.pbtxt where it applies to one process.

    That is max_batch_size and intra_op_thread_count. Batching and queues are those of BatchingEngine.

    "The newest version" is the newest that version_policy serves. It is fixed when a model is first used; only a new engine
    sees what was published later. A version that is named is loaded when it is asked for.

    intra_op_threads: threads for one run; None takes the config's `intra_op_thread_count`, 0 lets the runtime choose.
    many_callers: several runs go on at once and share the cores with what their callers do. Then a run has the threads that
        core_share gives it, and threads that wait sleep.
    cores: how many the runs share; None for all that this process may use.
    """

    runtime: ClassVar[str]
    """Names what computes the graphs, for messages."""

    def __init__(
        self,
        repository: ModelRepository | Path | str,
        *,
        intra_op_threads: int | None = None,
        many_callers: bool = False,
        cores: int | None = None,
    ) -> None:
        self.repository = repository if isinstance(repository, ModelRepository) else ModelRepository(repository)
        self._threads = intra_op_threads
        self._many_callers = many_callers
        self._cores = cores or usable_cores()
        self._loaded: dict[tuple[str, int | None], Opened] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._runs: set[Run] = set()  # those that go on
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="avizor-embedded")
        self._watchdog = Watchdog("avizor-run-deadlines")

    @abstractmethod
    def _open(self, version: ModelVersion) -> Opened:
        """Load a version whose digest was checked. Raises VersionRefused, SettingsError, GpuFull."""

    def _reason(self, error: Exception) -> str:
        """Return in one line why a run failed."""
        return one_line(error)

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec."""
        return self._load(model, version).spec

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer.

        Runs in the caller's thread: a batch worker has one core, where a second thread would only compete with its caller.
        """
        return self._run(self._checked(request), request, time.monotonic())

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. Runs in a thread of the engine's pool; time spent waiting for one counts."""
        return self._pool.submit(self._run, self._checked(request), request, time.monotonic())

    def unload(self, model: str, version: int) -> None:
        """See Engine.unload. What the version holds is freed when its last run has ended."""
        with self._lock:
            kept = {key: loaded for key, loaded in self._loaded.items() if (model, version) != (key[0], loaded.spec.version)}
            self._loaded = kept

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return not self._closed

    def close(self) -> None:
        """See Engine.close. Runs that go on are ended, after the node that they are at."""
        with self._lock:
            self._closed = True
            self._loaded.clear()
        for run in self._runs.copy():
            run.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._watchdog.close()

    def share(self, version: ModelVersion, *, on_gpu: bool = False) -> CoreShare:
        """Return how many runs of a version go on at once, and the threads of each; 0 lets the runtime choose."""
        share = core_share(version.config, on_gpu=on_gpu, cores=self._cores)
        if self._threads is not None:
            return CoreShare(share.runs if self._many_callers else 1, self._threads)
        return share if self._many_callers else CoreShare(1, intra_op_threads(version.config))

    def _checked(self, request: InferRequest) -> Opened:
        """Return the model, loaded, after a check of the request. The deadline does not cover the load at first use."""
        loaded = self._load(request.model, request.version)
        check_request(loaded.spec, request)
        return loaded

    def _load(self, model: str, version: int | None) -> Opened:
        self._require_open()
        if loaded := self._loaded.get((model, version)):
            return loaded
        with self._lock:
            self._require_open()  # it may have been closed meanwhile: nobody would free what is loaded now
            wanted = self.repository.version(model, version) if version else self.repository.served(model)
            if (loaded := self._loaded.get((model, wanted.version))) is None:
                wanted.verify()
                loaded = self._open(wanted)
            # Under both keys: "the newest" keeps its first meaning until the engine is closed.
            self._loaded[model, wanted.version] = self._loaded[model, version] = loaded
            return loaded

    def _require_open(self) -> None:
        if self._closed:
            raise EngineUnavailable("the embedded engine is closed")

    def _run(self, loaded: Opened, request: InferRequest, started: float) -> dict[str, Array]:
        model, left = loaded.spec.name, seconds_left(request, started)
        run = loaded.start()
        self._runs.add(run)
        if self._closed:  # by now, close() may have looked already
            run.stop()
        if left is not None:
            self._watchdog.watch(run, time.monotonic() + left, run.stop)
        try:
            results = run(list(request.outputs), dict(request.inputs))
        except Exception as error:  # the runtimes' own exceptions have no common base class
            if self._closed:
                raise EngineUnavailable(f"the engine was closed while model {model!r} ran") from error
            if run.stopped:
                raise DeadlineExceeded(f"model {model!r} did not answer within {request.timeout_s} s") from error
            if isinstance(error, GpuFull):
                raise
            raise EngineError(f"{self.runtime} failed at model {model!r}: {self._reason(error)}") from error
        finally:
            self._runs.discard(run)
            if left is not None:
                self._watchdog.forget(run)
        return dict(zip(request.outputs, results, strict=True))


def check_manifest(version: ModelVersion, tensors: Iterable[GraphTensor]) -> None:
    """Raise VersionRefused unless the manifest has the inputs and outputs of the graph, which are `tensors`.

    The digest covers the graph alone, while items are decoded and cut to the sizes in the manifest.
    """
    declared = {tensor.name: tensor for tensor in (version.manifest.input.tensor(), *version.manifest.outputs)}
    actual = {tensor.name: tensor for tensor in tensors}
    if declared.keys() != actual.keys():
        names = ", ".join(sorted(declared.keys() ^ actual.keys()))
        raise VersionRefused(f"{version.folder}: manifest and model.onnx differ in inputs or outputs: {names}; export it again")
    for name, tensor in declared.items():
        found = actual[name]
        if found.dtype != tensor.dtype or not _fits(found.item_shape, tensor.item_shape):
            raise VersionRefused(
                f"{version.folder}: {name} is {tensor.dtype}{list(tensor.item_shape)} in the manifest and "
                f"{found.dtype}{list(found.item_shape)} in model.onnx; export it again"
            )


def spec_of(version: ModelVersion, engine_class: EngineClass, precision: RunPrecision | None = None) -> ModelSpec:
    """Return what an engine in this process serves for a version. precision: see ModelSpec. Raises VersionRefused."""
    tensor: TensorSpec = version.manifest.input.tensor()
    check_batch_size(version.config.max_batch_size, f"{version.folder.parent / CONFIG_FILE}")
    return ModelSpec(
        name=version.name,
        version=version.version,
        inputs={tensor.name: tensor},
        outputs={output.name: output for output in version.manifest.outputs},
        max_batch_size=version.config.max_batch_size,
        sha256=version.manifest.model_sha256,
        engine_class=engine_class,
        precision=precision,
    )


def _fits(found: Sequence[int | None], declared: Sequence[int]) -> bool:
    return len(found) == len(declared) and all(dim in (None, size) for dim, size in zip(found, declared, strict=True))
