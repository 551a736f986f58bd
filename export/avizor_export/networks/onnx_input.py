"""Say what the one input of an ONNX graph is, and fix the sizes that it leaves free."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper
from pydantic import ValidationError

from avizor_export.graph.one_input import ONE_INPUT
from avizor_export.networks.ml_operators import check_inputs
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.onnx_graph import GraphTensor, graph_of
from avizor_inference.strict_json import validation_message


def only_input(model: onnx.ModelProto, path: Path) -> GraphTensor:
    """Return the graph's one input. Raises ExportError if it has none or several, or if it is a single number."""
    check_inputs(model, path)
    inputs = graph_of(model).inputs
    if len(inputs) != 1:
        listed = ", ".join(f"{each.name} {each.dtype}{_sizes(each)}" for each in inputs) or "none"
        raise ExportError(f"{path} has {len(inputs)} inputs ({listed}), and {ONE_INPUT}")
    if not inputs[0].dims:
        raise ExportError(f"{path}: {inputs[0].name} has no dimensions; export it again with a batch as its first dimension")
    return inputs[0]


def with_item_shape(model: onnx.ModelProto, shape: tuple[int, ...], path: Path) -> onnx.ModelProto:
    """Return the model with the free sizes of its input fixed to those of an item. A size that is given stays as it is.

    model: with one input. shape: of an item's features, as `feature_shape` returns it. Raises ExportError if the graph takes
    another number of dimensions.
    """
    (tensor,) = graph_of(model).inputs
    if None not in tensor.dims[1:]:
        return model
    if len(tensor.dims) != len(shape) + 1:
        raise ExportError(
            f"{path}: an item of {tensor.name} is {_sizes(tensor)}, and by --input it is {list(shape)}; change --input so that "
            "both have as many dimensions"
        )
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        if value.name == tensor.name:
            for dim, size in zip(value.type.tensor_type.shape.dim[1:], shape, strict=True):
                if not dim.HasField("dim_value"):
                    dim.dim_value = size
    for value in fixed.graph.output:  # the same names of sizes may be there
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    return onnx.shape_inference.infer_shapes(fixed, data_prop=True)


def tensor_input(tensor: GraphTensor, path: Path) -> TensorInput:
    """Return the description of the graph's own tensor. Raises ExportError if a model cannot have it as its input."""
    if None in tensor.dims[1:]:
        raise ExportError(
            f"{path}: sizes of an item of {tensor.name} are free: {_sizes(tensor)}; give them with --input, as in "
            f"{_example(tensor)}"
        )
    try:
        spec = TensorInput.model_validate({"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]})
        spec.tensor()
    except ValidationError as error:
        remedy = "export it again as float32" if "float16" in tensor.dtype else "export it again"
        raise ExportError(f"{path}: input {tensor.name!r} cannot be served: {validation_message(error)}; {remedy}") from error
    return spec


def _sizes(tensor: GraphTensor) -> str:
    """Return the sizes of an item in words, `?` for a free one."""
    return f"[{', '.join('?' if dim is None else str(dim) for dim in tensor.dims[1:])}]"


def _example(tensor: GraphTensor) -> str:
    """Return a value of --input that fixes the sizes of this tensor."""
    if len(tensor.dims) == 4 and tensor.dims[1] in (1, 3):
        return f"image:height=224,width=224,channels={tensor.dims[1]}"
    shape = "/".join(str(dim or 100) for dim in tensor.dims[1:])
    dtype = "" if tensor.dtype == "float32" else f",dtype={tensor.dtype}"
    return f"tensor:name={tensor.name},item_shape={shape}{dtype}"


def with_batch(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """Return the model with the batch of its input fixed at a size."""
    (tensor,) = graph_of(model).inputs
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name == tensor.name:
            value.type.tensor_type.shape.dim[0].dim_value = size
    return fixed
