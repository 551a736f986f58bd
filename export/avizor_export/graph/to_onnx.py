"""Translate the wrapped network to a checked ONNX model: opset 18, free batch size, weights inside, standard operators only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.quiet_libraries import quiet
from avizor_export.graph.translation_errors import why_invalid, why_untranslated
from avizor_export.graph.weight_names import network_origins, rename_folded_weights
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.stages import stage
from avizor_inference.errors import ExportError
from avizor_inference.repository.onnx_graph import MAX_IR_VERSION, OPSET, graph_of

# Rewrites an exported program in place: the same outputs from fewer nodes.
Simplifier = Callable[[torch.onnx.ONNXProgram], None]


def optimise(program: torch.onnx.ONNXProgram) -> None:
    """Run torch's optimiser: fold constants, fold batch norms into convolutions, remove nodes that are not needed."""
    with quiet("torch.onnx"):
        program.optimize()


def to_onnx(model: WrappedNetwork, input_name: str, example: Tensor, simplify: Simplifier | None = optimise) -> onnx.ModelProto:
    """Export the network as ONNX and check the graph.

    example: raw items [batch >= 2, ...]; torch would freeze a batch size of 1. simplify: None leaves the graph as torch
    translated it.
    Raises ExportError if torch cannot trace the network, or the graph breaks the contract of the model repository.
    """
    if input_name in model.state_dict():
        raise ExportError(f"input {input_name!r} has the name of a weight; give it another one")
    with stage("translate to ONNX"):
        program = to_program(model, example, [input_name], list(model.output_names), optimize=False)
        _rename_inside(program.model.graph)
    if simplify:
        with stage("optimise the graph"):
            origins = network_origins(program.model.graph)
            simplify(program)
            rename_folded_weights(program.model.graph, origins)
    with stage("check the graph"):
        proto = program.model_proto
        strip_traces(proto)
        check_proto(proto)
    return proto


def _rename_inside(graph: ir.Graph) -> None:
    """Give values inside a graph other names than its outputs have: torch names a look-up `embedding`, after its operator."""
    outputs = {value.name: value for value in graph.outputs}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for value in node.outputs:
            if value.name in outputs and value is not outputs[value.name]:
                value.name = f"inside.{value.name}"


def to_program(
    module: nn.Module | ExportedProgram, example: Tensor, inputs: list[str], outputs: list[str], *, optimize: bool = True
) -> torch.onnx.ONNXProgram:
    """Translate a module to ONNX with a free batch size. Raises ExportError if torch cannot.

    example: items [batch, ...]. inputs, outputs: names in the graph.
    """
    with quiet("torch.onnx"):
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=None if isinstance(module, ExportedProgram) else ({0: Dim("batch")},),
                input_names=inputs,
                output_names=outputs,
                external_data=False,
                optimize=optimize,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch cannot export the network: {why_untranslated(error)}") from error
    assert program is not None  # only the other exporter returns None
    return program


def check_proto(proto: onnx.ModelProto) -> None:
    """Raise ExportError unless the graph is valid ONNX and fulfils the contract of the model repository."""
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {why_invalid(error)}") from error
    graph = graph_of(proto)
    if graph.custom_domains:
        raise ExportError(f"the network needs operators of {', '.join(graph.custom_domains)}; replace the layers that use them")
    if graph.ir_version > MAX_IR_VERSION:
        raise ExportError(
            f"torch wrote IR version {graph.ir_version}, and the highest supported is {MAX_IR_VERSION}; use a supported torch"
        )
    for tensor in (*graph.inputs, *graph.outputs):
        if not tensor.dims or tensor.dims[0] is not None:
            raise ExportError(
                f"the batch dimension of {tensor.name} is frozen at {tensor.dims[:1]}; look in the network for a reshape or an "
                "expand with a fixed batch size, and use x.shape[0] or -1 there"
            )
        if None in tensor.dims[1:]:
            raise ExportError(
                f"{tensor.name} has a size that depends on the data: {list(tensor.dims)}; only the batch may vary"
                f"{or_left_out(tensor.name)}"
            )


def strip_traces(proto: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they hold paths and source lines of the exporting machine, and would change the digest."""
    del proto.metadata_props[:]
    graph = proto.graph
    parts: list[Any] = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
