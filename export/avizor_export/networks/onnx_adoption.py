"""Adopt an ONNX file from elsewhere: make it fulfil the contract of the model repository, and leave its weights unchanged.

This does for a graph what export does for a torch module: it puts a front end before it, softmax or reconstruction error after
it, and gives the outputs the names that Avizor uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper
from pydantic import ValidationError

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.logits import class_count, has_softmax, passed_on_values, quantisation_step
from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.to_onnx import check_proto, strip_traces, to_program
from avizor_export.graph.wrapped_network import enlargement, meanings
from avizor_export.networks.onnx_input import tensor_input
from avizor_export.networks.onnx_network import feature_shape, network_as_it_is, network_with_free_batch
from avizor_export.networks.onnx_nodes import inner_graphs
from avizor_export.networks.onnx_opening import open_onnx
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import random_items
from avizor_export.parity.references import reference_of
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec, TensorInput
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.onnx_graph import OPSET, graph_of
from avizor_inference.strict_json import validation_message

PREFIX = "network."

# Name of the front end's output.
_FEATURES = "features"

# Further outputs of the file's graph that are kept.
_TAPS = frozenset({"embedding", "activations"})


@dataclass(frozen=True)
class Adopted:
    """Holds what became of an ONNX file.

    spec: describes the raw items. proto: the graph as a model repository needs it. file: the same around the file's own
    network, which runs on batches of `frozen` rows alone; None if the file's batch is free.
    """

    spec: InputSpec
    proto: onnx.ModelProto
    file: onnx.ModelProto | None = None
    frozen: int = 0


def adopt(
    path: Path,
    spec: InputSpec | None,
    task: Task,
    output: str | None = None,
    real: Items | None = None,
    leave_out: Sequence[str] = (),
    *,
    free_frozen_batch: bool = False,
) -> Adopted:
    """Adopt the graph of a file: give it a front end, the outputs of its task, and the names that Avizor uses.

    spec: None takes the graph's own tensor; a TensorInput has to be equal to that. Sizes that the graph leaves free are those
    of the spec. output: name of the logits, probabilities or reconstruction, if the graph has several outputs. real: raw items
    [n, *item_shape]; they show the range of whole numbers. leave_out: names of optional outputs that are not kept.
    free_frozen_batch: free the batch of a graph that was written for one batch size, and prove it.
    Raises ExportError saying what is wrong with the file and how to fix it.
    """
    opened = open_onnx(path, feature_shape(spec))
    own_spec = tensor_input(opened.tensor, path)
    chosen = _choose_output(opened.outputs, task, output, path)
    taps = [name for name in opened.outputs if name in _TAPS and name not in (chosen, *leave_out)]
    opened = opened.cut_to([chosen, *taps])
    if free_frozen_batch:
        opened = opened.frozen_inside()
    is_freed = free_frozen_batch and opened.frozen > 0
    real_features = real if spec is None or isinstance(spec, TensorInput) else None
    network = (network_with_free_batch if is_freed else network_as_it_is)(opened, own_spec, real_features)
    assembled = _assembled(network, spec, own_spec, path)
    spec = own_spec if spec is None else spec
    values = _values(assembled, random_items(spec, 2, real=real), task, PREFIX + chosen)
    features = (features_name(spec), own_spec.item_shape)
    _finish(assembled, task, features, PREFIX + chosen, values)
    proto = onnx.shape_inference.infer_shapes(assembled, data_prop=True)
    strip_traces(proto)
    check_proto(proto)
    if not is_freed:
        return Adopted(spec, proto)
    file = _assembled(opened.proto, spec, own_spec, path)
    _finish(file, task, features, PREFIX + chosen, values)
    return Adopted(spec, proto, file, opened.frozen)


def _assembled(network: onnx.ModelProto, spec: InputSpec | None, own_spec: TensorInput, path: Path) -> onnx.ModelProto:
    """Return the network with its names prefixed, and with the front end of `spec` before it. Leaves `network` as it is."""
    prefixed = onnx.ModelProto()
    prefixed.CopyFrom(network)
    _add_prefix(prefixed.graph)
    if spec is None or isinstance(spec, TensorInput):
        _check_same_input(spec or own_spec, own_spec, path)
        proto = _restore_input_name(prefixed, own_spec)
    else:
        proto = _with_front_end(prefixed, spec, own_spec)
    del proto.opset_import[:]  # merging left one entry for each graph
    proto.opset_import.append(helper.make_opsetid("", OPSET))
    return proto


def own_input(path: Path) -> TensorInput:
    """Return the description of the tensor that the file takes. Raises ExportError if a model cannot have it as its input."""
    return tensor_input(open_onnx(path).tensor, path)


def features_name(spec: InputSpec) -> str:
    """Return the name of the network's input in the adopted graph: the output of the front end, or of an Identity node."""
    return PREFIX + spec.name if isinstance(spec, TensorInput) else _FEATURES


