"""Which heads a graph may have, and what is refused, on graphs that are written node by node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avizor_inference.arrays import Array
from avizor_inference.engines.ort_session import open_session
from avizor_inference.errors import NotExplainable
from avizor_inference.explain.cam import ClassHead
from avizor_inference.explain.graph_constants import GraphConstants
from avizor_inference.explain.head_graph import read_head

RNG = np.random.default_rng(0)
# Four channels of 3 x 2 places; three classes.
WEIGHTS = RNG.standard_normal((4, 3)).astype(np.float32)
BIAS = RNG.standard_normal(3).astype(np.float32)
MAP = RNG.standard_normal((4, 3, 2)).astype(np.float32)
LABELS = ("a", "b", "c")

# The usual end: an average over places, and one linear layer.
MEAN = helper.make_node("ReduceMean", ["activations", "places"], ["pooled"], keepdims=0)
LINEAR = helper.make_node("Gemm", ["pooled", "weights", "bias"], ["logits"])
SOFTMAX = helper.make_node("Softmax", ["logits"], ["probabilities"])


def graph(nodes: Sequence[onnx.NodeProto], **more: Array) -> onnx.ModelProto:
    """Return a graph whose `activations` are the ReLU of its input. more: constants."""
    constants = {"weights": WEIGHTS, "bias": BIAS, "places": np.array([2, 3]), **more}
    first = helper.make_node("Relu", ["image"], ["activations"])
    is_given = any("activations" in node.output for node in nodes)
    return helper.make_model(
        helper.make_graph(
            nodes if is_given else [first, *nodes],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 4, 3, 2])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("probabilities", "activations")],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


def head_of(model: onnx.ModelProto, labels: tuple[str, ...] = LABELS) -> ClassHead:
    head = read_head(model)
    session = open_session(head.as_model().SerializeToString(), "the head")
    return ClassHead(head, session, labels, "fp32", np.zeros(len(labels), np.float32))


def test_the_map_of_an_average_and_a_linear_layer_is_the_weighted_sum_of_the_channels() -> None:
    head = head_of(graph([MEAN, LINEAR, SOFTMAX]))
    for place in range(3):
        found = head.map(MAP, place)
        assert np.allclose(found, np.tensordot(WEIGHTS[:, place], MAP, 1), atol=1e-6)
        assert found.mean() + BIAS[place] == pytest.approx(head.logits(MAP)[place], abs=1e-6)


def test_what_is_between_the_logits_and_the_softmax_is_part_of_the_score() -> None:
    temperature = helper.make_node("Div", ["logits", "t"], ["cooled"])
    softmax = helper.make_node("Softmax", ["cooled"], ["probabilities"])
    head = head_of(graph([MEAN, LINEAR, temperature, softmax], t=np.array(2.0, np.float32)))
    plain = head_of(graph([MEAN, LINEAR, SOFTMAX]))
    assert np.allclose(head.map(MAP, 1) * 2, plain.map(MAP, 1), atol=1e-6)
    # The softmax of a log-softmax is the softmax: the logits are those before both.
    log = helper.make_node("LogSoftmax", ["logits"], ["log"], axis=1)
    head = head_of(graph([MEAN, LINEAR, log, helper.make_node("Softmax", ["log"], ["probabilities"])]))
    assert np.array_equal(head.map(MAP, 1), plain.map(MAP, 1))


def test_a_class_of_a_sigmoid_has_its_own_map_and_one_logit_speaks_for_one_of_two_classes_and_against_the_other() -> None:
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["probabilities"])
    plain = head_of(graph([MEAN, LINEAR, SOFTMAX]))
    assert np.array_equal(head_of(graph([MEAN, LINEAR, sigmoid])).map(MAP, 2), plain.map(MAP, 2))

    one = {"weights": WEIGHTS[:, :1], "bias": BIAS[:1]}
    pad = helper.make_node("Pad", ["logits", "pads"], ["two"])
    softmax = helper.make_node("Softmax", ["two"], ["probabilities"], axis=1)
    added = head_of(graph([MEAN, LINEAR, pad, softmax], pads=np.array([0, 1, 0, 0]), **one), ("no", "yes"))
    given = [
        helper.make_node("Sigmoid", ["logits"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    applied = head_of(graph([MEAN, LINEAR, *given], one=np.array(1.0, np.float32), **one), ("no", "yes"))
    for head in (added, applied):
        assert np.allclose(head.map(MAP, 1), np.tensordot(WEIGHTS[:, 0], MAP, 1), atol=1e-6)
        assert np.array_equal(head.map(MAP, 0), -head.map(MAP, 1))
        z = head.logits(MAP)[1]
        head.check(MAP, np.array([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], np.float32))


def test_a_map_with_channels_last_is_recognised_by_its_average() -> None:
    last = helper.make_node("ReduceMean", ["activations", "places"], ["pooled"], keepdims=0)
    head = head_of(graph([last, LINEAR, SOFTMAX], places=np.array([1, 2])))
    moved = np.ascontiguousarray(np.moveaxis(MAP, 0, -1))
    assert np.allclose(head.map(moved, 0), np.tensordot(WEIGHTS[:, 0], MAP, 1), atol=1e-6)


def test_a_head_may_ask_for_the_size_of_the_batch() -> None:
    size = helper.make_node("Shape", ["image"], ["batch"], start=0, end=1)
    shape = helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0)
    flat = helper.make_node("Reshape", ["activations", "shape"], ["pooled"])
    weights = RNG.standard_normal((24, 3)).astype(np.float32)
    head = head_of(graph([size, shape, flat, LINEAR, SOFTMAX], rest=np.array([24]), weights=weights))
    expected = np.tensordot(weights[:, 0].reshape(4, 6).sum(axis=1), MAP, 1)
    assert np.allclose(head.map(MAP, 0), expected, atol=1e-5)


def test_a_head_in_float16_is_computed_in_float32() -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["inner"]),
        helper.make_node("Cast", ["inner"], ["activations"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["inner", "places"], ["pooled"], keepdims=0),
        LINEAR,
        helper.make_node("Cast", ["logits"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["wide"], ["probabilities"]),
    ]
    half = WEIGHTS.astype(np.float16)
    head = head_of(graph(nodes, weights=half, bias=BIAS.astype(np.float16)))
    assert np.allclose(head.map(MAP, 0), np.tensordot(half[:, 0].astype(np.float32), MAP, 1), atol=1e-6)


def test_a_head_may_pick_one_place_by_a_scalar() -> None:
    pick = helper.make_node("Gather", ["activations", "second"], ["column"], axis=3)
    mean = helper.make_node("ReduceMean", ["column", "rows"], ["pooled"], keepdims=0)
    head = head_of(graph([pick, mean, LINEAR, SOFTMAX], second=np.array(1), rows=np.array([2])))
    assert np.allclose(head.map(MAP, 0), np.tensordot(WEIGHTS[:, 0], MAP, 1), atol=1e-5)


def test_constants_that_double_from_node_to_node_take_no_time() -> None:
    chain = [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(60)]
    constants = GraphConstants(graph([*chain, MEAN, LINEAR, SOFTMAX], c0=np.zeros(0, np.float32)))
    assert "c60" in constants
    assert len(constants["c60"]) == 0


REFUSED = {
    "there is CumSum, whose gradient is not known": graph(
        [
            MEAN,
            helper.make_node("CumSum", ["pooled", "axis"], ["sums"]),
            helper.make_node("Gemm", ["sums", "weights"], ["logits"]),
            SOFTMAX,
        ],
        axis=np.array(1),
    ),
    "there is Conv with weights that depend on them": graph(
        [
            helper.make_node("ReduceSum", ["activations", "batch"], ["kernels"], keepdims=1),
            helper.make_node("Conv", ["activations", "kernels"], ["one"]),
            helper.make_node("Flatten", ["one"], ["pooled"]),
            helper.make_node("Gemm", ["pooled", "of_one"], ["logits"]),
            SOFTMAX,
        ],
        batch=np.array([0]),
        of_one=WEIGHTS[:1],
    ),
    "depend on image by another way": graph(
        [
            MEAN,
            helper.make_node("ReduceMax", ["image", "places"], ["side"], keepdims=0),
            helper.make_node("Add", ["pooled", "side"], ["sum"]),
            helper.make_node("Gemm", ["sum", "weights"], ["logits"]),
            SOFTMAX,
        ]
    ),
    "computed by Relu, and not by a softmax": graph([MEAN, LINEAR, helper.make_node("Relu", ["logits"], ["probabilities"])]),
    "do not depend on `activations`": graph(
        [
            helper.make_node("Relu", ["image"], ["activations"]),
            helper.make_node("Gemm", ["weights", "weights"], ["logits"], transB=1),
            SOFTMAX,
        ]
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_head_is_refused_with_the_reason_and_occlusion_is_offered(reason: str) -> None:
    with pytest.raises(NotExplainable, match=f"{reason}.*avizor explain occlusion"):
        read_head(REFUSED[reason])


def test_a_version_without_activations_says_how_to_get_them() -> None:
    model = graph([MEAN, LINEAR, SOFTMAX])
    del model.graph.output[1]
    with pytest.raises(NotExplainable, match=r"no output `activations`: .*--leave-out activations.*export it again.*occlusion"):
        read_head(model)


def test_probabilities_that_the_head_does_not_have_are_refused() -> None:
    head = head_of(graph([MEAN, LINEAR, SOFTMAX]))
    logits = head.logits(MAP)
    right = np.exp(logits) / np.exp(logits).sum()
    assert np.array_equal(head.check(MAP, right), logits)
    with pytest.raises(NotExplainable, match=r"the engine 0\.3333: more than rounding to fp32 explains.*occlusion"):
        head.check(MAP, np.full(3, 1 / 3, np.float32))
    with pytest.raises(NotExplainable, match="rounding to fp32"):
        head.check(MAP, np.array([np.nan, 0.5, 0.5], np.float32))


def test_damaged_activations_are_refused() -> None:
    head = head_of(graph([MEAN, LINEAR, SOFTMAX]))
    damaged = MAP.copy()
    damaged[1, 2, 0] = np.nan
    with pytest.raises(NotExplainable, match="activations that are not all finite"):
        head.map(damaged, 0)
