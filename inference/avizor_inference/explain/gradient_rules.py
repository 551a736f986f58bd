"""Give the gradient of ONNX operators: reverse mode, one rule for each operator, in numpy.

A rule returns the gradient of a number with respect to one input of a node, from its gradient with respect to the node's
output. Where a derivative jumps, the rules choose as torch does: that of ReLU at 0 is 0; a maximum that several values share
belongs to the first in a pooling, and to all in equal parts in a reduction.

Rounding to int8 has the derivative 0 almost everywhere. QuantizeLinear and DequantizeLinear therefore pass the gradient
straight through (Y. Bengio, N. Leonard and A. Courville, 2013), but for values beyond what the integers hold: there it is 0,
because quantisers leave out a ReLU where the range begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from avizor_inference.arrays import Array
from avizor_inference.explain.window_gradients import average_pool, convolution, max_pool


@dataclass(frozen=True, eq=False)
class Step:
    """Holds a node that has run, and what went in and came out: None for an input that is left out."""

    node: onnx.NodeProto
    attributes: Mapping[str, Any]
    inputs: list[Array | None]
    outputs: list[Array]

    def input(self, place: int) -> Array:
        """Return an input that has to be there."""
        value = self.inputs[place]
        assert value is not None
        return value

    def optional(self, place: int) -> Array | None:
        """Return an input; None if it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None


# Their rules return the gradient of any input. Those of all others are for the first: the rest are weights, sizes, indices.
OF_SEVERAL_INPUTS = frozenset({"Concat", "Add", "Sum", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Gemm", "MatMul"})

# (step, gradients of its outputs, place of the input) -> gradient of that input. Gradients that are all 0 come as such.
Rule = Callable[[Step, list[Array], int], Array]


def gradient(step: Step, of_outputs: list[Array], place: int) -> Array:
    """Return the gradient with respect to one input of a node, in that input's shape."""
    result = RULES[step.node.op_type](step, of_outputs, place)
    return np.asarray(result, np.float32).reshape(step.input(place).shape)


def _elementwise(derivative: Callable[[Array, Array, Mapping[str, Any]], Any]) -> Rule:
    """Return the rule of y = f(x). derivative: of f, by x, y and the node's attributes."""
    return lambda step, of, _place: of[0] * derivative(step.input(0), step.outputs[0], step.attributes)


def _as_input(values: Array, shape: tuple[int, ...]) -> Array:
    """Return the sum over the dimensions along which an input of this shape was repeated."""
    values = values.sum(axis=tuple(range(values.ndim - len(shape))))
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 and values.shape[axis] != 1)
    return np.asarray(values.sum(axis=repeated, keepdims=True))


def _broadcast(derivative: Callable[[Step, int], Any]) -> Rule:
    """Return the rule of an operator of several inputs that broadcast. derivative: by one of them."""
    return lambda step, of, place: _as_input(of[0] * derivative(step, place), step.input(place).shape)


def _passed(_step: Step, of: list[Array], _place: int) -> Array:
    return of[0]


def _product(step: Step, place: int) -> Any:
    return step.input(1 - place)


def _quotient(step: Step, place: int) -> Any:
    above, below = step.input(0), step.input(1)
    return 1 / below if place == 0 else -above / below**2


def _power(step: Step, place: int) -> Any:
    base, exponent = step.input(0), step.input(1)
    if place:
        return step.outputs[0] * np.log(base)
    return exponent * np.power(base, exponent - 1)


def _largest(step: Step, place: int) -> Any:
    mine = [each is not None and each == step.outputs[0] for each in step.inputs]
    return mine[place] / np.maximum(1, sum(np.asarray(each, np.float32) for each in mine))


def _moved(step: Step, of: list[Array], place: int) -> Array:
    """Return the gradient of an operator that moves, repeats or leaves out values: the values' places are moved likewise."""
    size = step.input(place).size
    places = np.arange(1, size + 1, dtype=np.int64).reshape(step.input(place).shape)  # 0: a value that is not of this input
    others = (np.zeros(each.shape, np.int64) if each is not None and each.dtype.kind == "f" else each for each in step.inputs)
    values = {name: each for name, each in zip(step.node.input, others, strict=True) if name and each is not None}
    evaluator = ReferenceEvaluator(step.node, opsets={"": _OPSET})
    results = evaluator.run(None, {**values, step.node.input[place]: places})
    counts = sum(
        np.bincount(np.asarray(result).ravel(), gradient.ravel(), minlength=size + 1)
        for result, gradient in zip(results, of, strict=True)
    )
    return np.asarray(counts)[1:]


def _axes(step: Step, rank: int) -> tuple[int, ...]:
    """Return the axes of a reduction: an attribute, or since opset 18 an input; all of them where it has neither."""
    axes = step.attributes.get("axes", step.optional(1))
    chosen = range(rank) if axes is None or not len(axes) else (int(axis) % rank for axis in axes)
    return tuple(chosen)


def _kept(step: Step, value: Array) -> tuple[Array, tuple[int, ...]]:
    """Return a reduction's result, or its gradient, with the reduced axes as 1, and these axes."""
    x = step.input(0)
    axes = tuple(range(2, x.ndim)) if step.node.op_type.startswith("Global") else _axes(step, x.ndim)
    return value.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)]), axes