def _check_same_input(spec: TensorInput, own_spec: TensorInput, path: Path) -> None:
    if spec != own_spec:
        raise ExportError(
            f"{path} takes {own_spec.name}, {own_spec.dtype}{list(own_spec.item_shape)}, and by --input it is {spec.name}, "
            f"{spec.dtype}{list(spec.item_shape)}; leave out --input, or fix it"
        )


def outputs_of(proto: onnx.ModelProto, spec: InputSpec) -> tuple[TensorSpec, ...]:
    """Return the specs of the graph's outputs, as a manifest holds them. spec: describes the raw items.

    Raises ExportError if a manifest cannot describe an output.
    """
    outputs = []
    for tensor in graph_of(proto).outputs:
        fields = {"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]}
        try:
            outputs.append(TensorSpec.model_validate(fields))
        except ValidationError as error:
            raise ExportError(
                f"output {tensor.name!r} cannot be served: {validation_message(error)}; export the model again"
                f"{or_left_out(tensor.name)}"
            ) from error
    meaning = meanings({output.name: output.item_shape for output in outputs}, spec)
    if "probabilities" in meaning and quantisation_step(proto.graph, "probabilities"):
        meaning["probabilities"] = "of the classes, as the file gives them: they sum to 1 but for their quantisation"
    return tuple(output.model_copy(update={"meaning": meaning[output.name]}) for output in outputs)


def _choose_output(outputs: Sequence[str], task: Task, output: str | None, path: Path) -> str:
    default = "probabilities" if task == "classify" else "reconstruction"
    chosen = output or (outputs[0] if len(outputs) == 1 else default)
    if chosen not in outputs:
        kind = "logits or probabilities" if task == "classify" else "reconstruction"
        raise ExportError(f"{path} has outputs {', '.join(outputs)}; name the one with the {kind} with --output")
    return chosen


def _add_prefix(graph: onnx.GraphProto) -> None:
    """Put PREFIX before every name, inside branches and bodies too: onnx.compose does not rename what they use from outside."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = PREFIX + value.name
    for constant in graph.initializer:
        constant.name = PREFIX + constant.name
    for tensor in graph.sparse_initializer:
        tensor.values.name = PREFIX + tensor.values.name
    for node in graph.node:
        node.name = node.name and PREFIX + node.name
        for names in (node.input, node.output):
            names[:] = [name and PREFIX + name for name in names]  # an empty name is an optional input or output left out
        for inner in inner_graphs(node):
            _add_prefix(inner)


def _with_front_end(network: onnx.ModelProto, spec: InputSpec, own_spec: TensorInput) -> onnx.ModelProto:
    """Return the graph with the front end of `spec` before it. Raises ExportError if the graph cannot take its features."""
    module, tensor = build_front_end(spec), spec.tensor()
    example = torch.from_numpy(random_items(spec, 2))
    features = tuple(module(example).shape[1:])
    if features != own_spec.item_shape or own_spec.dtype != "float32":
        raise ExportError(
            f"the graph takes {own_spec.dtype}{list(own_spec.item_shape)} and the front end returns float32{list(features)} "
            "for an item; change --input so that both are equal, or leave it out: then items are the graph's own tensor"
        )
    front_end = to_program(module, example, [tensor.name], [_FEATURES]).model_proto
    front_end.ir_version = network.ir_version
    return compose.merge_models(front_end, network, io_map=[(_FEATURES, PREFIX + own_spec.name)])


def _restore_input_name(network: onnx.ModelProto, own_spec: TensorInput) -> onnx.ModelProto:
    """Give the graph's input its name without the prefix. Inside, where branches and bodies may use it, it keeps the prefix."""
    for value in network.graph.input:
        if value.name == PREFIX + own_spec.name:
            value.name = own_spec.name
    network.graph.node.insert(0, helper.make_node("Identity", [own_spec.name], [PREFIX + own_spec.name]))
    return network


def _finish(
    proto: onnx.ModelProto, task: Task, features: tuple[str, tuple[int, ...]], chosen: str, values: Mapping[str, Items]
) -> None:
    """Give the outputs Avizor's names, and add softmax or reconstruction error if the graph does not compute it.

    features: name and item shape of the network's input. values: the graph's values for two items, by name: shape inference
    does not always find their shapes.
    """
    graph = proto.graph
    types: dict[str, int] = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    taps = {name: name.removeprefix(PREFIX) for name in types if name != chosen}
    shape = values[chosen].shape[1:]
    nodes = [helper.make_node("Cast", [chosen], ["avizor.given"], to=TensorProto.FLOAT)]
    if task == "classify":
        shape = _class_shape(values[chosen], chosen)
        flat = {**values, chosen: values[chosen].reshape(-1, *shape)}
        operator = "Identity" if has_softmax(graph, chosen, flat) else "Softmax"
        nodes.append(helper.make_node("Flatten", ["avizor.given"], ["avizor.logits"], axis=1))
        nodes.append(helper.make_node(operator, ["avizor.logits"], ["probabilities"]))
        shapes = {"probabilities": shape}
    else:
        name, feature_shape = features
        nodes += _error_nodes(name, "avizor.given", enlargement(feature_shape, shape))
        shapes = {"score": (1,), "error_map": feature_shape, "reconstruction": shape}
        graph.initializer.append(helper.make_tensor("avizor.rows", TensorProto.INT64, [2], [0, -1]))
        graph.initializer.append(helper.make_tensor("avizor.axis", TensorProto.INT64, [1], [1]))
    nodes += [helper.make_node("Identity", [old], [new]) for old, new in taps.items()]
    graph.node.extend(nodes)
    del graph.output[:]
    outputs: list[tuple[str, int, tuple[int, ...]]] = [(name, TensorProto.FLOAT, dims) for name, dims in shapes.items()]
    outputs += [(new, types[old], values[old].shape[1:]) for old, new in taps.items()]
    graph.output.extend(helper.make_tensor_value_info(name, kind, ["batch", *dims]) for name, kind, dims in outputs)


def _values(proto: onnx.ModelProto, items: Items, task: Task, chosen: str) -> dict[str, Items]:
    """Return the graph's outputs for these items, by name, and for a classifier the values behind the chosen output.

    Those are the `passed_on_values`. Raises ExportError if the graph does not run, or returns sizes that depend on the items.
    """
    outputs = {value.name for value in proto.graph.output}
    extended = onnx.ModelProto()
    extended.CopyFrom(proto)
    inner = passed_on_values(proto.graph, chosen) if task == "classify" else []
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in outputs)
    try:
        run = onnxruntime_run(extended)
        values, zero_values = run(items), run(np.zeros_like(items[:1]))
    except ExportError:
        reference_of(proto, items)  # raises an error that is easier to read, if it fails too
        raise
    for name in outputs:
        value = values[name]
        if value.ndim and value.shape[1:] != zero_values[name].shape[1:]:
            short_name = name.removeprefix(PREFIX)
            raise ExportError(
                f"{short_name} is {list(value.shape)} for two items and {list(zero_values[name].shape)} for one item of zeros; "
                f"export it again so that only the batch may vary{or_left_out(short_name)}"
            )
    return values


