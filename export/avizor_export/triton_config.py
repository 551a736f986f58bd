"""Writing config.pbtxt: complete, so that the server infers nothing, and commented, since people read it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from avizor_inference.config import DIGEST_PARAMETER, LABELS_FILE, TRITON_TYPES, parse_config
from avizor_inference.manifest import TensorSpec

# One request waits at most this long for others to share a batch with.
QUEUE_DELAY_MICROSECONDS = 500


def config_text(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch_size: int, labels: bool, sha256: str
) -> str:
    """The text of config.pbtxt; parsed once against Triton's schema before it is given out."""
    quoted = json.dumps(name)
    text = f"""\
# Written by `avizor export`. The server completes nothing by itself: what is here is all it knows.
name: {quoted}
backend: "onnxruntime"
max_batch_size: {max_batch_size}

input [
{_tensors(inputs)}
]

output [
{_tensors(outputs, LABELS_FILE if labels else "")}
]

# KIND_AUTO: a GPU where there is one, else the CPU.
instance_group [ {{ kind: KIND_AUTO, count: 1 }} ]

# Requests that arrive within the delay share one run of the model.
dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_MICROSECONDS} }}

# The first request finds memory allocated and kernels chosen: one run of a single item and one of a full batch.
{_warmup(inputs, 1)}
{_warmup(inputs, max_batch_size)}

# Digest of the newest version's model.onnx: whoever serves something else is found out.
parameters [ {{ key: "{DIGEST_PARAMETER}", value: {{ string_value: "{sha256}" }} }} ]
"""
    parse_config(text, "the configuration written by export")
    return text


def _tensors(tensors: Sequence[TensorSpec], labels: str = "") -> str:
    return ",\n".join(_tensor(tensor, labels if tensor.name == "probabilities" else "") for tensor in tensors)


def _tensor(tensor: TensorSpec, labels: str) -> str:
    fields = [f"name: {json.dumps(tensor.name)}", _type_and_dims(tensor)]
    if labels:
        fields.append(f'label_filename: "{labels}"')
    return f"  {{ {', '.join(fields)} }}"


def _type_and_dims(tensor: TensorSpec) -> str:
    return f"data_type: {TRITON_TYPES[tensor.dtype]}, dims: [ {', '.join(map(str, tensor.item_shape))} ]"


def _warmup(inputs: Sequence[TensorSpec], batch_size: int) -> str:
    values = ", ".join(
        f"inputs {{ key: {json.dumps(tensor.name)}, value: {{ {_type_and_dims(tensor)}, zero_data: true }} }}"
        for tensor in inputs
    )
    return f'model_warmup [ {{ name: "batch of {batch_size}", batch_size: {batch_size}, {values} }} ]'
