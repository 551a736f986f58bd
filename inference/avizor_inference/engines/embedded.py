"""The embedded engine: ONNX Runtime in this process, over the same folder that Triton serves."""

from __future__ import annotations

import ctypes
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
from avizor_inference.errors import DeadlineExceeded, EngineError, EngineUnavailable, SettingsError, VersionRefused
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import asks_for_gpu, intra_op_threads

Device = Literal["config", "cpu", "cuda"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_WITHOUT_GPU = "mend the CUDA installation, or choose the CPU by name (device='cpu', --device cpu)"

# ONNX Runtime's names of the types that are served.
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
    """Runs a repository's models on ONNX Runtime, honouring each model's config.pbtxt where it applies in one process.

    That is max_batch_size, the kind of its instance_group and intra_op_thread_count. Batching, queues, the response cache,
    instance counts and execution accelerators are the server's: a model for TensorRT runs on CUDA here.

    "The newest version" is settled when a model is first used; a new engine sees what was published since.

    device: `config` takes what instance_group says (KIND_GPU asks for CUDA; KIND_AUTO takes CUDA where there is a GPU),
        `cpu` and `cuda` overrule it. CUDA that cannot be had is an error, never a silent fall back to the CPU.
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
            found = self.repository.version(model, version)
            loaded = self._loaded.get((model, found.version)) or self._open(found)
            # Under both keys: what "the newest" meant at first use it means until the engine is closed.
            self._loaded[model, found.version] = self._loaded[model, version] = loaded
            return loaded

    def _open(self, version: ModelVersion) -> _Loaded:
        version.verify()
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads(version.config) if self._threads is None else self._threads
        options.log_severity_level = 3  # errors only: the runtime's warnings speak to its own developers
        providers = _providers(self._device, version)
        if providers[0] == CUDA and not _has_nvidia_driver():
            raise SettingsError(f"model {version.name!r} asks for a GPU and there is no NVIDIA driver here; {_WITHOUT_GPU}")
        try:
            session = ort.InferenceSession(version.model_path, options, providers=providers)
        except Exception as error:
            raise VersionRefused(f"ONNX Runtime cannot load {version.model_path}: {error}") from error
        if providers[0] not in session.get_providers():
            raise SettingsError(
                f"model {version.name!r} asks for a GPU and ONNX Runtime found none that it can use; {_WITHOUT_GPU}"
            )
        spec = _spec(version)
        _hold_against(version, spec, session)
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
            raise EngineError(f"ONNX Runtime failed at model {model!r}: {error}") from error
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


def _providers(device: Device, version: ModelVersion) -> list[str]:
    automatic = device == "config" and CUDA in ort.get_available_providers() and Path("/dev/nvidiactl").exists()
    gpu = device == "cuda" or automatic or (device == "config" and asks_for_gpu(version.config))
    return [CUDA, CPU] if gpu else [CPU]


def _has_nvidia_driver() -> bool:
    """Whether CUDA's library of the driver is there; asked before ONNX Runtime, which logs at length that it is not."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _hold_against(version: ModelVersion, spec: ModelSpec, session: ort.InferenceSession) -> None:
    """Raise VersionRefused unless what the manifest says of inputs and outputs is what the graph has.

    The digest covers the graph alone; who decodes and cuts items would trust the manifest's sizes.
    """
    declared = {tensor.name: tensor for tensor in (*spec.inputs.values(), *spec.outputs.values())}
    found = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    if declared.keys() != found.keys():
        names = ", ".join(sorted(declared.keys() ^ found.keys()))
        raise VersionRefused(f"{version.folder}: manifest and model.onnx differ in inputs or outputs: {names}; export it again")
    for name, tensor in declared.items():
        dims = [dim if isinstance(dim, int) else None for dim in found[name].shape[1:]]
        same = len(dims) == len(tensor.item_shape) and all(
            dim in (None, size) for dim, size in zip(dims, tensor.item_shape, strict=True)
        )
        if not same or _DTYPES.get(found[name].type) != tensor.dtype:
            raise VersionRefused(
                f"{version.folder}: {name} is {tensor.dtype}{list(tensor.item_shape)} in the manifest and "
                f"{found[name].type}{dims} in model.onnx; export it again"
            )


def _spec(version: ModelVersion) -> ModelSpec:
    tensor = version.manifest.input.tensor()
    return ModelSpec(
        name=version.name,
        version=version.version,
        inputs={tensor.name: tensor},
        outputs={output.name: output for output in version.manifest.outputs},
        max_batch_size=version.config.max_batch_size,
        sha256=version.manifest.model_sha256,
    )
