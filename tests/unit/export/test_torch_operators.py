"""parity/torch_operators.py: what torch computes for the reference evaluator is what the evaluator and ONNX Runtime compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.references import reference_of
from avizor_export.parity.soundness import Run
from avizor_export.parity.torch_operators import TORCH_OPERATORS
from avizor_inference.arrays import Items

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 4, 9, 10)).astype(np.float32)
SIGNALS = RNG.standard_normal((2, 4, 17)).astype(np.float32)
FILMS = RNG.standard_normal((2, 4, 5, 6, 7)).astype(np.float32)

CASES: list[tuple[str, Items, tuple[int, ...], dict[str, Any]]] = [
    ("Conv", IMAGES, (6, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", IMAGES, (4, 1, 3, 3), {"group": 4, "dilations": [2, 2]}),
    ("Conv", IMAGES, (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ("Conv", IMAGES, (6, 4, 4, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    ("Conv", IMAGES, (6, 4, 3, 3), {"auto_pad": "VALID"}),
    ("Conv", SIGNALS, (6, 4, 5), {"pads": [2, 1], "strides": [2]}),
    ("Conv", FILMS, (6, 4, 2, 3, 3), {}),
    ("ConvTranspose", IMAGES, (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}),
    ("ConvTranspose", IMAGES, (4, 3, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("ConvTranspose", SIGNALS, (4, 3, 4), {"strides": [3]}),
    ("MaxPool", IMAGES, (), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("MaxPool", IMAGES, (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", IMAGES, (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
    ("MaxPool", IMAGES, (), {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    ("MaxPool", SIGNALS, (), {"kernel_shape": [3], "strides": [3]}),
    ("MaxPool", FILMS, (), {"kernel_shape": [2, 2, 2]}),
    ("AveragePool", IMAGES, (), {"kernel_shape": [3, 2], "strides": [2, 2]}),
    ("AveragePool", IMAGES, (), {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
    ("AveragePool", IMAGES, (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", IMAGES, (), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("AveragePool", IMAGES, (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", SIGNALS, (), {"kernel_shape": [4], "strides": [2]}),
    ("Erf", IMAGES, (), {}),
]


def graph_of_node(operator: str, items: Items, weights: tuple[int, ...], attributes: dict[str, Any]) -> onnx.ModelProto:
    """A graph of one node; with weights, it has a bias as well."""
    width = weights[1] * attributes.get("group", 1) if operator == "ConvTranspose" else weights[0] if weights else 0
    shapes = {"w": weights, "b": (width,)} if weights else {}
    constants = [
        numpy_helper.from_array(np.random.default_rng(1).standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    x, y = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *items.shape[1:]]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    graph = helper.make_graph([helper.make_node(operator, ["x", *shapes], ["y"], **attributes)], "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def evaluated(proto: onnx.ModelProto, items: Items, by_torch: bool = True) -> NDArray[Any]:
    """The first output of the reference evaluator, with or without torch."""
    (output,) = ReferenceEvaluator(proto, new_ops=list(TORCH_OPERATORS) if by_torch else None).run(None, {"x": items})
    return np.asarray(output)


def returned(run: Run, items: Items) -> NDArray[Any]:
    return run(items)["y"]


@pytest.mark.parametrize(("operator", "items", "weights", "attributes"), CASES)
def test_torch_computes_what_the_evaluator_computes(
    operator: str, items: Items, weights: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    proto = graph_of_node(operator, items, weights, attributes)
    expected, actual = evaluated(proto, items, by_torch=False), evaluated(proto, items)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("operator", "items", "weights", "attributes"), CASES)
def test_torch_computes_what_onnx_runtime_computes(
    operator: str, items: Items, weights: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    proto = graph_of_node(operator, items, weights, attributes)
    by_runtime = returned(onnxruntime_run(proto, optimised=False), items)
    np.testing.assert_allclose(evaluated(proto, items), by_runtime, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("operator", "weights"), [("Conv", (4, 2, 3, 3)), ("MaxPool", ()), ("AveragePool", ()), ("Erf", ())])
def test_other_types_are_left_to_the_evaluator(operator: str, weights: tuple[int, ...]) -> None:
    attributes: dict[str, Any] = {} if operator == "Erf" else {"kernel_shape": [3, 3]}
    proto = graph_of_node(operator, IMAGES, weights, attributes | ({"group": 2} if weights else {}))
    wide = IMAGES.astype(np.float64)
    for constant in proto.graph.initializer:
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float64), constant.name))
    expected, actual = evaluated(proto, wide, by_torch=False), evaluated(proto, wide)
    assert actual.dtype == np.float64
    np.testing.assert_array_equal(actual, expected)


def test_a_grouped_transposed_convolution_is_compared_with_torch() -> None:
    proto = graph_of_node("ConvTranspose", IMAGES, (4, 3, 3, 3), {"group": 2, "strides": [2, 2]})
    reference = reference_of(proto, IMAGES)
    assert reference.name.startswith("the reference evaluator of onnx ")
    assert reference.name.endswith("'s ConvTranspose")
    np.testing.assert_allclose(returned(reference.run, IMAGES), returned(onnxruntime_run(proto), IMAGES), rtol=1e-5, atol=1e-5)


def test_a_maximum_with_indices_is_left_to_the_evaluator() -> None:
    proto = graph_of_node("MaxPool", IMAGES, (), {"kernel_shape": [2, 2], "strides": [2, 2]})
    proto.graph.node[0].output.append("indices")
    proto.graph.output.append(helper.make_tensor_value_info("indices", TensorProto.INT64, None))
    del proto.graph.output[0]
    np.testing.assert_array_equal(evaluated(proto, IMAGES), evaluated(proto, IMAGES, by_torch=False))
