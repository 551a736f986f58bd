"""Write the fields of config.pbtxt as text: complete, so that the server adds nothing, and with comments for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from avizor_export.triton_config.settings import KINDS, TENSORRT, ServingSettings
from avizor_inference.errors import ExportError
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Precision
from avizor_inference.repository.triton_config import (
    BATCH_PARAMETER,
    ENGINE_PARAMETER,
    LABELS_FILE,
    THREADS_PARAMETER,
    TRITON_TYPES,
    digest_parameter,
    parse_config,
)

# TensorRT stores the engines that it builds here: docker-compose.gpu.yml mounts a volume, since /models is read-only.
ENGINE_CACHE = "/var/cache/avizor-tensorrt"

_TARGETS = {
    "auto": "KIND_AUTO: a GPU if the server has one, else the CPU.",
    "cpu": "KIND_CPU: the CPU, even if the server has a GPU.",
    "gpu": "KIND_GPU: CUDA. A server without a GPU refuses the model.",
    "tensorrt": "KIND_GPU: TensorRT, and CUDA for what it cannot run. A server without a GPU refuses the model.",
}


def config_text(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    serving: ServingSettings,
    labels: bool,
    digests: Mapping[int, str],
    precision: Precision = "fp32",
) -> str:
    """Return the fields of a config.pbtxt as text, checked against Triton's schema.

    The paragraphs are separated by blank lines, and each contains complete fields. inputs, outputs: shapes without the batch.
    labels: whether the model has a file of labels. digests: sha256 of model.onnx by version, for the existing versions and the
    next one; empty for a model that is loaded temporarily. precision: that of the network, as in the manifest. Raises
    ExportError for a tensor that TensorRT's profiles cannot name.
    """
    parts = [
        _head(name, serving),
        f"input [\n{_tensors(inputs)}\n]",
        f"output [\n{_tensors(outputs, LABELS_FILE if labels else '')}\n]",
        f"# {_TARGETS[serving.target]}\ninstance_group [ {{ kind: {KINDS[serving.target]}, count: {serving.instances} }} ]",
        *_accelerator(name, inputs, serving, digests, precision),
        _batching(serving),
        *_cache(serving),
        *_threads(serving),
        *_call_batch(serving),
        *_engine(serving),
        _warmups(inputs, serving.max_batch_size),
        *_digests(digests),
    ]
    text = "\n\n".join(parts) + "\n"
    parse_config(text, "the configuration written by export")
    return text


def profile_shape(tensor: TensorSpec, batch_size: int) -> str:
    """Return a tensor's shape in the form of ONNX Runtime's TensorRT options, such as `image:8x32x32x1`.

    Raises ExportError if the tensor's name contains a colon or a comma, which separate names and shapes there.
    """
    if set(tensor.name) & set(":,"):
        raise ExportError(f"tensor {tensor.name!r}: TensorRT's profiles cannot name it; rename it, or choose the target gpu")
    return f"{tensor.name}:{'x'.join(map(str, (batch_size, *tensor.item_shape)))}"


def _head(name: str, serving: ServingSettings) -> str:
    return f"""\
