"""Adoption of an ONNX file from elsewhere: brought to the contract of the model repository, its weights untouched.

What export does around a torch module is done here around a graph: a front end before it, softmax or reconstruction error after
it, and the outputs under the names that Avizor uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import TensorProto, compose, helper, version_converter
from onnx.reference import ReferenceEvaluator
from pydantic import ValidationError

from avizor_export.front_ends.of_input import front_end
from avizor_export.parity import Items, Run, random_items
from avizor_export.served import MEANINGS, enlargement
from avizor_export.to_onnx import check_proto, strip_traces, to_program
from avizor_inference.errors import ExportError
from avizor_inference.graph import MAX_IR_VERSION, OPSET, STANDARD_DOMAINS, GraphTensor, graph_of
from avizor_inference.inputs import InputSpec, TensorInput, TensorSpec
from avizor_inference.manifest import Task
from avizor_inference.strict import describe

PREFIX = "network."


def adopt(path: Path, spec: InputSpec | None, task: Task, output: str | None = None) -> tuple[InputSpec, onnx.ModelProto]:
    """The file's graph as a model repository wants it, and what its input is.

    spec: None takes the graph's own tensor. output: name of the logits, probabilities or reconstruction, where the graph has
    several outputs. Raises ExportError saying what is wrong with the file and how to mend it.
    """
    network = _modern(_load(path), path)
    given, outputs = _outside(network, path)
    own = _tensor_input(given, path)
    chosen = _choose(outputs, task, output, path)
    network = _keep(network, [chosen, *(name for name in outputs if name in MEANINGS and name != chosen)])
    network = compose.add_prefix(network, PREFIX)
    proto = _with_front_end(network, spec, own) if spec is not None else _own_input(network, own)
    source = "features" if spec is not None else own.name
    _finish(proto, task, source, PREFIX + chosen)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    strip_traces(proto)
    check_proto(proto)
    return spec or own, proto


def own_input(path: Path) -> TensorInput:
    """The tensor that the file takes. Raises ExportError."""
    tensor, _ = _outside(_modern(_load(path), path), path)
    return _tensor_input(tensor, path)


def _tensor_input(tensor: GraphTensor, path: Path) -> TensorInput:
    try:
        own = TensorInput.model_validate({"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]})
        own.tensor()
    except ValidationError as error:
        raise ExportError(f"{path}: input {tensor.name!r} cannot be served: {describe(error)}; export it again") from error
    return own


def reference_run(proto: onnx.ModelProto) -> Run:
    """The graph on the reference evaluator of the onnx package, which shares no code with ONNX Runtime."""
    try:
        evaluator = ReferenceEvaluator(proto)
    except Exception as error:  # the evaluator's errors share no base class
        raise ExportError(f"the reference evaluator cannot load the graph: {error}") from error
    names = [output.name for output in proto.graph.output]
    (tensor,) = graph_of(proto).inputs

    def run(items: Items) -> dict[str, Items]:
        try:
            values = evaluator.run(names, {tensor.name: items})
        except Exception as error:
            raise ExportError(f"the graph does not run on the reference evaluator: {error}") from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    return run


def outputs_of(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The graph's outputs, as a manifest wants them. Raises ExportError."""
    specs = []
    for each in graph_of(proto).outputs:
        fields = {"name": each.name, "dtype": each.dtype, "item_shape": each.dims[1:], "meaning": MEANINGS.get(each.name, "")}
        try:
            specs.append(TensorSpec.model_validate(fields))
        except ValidationError as error:
            raise ExportError(f"output {each.name!r} cannot be served: {describe(error)}; export the model again") from error
    return tuple(specs)


def parameters_of(proto: onnx.ModelProto) -> int:
    """Numbers in the adopted weights."""
    floats = (each for each in proto.graph.initializer if each.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE))
    return sum(math.prod(each.dims) for each in floats if each.name.startswith(PREFIX))


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not a valid ONNX model: {' '.join(str(error).split())[:300]}") from error
    if custom := sorted({entry.domain for entry in model.opset_import} - STANDARD_DOMAINS):
        raise ExportError(f"{path} needs operators of {', '.join(custom)}; export it again with standard operators only")
    return model


