"""Read the outside of an ONNX file: inputs, outputs, operator sets, IR version. The weights are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from avizor_inference.error_text import one_line
from avizor_inference.errors import VersionRefused

# Limits of the contract: the oldest supported runtime, Triton's included, can read such files.
OPSET = 18
MAX_IR_VERSION = 10

# The operator set that every ONNX runtime has.
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
# Operators of scikit-learn and the like. Every build of ONNX Runtime has them, Triton's backend included, for the CPU alone.
ML_DOMAIN = "ai.onnx.ml"
MAX_ML_OPSET = 5
SERVED_DOMAINS = STANDARD_DOMAINS | {ML_DOMAIN}


@dataclass(frozen=True)
class GraphTensor:
    """Describes an input or output. dtype: numpy's name of the element type. dims: None for a free dimension, named or not."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """Describes the outside of an ONNX model."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    ir_version: int
    opsets: dict[str, int]  # domain -> version
    external_data: bool  # weights in separate files
    repeated_domains: tuple[str, ...] = ()  # operator domains that appear more than once
    beyond_int8: tuple[str, ...] = ()  # kinds of quantised tensors other than signed int8 with zero point 0, e.g. "uint8"

    @property
    def opset(self) -> int:
        """Return the version of the standard operator set; 0 if none is named."""
        return self.opsets.get("", self.opsets.get("ai.onnx", 0))

    @property
    def custom_domains(self) -> list[str]:
        """Return the operator domains that engines do not have, sorted."""
        return sorted(set(self.opsets) - SERVED_DOMAINS)


def read_graph(path: Path) -> Graph:
    """Read an ONNX file. Raises VersionRefused if it is not one."""
    try:
        return graph_of(onnx.load(path, load_external_data=False))
    except (OSError, DecodeError, ValueError) as error:
        why = one_line(error)
        raise VersionRefused(f"{path} is not an ONNX model that can be read ({why}); export the model again") from error


def graph_of(model: onnx.ModelProto) -> Graph:
    """Return the outside of a model in memory."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        inputs=tuple(_tensors(value for value in model.graph.input if value.name not in constants)),
        outputs=tuple(_tensors(model.graph.output)),
        ir_version=model.ir_version,
        opsets={entry.domain: entry.version for entry in model.opset_import},
        external_data=any(tensor.external_data for tensor in model.graph.initializer),
        repeated_domains=_repeated(entry.domain or "ai.onnx" for entry in model.opset_import),
        beyond_int8=tuple(sorted(set(_beyond_int8(model.graph)))),
    )


def uses_ml_operators(model: onnx.ModelProto) -> bool:
    """Return whether the graph has operators of ai.onnx.ml, which run on the CPU alone."""
    return any(node.domain == ML_DOMAIN for node in model.graph.node)


def _tensors(values: Iterable[onnx.ValueInfoProto]) -> Iterable[GraphTensor]:
    for value in values:
        tensor = value.type.tensor_type
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        yield GraphTensor(value.name, _dtype(tensor.elem_type), dims)


def _repeated(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name, count in Counter(names).items() if count > 1))


def _beyond_int8(graph: onnx.GraphProto) -> Iterable[str]:
    """Yield the quantised types of QuantizeLinear and DequantizeLinear, other than int8 with zero point 0."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.attribute}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        # Without a zero point QuantizeLinear returns uint8; a quantised constant shows its own type.
        typed = zero or (constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None)
        dtype = _dtype(typed.data_type) if typed else "uint8" if node.op_type == "QuantizeLinear" else "int8"
        if dtype != "int8":
            yield dtype
        elif zero and onnx.numpy_helper.to_array(zero).any():
            yield "int8 with a zero point"


def _dtype(element_type: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return f"ONNX type {element_type}"
