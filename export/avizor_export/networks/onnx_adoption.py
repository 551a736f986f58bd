"""Adopt an ONNX file from elsewhere: make it fulfil the contract of the model repository, and leave its weights unchanged.

This does for a graph what export does for a torch module: it puts a front end before it, softmax or reconstruction error after
it, and gives the outputs the names that Avizor uses.
"""

from __future__ import annotations

import logging
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
from avizor_export.graph.enlargement import enlargement
from avizor_export.graph.heads import Head
from avizor_export.graph.logits import passed_on_values, quantisation_step
from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.output_meanings import meanings
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.run_network import ONE_INPUT
from avizor_export.graph.to_onnx import check_proto, strip_traces, to_program
from avizor_export.networks.ml_operators import (
    OUTPUT_NAMES,
    check_inputs,
    check_output,
    missing_warning,
    score_warning,
    without_maps,
)
from avizor_export.networks.onnx_files import inner_graphs, read_onnx, with_inner_nodes
from avizor_export.networks.onnx_outputs import add_embedding_output, embedding_nodes, head_of
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import random_items
from avizor_export.parity.references import reference_of
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec, TensorInput
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.onnx_graph import ML_DOMAIN, OPSET, GraphTensor, graph_of
from avizor_inference.strict_json import validation_message

_log = logging.getLogger(__name__)

PREFIX = "network."

# Name of the front end's output.
_FEATURES = "features"

# Further outputs of the file's graph that are kept.
_TAPS = frozenset({"embedding", "activations"})


def adopt(
    path: Path,
    spec: InputSpec | None,
    task: Task,
    options: OutputOptions | None = None,
    real: Items | None = None,
) -> Adopted:
    """Return the adopted graph as a model repository needs it.

    spec: None takes the graph's own tensor; a TensorInput has to be equal to that. options: what the graph's outputs are, where
    it does not show. real: raw items [n, *item_shape]; they show the range of whole numbers.
    Raises ExportError saying what is wrong with the file and how to fix it.
    """
    options, network = options or OutputOptions(), without_maps(read_onnx(path))
    tensor, outputs = _input_and_outputs(network, path)
    own_spec = _tensor_input(tensor, path)
    chosen = _choose_output(outputs, task, options.output, path)
    check_output(network, chosen, outputs)
    taps = {name: name for name in outputs if name in _TAPS and name not in (chosen, *options.leave_out)}
    if options.embedding is not None:
        value = add_embedding_output(network, options.embedding, chosen)
        taps = {value: "embedding"} | {name: new for name, new in taps.items() if new != "embedding"}
    network = _cut_to_outputs(network, [chosen, *taps])
    _add_prefix(network.graph)
    if spec is None or isinstance(spec, TensorInput):
        _check_same_input(spec or own_spec, own_spec, path)
        spec, features, proto = own_spec, own_spec.name, _restore_input_name(network, own_spec)
    else:
        features, proto = _FEATURES, _with_front_end(network, spec, own_spec)
    ml_opsets = [entry for entry in network.opset_import if entry.domain == ML_DOMAIN]
    del proto.opset_import[:]  # merging left one entry for each graph
    proto.opset_import.extend([helper.make_opsetid("", OPSET), *ml_opsets])
    values = _values(proto, random_items(spec, 2, real=real), task, PREFIX + chosen)
    head = None
    if task == "classify":
        _check_logits(values[PREFIX + chosen], chosen)
        head = head_of(proto.graph, PREFIX + chosen, values, options.activation)
        if not head.is_given and (warning := score_warning(proto.graph, PREFIX + chosen, chosen, values[PREFIX + chosen])):
            _log.warning("%s", warning)
    named_taps = {PREFIX + old: new for old, new in taps.items()}
    _finish(proto, head, (features, own_spec.item_shape), PREFIX + chosen, values, named_taps, options.embedding)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    strip_traces(proto)
    check_proto(proto)
    if warning := missing_warning(proto, spec):
        _log.warning("%s", warning)
    return Adopted(spec, proto, head, options.embedding)


