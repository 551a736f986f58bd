"""Run models in the embedded engine: ONNX Runtime in this process, over the same folder that Triton serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import onnxruntime as ort

from avizor_inference.arrays import Array
from avizor_inference.engines.device import Device
from avizor_inference.engines.in_process import GraphTensor, InProcessEngine, Opened, check_manifest, spec_of
from avizor_inference.engines.ort_session import CUDA, has_gpu, open_session, runtime_reason
from avizor_inference.engines.sized_sessions import SizedSessions
from avizor_inference.errors import EngineError, GpuFull, VersionRefused
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import asks_for_gpu, first_gpu, stays_on_cpu

# Names of the supported element types: ONNX Runtime's, numpy's.
_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}

_Compute = Callable[[Sequence[str], dict[str, Array], ort.RunOptions], list[Array]]


class EmbeddedEngine(InProcessEngine):
    """Runs a repository's models on ONNX Runtime, as InProcessEngine says.

    It follows the kind of config.pbtxt's instance_group, too. The response cache and execution accelerators concern Triton
    only: a model for TensorRT runs on CUDA here.

    All of a graph is computed, whatever outputs are asked for: ONNX Runtime's option to leave out the rest has no effect.

    On a GPU batches are filled up to a power of two, and each of these sizes has a session with its own copy of the weights.

    device: `config` follows instance_group (KIND_GPU needs CUDA, KIND_AUTO uses CUDA if there is a GPU, KIND_CPU leaves a GPU
        to others); `cpu` and `cuda` override it. Without a usable GPU `cuda` is an error; it never falls back to the CPU
        silently. Of several GPUs it uses the first that `gpus` names, or else the first.
    many_callers: see InProcessEngine. Without it threads that wait spin for a while: fastest for one caller.
    """

    runtime = "ONNX Runtime"

    def __init__(
        self,
        repository: ModelRepository | Path | str,
        *,
        device: Device = "config",
        intra_op_threads: int | None = None,
        many_callers: bool = False,
        cores: int | None = None,
    ) -> None:
        super().__init__(repository, intra_op_threads=intra_op_threads, many_callers=many_callers, cores=cores)
        self._device = device

    def _open(self, version: ModelVersion) -> Opened:
        on_gpu, what = runs_on_gpu(self._device, version), f"model {version.name!r}"
        open_another = partial(
            open_session,
            version.model_path,
            what,
            on_gpu=on_gpu,
            gpu=first_gpu(version.config),
            threads=self.share(version, on_gpu=on_gpu).threads,
            spinning=not self._many_callers,
        )
        try:
            session = open_another()
        except GpuFull:
            raise
        except EngineError as error:
            raise VersionRefused(str(error)) from error
        check_manifest(version, _tensors(session))
        spec = spec_of(version, "onnxruntime-cuda" if CUDA in session.get_providers() else "onnxruntime-cpu")
        compute = SizedSessions(session, open_another, spec.max_batch_size, what).run if on_gpu else session.run
        return Opened(spec, partial(_Run, compute))

    def _reason(self, error: Exception) -> str:
        return runtime_reason(error)


class _Run:
    def __init__(self, compute: _Compute) -> None:
        self._compute = compute
        self._options = ort.RunOptions()
        self.stopped = False

    def __call__(self, outputs: Sequence[str], inputs: dict[str, Array]) -> list[Array]:
        return self._compute(outputs, inputs, self._options)

    def stop(self) -> None:
        self.stopped = self._options.terminate = True


def runs_on_gpu(device: Device, version: ModelVersion) -> bool:
    """Return whether the embedded engine runs a model on a GPU. device: see EmbeddedEngine."""
    if device != "config":
        return device == "cuda"
    return asks_for_gpu(version.config) or (has_gpu() and not stays_on_cpu(version.config))


def _tensors(session: ort.InferenceSession) -> Iterator[GraphTensor]:
    for node in (*session.get_inputs(), *session.get_outputs()):
        shape = tuple(dim if isinstance(dim, int) else None for dim in node.shape[1:])
        yield GraphTensor(node.name, _DTYPES.get(node.type, node.type), shape)
