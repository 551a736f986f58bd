"""parity/soundness.py and probe_items.py.

What the proof refuses in an ONNX file from elsewhere, and the items that it draws for one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avizor_export.exporter import adopt_model
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput

VECTOR = TensorInput(name="x", item_shape=(4,))
TOKENS = TensorInput(name="x", dtype="int64", item_shape=(4,))


def written(folder: Path, nodes: list[onnx.NodeProto], dtype: int = TensorProto.FLOAT, rows: int = 4) -> Path:
    """A graph over `x` [batch, 4] and weights `w` [rows, 2], which gives `y` [batch, 2]."""
    weights = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([0]), "zero"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


MIXING = [
    helper.make_node("MatMul", ["x", "w"], ["z"]),
    helper.make_node("ReduceMean", ["z", "zero"], ["mean"], keepdims=1),
    helper.make_node("Sub", ["z", "mean"], ["y"]),
]
VOCABULARY = [
    helper.make_node("Gather", ["w", "x"], ["rows"]),
    helper.make_node("ReduceMean", ["rows", "one"], ["y"], keepdims=0),
]


def test_items_that_influence_each_other_are_refused(tmp_path: Path) -> None:
    request = ExportRequest("m", "classify", VECTOR, labels=["a", "b"])
    with pytest.raises(ExportError, match="items of a batch influence each other: probabilities"):
        adopt_model(written(tmp_path, MIXING), request, tmp_path / "models")


def test_tokens_are_drawn_from_the_range_of_the_real_ones(tmp_path: Path) -> None:
    path = written(tmp_path, VOCABULARY, TensorProto.INT64, rows=50)
    real = np.array([[0, 7, 49, 3], [1, 2, 3, 4]])
    request = ExportRequest("m", "classify", TOKENS, labels=["a", "b"], real_items=real)
    assert adopt_model(path, request, tmp_path / "models").manifest.parity.passed
