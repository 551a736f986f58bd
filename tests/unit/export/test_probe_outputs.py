"""publication/probe_outputs.py: what a version keeps to compare other engines with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from avizor_export.publication.probe_outputs import probe_of
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository import probe


def graph(operator: str) -> onnx.ModelProto:
    """A graph of one operator on rows of two numbers."""
    value = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("input", "score")}
    nodes = [helper.make_node(operator, ["input"], ["score"])]
    made = helper.make_graph(nodes, "g", [value["input"]], [value["score"]])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def asked(real: np.ndarray | None) -> ExportRequest:
    return ExportRequest("m", "reconstruct", TensorInput(item_shape=(2,)), real_items=real)


def test_real_items_are_spread_over_all_that_there_are() -> None:
    real = np.arange(200, dtype=np.float32).reshape(100, 2)
    made = probe_of(graph("Neg"), asked(real))
    assert made is not None
    assert len(made.items) == 16
    assert (made.items[0, 0], made.items[-1, 0]) == (0, 198)
    np.testing.assert_array_equal(made.outputs["score"], np.negative(made.items))


def test_without_real_items_they_are_random() -> None:
    for real in (None, np.zeros((0, 2), np.float32)):
        made = probe_of(graph("Neg"), asked(real))
        assert made is not None
        assert made.items.shape == (16, 2)
        assert len(np.unique(made.items)) == 32


def test_items_without_finite_outputs_are_left_out() -> None:
    real = np.array([[1, 2], [-1, 2], [3, 4]], np.float32)
    made = probe_of(graph("Log"), asked(real))
    assert made is not None
    np.testing.assert_array_equal(made.items, real[[0, 2]])
    assert probe_of(graph("Log"), asked(-np.ones((3, 2), np.float32))) is None


def test_large_items_are_fewer_and_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.ones((20, 2), np.float32)  # 16 bytes each with its output
    for limit, count in ((16 * 5, 5), (16 * 5 - 1, 4), (1, 1)):
        monkeypatch.setattr("avizor_export.publication.probe_outputs.PROBE_BYTES", limit)
        made = probe_of(graph("Neg"), asked(real))
        assert made is not None
        assert len(made.items) == count
    assert probe.PROBE_BYTES == 16 * 2**20
