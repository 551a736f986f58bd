"""Write a small model by hand, without an export: its answers tell requests apart, and a request can fail or take for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.arrays import Array
from avizor_inference.this_machine import usable_cores
from support.manifests import manifest_fields

ITEMS = 100
ENDLESS = 2**40

_CONFIG = """
name: "lookup"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "input", data_type: TYPE_INT64, dims: [ 2 ] } ]
output [
  { name: "probabilities", data_type: TYPE_FP32, dims: [ 1 ] },
  { name: "embedding", data_type: TYPE_FP32, dims: [ 1 ] }
]
parameters [ { key: "intra_op_thread_count", value: { string_value: "CORES" } } ]
"""


def write_lookup(models: Path, fields: str) -> None:
    """Write version 1 of the model `lookup` into a repository. fields: of its config.pbtxt, beside the usual ones.

    Its input is int64[batch, 2]: an index, and how often a loop turns before the answer. `probabilities` is the index,
    `embedding` ten times the index, and an index of ITEMS or more fails in the run. One run at a time, of at most 8 rows.
    """
    folder = models / "lookup" / "1"
    folder.mkdir(parents=True)
    graph = _graph().SerializeToString()
    (folder / "model.onnx").write_bytes(graph)
    outputs = [{"name": name, "dtype": "float32", "item_shape": [1]} for name in ("probabilities", "embedding")]
    manifest = manifest_fields(
        name="lookup",
        input={"modality": "tensor", "dtype": "int64", "item_shape": [2]},
        outputs=outputs,
        model_sha256=hashlib.sha256(graph).hexdigest(),
        model_bytes=len(graph),
    )
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder.parent / "config.pbtxt").write_text(_CONFIG.replace("CORES", str(usable_cores())) + fields, encoding="utf-8")


def lookup_items(*indices: int, turns: int = 0) -> Array:
    """Return rows of the model's input, one for each index."""
    return np.array([[index, turns] for index in indices], np.int64)


def _graph() -> onnx.ModelProto:
    constants: dict[str, Array] = {
        "table": np.arange(ITEMS, dtype=np.float32)[:, None],
        "first": np.array(0, np.int64),
        "second": np.array(1, np.int64),
        "true": np.array(True),
        "zero": np.array(0, np.float32),
        "ten": np.array(10, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["input", "first"], ["indices"], axis=1),
        helper.make_node("Gather", ["input", "second"], ["each_turns"], axis=1),
        helper.make_node("ReduceMax", ["each_turns"], ["turns"], keepdims=0),
        helper.make_node("Loop", ["turns", "true", "zero"], ["nothing"], body=_body()),
        helper.make_node("Gather", ["table", "indices"], ["found"], axis=0),
        helper.make_node("Add", ["found", "nothing"], ["probabilities"]),
        helper.make_node("Mul", ["probabilities", "ten"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in ("probabilities", "embedding")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _body() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["going_on"]), helper.make_node("Abs", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
    )
