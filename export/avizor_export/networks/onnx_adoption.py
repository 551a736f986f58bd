"""Adoption of an ONNX file from elsewhere: brought to the contract of the model repository, its weights untouched.

What export does around a torch module is done here around a graph: a front end before it, softmax or reconstruction error after
it, and the outputs under the names that Avizor uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper
from pydantic import ValidationError

from avizor_export.front_ends.build import build_front_end
from avizor_export.graph.logits import has_softmax, passed_on_values, quantisation_step
from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.to_onnx import check_proto, strip_traces, to_program
from avizor_export.graph.wrapped_network import enlargement, meanings
from avizor_export.networks.onnx_files import inner_graphs, read_onnx, with_inner_nodes
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import random_items
from avizor_export.parity.references import reference_of
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import InputSpec, TensorInput
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.onnx_graph import OPSET, GraphTensor, graph_of
from avizor_inference.strict_json import validation_message

PREFIX = "network."

# What the front end gives.
_FEATURES = "features"

# Outputs of the graph's own that are kept.
_TAPS = frozenset({"embedding", "activations"})


def adopt(
    path: Path,
    spec: InputSpec | None,
    task: Task,
    output: str | None = None,
    real: Items | None = None,
    leave_out: Sequence[str] = (),
) -> tuple[InputSpec, onnx.ModelProto]:
    """The file's graph as a model repository wants it, and what its input is.

    spec: None takes the graph's own tensor; a TensorInput has to be that. output: name of the logits, probabilities or
    reconstruction, where the graph has several outputs. real: raw items, which tell the range of whole numbers.
    leave_out: names of optional outputs that are not kept.
    Raises ExportError saying what is wrong with the file and how to fix it.
    """
    network = read_onnx(path)
    tensor, outputs = _outside(network, path)
    own = _tensor_input(tensor, path)
    chosen = _choose(outputs, task, output, path)
    network = _keep(network, [chosen, *(name for name in outputs if name in _TAPS and name not in (chosen, *leave_out))])
    _add_prefix(network.graph)
    if spec is None or isinstance(spec, TensorInput):
        _check_own(spec or own, own, path)
        spec, source, proto = own, own.name, _own_input(network, own)
    else:
        source, proto = _FEATURES, _with_front_end(network, spec, own)
    del proto.opset_import[:]  # which names the one set once for each graph that was merged
    proto.opset_import.append(helper.make_opsetid("", OPSET))
    given = _values(proto, random_items(spec, 2, real=real), task, PREFIX + chosen)
    _finish(proto, task, (source, own.item_shape), PREFIX + chosen, given)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    strip_traces(proto)
    check_proto(proto)
    return spec, proto


def own_input(path: Path) -> TensorInput:
    """The tensor that the file takes. Raises ExportError."""
    tensor, _ = _outside(read_onnx(path), path)
    return _tensor_input(tensor, path)


def features_name(spec: InputSpec) -> str:
    """The name of what the network takes, within the adopted graph: a node makes it, of the front end or else an Identity."""
    return PREFIX + spec.name if isinstance(spec, TensorInput) else _FEATURES


def _check_own(given: TensorInput, own: TensorInput, path: Path) -> None:
    if given != own:
        raise ExportError(
            f"{path} takes {own.name}, {own.dtype}{list(own.item_shape)}, and by --input it is {given.name}, {given.dtype}"
            f"{list(given.item_shape)}; leave out --input, or fix it"
        )


def _tensor_input(tensor: GraphTensor, path: Path) -> TensorInput:
    try:
        own = TensorInput.model_validate({"name": tensor.name, "dtype": tensor.dtype, "item_shape": tensor.dims[1:]})
        own.tensor()
    except ValidationError as error:
        remedy = "export it again as float32" if "float16" in tensor.dtype else "export it again"
        raise ExportError(f"{path}: input {tensor.name!r} cannot be served: {validation_message(error)}; {remedy}") from error
    return own


def outputs_of(proto: onnx.ModelProto, spec: InputSpec) -> tuple[TensorSpec, ...]:
    """The graph's outputs, as a manifest wants them. spec: of the raw items. Raises ExportError."""
    specs = []
    for each in graph_of(proto).outputs:
        fields = {"name": each.name, "dtype": each.dtype, "item_shape": each.dims[1:]}
        try:
            specs.append(TensorSpec.model_validate(fields))
        except ValidationError as error:
            raise ExportError(
                f"output {each.name!r} cannot be served: {validation_message(error)}; export the model again"
                f"{or_left_out(each.name)}"
            ) from error
    meaning = meanings({each.name: each.item_shape for each in specs}, spec)
    if "probabilities" in meaning and quantisation_step(proto.graph, "probabilities"):
        meaning["probabilities"] = "of the classes, as the file gives them: they sum to 1 but for their quantisation"
    return tuple(each.model_copy(update={"meaning": meaning[each.name]}) for each in specs)


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


