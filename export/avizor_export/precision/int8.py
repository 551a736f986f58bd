"""Quantise the network inside a graph to int8, statically, with onnxruntime.quantization.

Weights are symmetric int8, with one scale for each output channel. Activations have one scale for each tensor, from the
lowest and highest value seen on real items. They are uint8 with a zero point, which is fastest on CPUs, or symmetric int8 for
TensorRT, which accepts nothing else. docs/decisions/0009 has the measurements behind this choice.
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

# Fewer items do not show the range of the activations; more items take more time and hardly widen the range.
FEWEST_ITEMS = 32
MOST_ITEMS = 256


@dataclass(frozen=True)
class _Scheme:
    """Hold how activations are quantised: the operators, the integer type, and further options of the library."""

    operators: tuple[str, ...]
    activations: QuantType
    described: str
    float_outputs: tuple[str, ...]
    quantise_biases: bool
    is_symmetric: bool


# The operators for which ONNX Runtime has integer kernels on a CPU, and those that only move values. Transposed convolutions
# are left out: they would be no faster, and their error would be several times as large.
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
# TensorRT refuses zero points and int32 (biases). It needs the inputs of layers with weights quantised, and nothing quantised
# between such a layer and the operators that it fuses with it: the bias, the batch norm, the ReLU.
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
    """Return the graph with its network in int8, and the settings used.

    items: real raw items [n >= FEWEST_ITEMS, *item_shape], of which at most MOST_ITEMS are used. target: the device that the
    graph will run on. Raises ExportError if the network cannot be quantised.
    """
    items = items[np.linspace(0, len(items) - 1, min(len(items), MOST_ITEMS)).astype(int)]
    scheme = _FOR_TENSORRT if target == TENSORRT else _FOR_CPU
    part = extract_subgraph(proto)
    reader = _CalibrationReader(proto, [value.name for value in part.graph.input], items)
    settings: dict[str, JsonValue] = {
        "format": "QDQ",
        "weights": "int8, symmetric, per channel",
        "activations": scheme.described,
        "ranges": "least and largest value",
        "calibration_items": len(items),
        "onnxruntime": ort.__version__,
    }
    return replace_subgraph(proto, _quantise_part(with_output_copies(part), reader, scheme)), settings


def _quantise_part(part: onnx.ModelProto, reader: _CalibrationReader, scheme: _Scheme) -> onnx.ModelProto:
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


class _CalibrationReader:
    """Give onnxruntime.quantization the network's inputs for each batch of raw items."""

    def __init__(self, proto: onnx.ModelProto, names: list[str], items: Items) -> None:
        self._batches = _network_inputs(proto, names, items)

    def get_next(self) -> dict[str, Items] | None:
        """Return the inputs for the next batch, by name; None after the last."""
        return next(self._batches, None)


def _network_inputs(proto: onnx.ModelProto, names: list[str], items: Items) -> Iterator[dict[str, Items]]:
    """Yield the network's inputs for each batch, computed by the FP32 graph. The graph's input itself needs no computing."""
    fp32 = onnx.ModelProto()
    fp32.CopyFrom(proto)
    (graph_input,) = (value.name for value in proto.graph.input)
    computed = [name for name in names if name != graph_input]
    fp32.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    session = open_session(fp32.SerializeToString(), "the graph before quantisation") if computed else None
    for start in range(0, len(items), _BATCH):
        batch = {graph_input: np.ascontiguousarray(items[start : start + _BATCH])}
        values = dict(zip(computed, session.run(computed, batch), strict=True)) if session else {}
        yield {name: values[name] if name in values else batch[name] for name in names}