def _error_nodes(features: str, reconstruction: str, times: int) -> list[onnx.NodeProto]:
    """Return the nodes that compute score, error map and reconstruction. times: how much larger the reconstruction is."""
    # As for a torch module: the means of a larger reconstruction's blocks of pixels are compared with the features.
    blocks: dict[str, Any] = {"kernel_shape": [times, times], "strides": [times, times]}
    shrink = [] if times == 1 else [helper.make_node("AveragePool", [reconstruction], ["avizor.shrunk"], **blocks)]
    return [
        helper.make_node("Identity", [reconstruction], ["reconstruction"]),
        *shrink,
        helper.make_node("Cast", [features], ["avizor.features"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["avizor.features", "avizor.shrunk" if shrink else reconstruction], ["avizor.difference"]),
        helper.make_node("Mul", ["avizor.difference", "avizor.difference"], ["error_map"]),
        helper.make_node("Reshape", ["error_map", "avizor.rows"], ["avizor.flat"]),
        helper.make_node("ReduceMean", ["avizor.flat", "avizor.axis"], ["score"], keepdims=1),
    ]


def _class_shape(value: Items, chosen: str) -> tuple[int, ...]:
    """Return the shape of an item's classes, [K]. value: [n, K], where each item may have dimensions of 1 besides."""
    classes = class_count(value.shape[1:])
    if classes is None:
        raise ExportError(
            f"{chosen.removeprefix(PREFIX)} is {list(value.shape)} for a batch of 2; a classifier returns [batch, classes]: "
            "export it again with a flatten, or a mean over the map, at its end"
        )
    return (classes,)