def _keep(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The graph cut down to what these outputs need; what a branch or body takes from around it included."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(name for inner in with_inner_nodes(node) for name in inner.input)
            needed.update(output.name for inner in inner_graphs(node) for output in inner.output)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    nodes, lifted = _with_weights_apart(nodes, outputs)
    constants += lifted
    given = {tensor.name for tensor in graph.initializer}
    known = {value.name: value for value in graph.output}
    cut = helper.make_graph(
        nodes[::-1],
        graph.name,
        [value for value in graph.input if value.name not in given],
        [known[name] for name in outputs],
        constants,
        value_info=[value for value in graph.value_info if value.name in needed],
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)


def _with_weights_apart(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes that are left, and what `Constant` nodes hold as initializers: there weights are looked for, as for int8."""
    kept, weights = [], []
    for node in nodes:
        is_weight = node.op_type == "Constant" and node.output[0] not in outputs and node.attribute[0].name == "value"
        if is_weight and len(node.attribute[0].t.dims):
            weights.append(onnx.TensorProto())
            weights[-1].CopyFrom(node.attribute[0].t)
            weights[-1].name = node.output[0]
        else:
            kept.append(node)
    return kept, weights


def _add_prefix(graph: onnx.GraphProto) -> None:
    """Before every name, inside branches and bodies too, where onnx.compose leaves what is taken from around them."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = PREFIX + value.name
    for constant in graph.initializer:
        constant.name = PREFIX + constant.name
    for tensor in graph.sparse_initializer:
        tensor.values.name = PREFIX + tensor.values.name
    for node in graph.node:
        node.name = node.name and PREFIX + node.name
        for names in (node.input, node.output):
            names[:] = [name and PREFIX + name for name in names]  # an empty one stands for what is left out
        for inner in inner_graphs(node):
            _add_prefix(inner)


def _with_front_end(network: onnx.ModelProto, spec: InputSpec, own: TensorInput) -> onnx.ModelProto:
    module, tensor = build_front_end(spec), spec.tensor()
    example = torch.from_numpy(random_items(spec, 2))
    features = tuple(module(example).shape[1:])
    if features != own.item_shape or own.dtype != "float32":
        raise ExportError(
            f"the graph takes {own.dtype}{list(own.item_shape)} and the front end gives float32{list(features)} for an item; "
            "change --input so that it gives that, or leave it out: then items are the graph's own tensor"
        )
    before = to_program(module, example, [tensor.name], [_FEATURES]).model_proto
    before.ir_version = network.ir_version
    return compose.merge_models(before, network, io_map=[(_FEATURES, PREFIX + own.name)])


def _own_input(network: onnx.ModelProto, own: TensorInput) -> onnx.ModelProto:
    """The input under its own name again. Within, where branches and bodies may use it too, it keeps the prefix."""
    for value in network.graph.input:
        if value.name == PREFIX + own.name:
            value.name = own.name
    network.graph.node.insert(0, helper.make_node("Identity", [own.name], [PREFIX + own.name]))
    return network


def _finish(
    proto: onnx.ModelProto, task: Task, source: tuple[str, tuple[int, ...]], chosen: str, given: Mapping[str, Items]
) -> None:
    """Give the outputs their names, with softmax or the reconstruction error computed where the graph does not.

    source: name and item shape of the features. given: what the graph gives for two items, whose shapes are not always found by
    shape inference.
    """
    graph = proto.graph
    types: dict[str, int] = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    kept = {name: name.removeprefix(PREFIX) for name in types if name != chosen}
    shape = given[chosen].shape[1:]
    nodes = [helper.make_node("Cast", [chosen], ["avizor.given"], to=TensorProto.FLOAT)]
    if task == "classify":
        _check_logits(given[chosen], chosen)
        operator = "Identity" if has_softmax(graph, chosen, given) else "Softmax"
        nodes.append(helper.make_node(operator, ["avizor.given"], ["probabilities"]))
        shapes = {"probabilities": shape}
    else:
        name, features = source
        nodes += _error_nodes(name, "avizor.given", enlargement(features, shape))
        shapes = {"score": (1,), "error_map": features, "reconstruction": shape}
        graph.initializer.append(helper.make_tensor("avizor.rows", TensorProto.INT64, [2], [0, -1]))
        graph.initializer.append(helper.make_tensor("avizor.axis", TensorProto.INT64, [1], [1]))
    nodes += [helper.make_node("Identity", [old], [new]) for old, new in kept.items()]
    graph.node.extend(nodes)
    del graph.output[:]
    outputs: list[tuple[str, int, tuple[int, ...]]] = [(name, TensorProto.FLOAT, dims) for name, dims in shapes.items()]
    outputs += [(new, types[old], given[old].shape[1:]) for old, new in kept.items()]
    graph.output.extend(helper.make_tensor_value_info(name, kind, ["batch", *dims]) for name, kind, dims in outputs)


def _values(proto: onnx.ModelProto, items: Items, task: Task, chosen: str) -> dict[str, Items]:
    """What the graph gives for two items, and of a classifier what its chosen output is made of (`passed_on_values`).

    Raises ExportError where it does not run, or gives sizes that depend on the items.
    """
    outputs = {value.name for value in proto.graph.output}
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    inner = passed_on_values(proto.graph, chosen) if task == "classify" else []
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in outputs)
    try:
        run = onnxruntime_run(whole)
        values, of_zeros = run(items), run(np.zeros_like(items[:1]))
    except ExportError:
        reference_of(proto, items)  # says it in plainer words
        raise
    for name in outputs:
        value = values[name]
        if value.ndim and value.shape[1:] != of_zeros[name].shape[1:]:
            raise ExportError(
                f"{name.removeprefix(PREFIX)} is {list(value.shape)} for two items and {list(of_zeros[name].shape)} for one of "
                f"zeros; only the batch may vary{or_left_out(name.removeprefix(PREFIX))}"
            )
    return values


def _error_nodes(source: str, given: str, times: int) -> list[onnx.NodeProto]:
    # As for a torch module: what is larger than the features is compared with them by the means of its blocks.
    blocks: dict[str, Any] = {"kernel_shape": [times, times], "strides": [times, times]}
    shrink = [] if times == 1 else [helper.make_node("AveragePool", [given], ["avizor.shrunk"], **blocks)]
    return [
        helper.make_node("Identity", [given], ["reconstruction"]),
        *shrink,
        helper.make_node("Cast", [source], ["avizor.features"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["avizor.features", "avizor.shrunk" if shrink else given], ["avizor.difference"]),
        helper.make_node("Mul", ["avizor.difference", "avizor.difference"], ["error_map"]),
        helper.make_node("Reshape", ["error_map", "avizor.rows"], ["avizor.flat"]),
        helper.make_node("ReduceMean", ["avizor.flat", "avizor.axis"], ["score"], keepdims=1),
    ]


def _check_logits(value: Items, chosen: str) -> None:
    if value.ndim != 2:
        raise ExportError(
            f"{chosen.removeprefix(PREFIX)} is {list(value.shape)} for a batch of 2; a classifier gives [batch, classes]: "
            "export it again with a flatten, or a mean over the map, at its end"
        )
