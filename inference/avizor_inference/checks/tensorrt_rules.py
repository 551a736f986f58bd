"""Check what the ONNX Runtime backend requires of a config's execution accelerators, above all of TensorRT's parameters.

The rules are from ModelState::LoadModel in onnxruntime_backend (src/onnxruntime.cc), which refuses names it does not know, and
from ONNX Runtime's TensorRT execution provider, which refuses profiles without an input or a batch size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.repository.manifest import Precision
from avizor_inference.repository.onnx_graph import Graph

_GPU_ACCELERATORS = ("tensorrt", "cuda")
_CPU_ACCELERATORS = ("openvino",)
_PRECISIONS = ("FP32", "FP16", "BF16", "INT8")
_PROFILES = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
_FLAGS = (
    "int8_use_native_calibration_table",
    "trt_build_heuristics_enable",
    "trt_context_memory_sharing_enable",
    "trt_cuda_graph_enable",
    "trt_detailed_build_log",
    "trt_dla_enable",
    "trt_dump_ep_context_model",
    "trt_dump_subgraphs",
    "trt_engine_cache_enable",
    "trt_force_sequential_engine_build",
    "trt_force_timing_cache",
    "trt_layer_norm_fp32_fallback",
    "trt_sparsity_enable",
    "trt_timing_cache_enable",
)
_NUMBERS = (
    "max_workspace_size_bytes",
    "trt_auxiliary_streams",
    "trt_builder_optimization_level",
    "trt_dla_core",
    "trt_ep_context_embed_mode",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
)
_TEXTS = (
    "int8_calibration_table_name",
    "precision_mode",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_ep_context_file_path",
    "trt_extra_plugin_lib_paths",
    "trt_tactic_sources",
    "trt_timing_cache_path",
    *_PROFILES,
)


def accelerator_problems(config: ModelConfig, graph: Graph) -> Iterator[str]:
    """Yield what is wrong with the execution accelerators, one line each."""
    accelerators = config.optimization.execution_accelerators
    for accelerator in accelerators.cpu_execution_accelerator:
        yield from _known(accelerator.name, _CPU_ACCELERATORS, "cpu_execution_accelerator")
    for accelerator in accelerators.gpu_execution_accelerator:
        yield from _known(accelerator.name, _GPU_ACCELERATORS, "gpu_execution_accelerator")
        if accelerator.name == "tensorrt":
            parameters = dict(accelerator.parameters)
            yield from _values(parameters)
            yield from _profiles(parameters, config, graph)
            yield from _cache(parameters, config)


def quantisation_problems(config: ModelConfig, graph: Graph) -> Iterator[str]:
    """Yield why TensorRT would run only parts of a quantised graph in int8: it has no zero points, no uint8 and no int32."""
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    if graph.beyond_int8 and any(accelerator.name == "tensorrt" for accelerator in accelerators):
        others = ", ".join(graph.beyond_int8)
        yield (
            f"TensorRT takes signed int8 about zero, and model.onnx has {others}; export again with --int8 --target tensorrt, "
            "or quantise the file again with ActivationSymmetric=True and QuantizeBias=False"
        )


def precision_problems(config: ModelConfig, precision: Precision) -> Iterator[str]:
    """Yield why TensorRT cannot build this version: int8 needs INT8, and either a quantised graph or a table of ranges.

    FP32, FP16 and BF16 are a free choice in the config.
    """
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        mode = accelerator.parameters.get("precision_mode", "FP32")
        wanted = precision.upper()
        if accelerator.name != "tensorrt" or (mode == "INT8") == (wanted == "INT8"):
            continue
        if not accelerator.parameters.get("int8_calibration_table_name"):
            yield f"tensorrt's precision_mode is {mode}, and the version is {precision}; give {wanted}, or export again"


def _known(name: str, names: tuple[str, ...], field: str) -> Iterator[str]:
    if name not in names:
        yield f"{field} is {name!r}; the backend knows {', '.join(names)}"


def _values(parameters: Mapping[str, str]) -> Iterator[str]:
    for key, value in parameters.items():
        if key not in (*_FLAGS, *_NUMBERS, *_TEXTS):
            yield f"tensorrt has a parameter {key!r} that the backend does not know"
        if key in _FLAGS and value.lower() not in ("0", "1", "true", "false"):
            yield f"tensorrt's {key} is {value!r}; give 1 or 0"
        if key in _NUMBERS and not value.removeprefix("-").isdecimal():
            yield f"tensorrt's {key} is {value!r}; give a whole number"
    if (precision := parameters.get("precision_mode", "FP32")) not in _PRECISIONS:
        yield f"tensorrt's precision_mode is {precision!r}; it is one of {', '.join(_PRECISIONS)}"


def _profiles(parameters: Mapping[str, str], config: ModelConfig, graph: Graph) -> Iterator[str]:
    """Check that one profile covers every input at every batch size; otherwise sessions or requests fail."""
    profiles = [key for key in _PROFILES if key in parameters]
    if not profiles:
        return
    if len(profiles) < len(_PROFILES):
        yield f"tensorrt has {', '.join(profiles)}; give all of {', '.join(_PROFILES)}, or none"
        return
    shapes = [_shapes(parameters[key]) for key in _PROFILES]
    for tensor in graph.inputs:
        minimum, optimum, maximum = (shape.get(tensor.name, ()) for shape in shapes)
        if any(len(shape) != len(tensor.dims) or shape[1:] != tensor.dims[1:] for shape in (minimum, optimum, maximum)):
            yield f"tensorrt's profiles do not have {tensor.name} with the dims of the model, each as {tensor.name}:NxDIMS"
        elif minimum[0] > 1 or not minimum[0] <= optimum[0] <= maximum[0] or maximum[0] < config.max_batch_size:
            batches = f"{minimum[0]}, {optimum[0]} and {maximum[0]}"
            yield f"tensorrt's profiles have batches {batches}; they have to span 1 to max_batch_size {config.max_batch_size}"


def _shapes(text: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes in `image:1x32x32x1,other:1x5` by name; parts that are not of that form are ignored."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, _, dims = part.rpartition(":")
        numbers = dims.split("x")
        if name and all(number.isdecimal() for number in numbers):
            shapes[name] = tuple(int(number) for number in numbers)
    return shapes


def _cache(parameters: Mapping[str, str], config: ModelConfig) -> Iterator[str]:
    """Check the engine cache: TensorRT finds engines by file name, inputs and nodes of the model, not by its weights."""
    if parameters.get("trt_engine_cache_enable", "0").lower() not in ("1", "true"):
        return
    if not parameters.get("trt_engine_cache_path"):
        yield "tensorrt's engine cache has no trt_engine_cache_path; give a folder that the server may write to"
    policy = config.version_policy
    several = policy.WhichOneof("policy_choice") == "all" or policy.latest.num_versions > 1 or len(policy.specific.versions) > 1
    if several:
        yield "version_policy serves several versions, which would share TensorRT's engines; serve one, or disable the cache"