@dataclass(frozen=True)
class Adopted:
    """Hold an adopted graph, the description of its raw items, a classifier's head, and the value named as its embedding."""

    input: InputSpec
    proto: onnx.ModelProto
    head: Head | None
    embedding: str | None = None


def own_input(path: Path) -> TensorInput:
    """Return the description of the tensor that the file takes. Raises ExportError if a model cannot have it as its input."""
    tensor, _ = _input_and_outputs(read_onnx(path), path)
    return _tensor_input(tensor, path)


def features_name(spec: InputSpec) -> str:
    """Return the name of the network's input in the adopted graph: the output of the front end, or of an Identity node."""
    return PREFIX + spec.name if isinstance(spec, TensorInput) else _FEATURES


def _check_same_input(spec: TensorInput, own_spec: TensorInput, path: Path) -> None:
    if spec != own_spec:
        raise ExportError(
            f"{path} takes {own_spec.name}, {own_spec.dtype}{list(own_spec.item_shape)}, and by --input it is {spec.name}, "
            f"{spec.dtype}{list(spec.item_shape)}; leave out --input, or fix it"
        )


def _tensor_input(tensor: GraphTensor, path: Path) -> TensorInput:
    try:
        spec = TensorInput.model_validate({"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]})
        spec.tensor()
    except ValidationError as error:
        remedy = "export it again as float32" if "float16" in tensor.dtype else "export it again"
        raise ExportError(f"{path}: input {tensor.name!r} cannot be served: {validation_message(error)}; {remedy}") from error
    return spec


def outputs_of(adopted: Adopted) -> tuple[TensorSpec, ...]:
    """Return the specs of the graph's outputs, as a manifest holds them.

    Raises ExportError if a manifest cannot describe an output.
    """
    proto, outputs = adopted.proto, []
    for tensor in graph_of(proto).outputs:
        fields = {"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]}
        try:
            outputs.append(TensorSpec.model_validate(fields))
        except ValidationError as error:
            raise ExportError(
                f"output {tensor.name!r} cannot be served: {validation_message(error)}; export the model again"
                f"{or_left_out(tensor.name)}"
            ) from error
    known = {name: f"output {name!r} of the file" for name in _TAPS}
    if adopted.embedding is not None:
        known["embedding"] = f"value {adopted.embedding!r} of the file, flattened"
    if adopted.head is not None:
        known["probabilities"] = adopted.head.meaning
    meaning = meanings({output.name: output.item_shape for output in outputs}, adopted.input, known)
    if "probabilities" in meaning and quantisation_step(proto.graph, "probabilities"):
        meaning["probabilities"] = "of the classes, as the file gives them: they sum to 1 but for their quantisation"
    return tuple(output.model_copy(update={"meaning": meaning[output.name]}) for output in outputs)


def _input_and_outputs(model: onnx.ModelProto, path: Path) -> tuple[GraphTensor, list[str]]:
    """Return the graph's one input and the names of its outputs. Raises ExportError unless only the batch size is free."""
    check_inputs(model, path)
    graph = graph_of(model)
    if len(graph.inputs) != 1:
        inputs = ", ".join(f"{each.name} {each.dtype}{list(each.dims)}" for each in graph.inputs) or "none"
        raise ExportError(f"{path} has {len(graph.inputs)} inputs ({inputs}), and {ONE_INPUT}".replace("None", "?"))
    (tensor,) = graph.inputs
    if not tensor.dims or tensor.dims[0] is not None:
        raise ExportError(
            f"{path}: the batch dimension of {tensor.name} is frozen at {list(tensor.dims[:1])}; export it again with "
            "dimension 0 dynamic"
        )
    if None in tensor.dims[1:]:
        raise ExportError(f"{path}: {tensor.name} is {list(tensor.dims)}; export it again so that only the batch may vary")
    return tensor, [output.name for output in graph.outputs]


def _choose_output(outputs: Sequence[str], task: Task, output: str | None, path: Path) -> str:
    defaults = OUTPUT_NAMES if task == "classify" else ("reconstruction",)
    default = next((name for name in defaults if name in outputs), defaults[0])
    chosen = output or (outputs[0] if len(outputs) == 1 else default)
    if chosen not in outputs:
        kind = "logits or probabilities" if task == "classify" else "reconstruction"
        raise ExportError(f"{path} has outputs {', '.join(outputs)}; name the one with the {kind} with --output")
    return chosen


def _cut_to_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the graph without what these outputs do not need. Values that a branch or body uses from around it are needed."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(name for inner in with_inner_nodes(node) for name in inner.input)
            needed.update(output.name for inner in inner_graphs(node) for output in inner.output)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    nodes, more_constants = _constants_to_initializers(nodes, outputs)
    initializers = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in graph.output}
    cut = helper.make_graph(
        nodes[::-1],
        graph.name,
        [value for value in graph.input if value.name not in initializers],
        [values[name] for name in outputs],
        constants + more_constants,
        value_info=[value for value in graph.value_info if value.name in needed],
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


def _constants_to_initializers(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the other nodes, and the weights of `Constant` nodes as initializers, where int8 looks for them."""
    others, weights = [], []
    for node in nodes:
        is_weight = node.op_type == "Constant" and node.output[0] not in outputs and node.attribute[0].name == "value"
        if is_weight and len(node.attribute[0].t.dims):
            weights.append(onnx.TensorProto())
            weights[-1].CopyFrom(node.attribute[0].t)
            weights[-1].name = node.output[0]
        else:
            others.append(node)
    return others, weights


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
    proto: onnx.ModelProto,
    head: Head | None,
    features: tuple[str, tuple[int, ...]],
    chosen: str,
    values: Mapping[str, Items],
    taps: Mapping[str, str],
    embedding: str | None,
) -> None:
    """Give the outputs Avizor's names, and add a classifier's head, or the reconstruction error of an autoencoder.

    features: name and item shape of the network's input. values: the graph's values for two items, by name: shape inference
    does not always find their shapes. taps: the names of further outputs, by those that they have in the graph. embedding: as
    the user named it; it is flattened then.
    """
    graph = proto.graph
    types: dict[str, int] = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    shape = values[chosen].shape[1:]
    nodes = [helper.make_node("Cast", [chosen], ["avizor.given"], to=TensorProto.FLOAT)]
    graph.initializer.append(helper.make_tensor("avizor.rows", TensorProto.INT64, [2], [0, -1]))
    if head is not None:
        columns = "avizor.given" if shape else "avizor.columns"
        nodes += [] if shape else [helper.make_node("Reshape", ["avizor.given", "avizor.rows"], [columns])]
        nodes += head.nodes(columns)
        shapes = {"probabilities": (2,) if head.is_binary else shape or (1,)}
    else:
        name, feature_shape = features
        nodes += _error_nodes(name, "avizor.given", enlargement(feature_shape, shape))
        shapes = {"score": (1,), "error_map": feature_shape, "reconstruction": shape}
        graph.initializer.append(helper.make_tensor("avizor.axis", TensorProto.INT64, [1], [1]))
    outputs: list[tuple[str, int, tuple[int, ...]]] = [(name, TensorProto.FLOAT, dims) for name, dims in shapes.items()]
    for old, new in taps.items():
        if new == "embedding" and embedding is not None:
            flatten, dims = embedding_nodes(old, values[old], len(values[chosen]))
            nodes += flatten
            outputs.append((new, TensorProto.FLOAT, dims))
        else:
            nodes.append(helper.make_node("Identity", [old], [new]))
            outputs.append((new, types[old], values[old].shape[1:]))
    graph.node.extend(nodes)
    del graph.output[:]
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


def _check_logits(value: Items, chosen: str) -> None:
    if value.ndim not in (1, 2):
        raise ExportError(
            f"{chosen} is {list(value.shape)} for a batch of 2; a classifier returns [batch, classes]: "
            "export it again with a flatten, or a mean over the map, at its end"
        )
