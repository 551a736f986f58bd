"""Run models on OpenVINO in this process: on some processors faster than ONNX Runtime, above all in bf16 and int8."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.engines.core_share import CoreShare
from avizor_inference.engines.in_process import GraphTensor, InProcessEngine, Opened, check_manifest, spec_of
from avizor_inference.engines.int8_sums import sums_saturate
from avizor_inference.engines.probe_check import check_answers
from avizor_inference.error_text import one_line
from avizor_inference.errors import SettingsError, VersionRefused
from avizor_inference.repository.calibration import RunPrecision
from avizor_inference.repository.models import ModelRepository, ModelVersion

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model

OpenVinoPrecision = Literal["fp32", "bf16"]

_CPU = "CPU"
_HINTS = {"fp32": "f32", "bf16": "bf16"}

# Graphs that are compiled for one set of outputs each. Further sets are computed with all outputs.
_MOST_SETS = 8


class OpenVinoEngine(InProcessEngine):
    """Runs a repository's models on OpenVINO, on the CPU, as InProcessEngine says.

    precision: `fp32` computes each graph in the precision that it has. `bf16` rounds the factors of products in an fp32 graph
        to 8 bits, and changes nothing in a quantised one. A version whose probe items then differ by more than rounding
        explains is refused when it is opened; so is one in int8 where the processor cuts off sums (int8_sums.py).

    streams: runs that can go on at once; None for one, or with many_callers as many as core_share says.

    The first run of a set of outputs compiles the graph for it, which takes about as long as loading the model.
    Raises SettingsError if OpenVINO is not installed, or the processor has no bf16.
    """

    runtime = "OpenVINO"

    def __init__(
        self,
        repository: ModelRepository | Path | str,
        *,
        precision: OpenVinoPrecision = "fp32",
        intra_op_threads: int | None = None,
        many_callers: bool = False,
        cores: int | None = None,
        streams: int | None = None,
    ) -> None:
        super().__init__(repository, intra_op_threads=intra_op_threads, many_callers=many_callers, cores=cores)
        self._core = open_core()
        self._precision, self._streams = precision, streams
        if precision == "bf16" and not computes_bf16():
            raise SettingsError("this processor has no instructions for bf16; choose --engine openvino, which computes in fp32")

    def _open(self, version: ModelVersion) -> Opened:
        what = f"model {version.name!r}"
        try:
            model = self._core.read_model(version.model_path)
            check_manifest(version, _tensors(model))
            graphs = _Graphs(self._core, model, self._settings(self.share(version)))
        except RuntimeError as error:
            raise VersionRefused(f"OpenVINO cannot load {what}: {_reason(error)}") from error
        rounded = self._precision == "bf16" and version.manifest.precision == "fp32"
        opened = Opened(spec_of(version, "openvino", "bf16" if rounded else None), partial(_Run, graphs))
        if rounded:
            _prove(opened, version, "bf16")
        elif version.manifest.precision == "int8" and sums_saturate():
            _prove(opened, version, "int8")
        return opened

    def _settings(self, share: CoreShare) -> dict[str, Any]:
        """Return what OpenVINO is told. Threads that are bound to cores would share them with those of other processes."""
        streams = self._streams or share.runs
        return {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "INFERENCE_NUM_THREADS": streams * (share.threads or self._cores),
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
        }

    def _reason(self, error: Exception) -> str:
        return _reason(error)


@cache
def open_core() -> Core:
    """Return OpenVINO, the same for the whole process. Raises SettingsError if it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise SettingsError(
            f"the engine openvino needs the extra: pip install 'avizor[openvino]' ({one_line(error)}); or use --engine ort"
        ) from error
    return openvino.Core()


def is_installed() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def computes_bf16() -> bool:
    """Return whether this processor multiplies in bf16. Raises SettingsError if OpenVINO is not installed."""
    return "BF16" in open_core().get_property(_CPU, "OPTIMIZATION_CAPABILITIES")


