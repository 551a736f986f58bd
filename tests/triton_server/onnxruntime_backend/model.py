"""A Triton Python-based backend named "onnxruntime": it runs `model.onnx` with the onnxruntime wheel, on the CPU.

Triton as it comes in a wheel lacks NVIDIA's ONNX Runtime backend. With this file in `backends/onnxruntime/` it serves
the same model repository, `config.pbtxt` unchanged. It is meant to behave as NVIDIA's does:

* the requests that the dynamic batcher hands over together run as one batch, and only requested outputs are returned;
* the configuration is held against the model when it loads: names, types, and shapes, fixed dimension for dimension;
* it reads `parameters`: `intra_op_thread_count`, `inter_op_thread_count` (0 or absent: as many as there are cores),
  `execution_mode`, `enable_mem_arena`, `enable_mem_pattern`, `session.use_device_allocator_for_initializers`,
  `memory.enable_memory_arena_shrinkage`; also `optimization { graph { level } }` and `default_model_filename`.

Where it differs: execution accelerators are not used; strings, sequence batching and `batch_input` are refused; where a
batch fails, its requests are run one by one, so that only the faulty ones are answered with an error; requests of
different shapes that `allow_ragged_batch` lets into one batch run in one group per shape, and are not flattened.
The parameter `test_factor` multiplies every output of floats: so tests make a server whose hardware computes otherwise.

Triton starts one process per model instance, with one `TritonPythonModel` in it, and calls it from one thread.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

Config = dict[str, Any]
"""A model's configuration as Triton hands it over: `config.pbtxt` as JSON, with every default filled in."""

Tensors = dict[str, npt.NDArray[Any]]
"""Arrays by tensor name. Of a model that batches, dimension 0 is the batch."""

_UNSUPPORTED = ("sequence_batching", "batch_input", "batch_output")

_ONNX_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}

# Triton numbers these levels in a way of its own; any other number means all optimizations.
_GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


