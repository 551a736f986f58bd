"""The gradients of ONNX operators, against differences of the reference implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from avizor_inference.arrays import Array
from avizor_inference.explain.gradient_rules import RULES, Step, gradient
from avizor_inference.explain.head_graph import attributes_of


@dataclass(frozen=True, eq=False)
class Case:
    """One node: its inputs, of which the first `varied` are differentiated, and its attributes."""

    op: str
    inputs: Sequence[Any]
    varied: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        return f"{self.op}-{'-'.join(f'{name}={value}' for name, value in self.attributes.items())}"


RNG = np.random.default_rng(0)


def some(*shape: int) -> Array:
    """Return numbers that all differ, and none of which is near 0 or near another."""
    values = (np.arange(np.prod(shape)) + 0.5) / np.prod(shape) * 4 - 2
    return RNG.permutation(values).reshape(shape)


def whole(*values: int) -> Array:
    return np.array(values, np.int64)


POSITIVE = np.abs(some(2, 3)) + 0.2
MAP = some(1, 2, 4, 6)
BY_ELEMENT = ("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "Exp", "Neg", "Abs")
CASES = [
    *(Case(op, [some(2, 3)]) for op in (*BY_ELEMENT, "Identity", "Softmax", "LogSoftmax", "Dropout", "Flatten")),
    *(Case(op, [POSITIVE]) for op in ("Log", "Sqrt", "Reciprocal")),
    Case("Elu", [some(2, 3)], attributes={"alpha": 0.5}),
    Case("LeakyRelu", [some(2, 3)], attributes={"alpha": 0.3}),
    Case("PRelu", [some(2, 3), some(3)]),
    Case("Clip", [some(2, 3), np.array(-0.7), np.array(1.1)]),
    Case("Clip", [some(2, 3), np.array(-0.7)]),
    Case("Cast", [some(2, 3)], attributes={"to": onnx.TensorProto.DOUBLE}),
    Case("Softmax", [MAP], attributes={"axis": 1}),
    Case("LogSoftmax", [MAP], attributes={"axis": 1}),
    *(Case(op, [some(2, 3), some(1, 3)], 2) for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum")),
    *(Case(op, [some(2, 3), some()], 2) for op in ("Add", "Mul")),
    Case("Div", [some(2, 3), POSITIVE], 2),
    Case("Pow", [POSITIVE, some(3)], 2),
    Case("Pow", [some(2, 3), np.array(2.0)], 1),
    Case("Reshape", [some(2, 3), whole(3, -1)]),
    Case("Squeeze", [some(2, 1, 3), whole(1)]),
    Case("Unsqueeze", [some(2, 3), whole(1)]),
    Case("Transpose", [some(2, 3, 4)], attributes={"perm": [2, 0, 1]}),
    Case("Slice", [some(2, 6), whole(1), whole(6), whole(1), whole(2)]),
    Case("Gather", [some(3, 4), whole(2, 0, 2)], attributes={"axis": 0}),
    Case("Split", [some(2, 4)], attributes={"axis": 1, "num_outputs": 2}, outputs=2),
    Case("Concat", [some(2, 3), some(2, 2)], 2, {"axis": 1}),
    Case("Pad", [some(2, 3), whole(0, 1, 0, 2)]),
    Case("Pad", [some(2, 3), whole(0, 1, 0, 1)], attributes={"mode": "reflect"}),
    Case("Expand", [some(2, 1), whole(2, 3)]),
    Case("Tile", [some(2, 3), whole(1, 2)]),
    Case("Gemm", [some(2, 3), some(3, 4), some(4)], 3),
    Case("Gemm", [some(3, 2), some(4, 3), some(1, 4)], 3, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("MatMul", [some(2, 3), some(3, 4)], 2),
    Case("MatMul", [some(2, 5, 3), some(3, 4)], 2),
    Case("MatMul", [some(2, 3), some(3)], 2),
    *(Case(op, [MAP]) for op in ("GlobalAveragePool", "GlobalMaxPool")),
    *(Case(op, [MAP, whole(2, 3)], attributes={"keepdims": keep}) for op in ("ReduceMean", "ReduceMax") for keep in (0, 1)),
    *(Case(op, [MAP, whole(-1)]) for op in ("ReduceSum", "ReduceMin")),
    Case("ReduceMean", [MAP]),
    Case("AveragePool", [MAP], attributes={"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", [MAP], attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", [MAP], attributes={"kernel_shape": [3, 4], "strides": [2, 3], "ceil_mode": 1}),
    Case("AveragePool", [some(1, 2, 6)], attributes={"kernel_shape": [2], "strides": [2]}),
    Case("MaxPool", [MAP], attributes={"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("MaxPool", [MAP], attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}),
    Case("MaxPool", [MAP], attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [MAP], attributes={"kernel_shape": [2, 2], "dilations": [1, 2], "auto_pad": "SAME_UPPER"}),
    Case("Conv", [MAP, some(4, 2, 3, 2), some(4)], attributes={"strides": [1, 2], "pads": [1, 0, 1, 1]}),
    Case("Conv", [some(1, 4, 5), some(6, 2, 3)], attributes={"group": 2, "dilations": [2]}),
    Case("Conv", [MAP, some(3, 2, 3, 3)], attributes={"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("BatchNormalization", [MAP, some(2), some(2), some(2), np.abs(some(2))]),
    Case("LayerNormalization", [some(2, 3, 4), some(4), some(4)]),
    Case("InstanceNormalization", [MAP, some(2), some(2)]),
    Case("Where", [np.array([[True, False, True]]), some(2, 3), some(2, 3)], 0),
]


def test_every_rule_is_tried() -> None:
    quantising = {"QuantizeLinear", "DequantizeLinear"}
    assert {case.op for case in CASES} | quantising == set(RULES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gradient_is_that_of_small_differences(case: Case) -> None:
    names = [f"i{place}" for place in range(len(case.inputs))]
    outputs = [f"o{place}" for place in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, **case.attributes)
    evaluator = ReferenceEvaluator(node, opsets={"": 18})

    def run(inputs: Sequence[Any]) -> list[Array]:
        return [np.asarray(each) for each in evaluator.run(None, dict(zip(names, inputs, strict=True)))]

    results = run(case.inputs)
    of_outputs = [RNG.standard_normal(each.shape) for each in results]
    step = Step(node, attributes_of(node), list(case.inputs), results)
    places = range(case.varied) if case.varied else (1, 2)  # a condition has no gradient
    for place in places:
        found = gradient(step, of_outputs, place)
        for _ in range(3):
            direction = RNG.standard_normal(case.inputs[place].shape)
            ends = []
            for sign in (1e-3, -1e-3):
                moved = list(case.inputs)
                moved[place] = moved[place] + sign * direction
                ends.append(sum(float((of * each).sum()) for of, each in zip(of_outputs, run(moved), strict=True)))
            expected = (ends[0] - ends[1]) / 2e-3
            assert float((found * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def _passed(op: str, x: Array, zero: Array) -> Array:
    """Return the gradient of the sum of what a node of 8-bit integers at a step of 0.1 returns."""
    node = helper.make_node(op, ["x", "scale", "zero"], ["y"])
    step = Step(node, {}, [x, np.array(0.1, np.float32), zero], [x])
    return gradient(step, [np.ones(x.shape)], 0)


def test_rounding_to_int8_passes_the_gradient_straight_through_within_its_range() -> None:
    x = np.array([-13.0, -12.0, 0.04, 12.7, 12.8], np.float32)
    assert _passed("QuantizeLinear", x, np.array(0, np.int8)).tolist() == [0, 1, 1, 1, 0]
    # A range that begins at 0 is a ReLU.
    assert _passed("QuantizeLinear", np.array([-0.2, 0.1], np.float32), np.array(0, np.uint8)).tolist() == [0, 1]
    assert _passed("DequantizeLinear", np.array([5, 0], np.uint8), np.array(0, np.uint8)).tolist() == [1, 1]


def test_a_tie_belongs_to_the_first_value_of_a_pooling_and_relu_has_no_gradient_at_0() -> None:
    x = np.zeros((1, 1, 2, 2))
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])
    found = gradient(Step(pool, attributes_of(pool), [x], [np.zeros((1, 1, 1, 1))]), [np.ones((1, 1, 1, 1))], 0)
    assert found.ravel().tolist() == [1, 0, 0, 0]
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert not gradient(Step(relu, {}, [x], [x]), [np.ones_like(x)], 0).any()
