"""Check what NVIDIA's ONNX Runtime backend requires of a config and a graph before it loads them.

The Triton in the tests has a Python backend instead, so the rules of the C++ backend are checked on the files here. They are
those of triton-inference-server/onnxruntime_backend (src/onnxruntime.cc, ValidateInputs and ValidateOutputs;
src/onnxruntime_utils.cc, CompareDimsSupported) and of core's model_config_utils.cc. Names, types and fixed dimensions are
compared in check_version.py for every engine alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.checks.tensorrt_rules import accelerator_problems
from avizor_inference.errors import RepositoryError
from avizor_inference.repository.onnx_graph import Graph
from avizor_inference.repository.triton_config import call_batch_size, intra_op_threads, tuned_engine

# What ONNX Runtime 1.30.0, inside the Triton of the stack, can read; found by trying. The limits are higher than those of the
# contract in onnx_graph.py, and hold for files that another version of export wrote.
RUNTIME_MAX_OPSET = 26
RUNTIME_MAX_IR_VERSION = 13


def load_problems(config: ModelConfig, graph: Graph) -> Iterator[str]:
    """Yield why the C++ backend would not load these, one line each."""
    yield from _runtime(graph)
    yield from _ranks(config, graph)
    yield from _batching(config)
    yield from _instances(config)
    yield from accelerator_problems(config, graph)
    yield from _files(config)


def _runtime(graph: Graph) -> Iterator[str]:
    if graph.opset > RUNTIME_MAX_OPSET or graph.opset < 1:
        yield f"model.onnx has opset {graph.opset}; the backend's ONNX Runtime reads 1 to {RUNTIME_MAX_OPSET}"
    if graph.ir_version > RUNTIME_MAX_IR_VERSION:
        yield f"model.onnx has IR version {graph.ir_version}; the backend's ONNX Runtime reads up to {RUNTIME_MAX_IR_VERSION}"


def _ranks(config: ModelConfig, graph: Graph) -> Iterator[str]:
    """Check the ranks: after the batch each tensor has at least one dimension, since Triton forbids items of rank 0."""
    if len(config.input) != len(graph.inputs):
        yield f"{len(config.input)} inputs; the backend needs all {len(graph.inputs)} of the model"
    batch = 1 if config.max_batch_size > 0 else 0
    ranks = {tensor.name: len(tensor.dims) for tensor in (*graph.inputs, *graph.outputs)}
    for tensor in (*config.input, *config.output):
        if not tensor.dims:
            yield f"{tensor.name} has no dims; give at least one, [ 1 ] for a single number"
        if tensor.name in ranks and len(tensor.dims) + batch != ranks[tensor.name]:
            yield f"{tensor.name} has {len(tensor.dims)} dims and {batch} of batch; in model.onnx it has {ranks[tensor.name]}"
        if any(dim == 0 or dim < -1 for dim in tensor.dims):
            yield f"{tensor.name} has dims {list(tensor.dims)}; each has to be above 0, or -1"
        if tensor.HasField("reshape"):
            yield f"{tensor.name} is reshaped; the graph has to take the shape that clients send"


def _batching(config: ModelConfig) -> Iterator[str]:
    scheduling = config.WhichOneof("scheduling_choice")
    if scheduling in ("sequence_batching", "ensemble_scheduling"):
        yield f"{scheduling} does not fit a model without state"
    for size in config.dynamic_batching.preferred_batch_size:
        if not 0 < size <= config.max_batch_size:
            yield f"preferred_batch_size {size} is not between 1 and max_batch_size {config.max_batch_size}"
    for warmup in config.model_warmup:
        missing = {tensor.name for tensor in config.input} ^ set(warmup.inputs)
        if missing:
            yield f"model_warmup {warmup.name!r} does not give exactly the inputs of the model: {', '.join(sorted(missing))}"
        if warmup.batch_size > config.max_batch_size:
            yield f"model_warmup {warmup.name!r} has batch_size {warmup.batch_size}, over max_batch_size"


def _instances(config: ModelConfig) -> Iterator[str]:
    for group in config.instance_group:
        if group.count < 0:
            yield f"instance_group has count {group.count}"
        if group.gpus and group.kind == group.KIND_CPU:
            yield "instance_group is KIND_CPU and names gpus; remove them, or use KIND_GPU"
    for read in (intra_op_threads, call_batch_size, tuned_engine):
        try:
            read(config)
        except RepositoryError as error:
            yield str(error)


def _files(config: ModelConfig) -> Iterator[str]:
    if config.default_model_filename not in ("", "model.onnx"):
        yield f"default_model_filename is {config.default_model_filename!r}; versions hold model.onnx"
    if config.platform not in ("", "onnxruntime_onnx"):
        yield f"platform is {config.platform!r}; remove it, or use onnxruntime_onnx"