def _modern(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The same graph at the contract's operator set and IR version."""
    opset = graph_of(model).opset
    if opset != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except RuntimeError as error:
            raise ExportError(
                f"{path} has opset {opset} and cannot be converted to {OPSET}: {error}; export it again"
            ) from error
    model.ir_version = MAX_IR_VERSION
    return model


def _outside(model: onnx.ModelProto, path: Path) -> tuple[GraphTensor, list[str]]:
    graph = graph_of(model)
    if len(graph.inputs) != 1:
        raise ExportError(f"{path} has {len(graph.inputs)} inputs; a model of Avizor has one")
    (tensor,) = graph.inputs
    if not tensor.dims or tensor.dims[0] is not None:
        raise ExportError(
            f"{path}: the batch dimension of {tensor.name} is frozen at {list(tensor.dims[:1])}; export it again with "
            "dimension 0 dynamic"
        )
    if None in tensor.dims[1:]:
        raise ExportError(f"{path}: {tensor.name} is {list(tensor.dims)}; only the batch may vary")
    return tensor, [output.name for output in graph.outputs]


def _choose(outputs: Sequence[str], task: Task, output: str | None, path: Path) -> str:
    usual = "probabilities" if task == "classify" else "reconstruction"
    chosen = output or (outputs[0] if len(outputs) == 1 else usual)
    if chosen not in outputs:
        raise ExportError(f"{path} has outputs {', '.join(outputs)}; name the one that matters with --output")
    return chosen


def _keep(model: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    (tensor,) = graph_of(model).inputs
    try:
        return onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([tensor.name], outputs)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ExportError(f"the graph cannot be cut down to {', '.join(outputs)}: {error}") from error


def _with_front_end(network: onnx.ModelProto, spec: InputSpec, own: TensorInput) -> onnx.ModelProto:
    module, tensor = front_end(spec), spec.tensor()
    example = torch.from_numpy(random_items(tensor, 2))
    features = tuple(module(example).shape[1:])
    if features != own.item_shape or own.dtype != "float32":
        raise ExportError(
            f"the graph takes {own.dtype}{list(own.item_shape)} and the front end gives float32{list(features)} for an item; "
            "mend the input description"
        )
    before = to_program(module, example, [tensor.name], ["features"]).model_proto
    before.ir_version = network.ir_version
    return compose.merge_models(before, network, io_map=[("features", PREFIX + own.name)])


def _own_input(network: onnx.ModelProto, own: TensorInput) -> onnx.ModelProto:
    """The input under its own name again, without the prefix."""
    for value in network.graph.input:
        if value.name == PREFIX + own.name:
            value.name = own.name
    for node in network.graph.node:
        for index, name in enumerate(node.input):
            if name == PREFIX + own.name:
                node.input[index] = own.name
    return network


def _finish(proto: onnx.ModelProto, task: Task, source: str, chosen: str) -> None:
    """Give the outputs their names, with softmax or the reconstruction error computed where the graph does not."""
    graph = proto.graph
    kept = {value.name: value.name.removeprefix(PREFIX) for value in graph.output if value.name != chosen}
    is_probability = task == "classify" and _sums_to_one(proto, chosen)
    nodes = [helper.make_node("Identity", [old], [new]) for old, new in kept.items()]
    names = list(kept.values())
    if task == "classify":
        nodes.insert(0, helper.make_node("Identity" if is_probability else "Softmax", [chosen], ["probabilities"]))
        names.insert(0, "probabilities")
    else:
        nodes[:0] = _error_nodes(proto, source, chosen)
        names[:0] = ["score", "error_map", "reconstruction"]
    del graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)


def _error_nodes(proto: onnx.ModelProto, source: str, chosen: str) -> list[onnx.NodeProto]:
    proto.graph.initializer.append(helper.make_tensor("avizor.rows", TensorProto.INT64, [2], [0, -1]))
    proto.graph.initializer.append(helper.make_tensor("avizor.axis", TensorProto.INT64, [1], [1]))
    times = enlargement(_item_shape(proto, source), _item_shape(proto, chosen))
    # As for a torch module: what is larger than the features is compared with them by the means of its blocks.
    blocks: dict[str, Any] = {"kernel_shape": [times, times], "strides": [times, times]}
    shrink = [] if times == 1 else [helper.make_node("AveragePool", [chosen], ["avizor.shrunk"], **blocks)]
    return [
        helper.make_node("Identity", [chosen], ["reconstruction"]),
        *shrink,
        helper.make_node("Sub", [source, "avizor.shrunk" if shrink else chosen], ["avizor.difference"]),
        helper.make_node("Mul", ["avizor.difference", "avizor.difference"], ["error_map"]),
        helper.make_node("Reshape", ["error_map", "avizor.rows"], ["avizor.flat"]),
        helper.make_node("ReduceMean", ["avizor.flat", "avizor.axis"], ["score"], keepdims=1),
    ]


def _item_shape(proto: onnx.ModelProto, name: str) -> tuple[int, ...]:
    """Shape of a value for one item; 0 for a size that the graph does not tell."""
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name == name:
            return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])
    return ()


def _sums_to_one(proto: onnx.ModelProto, chosen: str) -> bool:
    (tensor,) = graph_of(proto).inputs
    spec = TensorSpec.model_validate({"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]})
    value = reference_run(proto)(random_items(spec, 2))[chosen].astype(np.float64)
    if value.ndim != 2:
        raise ExportError(
            f"{chosen.removeprefix(PREFIX)} is {list(value.shape)} for a batch of 2; a classifier gives [batch, classes]"
        )
    return value.shape[1] > 1 and bool((value >= 0).all()) and bool(np.allclose(value.sum(axis=1), 1, atol=1e-4))
