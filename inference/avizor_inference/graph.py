"""What an ONNX file says of itself: inputs, outputs, operator sets, IR version. The weights are not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from avizor_inference.errors import VersionRefused

# The limits of the contract: readable by the oldest runtime that is supported, Triton's included.
OPSET = 18
MAX_IR_VERSION = 10

# The operator set that every ONNX runtime has.
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


@dataclass(frozen=True)
class GraphTensor:
    """An input or output: element type by numpy's name; dimensions, None where free (unnamed ones included)."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """The outside of an ONNX model."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    ir_version: int
    opsets: dict[str, int]  # domain -> version
    external_data: bool  # weights in files of their own

    @property
    def opset(self) -> int:
        """Version of the standard operator set; 0 if none is named."""
        return self.opsets.get("", self.opsets.get("ai.onnx", 0))

    @property
    def custom_domains(self) -> list[str]:
        """Operator domains beyond the standard one, sorted."""
        return sorted(set(self.opsets) - STANDARD_DOMAINS)


def read_graph(path: Path) -> Graph:
    """Read an ONNX file. Raises VersionRefused if it is not one."""
    try:
        return graph_of(onnx.load(path, load_external_data=False))
    except (OSError, DecodeError, ValueError) as error:
        raise VersionRefused(f"{path} is not an ONNX model that can be read ({error}); export the model again") from error


def graph_of(model: onnx.ModelProto) -> Graph:
    """The outside of a model in memory."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        inputs=tuple(_tensors(value for value in model.graph.input if value.name not in constants)),
        outputs=tuple(_tensors(model.graph.output)),
        ir_version=model.ir_version,
        opsets={entry.domain: entry.version for entry in model.opset_import},
        external_data=any(tensor.external_data for tensor in model.graph.initializer),
    )


def _tensors(values: Iterable[onnx.ValueInfoProto]) -> Iterable[GraphTensor]:
    for value in values:
        tensor = value.type.tensor_type
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        yield GraphTensor(value.name, _dtype(tensor.elem_type), dims)


def _dtype(element_type: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return f"ONNX type {element_type}"