class _Graphs:
    """Compiles a model for each set of outputs that is asked for, and lends infer requests. Safe to use from many threads."""

    def __init__(self, core: Core, model: Model, settings: dict[str, Any]) -> None:
        self._core, self._model, self._settings = core, model, settings
        self._all = frozenset(output.get_any_name() for output in model.outputs)
        self._compiled: dict[frozenset[str], _Compiled] = {}
        self._lock = threading.Lock()
        self._compile(self._all)  # what cannot be compiled is refused now, and not by the first call

    @contextmanager
    def lend(self, outputs: Sequence[str]) -> Iterator[tuple[InferRequest, list[int]]]:
        """Lend an infer request that computes these outputs; with it, the place of each of them among its results."""
        compiled = self._compile(frozenset(outputs))
        try:
            request = compiled.idle.pop()
        except IndexError:
            request = compiled.model.create_infer_request()
        yield request, [compiled.places[name] for name in outputs]
        compiled.idle.append(request)  # but not after an error

    def _compile(self, outputs: frozenset[str]) -> _Compiled:
        if found := self._compiled.get(outputs):
            return found
        with self._lock:
            if outputs not in self._compiled:
                full = len(self._compiled) >= _MOST_SETS
                self._compiled[outputs] = self._compiled[self._all] if full else self._compiled_for(outputs)
            return self._compiled[outputs]

    def _compiled_for(self, outputs: frozenset[str]) -> _Compiled:
        import openvino

        names = sorted(outputs)
        results = [self._model.output(name).get_node() for name in names]
        part = openvino.Model(results, self._model.get_parameters(), self._model.get_friendly_name())
        return _Compiled(self._core.compile_model(part, _CPU, self._settings), names)


class _Compiled:
    def __init__(self, model: CompiledModel, names: Sequence[str]) -> None:
        self.model = model
        self.places = {name: place for place, name in enumerate(names)}
        self.idle: list[InferRequest] = []  # its pop and append need no lock


class _Run:
    def __init__(self, graphs: _Graphs) -> None:
        self._graphs = graphs
        self._request: InferRequest | None = None
        self._lock = threading.Lock()  # or `stop` could cancel what the request computes next, for another run
        self.stopped = False

    def __call__(self, outputs: Sequence[str], inputs: dict[str, Array]) -> list[Array]:
        with self._graphs.lend(outputs) as (request, places):
            self._hold(request)
            try:
                request.start_async({name: np.ascontiguousarray(array) for name, array in inputs.items()}, share_inputs=True)
                if self.stopped:  # before there was anything to cancel
                    request.cancel()
                request.wait()
            finally:
                self._hold(None)
            return [request.get_output_tensor(place).data.copy() for place in places]  # the request is used again

    def stop(self) -> None:
        self.stopped = True
        with self._lock:
            if self._request:
                self._request.cancel()

    def _hold(self, request: InferRequest | None) -> None:
        with self._lock:
            self._request = request


def _prove(opened: Opened, version: ModelVersion, precision: RunPrecision) -> None:
    """Raise VersionRefused if the version's probe items are computed too differently from export's. Without any, it passes."""
    if (probe := version.probe()) is None:
        return
    (name,), size, names = opened.spec.inputs, opened.spec.max_batch_size, list(probe.outputs)
    batches = [probe.items[start : start + size] for start in range(0, len(probe.items), size)]
    parts = [opened.start()(names, {name: batch}) for batch in batches]
    answers = {each: np.concatenate([part[place] for part in parts]) for place, each in enumerate(names)}
    check_answers(version, answers, precision)


def _tensors(model: Model) -> Iterator[GraphTensor]:
    for port in (*model.inputs, *model.outputs):
        item_shape = tuple(None if dim.is_dynamic else dim.get_length() for dim in list(port.get_partial_shape())[1:])
        yield GraphTensor(port.get_any_name(), port.get_element_type().to_dtype().name, item_shape)


def _reason(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its own code where it says it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from ")]
    return one_line(RuntimeError(" ".join(lines) or str(error)))
