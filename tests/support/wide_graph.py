"""Write a graph by hand whose run needs as much memory as its input says."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.arrays import Array

# Numbers in a float32 array that no machine and no GPU has room for: 8 TiB.
TOO_WIDE = 2**41


def wide_graph() -> bytes:
    """Return a model with the input `width`, int64[batch, 1], and the output `sum`, float32[batch, 1].

    A run fills an array with as many ones as the largest width says, and adds them up; each row has the sum.
    """
    constants: dict[str, Array] = {
        "one": np.ones(1, np.int64),
        "ones": np.ones((1, 1), np.float32),
        "axis": np.ones(1, np.int64),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMax", ["width"], ["largest"], keepdims=0),
        helper.make_node("Reshape", ["largest", "one"], ["columns"]),
        helper.make_node("Concat", ["one", "columns"], ["shape"], axis=0),
        helper.make_node("Expand", ["ones", "shape"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axis"], ["total"], keepdims=1),
        helper.make_node("Cast", ["width"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "total"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("width", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())
