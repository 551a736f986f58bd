"""Build small ONNX models, each for one feature of a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(7).standard_normal((4, 3)).astype(np.float32)
TABLE = np.arange(5, dtype=np.float32) * 10
ROWS_AT_MOST = 8
SLOW_STEPS = 1_000_000  # of a loop in the graph: most of a second


def save_model(repository: Path, name: str, graph: onnx.GraphProto, config: str, version: int = 1) -> None:
    """Write `<repository>/<name>/<version>/model.onnx` and the configuration, `config` being all but its head."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "onnxruntime"\n{config}')


def tensor(name: str, dtype: int, *dims: int | str) -> onnx.ValueInfoProto:
    """An input or output of a graph; dimensions that are names are open."""
    return helper.make_tensor_value_info(name, dtype, list(dims))


def save_classifier(repository: Path, name: str = "classifier", width: int = 4, extra: str = "") -> None:
    """`logits` = x @ WEIGHTS and `probabilities`, with labels; `width` is what the config says of x (4 is true)."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        name,
        [tensor("x", TensorProto.FLOAT, "N", 4)],
        [tensor("logits", TensorProto.FLOAT, "N", 3), tensor("probabilities", TensorProto.FLOAT, "N", 3)],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "x" data_type: TYPE_FP32 dims: [ {width} ] }} ]
        output [
          {{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }},
          {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }}
        ]
        dynamic_batching {{ max_queue_delay_microseconds: 20000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
        {extra}
    """
    save_model(repository, name, graph, config)
    (repository / name / "labels.txt").write_text("ant\nbee\ncat\n")


def save_lookup(repository: Path) -> None:
    """`value` = TABLE[index]: an index outside of it is an error that shows only when the model runs."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        "lookup",
        [tensor("index", TensorProto.INT64, "N", 1)],
        [tensor("value", TensorProto.FLOAT, "N", 1)],
        [numpy_helper.from_array(TABLE, "table")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "index" data_type: TYPE_INT64 dims: [ 1 ] }} ]
        output [ {{ name: "value" data_type: TYPE_FP32 dims: [ 1 ] }} ]
        dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
    """
    save_model(repository, "lookup", graph, config)


def save_doubler(repository: Path) -> None:
    """`doubled` = 2 x, for items of any length; the configuration lets lengths meet in one batch."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["doubled"])],
        "doubler",
        [tensor("x", TensorProto.FLOAT, "N", "L")],
        [tensor("doubled", TensorProto.FLOAT, "N", "L")],
    )
    config = f"""
        max_batch_size: {ROWS_AT_MOST}
        input [ {{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }} ]
        output [ {{ name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] }} ]
        dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 500000 }}
        instance_group [ {{ kind: KIND_CPU count: 1 }} ]
    """
    save_model(repository, "doubler", graph, config)


def save_slow(repository: Path) -> None:
    """`same` = x, after counting to SLOW_STEPS; one row at a time, and no more than one request waits."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x_in"], ["x_out"])],
        "body",
        [tensor("step", TensorProto.INT64), tensor("go", TensorProto.BOOL), tensor("x_in", TensorProto.FLOAT, "N", 1)],
        [tensor("go_on", TensorProto.BOOL), tensor("x_out", TensorProto.FLOAT, "N", 1)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "true", "x"], ["same"], body=body)],
        "slow",
        [tensor("x", TensorProto.FLOAT, "N", 1)],
        [tensor("same", TensorProto.FLOAT, "N", 1)],
        [numpy_helper.from_array(np.array(SLOW_STEPS), "steps"), numpy_helper.from_array(np.array(True), "true")],
    )
    config = """
        max_batch_size: 1
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "same" data_type: TYPE_FP32 dims: [ 1 ] } ]
        dynamic_batching { default_queue_policy { max_queue_size: 1 } }
        instance_group [ { kind: KIND_CPU count: 1 } ]
    """
    save_model(repository, "slow", graph, config)
