"""Static int8 quantisation of the network inside a graph, by onnxruntime.quantization.

Weights are symmetric int8, one scale for each output channel. Activations have one scale for each tensor, from the least and
largest value seen on real items: uint8 with a zero point, which CPUs are fastest with, or for TensorRT symmetric int8, which is
all that it takes. What was measured for that choice is in docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from pydantic import JsonValue

from avizor_export.graph.quiet_libraries import quiet
from avizor_export.precision.subgraph import extract_subgraph, replace_subgraph, with_output_copies
from avizor_export.triton_config.settings import TENSORRT, Target
from avizor_inference.arrays import Items
from avizor_inference.engines.ort_session import open_session
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError

# Fewer items than this do not show what values the activations take; more than this add time and hardly any new extreme.
FEWEST_ITEMS = 32
MOST_ITEMS = 256


@dataclass(frozen=True)
class _Scheme:
    """How activations are quantised: of which operators, to which type, and the library's options beyond."""

    operators: tuple[str, ...]
    activations: QuantType
    described: str
    float_outputs: tuple[str, ...]
    quantise_biases: bool
    is_symmetric: bool


# All that ONNX Runtime has integer kernels for on a CPU, or hands on without looking at the values. A transposed convolution is
# not among them: it would be no faster, and its result several times as far off.
_FOR_CPU = _Scheme(
    operators=(
        *("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
        *("MaxPool", "AveragePool", "GlobalAveragePool"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad"),
    ),
    activations=QuantType.QUInt8,
    described="uint8, per tensor",
    float_outputs=("Gemm", "MatMul"),  # their kernels give float32 at no cost: logits and hidden vectors keep their precision
    quantise_biases=True,
    is_symmetric=False,
)
# TensorRT refuses zero points and int32 (biases), and wants what goes into a layer with weights quantised and nothing between
# such a layer and what it fuses with it: the bias, the batch norm, the ReLU.
_FOR_TENSORRT = _Scheme(
    operators=("Conv", "Gemm", "MatMul"),
    activations=QuantType.QInt8,
    described="int8, symmetric, per tensor",
    float_outputs=("Conv", "Gemm", "MatMul"),
    quantise_biases=False,
    is_symmetric=True,
)
_BATCH = 16


def quantise(proto: onnx.ModelProto, items: Items, target: Target) -> tuple[onnx.ModelProto, dict[str, JsonValue]]:
    """The graph with its network in int8, and the settings used. items: real raw items [n >= FEWEST_ITEMS, *item_shape].

    target: what it is to run on. Raises ExportError if the network cannot be quantised.
    """
    items = items[np.linspace(0, len(items) - 1, min(len(items), MOST_ITEMS)).astype(int)]
    scheme = _FOR_TENSORRT if target == TENSORRT else _FOR_CPU
    part = extract_subgraph(proto)
    reader = _Reader(proto, [value.name for value in part.graph.input], items)
    settings: dict[str, JsonValue] = {
        "format": "QDQ",
        "weights": "int8, symmetric, per channel",
        "activations": scheme.described,
        "ranges": "least and largest value",
        "calibration_items": len(items),
        "onnxruntime": ort.__version__,
    }
    return replace_subgraph(proto, _quantised(with_output_copies(part), reader, scheme)), settings


def _quantised(part: onnx.ModelProto, reader: _Reader, scheme: _Scheme) -> onnx.ModelProto:
    with TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "quantised.onnx"
        try:
            quantize_static(
                part,  # changed by the call
                path,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(scheme.operators),
                per_channel=True,
                activation_type=scheme.activations,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "MatMulConstBOnly": True,
                    "OpTypesToExcludeOutputQuantization": list(scheme.float_outputs),
                    "QuantizeBias": scheme.quantise_biases,
                    "ActivationSymmetric": scheme.is_symmetric,
                },
            )
        except Exception as error:  # the library's errors share no base class
            raise ExportError(f"the network cannot be quantised: {one_line(error)}") from error
        return onnx.load(path)


class _Reader:
    """What the network is given for each batch of raw items, as onnxruntime.quantization asks for it."""

    def __init__(self, proto: onnx.ModelProto, names: list[str], items: Items) -> None:
        self._batches = _network_inputs(proto, names, items)

    def get_next(self) -> dict[str, Items] | None:
        """The next batch; None after the last."""
        return next(self._batches, None)


def _network_inputs(proto: onnx.ModelProto, names: list[str], items: Items) -> Iterator[dict[str, Items]]:
    """The tensors that enter the network, from the FP32 graph itself. One that is the graph's own input is handed on."""
    before = onnx.ModelProto()
    before.CopyFrom(proto)
    (given,) = (value.name for value in proto.graph.input)
    inner = [name for name in names if name != given]
    before.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = open_session(before.SerializeToString(), "the graph before quantisation") if inner else None
    for start in range(0, len(items), _BATCH):
        batch = {given: np.ascontiguousarray(items[start : start + _BATCH])}
        values = dict(zip(inner, session.run(inner, batch), strict=True)) if session else {}
        yield {name: values[name] if name in values else batch[name] for name in names}
