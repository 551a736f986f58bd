"""Read ONNX files that other tools wrote, and convert them to one dialect: standard operators, opset 18, a free batch size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner, version_converter

from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import MAX_IR_VERSION, ML_DOMAIN, OPSET, SERVED_DOMAINS, STANDARD_DOMAINS, graph_of

_NO_CONVERSION = re.compile(r"No Previous Version of (\w+) exists|No Adapter (?:From|To) Version \S+ for (\w+)")


def read_onnx(path: Path) -> onnx.ModelProto:
    """Return the file's graph, converted to the contract's opset and IR version.

    Raises ExportError if the file is not valid, needs operators that are not standard, or cannot be converted.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        model = without_dialects(model)
    except (OSError, DecodeError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not a valid ONNX model: {one_line(error)}; export it again") from error
    if custom := sorted({(node.domain, node.op_type) for node in _nodes(model.graph) if node.domain not in SERVED_DOMAINS}):
        operators = ", ".join(f"{domain} ({operator})" for domain, operator in custom)
        remedy = f"export it again with standard operators only{_remedy(custom)}"
        raise ExportError(f"{path} needs operators of {operators}; {remedy}")
    return _at_contract_version(model, path)


def without_dialects(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its functions inlined, without unused operator sets, and with a free batch size.

    Some exporters write a batch dimension of -1, which ONNX does not allow. Changes `model`. Raises onnx's errors if the graph
    is damaged.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    used = {node.domain for node in _nodes(model.graph)} | STANDARD_DOMAINS
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value == -1:
                dim.Clear()
                if index == 0:
                    dim.dim_param = "batch"
    return model


def _remedy(custom: Iterable[tuple[str, str]]) -> str:
    """Return the option that avoids operators of ONNX Runtime for quantised layers, to follow a message; empty for others."""
    is_quantised = any(domain == "com.microsoft" and operator.startswith("Q") for domain, operator in custom)
    return ", for a quantised network quantize_static(..., quant_format=QuantFormat.QDQ)" if is_quantised else ""


def _at_contract_version(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    opset = graph_of(model).opset
    if opset != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except RuntimeError as error:
            reason = _why_not_converted(error)
            option = "target_opset" if ML_DOMAIN in graph_of(model).opsets else "opset_version"
            raise ExportError(f"{path} has opset {opset}{reason}; export it again with {option}={OPSET}") from error
    model.ir_version = MAX_IR_VERSION
    return model


def _why_not_converted(error: RuntimeError) -> str:
    """Return why the converter failed, without the place in its source with which its message begins."""
    text = str(error)
    if match := _NO_CONVERSION.search(text):
        return f", in which {match.group(1) or match.group(2)} is not as in {OPSET}"
    reason = text.rpartition("` failed: ")[2].strip().rstrip(".")
    return f" and cannot be converted to {OPSET}: {shortened(reason)}"


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node: branches of an If, bodies of loops."""
    for attribute in node.attribute:
        yield from (attribute.g, *attribute.graphs)


def with_inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the node, then the nodes of the graphs inside it, at any depth."""
    yield node
    for graph in inner_graphs(node):
        yield from _nodes(graph)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield from with_inner_nodes(node)
