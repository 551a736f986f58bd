"""Cut the decoder out of an autoencoder's graph: from its output `embedding` to its output `reconstruction`.

That can be done if nothing but the embedding leads from the input to the reconstruction. A skip connection is another way, and
so is the size of the input, where the graph asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper
from onnx.utils import Extractor

from avizor_inference.errors import InvalidInput

EMBEDDING, RECONSTRUCTION = "embedding", "reconstruction"

# What changes the form of an embedding, and not its values.
_SAME_VALUES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity"})

_FORM = "avizor.latent_form"


def cut_decoder(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the input `embedding` and the output `reconstruction`, which computes as the model's does.

    Raises InvalidInput if the model has not both outputs, or if the reconstruction depends on the input in another way.
    """
    names = {output.name for output in model.graph.output}
    if missing := [name for name in (EMBEDDING, RECONSTRUCTION) if name not in names]:
        raise InvalidInput(f"the model has no output {missing[0]!r}; its outputs: {', '.join(sorted(names))}")
    makers = {name: node for node in model.graph.node for name in node.output}
    ways = [_other_way(model.graph, makers, name) for name in _forms(makers)]
    for name, way in zip(_forms(makers), ways, strict=True):
        if not way:
            return _extracted(model, name)
    raise InvalidInput(f"no decoder can be cut out of the graph: {ways[0]}")


def _forms(makers: dict[str, onnx.NodeProto]) -> Iterator[str]:
    """Yield the embedding, and the values that it is another form of."""
    name: str | None = EMBEDDING
    while name is not None:
        yield name
        node = makers.get(name)
        name = node.input[0] if node is not None and node.op_type in _SAME_VALUES else None


def _other_way(graph: onnx.GraphProto, makers: dict[str, onnx.NodeProto], cut: str) -> str:
    """Return how the reconstruction depends on the model's input without the value `cut`; "" if it does not."""
    constants = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    inputs = {each.name for each in graph.input} - constants
    seen, waiting, reached = set[str](), [RECONSTRUCTION], False
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == cut:
            reached = True
            continue
        if name in inputs:
            return _described(makers, seen, cut, name)
        if node := makers.get(name):
            waiting += [each for each in (*node.input, *_outer(node)) if each]
    return "" if reached else f"the reconstruction is not computed from {cut!r}"


def _outer(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what the nested graphs of a node use."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _outer(inner)


def _described(makers: dict[str, onnx.NodeProto], seen: set[str], cut: str, name: str) -> str:
    """Name the node behind the cut that takes something of before it."""
    after = _depending_on(makers, cut)
    for node in {id(makers[each]): makers[each] for each in seen if each in makers}.values():
        others = [each for each in node.input if each and each in makers and each not in after and each != cut]
        if set(node.output) & after and (others or name in node.input):
            what = "the size of the input" if _is_size(makers, others) else "a value of before it"
            return (
                f"its {node.op_type} node {node.output[0]!r} takes {what} ({(others or [name])[0]!r}) besides what comes from "
                f"{cut!r}, as a skip connection does"
            )
    return f"the reconstruction is computed from the input {name!r} without {cut!r}"


def _depending_on(makers: dict[str, onnx.NodeProto], cut: str) -> set[str]:
    found = {cut}
    for node in {id(node): node for node in makers.values()}.values():  # in the order of the graph
        if found & {*node.input, *_outer(node)}:
            found |= set(node.output)
    return found - {cut}


def _is_size(makers: dict[str, onnx.NodeProto], names: list[str]) -> bool:
    return bool(names) and makers[names[0]].op_type in ("Shape", "Size", "Gather", "Slice", "Concat")


def _extracted(model: onnx.ModelProto, cut: str) -> onnx.ModelProto:
    known = onnx.shape_inference.infer_shapes(model)
    decoder = Extractor(known).extract_model([cut], [RECONSTRUCTION])
    if cut == EMBEDDING:
        return decoder
    shape = decoder.graph.input[0].type.tensor_type.shape.dim
    if not shape or not all(each.dim_value for each in shape[1:]):
        raise InvalidInput(f"no decoder can be cut out of the graph: the shape of {cut!r} is not known before it runs")
    (flat,) = (output for output in model.graph.output if output.name == EMBEDDING)
    decoder.graph.input[0].CopyFrom(flat)
    decoder.graph.initializer.append(
        helper.make_tensor(_FORM, TensorProto.INT64, [len(shape)], [-1, *(each.dim_value for each in shape[1:])])
    )
    decoder.graph.node.insert(0, helper.make_node("Reshape", [EMBEDDING, _FORM], [cut]))
    return decoder