def _sum(step: Step, of: list[Array], _place: int) -> Array:
    return np.broadcast_to(_kept(step, of[0])[0], step.input(0).shape)


def _mean(step: Step, of: list[Array], _place: int) -> Array:
    x = step.input(0)
    kept, axes = _kept(step, of[0])
    return np.broadcast_to(kept / math.prod(x.shape[axis] for axis in axes), x.shape)


def _reduced_max(step: Step, of: list[Array], _place: int) -> Array:
    kept, axes = _kept(step, of[0])
    is_largest = step.input(0) == _kept(step, step.outputs[0])[0]
    return np.asarray(kept * is_largest / is_largest.sum(axis=axes, keepdims=True))


def _global_max(step: Step, of: list[Array], _place: int) -> Array:
    x = step.input(0)
    rows = x.reshape(*x.shape[:2], -1)
    result = np.zeros_like(rows)
    np.put_along_axis(result, rows.argmax(axis=2)[..., None], of[0].reshape(*x.shape[:2], 1), axis=2)
    return result


def _softmax(step: Step, of: list[Array], _place: int) -> Array:
    axis, y = step.attributes.get("axis", -1), step.outputs[0]
    return np.asarray(y * (of[0] - (of[0] * y).sum(axis=axis, keepdims=True)))


def _log_softmax(step: Step, of: list[Array], _place: int) -> Array:
    axis = step.attributes.get("axis", -1)
    return np.asarray(of[0] - np.exp(step.outputs[0]) * of[0].sum(axis=axis, keepdims=True))


def _gemm(step: Step, of: list[Array], place: int) -> Array:
    """Return the gradient of alpha A B + beta C, where A and B may be transposed."""
    trans_a, trans_b = step.attributes.get("transA", 0), step.attributes.get("transB", 0)
    if place == 2:
        return _as_input(of[0] * np.float32(step.attributes.get("beta", 1.0)), step.input(2).shape)
    scaled = of[0] * np.float32(step.attributes.get("alpha", 1.0))
    if place == 0:
        result = scaled @ (step.input(1) if trans_b else step.input(1).T)
        return result.T if trans_a else result
    result = (step.input(0) if trans_a else step.input(0).T) @ scaled
    return result.T if trans_b else result


def _matmul(step: Step, of: list[Array], place: int) -> Array:
    """Return the gradient of A B. A row or a column of one dimension is one of two while this is computed."""
    left, right = step.input(0), step.input(1)
    out = of[0]
    if left.ndim == 1:
        left, out = left[None], np.expand_dims(out, -1 if right.ndim == 1 else -2)
    if right.ndim == 1:
        right, out = right[:, None], out[..., None] if out.ndim < 2 or step.input(0).ndim > 1 else out
    if place == 0:
        return _as_input(out @ np.swapaxes(right, -1, -2), left.shape)
    return _as_input(np.swapaxes(left, -1, -2) @ out, right.shape)


def _batch_norm(step: Step, of: list[Array], _place: int) -> Array:
    scale, variance = step.input(1), step.input(4)
    factor = scale / np.sqrt(variance + np.float32(step.attributes.get("epsilon", 1e-5)))
    return of[0] * factor.reshape(-1, *[1] * (of[0].ndim - 2))


def _layer_norm(step: Step, of: list[Array], _place: int) -> Array:
    x, first = step.input(0), step.attributes.get("axis", -1)
    axes = tuple(range(first % x.ndim, x.ndim))
    return _normed(x, of[0] * step.input(1), axes, step.attributes.get("epsilon", 1e-5))


def _instance_norm(step: Step, of: list[Array], _place: int) -> Array:
    x = step.input(0)
    scale = step.input(1).reshape(-1, *[1] * (x.ndim - 2))
    return _normed(x, of[0] * scale, tuple(range(2, x.ndim)), step.attributes.get("epsilon", 1e-5))


