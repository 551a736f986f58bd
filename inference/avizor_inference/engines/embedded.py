"""Run models in the embedded engine: ONNX Runtime in this process, over the same folder that Triton serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request, seconds_left
from avizor_inference.engines.core_share import core_share, usable_cores
from avizor_inference.engines.ort_session import CUDA, has_gpu, open_session, runtime_reason
from avizor_inference.engines.sized_sessions import SizedSessions
from avizor_inference.engines.watchdog import Watchdog
from avizor_inference.errors import DeadlineExceeded, EngineError, EngineUnavailable, VersionRefused
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import asks_for_gpu, intra_op_threads

Device = Literal["config", "cpu", "cuda"]

# Names of the supported element types: ONNX Runtime's, numpy's.
_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


@dataclass(frozen=True)
class _Loaded:
    spec: ModelSpec
    run: Callable[[list[str], dict[str, Array], ort.RunOptions], list[Array]]


class EmbeddedEngine(Engine):
    """Runs a repository's models on ONNX Runtime, and follows each model's config.pbtxt where it applies to one process.

    That is max_batch_size, the kind of its instance_group and intra_op_thread_count. Batching and queues are those of
    BatchingEngine. The response cache and execution accelerators concern Triton only: a model for TensorRT runs on CUDA here.

    On a GPU batches are filled up to a power of two, and each of these sizes has a session with its own copy of the weights.

    "The newest version" is the newest that version_policy serves. It is fixed when a model is first used; only a new engine
    sees what was published later. A version that is named is loaded when it is asked for.

    device: `config` follows instance_group (KIND_GPU needs CUDA, KIND_AUTO uses CUDA if there is a GPU); `cpu` and `cuda`
        override it. Without a usable GPU `cuda` is an error; it never falls back to the CPU silently.
    intra_op_threads: threads for one run; None takes the config's `intra_op_thread_count`, 0 lets ONNX Runtime choose.
    many_callers: several runs go on at once and share the cores with what their callers do. Then a run has the threads that
        core_share gives it, and threads that wait sleep. Without it they spin for a while: fastest for one caller.
    cores: how many the runs share; None for all that this process may use.
    """

    def __init__(
        self,
        repository: ModelRepository | Path | str,
        *,
        device: Device = "config",
        intra_op_threads: int | None = None,
        many_callers: bool = False,
        cores: int | None = None,
    ) -> None:
        self.repository = repository if isinstance(repository, ModelRepository) else ModelRepository(repository)
        self._device = device
        self._threads = intra_op_threads
        self._many_callers = many_callers
        self._cores = cores or usable_cores()
        self._loaded: dict[tuple[str, int | None], _Loaded] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._runs: set[ort.RunOptions] = set()  # of those that go on
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="avizor-embedded")
        self._watchdog = Watchdog("avizor-run-deadlines")

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec."""
        return self._load(model, version).spec

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer. Only the nodes that the named outputs need are run.

        Runs in the caller's thread: a batch worker has one core, where a second thread would only compete with its caller.
        """
        return self._run(self._checked(request), request, time.monotonic())

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. Runs in a thread of the engine's pool; time spent waiting for one counts."""
        return self._pool.submit(self._run, self._checked(request), request, time.monotonic())

    def unload(self, model: str, version: int) -> None:
        """See Engine.unload. The session is freed when its last run has ended."""
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
        for options in self._runs.copy():
            options.terminate = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._watchdog.close()

    def _checked(self, request: InferRequest) -> _Loaded:
        """Return the model, loaded, after a check of the request. The deadline does not cover the load at first use."""
        loaded = self._load(request.model, request.version)
        check_request(loaded.spec, request)
        return loaded

    def _load(self, model: str, version: int | None) -> _Loaded:
        if self._closed:
            raise EngineUnavailable("the embedded engine is closed")
        if loaded := self._loaded.get((model, version)):
            return loaded
        with self._lock:
            wanted = self.repository.version(model, version) if version else self.repository.served(model)
            loaded = self._loaded.get((model, wanted.version)) or self._open(wanted)
            # Under both keys: "the newest" keeps its first meaning until the engine is closed.
            self._loaded[model, wanted.version] = self._loaded[model, version] = loaded
            return loaded

    def _open(self, version: ModelVersion) -> _Loaded:
        version.verify()
        on_gpu = runs_on_gpu(self._device, version)
        open_another = partial(
            open_session,
            version.model_path,
            f"model {version.name!r}",
            on_gpu=on_gpu,
            threads=self._threads_of_run(version, on_gpu),
            spinning=not self._many_callers,
        )
        try:
            session = open_another()
        except EngineError as error:
            raise VersionRefused(str(error)) from error
        spec = _spec(version, session)
        _check_manifest(version, spec, session)
        return _Loaded(spec, SizedSessions(session, open_another, spec.max_batch_size).run if on_gpu else session.run)

    def _threads_of_run(self, version: ModelVersion, on_gpu: bool) -> int:
        if self._threads is not None:
            return self._threads
        return (
            core_share(version.config, on_gpu=on_gpu, cores=self._cores).threads
            if self._many_callers
            else intra_op_threads(version.config)
        )

    def _run(self, loaded: _Loaded, request: InferRequest, started: float) -> dict[str, Array]:
        model, left = loaded.spec.name, seconds_left(request, started)
        options = ort.RunOptions()
        options.only_execute_path_to_fetches = True
        self._runs.add(options)
        options.terminate = self._closed  # by now, close() may have looked already
        if left is not None:
            self._watchdog.watch(options, time.monotonic() + left, lambda: setattr(options, "terminate", True))
        try:
            results = loaded.run(list(request.outputs), dict(request.inputs), options)
        except Exception as error:  # the runtime's own exceptions have no common base class
            if self._closed:
                raise EngineUnavailable(f"the engine was closed while model {model!r} ran") from error
            if options.terminate:
                raise DeadlineExceeded(f"model {model!r} did not answer within {request.timeout_s} s") from error
            raise EngineError(f"ONNX Runtime failed at model {model!r}: {runtime_reason(error)}") from error
        finally:
            self._runs.discard(options)
            if left is not None:
                self._watchdog.forget(options)
        return dict(zip(request.outputs, results, strict=True))


