"""Read ONNX files that other tools wrote, and convert them to one dialect: standard operators, opset 18, weights inside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from avizor_export.networks.onnx_nodes import nodes_of
from avizor_export.networks.onnx_versions import with_contract_ir, with_contract_opset
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError, GraphVersionError
from avizor_inference.repository.onnx_graph import ML_DOMAIN, OPSET, SERVED_DOMAINS, STANDARD_DOMAINS, graph_of


def load_onnx(path: Path) -> onnx.ModelProto:
    """Return the file as it is, with weights of separate files beside it inside. Raises ExportError if it cannot be read."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        raise _not_valid(path, error) from error
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(
            f"{path} has weights in a separate file that cannot be read: {one_line(error).rstrip('.')}; copy that file beside "
            "it, under the name with which it was written, or export again with external_data=False"
        ) from error
    return model


def in_contract_version(file: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the graph of a file, converted to the contract's opset and IR version. Leaves `file` as it is.

    path: of the file, for messages. Raises ExportError if the file is not valid, needs operators that are not standard, or
    cannot be converted.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file)
    versions = f"opset {graph_of(model).opset} and IR version {model.ir_version}"
    try:
        model = with_contract_ir(model)
        onnx.checker.check_model(model)
        model = without_dialects(model)
    except GraphVersionError as error:
        raise ExportError(f"{path} has {versions}, and {error}; export it again with opset_version={OPSET}") from error
    except (ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise _not_valid(path, error, f" (it has {versions})") from error
    if custom := sorted({(node.domain, node.op_type) for node in nodes_of(model.graph) if node.domain not in SERVED_DOMAINS}):
        operators = ", ".join(f"{domain} ({operator})" for domain, operator in custom)
        remedy = f"export it again with standard operators only{_remedy(custom)}"
        raise ExportError(f"{path} needs operators of {operators}; {remedy}")
    try:
        return with_contract_opset(model)
    except GraphVersionError as error:
        option = "target_opset" if ML_DOMAIN in graph_of(model).opsets else "opset_version"
        raise ExportError(
            f"{path} has {versions}, and cannot be converted to opset {OPSET}: {error}; export it again with {option}={OPSET}"
        ) from error


def _not_valid(path: Path, error: Exception, versions: str = "") -> ExportError:
    return ExportError(f"{path} is not a valid ONNX model{versions}: {one_line(error)}; export it again")


def without_dialects(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its functions inlined, without unused operator sets, and with a free batch size.

    Some exporters write a batch dimension of -1, which ONNX does not allow. Changes `model`. Raises onnx's errors if the graph
    is damaged.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    used = {node.domain for node in nodes_of(model.graph)} | STANDARD_DOMAINS
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