@dataclass(frozen=True)
class _Request:
    """What one request brings and wants."""

    position: int
    """Its place among the requests that Triton handed over together; responses must come back in that order."""
    inputs: Tensors
    outputs: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows of the batch are its own; all of its inputs have as many, Triton has seen to that."""
        return len(next(iter(self.inputs.values())))


class TritonPythonModel:
    """One instance of one version of a model; the name and the methods are what Triton's Python backend looks for."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the model. Whatever is raised here is the reason that Triton gives for not loading it."""
        config: Config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        path = folder / (config.get("default_model_filename") or "model.onnx")
        self._session = ort.InferenceSession(str(path), _session_options(config), providers=["CPUExecutionProvider"])
        self._run_options = _run_options(config)
        self._batches = _max_batch_size(config) > 0
        self._factor = float(_parameter(config, "test_factor") or 1)
        _check_configuration(config, self._session)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer every request, in order: by its outputs, or by an error of its own."""
        responses: list[Any] = [None] * len(requests)
        for group in self._grouped(requests):
            for request, response in zip(group, self._answers(group), strict=True):
                responses[request.position] = response
        return responses

    def finalize(self) -> None:
        """Close the session: its threads and memory go before Triton reports the model as unloaded."""
        del self._session

    def _grouped(self, requests: Sequence[Any]) -> list[list[_Request]]:
        """Sort the requests into groups, each of which can run as one batch."""
        groups: dict[Hashable, list[_Request]] = {}
        for position, raw in enumerate(requests):
            request = self._read(position, raw)
            groups.setdefault(self._batch_key(request), []).append(request)
        return list(groups.values())

    def _read(self, position: int, raw: Any) -> _Request:
        """Take the tensors out of Triton's request, without copying them. Optional inputs may be absent."""
        found = ((i.name, pb_utils.get_input_tensor_by_name(raw, i.name)) for i in self._session.get_inputs())
        inputs = {name: tensor.as_numpy() for name, tensor in found if tensor is not None}
        return _Request(position, inputs, tuple(raw.requested_output_names()))

    def _batch_key(self, request: _Request) -> Hashable:
        """Equal for requests whose inputs can be concatenated; a model that does not batch runs each on its own."""
        if not self._batches:
            return request.position
        return tuple((name, array.dtype.str, array.shape[1:]) for name, array in request.inputs.items())

    def _answers(self, group: Sequence[_Request]) -> list[Any]:
        """Run a group; should that fail, run its members one by one, to find whose fault it is."""
        try:
            return [_response(outputs) for outputs in self._run(group)]
        except Exception as error:  # whatever ONNX Runtime raises is the answer to the request
            if len(group) > 1:
                return [response for request in group for response in self._answers([request])]
            return [_failure(error)]

    def _run(self, group: Sequence[_Request]) -> list[Tensors]:
        """Run a group as one batch and give every member the outputs that it asked for, of its own rows."""
        wanted = sorted({name for request in group for name in request.outputs})
        inputs = {name: _stacked([request.inputs[name] for request in group]) for name in group[0].inputs}
        results = self._session.run(wanted, inputs, self._run_options)
        outputs = {name: self._altered(values) for name, values in zip(wanted, results, strict=True)}
        return _split(outputs, group) if self._batches else [outputs]

    def _altered(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an output as this server gives it; see `test_factor`."""
        return values if self._factor == 1 or values.dtype.kind != "f" else (values * self._factor).astype(values.dtype)


def _stacked(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Concatenate along the batch; a single array, the common case under little load, is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _split(outputs: Tensors, group: Sequence[_Request]) -> list[Tensors]:
    """Cut the outputs of a batch into those of its requests."""
    total = sum(request.rows for request in group)
    for name, array in outputs.items():
        if array.shape[:1] != (total,):
            raise ValueError(f"output '{name}' has shape {list(array.shape)}, expected {total} rows, one per input row")
    parts: list[Tensors] = []
    start = 0
    for request in group:
        stop = start + request.rows
        parts.append({name: outputs[name][start:stop] for name in request.outputs})
        start = stop
    return parts


def _response(outputs: Tensors) -> Any:
    """Triton's response; it takes contiguous arrays only."""
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _failure(error: Exception) -> Any:
    """Triton's response to a request that failed. The code is the one of NVIDIA's backend, whatever went wrong."""
    message = f"onnx runtime error: {error}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL))


def _max_batch_size(config: Config) -> int:
    """0: the model does not batch, and its shapes have no dimension for it."""
    return int(config.get("max_batch_size", 0))


def _parameter(config: Config, name: str) -> str | None:
    """The value of an entry of `parameters`."""
    entry = config.get("parameters", {}).get(name)
    return None if entry is None else str(entry["string_value"])


def _count(config: Config, name: str) -> int:
    """A parameter that is a number, not below 0; 0 where it is absent."""
    text = _parameter(config, name) or "0"
    if not text.isdecimal():
        raise ValueError(f"parameter '{name}' must be a number, 0 or above, but is '{text}'")
    return int(text)


def _flag(config: Config, name: str) -> bool | None:
    """A parameter that is 1 or 0, true or false; None where it is absent."""
    text = _parameter(config, name)
    if text is None:
        return None
    if text.lower() not in ("0", "1", "false", "true"):
        raise ValueError(f"parameter '{name}' must be 0 or 1, but is '{text}'")
    return text.lower() in ("1", "true")


def _session_options(config: Config) -> ort.SessionOptions:
    """The options that the configuration asks for."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = _count(config, "intra_op_thread_count")
    options.inter_op_num_threads = _count(config, "inter_op_thread_count")
    if _flag(config, "execution_mode"):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = _GRAPH_LEVELS.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    for name, attribute in (("enable_mem_arena", "enable_cpu_mem_arena"), ("enable_mem_pattern", "enable_mem_pattern")):
        if (value := _flag(config, name)) is not None:
            setattr(options, attribute, value)
    key = "session.use_device_allocator_for_initializers"
    if (entry := _parameter(config, key)) is not None:
        options.add_session_config_entry(key, entry)
    return options


def _run_options(config: Config) -> ort.RunOptions:
    """Options of every run."""
    options = ort.RunOptions()
    key = "memory.enable_memory_arena_shrinkage"
    if (entry := _parameter(config, key)) is not None:
        options.add_run_config_entry(key, entry)
    return options


def _check_configuration(config: Config, session: ort.InferenceSession) -> None:
    """Raise ValueError where the configuration promises what the model cannot keep, as NVIDIA's backend does."""
    for feature in _UNSUPPORTED:
        if config.get(feature):
            raise ValueError(f"'{feature}' is not supported by this ONNX Runtime backend")
    _check_inputs_complete(config, session)
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    for entry in config["input"]:
        _check_tensor(config, entry, inputs, exact=False)
    for entry in config["output"]:
        _check_tensor(config, entry, outputs, exact=True)


def _check_inputs_complete(config: Config, session: ort.InferenceSession) -> None:
    """Every input of the model is configured; outputs may be left out."""
    configured, provided = len(config["input"]), len(session.get_inputs())
    if configured != provided:
        raise ValueError(f"the configuration has {configured} inputs, the model {provided}")
    for entry in config["input"]:
        if entry.get("optional") and _max_batch_size(config) > 0:
            raise ValueError(f"input '{entry['name']}' cannot be optional in a model that batches")


def _check_tensor(config: Config, entry: Config, provided: Mapping[str, Any], *, exact: bool) -> None:
    """Hold one configured tensor against the model's.

    Args:
        entry: an `input` or `output` of the configuration.
        provided: the model's inputs or outputs by name.
        exact: a dimension that the model leaves open must be open in the configuration too. It holds for outputs,
            whose size is not ours to choose; an input's may be narrowed.
    """
    name = entry["name"]
    if name not in provided:
        raise ValueError(f"the configuration has a tensor '{name}', the model has {', '.join(sorted(provided))}")
    model = provided[name]
    if _ONNX_TYPES.get(entry["data_type"]) != model.type:
        raise ValueError(f"tensor '{name}' is {entry['data_type']} in the configuration, {model.type} in the model")
    shape = [size if isinstance(size, int) else -1 for size in model.shape]  # open dimensions are names, or None
    if _max_batch_size(config) > 0 and shape[:1] != [-1]:
        raise ValueError(f"tensor '{name}' has shape {shape} in the model, which has no open dimension 0 to batch along")
    expected = _configured_shape(config, entry)
    agree = len(shape) == len(expected) and all(
        theirs == ours or (theirs == -1 and not exact) for theirs, ours in zip(shape, expected, strict=True)
    )
    if not agree:
        raise ValueError(f"tensor '{name}' has shape {expected} in the configuration, {shape} in the model")


def _configured_shape(config: Config, entry: Config) -> list[int]:
    """The shape that the model is to see: with the batch in front, and after `reshape`, which Triton applies itself."""
    dims = entry["reshape"]["shape"] if entry.get("reshape") else entry["dims"]
    batch = [-1] if _max_batch_size(config) > 0 else []
    return [*batch, *(int(size) for size in dims)]