def _normed(x: Array, of_normed: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Return the gradient of (x - mean) / std over these axes, from that of its result."""
    centred = x - x.mean(axis=axes, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + np.float32(epsilon))
    normed = centred / std
    parallel = normed * (of_normed * normed).mean(axis=axes, keepdims=True)
    return np.asarray((of_normed - of_normed.mean(axis=axes, keepdims=True) - parallel) / std)


def _quantise(step: Step, of: list[Array], _place: int) -> Array:
    """Return the gradient straight through, 0 beyond the range of the integers."""
    zero = step.optional(2)
    x, zero = step.input(0), np.zeros((), np.uint8) if zero is None else zero
    limits, shape = np.iinfo(zero.dtype), _along_axis(step, zero)
    level = x / step.input(1).reshape(shape) + zero.astype(np.float32).reshape(shape)
    return of[0] * ((level >= limits.min - 0.5) & (level <= limits.max + 0.5))


def _along_axis(step: Step, zero: Array) -> tuple[int, ...]:
    if zero.size == 1:
        return ()
    axis, rank = step.attributes.get("axis", 1), step.input(0).ndim
    return tuple(-1 if each == axis % rank else 1 for each in range(rank))


def _clip(step: Step, of: list[Array], _place: int) -> Array:
    x, low, high = step.input(0), step.optional(1), step.optional(2)
    return of[0] * ((x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high)))


def _hard_sigmoid(x: Array, y: Array, a: Mapping[str, Any]) -> Array:
    return ((y > 0) & (y < 1)) * np.float32(a.get("alpha", 0.2))


def _hard_swish(x: Array, y: Array, a: Mapping[str, Any]) -> Array:
    return np.where(x >= 3, 1, np.where(x <= -3, 0, x / 3 + np.float32(0.5)))


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, 80))))


_OPSET = 18  # what every published graph has

RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout", "DequantizeLinear"), _passed),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _passed),
    **dict.fromkeys(("Transpose", "Slice", "Gather", "Split", "Concat", "Pad", "Expand", "Tile"), _moved),
    "QuantizeLinear": _quantise,
    "Add": _broadcast(lambda _step, _place: np.float32(1)),
    "Sum": _broadcast(lambda _step, _place: np.float32(1)),
    "Sub": _broadcast(lambda _step, place: np.float32(-1 if place else 1)),
    "Mul": _broadcast(_product),
    "Div": _broadcast(_quotient),
    "Pow": _broadcast(_power),
    "Max": _broadcast(_largest),
    "Min": _broadcast(_largest),
    "Where": _broadcast(lambda step, place: step.input(0) == (place == 1)),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": lambda step, of, _place: convolution(step.input(0), step.input(1), of[0], step.attributes),
    "AveragePool": lambda step, of, _place: average_pool(step.input(0), of[0], step.attributes),
    "MaxPool": lambda step, of, _place: max_pool(step.input(0), of[0], step.attributes),
    "GlobalAveragePool": _mean,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "ReduceMax": _reduced_max,
    "ReduceMin": _reduced_max,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Relu": _elementwise(lambda x, _y, _a: x > 0),
    "LeakyRelu": _elementwise(lambda x, _y, a: np.where(x > 0, 1, np.float32(a.get("alpha", 0.01)))),
    "PRelu": lambda step, of, _place: of[0] * np.where(step.input(0) > 0, 1, step.input(1)),
    "Elu": _elementwise(lambda x, y, a: np.where(x > 0, 1, y + np.float32(a.get("alpha", 1.0)))),
    "Clip": _clip,
    "Sigmoid": _elementwise(lambda _x, y, _a: y * (1 - y)),
    "HardSigmoid": _elementwise(_hard_sigmoid),
    "HardSwish": _elementwise(_hard_swish),
    "Tanh": _elementwise(lambda _x, y, _a: 1 - y**2),
    "Softplus": _elementwise(lambda x, _y, _a: _logistic(x)),
    "Erf": _elementwise(lambda x, _y, _a: np.float32(2 / math.sqrt(math.pi)) * np.exp(-(x**2))),
    "Exp": _elementwise(lambda _x, y, _a: y),
    "Log": _elementwise(lambda x, _y, _a: 1 / x),
    "Sqrt": _elementwise(lambda _x, y, _a: np.float32(0.5) / y),
    "Reciprocal": _elementwise(lambda _x, y, _a: -(y**2)),
    "Neg": _elementwise(lambda _x, _y, _a: np.float32(-1)),
    "Abs": _elementwise(lambda x, _y, _a: np.sign(x)),
}
