"""Run models in the embedded engine: ONNX Runtime in this process, over the same folder that Triton serves."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request, seconds_left
from avizor_inference.engines.ort_session import CUDA, has_gpu, open_session
from avizor_inference.error_text import one_line
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
    session: ort.InferenceSession


class EmbeddedEngine(Engine):
    """Runs a repository's models on ONNX Runtime, and follows each model's config.pbtxt where it applies to one process.

    That is max_batch_size, the kind of its instance_group and intra_op_thread_count. Batching, queues, the response cache,
    instance counts and execution accelerators concern a server only: a model for TensorRT runs on CUDA here.

    "The newest version" is fixed when a model is first used; only a new engine sees versions that were published later.

    device: `config` follows instance_group (KIND_GPU needs CUDA, KIND_AUTO uses CUDA if there is a GPU); `cpu` and `cuda`
        override it. Without a usable GPU `cuda` is an error; it never falls back to the CPU silently.
    intra_op_threads: threads for one run; None takes the config's `intra_op_thread_count`, 0 lets ONNX Runtime choose.
    """

    def __init__(
        self, repository: ModelRepository | Path | str, *, device: Device = "config", intra_op_threads: int | None = None
    ) -> None:
        self.repository = repository if isinstance(repository, ModelRepository) else ModelRepository(repository)
        self._device = device
        self._threads = intra_op_threads
        self._loaded: dict[tuple[str, int | None], _Loaded] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="avizor-embedded")

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        """See Engine.spec."""
        return self._load(model, version).spec

    def infer(self, request: InferRequest) -> dict[str, Array]:
        """See Engine.infer. Only the nodes that the named outputs need are run.

        Runs in the caller's thread: a batch worker has one core, where a second thread would only compete with its caller.
        """
        return _run(self._checked(request), request, time.monotonic())

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        """See Engine.submit. Runs in a thread of the engine's pool; time spent waiting for one counts."""
        return self._pool.submit(_run, self._checked(request), request, time.monotonic())

    def ready(self, timeout_s: float = 1.0) -> bool:
        """See Engine.ready."""
        return not self._closed

    def close(self) -> None:
        """See Engine.close."""
        with self._lock:
            self._closed = True
            self._loaded.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

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
            wanted = self.repository.version(model, version)
            loaded = self._loaded.get((model, wanted.version)) or self._open(wanted)
            # Under both keys: "the newest" keeps its first meaning until the engine is closed.
            self._loaded[model, wanted.version] = self._loaded[model, version] = loaded
            return loaded

    def _open(self, version: ModelVersion) -> _Loaded:
        version.verify()
        threads = intra_op_threads(version.config) if self._threads is None else self._threads
        on_gpu = _wants_gpu(self._device, version)
        try:
            session = open_session(version.model_path, f"model {version.name!r}", on_gpu=on_gpu, threads=threads)
        except EngineError as error:
            raise VersionRefused(str(error)) from error
        spec = _spec(version, session)
        _check_manifest(version, spec, session)
        return _Loaded(spec, session)


def _run(loaded: _Loaded, request: InferRequest, started: float) -> dict[str, Array]:
    model = loaded.spec.name
    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True
    with _Deadline(options, started, request):
        try:
            results = loaded.session.run(list(request.outputs), dict(request.inputs), options)
        except Exception as error:  # the runtime's own exceptions have no common base class
            if options.terminate:
                raise DeadlineExceeded(f"model {model!r} did not answer within {request.timeout_s} s") from error
            raise EngineError(f"ONNX Runtime failed at model {model!r}: {one_line(error)}") from error
    return dict(zip(request.outputs, results, strict=True))


class _Deadline:
    """Ends a run that is still going `timeout_s` after `started`."""

    def __init__(self, options: ort.RunOptions, started: float, request: InferRequest) -> None:
        self._timer: threading.Timer | None = None
        left = seconds_left(request, started)
        if left is None:
            return
        self._timer = threading.Timer(left, lambda: setattr(options, "terminate", True))
        self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer:
            self._timer.start()

    def __exit__(self, *exc: object) -> None:
        if self._timer:
            self._timer.cancel()


def _wants_gpu(device: Device, version: ModelVersion) -> bool:
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
