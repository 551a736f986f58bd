"""ONNX files as they come from elsewhere, read and brought to one dialect: standard operators, opset 18, a free batch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner, version_converter

from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import MAX_IR_VERSION, OPSET, STANDARD_DOMAINS, graph_of

_NO_CONVERSION = re.compile(r"No Previous Version of (\w+) exists|No Adapter (?:From|To) Version \S+ for (\w+)")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The file's graph at the contract's operator set and IR version. Raises ExportError."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        model = without_dialects(model)
    except (OSError, DecodeError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not a valid ONNX model: {one_line(error)}; export it again") from error
    if custom := sorted({(node.domain, node.op_type) for node in _nodes(model.graph) if node.domain not in STANDARD_DOMAINS}):
        named = ", ".join(f"{domain} ({operator})" for domain, operator in custom)
        raise ExportError(f"{path} needs operators of {named}; export it again with standard operators only")
    return _at_contract_version(model, path)


def without_dialects(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without dialects: its own functions written out, no operator set named that no node uses, and a batch
    dimension of -1, which some exporters write, free.

    Raises what onnx raises where the graph is damaged.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    used = {node.domain for node in _nodes(model.graph)} | STANDARD_DOMAINS
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value == -1:
                dim.Clear()
                if place == 0:
                    dim.dim_param = "batch"
    return model


def _at_contract_version(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    opset = graph_of(model).opset
    if opset != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except RuntimeError as error:
            raise ExportError(f"{path} has opset {opset}{_why(error)}; export it again with opset_version={OPSET}") from error
    model.ir_version = MAX_IR_VERSION
    return model


def _why(error: RuntimeError) -> str:
    """Why there is no conversion: the converter's own words begin with a place in its source."""
    text = str(error)
    if named := _NO_CONVERSION.search(text):
        return f", in which {named.group(1) or named.group(2)} is not as in {OPSET}"
    reason = text.rpartition("` failed: ")[2].strip().rstrip(".")
    return f" and cannot be converted to {OPSET}: {shortened(reason)}"


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Branches and bodies of a node."""
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def with_inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node, and those of its branches and bodies."""
    yield node
    for graph in inner_graphs(node):
        yield from _nodes(graph)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield from with_inner_nodes(node)