def runs_on_gpu(device: Device, version: ModelVersion) -> bool:
    """Return whether the embedded engine runs a model on a GPU. device: see EmbeddedEngine."""
    return device == "cuda" or (device == "config" and (has_gpu() or asks_for_gpu(version.config)))


def _check_manifest(version: ModelVersion, spec: ModelSpec, session: ort.InferenceSession) -> None:
    """Raise VersionRefused unless the manifest has the inputs and outputs of the graph.

    The digest covers the graph alone, while items are decoded and cut to the sizes in the manifest.
    """
    declared = {tensor.name: tensor for tensor in (*spec.inputs.values(), *spec.outputs.values())}
    actual = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    if declared.keys() != actual.keys():
        names = ", ".join(sorted(declared.keys() ^ actual.keys()))
        raise VersionRefused(f"{version.folder}: manifest and model.onnx differ in inputs or outputs: {names}; export it again")
    for name, tensor in declared.items():
        dims = [dim if isinstance(dim, int) else None for dim in actual[name].shape[1:]]
        same = len(dims) == len(tensor.item_shape) and all(
            dim in (None, size) for dim, size in zip(dims, tensor.item_shape, strict=True)
        )
        if not same or _DTYPES.get(actual[name].type) != tensor.dtype:
            raise VersionRefused(
                f"{version.folder}: {name} is {tensor.dtype}{list(tensor.item_shape)} in the manifest and "
                f"{actual[name].type}{dims} in model.onnx; export it again"
            )


def _spec(version: ModelVersion, session: ort.InferenceSession) -> ModelSpec:
    tensor = version.manifest.input.tensor()
    return ModelSpec(
        name=version.name,
        version=version.version,
        inputs={tensor.name: tensor},
        outputs={output.name: output for output in version.manifest.outputs},
        max_batch_size=version.config.max_batch_size,
        sha256=version.manifest.model_sha256,
        engine_class="onnxruntime-cuda" if CUDA in session.get_providers() else "onnxruntime-cpu",
    )
