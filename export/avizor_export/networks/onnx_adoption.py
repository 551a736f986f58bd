"""Adopt an ONNX file from elsewhere: make it fulfil the contract of the model repository, and leave its weights unchanged.

This does for a graph what export does for a torch module: it puts a front end before it, softmax or reconstruction error after
it, and gives the outputs the names that Avizor uses.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper
from pydantic import ValidationError

from avizor_export.front_ends.build import build_front_end, feature_shape
from avizor_export.graph.enlargement import enlargement
from avizor_export.graph.heads import Head
from avizor_export.graph.logits import class_count, passed_on_values, quantisation_step
from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.output_meanings import meanings
from avizor_export.graph.output_options import OutputOptions
from avizor_export.graph.to_onnx import check_proto, strip_traces, to_program
from avizor_export.networks.ml_operators import (
    ONE_FLOAT_INPUT,
    OUTPUT_NAMES,
    check_output,
    columns_remedy,
    missing_warning,
    score_warning,
)
from avizor_export.networks.onnx_input import tensor_input
from avizor_export.networks.onnx_network import network_as_it_is, network_with_free_batch
from avizor_export.networks.onnx_nodes import inner_graphs
from avizor_export.networks.onnx_opening import OpenedFile, open_onnx
from avizor_export.networks.onnx_outputs import PREFIX, add_embedding_output, embedding_nodes, head_of, with_output
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import random_items
from avizor_export.parity.references import reference_of
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec, TensorInput
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.onnx_graph import ML_DOMAIN, OPSET, graph_of
from avizor_inference.strict_json import validation_message

_log = logging.getLogger(__name__)

# Name of the front end's output.
_FEATURES = "features"

# Further outputs of the file's graph that are kept.
_TAPS = frozenset({"embedding", "activations"})


# Of the nodes that are added: the sizes of rows of numbers and of a column, and the axis of a row's numbers.
_CONSTANTS = {"avizor.rows": [0, -1], "avizor.column": [-1, 1], "avizor.axis": [1]}


@dataclass(frozen=True)
class Adopted:
    """Holds what became of an ONNX file.

    input: describes the raw items. proto: the graph as a model repository needs it. head: of a classifier. embedding: the value
    named as its embedding. file: the same around the file's own network, which runs on batches of `frozen` rows alone; None if
    the file's batch is free.
    """

    input: InputSpec
    proto: onnx.ModelProto
    head: Head | None
    embedding: str | None = None
    file: onnx.ModelProto | None = None
    frozen: int = 0


def adopt(
    path: Path,
    spec: InputSpec | None,
    task: Task,
    options: OutputOptions | None = None,
    real: Items | None = None,
    *,
    free_frozen_batch: bool = False,
) -> Adopted:
    """Adopt the graph of a file: give it a front end, the outputs of its task, and the names that Avizor uses.

    spec: None takes the graph's own tensor; a TensorInput has to be equal to that. Sizes that the graph leaves free are those
    of the spec. options: what the graph's outputs are, where it does not show. real: raw items [n, *item_shape]; they show the
    range of whole numbers. free_frozen_batch: free the batch of a graph that was written for one batch size, and prove it.
    Raises ExportError saying what is wrong with the file and how to fix it.
    """
    options, opened = options or OutputOptions(), open_onnx(path, feature_shape(spec) if spec else ())
    opened = with_output(opened, options.output)
    own_spec = tensor_input(opened.tensor, path)
    chosen = _choose_output(opened, task, options.output)
    check_output(opened.proto, chosen, opened.outputs)
    taps = _taps(opened, chosen, options)
    opened = opened.cut_to([chosen, *taps])
    if free_frozen_batch:
        opened = opened.frozen_inside()
    is_freed = free_frozen_batch and opened.frozen > 0
    real_features = real if spec is None or isinstance(spec, TensorInput) else None
    network = (network_with_free_batch if is_freed else network_as_it_is)(opened, own_spec, real_features)
    assembled = _assembled(network, spec, own_spec, path)
    spec = own_spec if spec is None else spec
    values = _values(assembled, random_items(spec, 2, real=real), task, PREFIX + chosen)
    head = _head(assembled, chosen, values, options) if task == "classify" else None
    names = {PREFIX + old: new for old, new in taps.items()}

    def finished(graph: onnx.ModelProto) -> onnx.ModelProto:
        features = (features_name(spec), own_spec.item_shape)
        _finish(graph, head, features, PREFIX + chosen, values, names, options.embedding)
        return graph

    proto = onnx.shape_inference.infer_shapes(finished(assembled), data_prop=True)
    strip_traces(proto)
    check_proto(proto)
    if warning := missing_warning(proto, spec):
        _log.warning("%s", warning)
    file = finished(_assembled(opened.proto, spec, own_spec, path)) if is_freed else None
    return Adopted(spec, proto, head, options.embedding, file, opened.frozen if is_freed else 0)


def _taps(opened: OpenedFile, chosen: str, options: OutputOptions) -> dict[str, str]:
    """Return the further outputs that are kept, and their names in Avizor. Makes the value of --embedding an output."""
    taps = {name: name for name in opened.outputs if name in _TAPS and name not in (chosen, *options.leave_out)}
    if options.embedding is None:
        return taps
    value = add_embedding_output(opened.proto, options.embedding, chosen)
    add_embedding_output(opened.file, value, chosen)  # the conversion is proven on all outputs
    return {value: "embedding"} | {name: new for name, new in taps.items() if new != "embedding"}


def _head(proto: onnx.ModelProto, chosen: str, values: Mapping[str, Items], options: OutputOptions) -> Head:
    """Return how the chosen output becomes probabilities, and warn of scores that are none."""
    name = PREFIX + chosen
    _check_logits(values[name], chosen)
    if not np.issubdtype(values[name].dtype, np.floating):
        raise ExportError(
            f"{chosen} holds whole numbers ({values[name].dtype}), such as the most probable class, and no scores; "
            "name the one with the logits or probabilities with --output, or export the network without its argmax"
        )
    rows = {**values, name: values[name].reshape(len(values[name]), -1) if values[name].ndim > 1 else values[name]}
    head = head_of(proto.graph, name, rows, options.activation)
    if not head.is_given and (warning := score_warning(proto.graph, name, chosen, rows[name])):
        _log.warning("%s", warning)
    return head


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
    ml_opsets = [entry for entry in network.opset_import if entry.domain == ML_DOMAIN]
    del proto.opset_import[:]  # merging left one entry for each graph
    proto.opset_import.extend([helper.make_opsetid("", OPSET), *ml_opsets])
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
        meaning["probabilities"] = "of the classes, as the file returns them: they sum to 1 but for their quantisation"
    return tuple(output.model_copy(update={"meaning": meaning[output.name]}) for output in outputs)


def _choose_output(opened: OpenedFile, task: Task, output: str | None) -> str:
    outputs = opened.outputs
    defaults = OUTPUT_NAMES if task == "classify" else ("reconstruction",)
    default = next((name for name in defaults if name in outputs), defaults[0])
    chosen = output or (outputs[0] if len(outputs) == 1 else default)
    if chosen not in outputs:
        kind = "logits or probabilities" if task == "classify" else "reconstruction"
        raise ExportError(
            f"{opened.path} has outputs {', '.join(outputs)}; name the one with the {kind} with --output"
            f"{columns_remedy(opened.file)}"
        )
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
        again = f"export it again as float32 (a pipeline of scikit-learn: {ONE_FLOAT_INPUT})"
        remedy = again if own_spec.dtype == "float64" else "change --input so that both are equal"
        raise ExportError(
            f"the graph takes {own_spec.dtype}{list(own_spec.item_shape)} and the front end returns float32{list(features)} "
            f"for an item; {remedy}, or leave --input out: then items are the graph's own tensor"
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
    if head is not None:
        columns = "avizor.given" if len(shape) == 1 else "avizor.columns"
        # One number for an item may have no dimensions in a file that squeezes its batch of 1.
        sizes = "avizor.rows" if shape else "avizor.column"
        nodes += [] if len(shape) == 1 else [helper.make_node("Reshape", ["avizor.given", sizes], [columns])]
        nodes += head.nodes(columns)
        shapes: dict[str, tuple[int, ...]] = {"probabilities": (2,) if head.is_binary else (math.prod(shape),)}
    else:
        name, feature_shape = features
        nodes += _error_nodes(name, "avizor.given", enlargement(feature_shape, shape))
        shapes = {"score": (1,), "error_map": feature_shape, "reconstruction": shape}
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
    used = {name for node in nodes for name in node.input}
    for name, numbers in _CONSTANTS.items():
        if name in used:  # ONNX Runtime logs a warning of each that is not
            graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers))
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
    """Raise ExportError unless it is [n], or [n, K] where each item may have dimensions of 1 besides."""
    if not value.ndim or (value.ndim > 1 and class_count(value.shape[1:]) is None):
        raise ExportError(
            f"{chosen} is {list(value.shape)} for a batch of 2; a classifier returns [batch, classes]: "
            "export it again with a flatten, or a mean over the map, at its end"
        )
