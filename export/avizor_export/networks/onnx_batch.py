"""Free the batch of an ONNX graph that was written for one batch size, as torch.onnx.export and model zoos write them.

Each node is followed twice: with the batch size that is frozen, and with another one. Where a size differs, that is the batch.
A node that holds the frozen size as a number gets the batch's own size instead. Whether the freed graph computes what the file
computes is not decided here: `onnx_rows.py` proves it.
"""

from __future__ import annotations

import onnx
from onnx import helper

from avizor_export.networks.onnx_batch_rules import RULES
from avizor_export.networks.onnx_batch_trace import BATCH, Trace, refusal
from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import FrozenBatch

_FREE = "batch"


def free_batch(network: onnx.ModelProto, frozen: int) -> onnx.ModelProto:
    """Return a copy of the graph with a free dimension 0, from a graph that is written for batches of `frozen` rows.

    network: has one input, all of whose sizes are given. Raises FrozenBatch naming the node that cannot have another batch
    size, and why.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(network)
    graph = freed.graph
    trace = Trace(graph, frozen)
    trace.add(helper.make_node("Shape", [trace.input], [BATCH], start=0, end=1))
    for node in network.graph.node:
        try:
            trace.before.add(node)
        except Exception as error:  # of inference, and of the checker, which share no base class
            reason = shortened(one_line(error))
            raise refusal(node, f"does not take the sizes that the file itself has: {reason}") from error
        try:
            for each in RULES[node.op_type](trace, node):
                trace.add(each)
            trace.check(node)
        except FrozenBatch:
            raise
        except Exception as error:  # of onnx, numpy and the rules, on a node that breaks the rules of its operator
            raise refusal(node, f"cannot be followed: {shortened(one_line(error))}") from error
    nodes = trace.nodes if any(BATCH in node.input for node in trace.nodes) else trace.nodes[1:]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # their sizes were frozen too
    graph.initializer.extend(trace.constants)
    for value in graph.input:
        if value.name == trace.input:
            _free_dimension(value)
    for value in graph.output:
        trace.check_output(value.name)
        shape = trace.before.shape(value.name)
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))
        _free_dimension(value)
    return freed


def _free_dimension(value: onnx.ValueInfoProto) -> None:
    if dims := value.type.tensor_type.shape.dim:
        dims[0].Clear()
        dims[0].dim_param = _FREE