# Triton adds nothing to this configuration: it is complete.
name: {json.dumps(name)}
backend: "onnxruntime"
max_batch_size: {serving.max_batch_size}"""


def _accelerator(
    name: str, inputs: Sequence[TensorSpec], serving: ServingSettings, digests: Mapping[int, str], precision: Precision
) -> Iterator[str]:
    if serving.target != TENSORRT:
        return
    lines = [
        "# One engine for all batch sizes, fastest at the middle one.",
        f'optimization {{ execution_accelerators {{ gpu_execution_accelerator [ {{\n  name: "{TENSORRT}"',
        _option("precision_mode", precision.upper()),
    ]
    for bound, size in (("min", 1), ("opt", serving.usual_batch_size), ("max", serving.max_batch_size)):
        lines.append(_option(f"trt_profile_{bound}_shapes", ",".join(profile_shape(tensor, size) for tensor in inputs)))
    if digests:  # a model that is loaded temporarily has no digests, and must leave no engine behind
        lines += [
            "  # Building an engine takes minutes, so it is kept. Its file name ignores the weights: one folder for each.",
            _option("trt_engine_cache_enable", "1"),
            _option("trt_engine_cache_path", f"{ENGINE_CACHE}/{name}-{digests[max(digests)][:16]}"),
        ]
    yield "\n".join([*lines, "} ] } }"])


def _option(key: str, value: str) -> str:
    return f'  parameters {{ key: "{key}", value: {json.dumps(value)} }}'


def _batching(serving: ServingSettings) -> str:
    lines = [
        "# Requests that arrive within the delay share one run of the model.",
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {serving.queue_delay_us}",
    ]
    if serving.preferred_batch_sizes:
        lines += [
            "  # A batch of such a size runs at once, without waiting for the delay to end.",
            f"  preferred_batch_size: [ {', '.join(map(str, serving.preferred_batch_sizes))} ]",
        ]
    return "\n".join([*lines, *_queue_policy(serving), "}"])


def _queue_policy(serving: ServingSettings) -> Iterator[str]:
    if not serving.max_queue_size and not serving.queue_timeout_ms:
        return
    yield "  default_queue_policy {"
    if serving.max_queue_size:
        yield "    # If more requests than this wait, new ones are rejected."
        yield f"    max_queue_size: {serving.max_queue_size}"
    if serving.queue_timeout_ms:
        action = "rejected" if serving.queue_timeout_action == "reject" else "run last"
        yield f"    # A request that waited longer is {action}."
        yield f"    default_timeout_microseconds: {serving.queue_timeout_ms * 1000}"
        yield f"    timeout_action: {serving.queue_timeout_action.upper()}"
        if serving.allow_timeout_override:
            yield "    # A request may set a shorter timeout."
            yield "    allow_timeout_override: true"
    yield "  }"


def _cache(serving: ServingSettings) -> Iterator[str]:
    if serving.response_cache:
        yield """\
# An input that was seen before is answered from the server's cache, if it has one (--cache-config), with the outputs that were
# requested then: all clients have to request the same outputs.
response_cache { enable: true }"""


def _threads(serving: ServingSettings) -> Iterator[str]:
    if serving.intra_op_threads:
        parameter = f'key: "{THREADS_PARAMETER}", value: {{ string_value: "{serving.intra_op_threads}" }}'
        yield f"# Threads for one run of one instance on the CPU.\nparameters [ {{ {parameter} }} ]"


def _call_batch(serving: ServingSettings) -> Iterator[str]:
    if serving.call_batch_size:
        parameter = f'key: "{BATCH_PARAMETER}", value: {{ string_value: "{serving.call_batch_size}" }}'
        yield f"# Items that `avizor batch` puts into one call. Triton ignores it.\nparameters [ {{ {parameter} }} ]"


def _engine(serving: ServingSettings) -> Iterator[str]:
    if serving.engine:
        parameter = f'key: "{ENGINE_PARAMETER}", value: {{ string_value: "{serving.engine}" }}'
        yield f"# What `--engine tuned` runs the model on. Triton ignores it.\nparameters [ {{ {parameter} }} ]"


def _digests(digests: Mapping[int, str]) -> Iterator[str]:
    if digests:
        yield "\n".join(
            [
                "# Digest of each version's model.onnx: clients notice a server that serves something else.",
                *(
                    f'parameters [ {{ key: "{digest_parameter(version)}", value: {{ string_value: "{digest}" }} }} ]'
                    for version, digest in sorted(digests.items())
                ),
            ]
        )


def _tensors(tensors: Sequence[TensorSpec], labels: str = "") -> str:
    return ",\n".join(_tensor(tensor, labels if tensor.name == "probabilities" else "") for tensor in tensors)


def _tensor(tensor: TensorSpec, labels: str) -> str:
    fields = [f"name: {json.dumps(tensor.name)}", _type_and_dims(tensor)]
    if labels:
        fields.append(f'label_filename: "{labels}"')
    return f"  {{ {', '.join(fields)} }}"


def _type_and_dims(tensor: TensorSpec) -> str:
    return f"data_type: {TRITON_TYPES[tensor.dtype]}, dims: [ {', '.join(map(str, tensor.item_shape))} ]"


def _warmups(inputs: Sequence[TensorSpec], max_batch_size: int) -> str:
    return f"""\
# The first request finds memory allocated and kernels chosen: one run of a single item and one of a full batch.
{_warmup(inputs, 1)}
{_warmup(inputs, max_batch_size)}"""


def _warmup(inputs: Sequence[TensorSpec], batch_size: int) -> str:
    values = ", ".join(
        f"inputs {{ key: {json.dumps(tensor.name)}, value: {{ {_type_and_dims(tensor)}, zero_data: true }} }}"
        for tensor in inputs
    )
    return f'model_warmup [ {{ name: "batch of {batch_size}", batch_size: {batch_size}, {values} }} ]'
