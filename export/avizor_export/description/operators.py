"""Describe one node of a graph as a layer, by its operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from avizor_export.description.layer import Layer, Window
from avizor_export.description.receptive_field import Reach, grown, transposed
from avizor_export.description.shapes import Shapes
from avizor_export.description.weights import Weight, name_of

_GLOBAL = {"GlobalAveragePool", "GlobalMaxPool"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
# Operators with more than one multiplication for a number, which are not counted here.
NOT_COUNTED = {"ConvInteger", "DFT", "Einsum", "If", "Loop", "MatMulInteger", "QLinearConv", "QLinearMatMul", "STFT", "Scan"}
_POINTWISE = {
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "InstanceNormalization": "instance norm",
    "GroupNormalization": "group norm",
    "PRelu": "prelu",
}


def layer_of_node(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer | None, Reach]:
    """Return the layer of a node and the reach after it; the layer is None for a node that is not a layer."""
    kind = node.op_type
    if kind in ("Conv", "ConvTranspose") and weights:
        return _convolution(node, before, weights, shapes)
    if kind in ("MaxPool", "AveragePool"):
        return _pool(node, before, shapes)
    if kind in _GLOBAL or (kind == "ReduceMean" and _is_global(node, before, shapes)):
        return Layer(name_of(node, ()), "global pool", shapes.item(node.outputs[0]), None), replace(before, field=None)
    if kind in ("Resize", "DepthToSpace"):
        return _enlargement(node, before, shapes)
    if kind in ("Gemm", "MatMul") and weights:
        return _linear(node, before, weights, shapes)
    if kind in _RECURRENT and weights:
        return _recurrent(node, before, weights, shapes)
    if kind in _POINTWISE and weights:
        return Layer(name_of(node, weights), _POINTWISE[kind], shapes.item(node.outputs[0]), before.field), before
    if kind == "Gather" and weights:
        return Layer(name_of(node, weights), "embedding", shapes.item(node.outputs[0]), before.field), before
    if kind == "LRN":
        return Layer(name_of(node, ()), "local response norm", shapes.item(node.outputs[0]), before.field), before
    if kind == "Transpose":
        return None, transposed(before, list(node.attributes.get_ints("perm", ())))
    return None, before


def product(node: ir.Node, before: Reach, shapes: Shapes) -> tuple[Layer, Reach]:
    """Return the layer and reach of a product of two values that depend on the input, as in attention: all places mix."""
    output, common = shapes.numbers(node.outputs[0]), (shapes.item(node.inputs[0]) or (0,))[-1]
    multiply_adds = output * common if output is not None and common else None
    layer = Layer(name_of(node, ()), "product", shapes.item(node.outputs[0]), None, multiply_adds=multiply_adds)
    return layer, replace(before, field=None)


def other(node: ir.Node, reach: Reach, weights: Sequence[Weight], shapes: Shapes) -> Layer:
    """Return the layer of any other node with weights, such as a parameter that is added or a scale."""
    multiply_adds = None if node.op_type in NOT_COUNTED else 0
    return Layer(
        name_of(node, weights),
        f"other ({node.op_type})",
        shapes.item(node.outputs[0]),
        reach.field,
        multiply_adds=multiply_adds,
    )


def _convolution(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    kernel = _two(weights[0].dims[2:] or tuple(node.attributes.get_ints("kernel_shape", ())))
    is_transposed = node.op_type == "ConvTranspose"
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    spread = (1 + (kernel[0] - 1) * dilation[0], 1 + (kernel[1] - 1) * dilation[1])
    output, input_shape = shapes.item(node.outputs[0]), shapes.item(node.inputs[0])
    # Each weight of a convolution is used once for each place of its output map; of a transposed one, of its input map. The
    # channels of that map are the first dimension of the weights.
    numbers = shapes.numbers(node.inputs[0] if is_transposed else node.outputs[0])
    channels = weights[0].dims[0] if weights[0].dims else 0
    multiply_adds = weights[0].numbers * numbers // channels if numbers is not None and channels else None
    if is_transposed:
        reached = (math.ceil(spread[0] / stride[0]), math.ceil(spread[1] / stride[1]))
        after = replace(grown(before, reached, (1, 1)), jump=(before.jump[0] / stride[0], before.jump[1] / stride[1]))
    else:
        after = grown(before, spread, stride)
    layer = Layer(
        name=name_of(node, weights),
        kind=f"{'transposed ' if is_transposed else ''}conv {kernel[0]}x{kernel[1]}{_step(stride)}",
        output=output,
        field=after.field,
        multiply_adds=multiply_adds,
        input=input_shape,
        window=None if is_transposed else _window(node, (kernel, stride, spread), input_shape, after),
        enlarges=is_transposed and stride != (1, 1),
        after_join=before.joined,
        groups=node.attributes.get_int("group", 1),
    )
    return layer, after


def _pool(node: ir.Node, before: Reach, shapes: Shapes) -> tuple[Layer, Reach]:
    sides = list(node.attributes.get_ints("kernel_shape", ()))
    input_shape, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    if (len(sides) == 3 and sides[1:] == [1, 1]) or _is_norm_of_signal(node, sides, input_shape):
        # A mean over neighbouring channels, of maps with one more dimension: how torch exports LocalResponseNorm.
        return Layer(name_of(node, ()), f"local response norm {sides[0]}", output[1:], before.field), before
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    after = grown(before, kernel, stride)
    kind = f"{'max' if node.op_type == 'MaxPool' else 'average'} pool {kernel[0]}x{kernel[1]}{_step(stride)}"
    window = _window(node, (kernel, stride, kernel), input_shape, after)
    return Layer(
        name_of(node, ()), kind, output, after.field, input=input_shape, window=window, after_join=before.joined
    ), after


def _is_norm_of_signal(node: ir.Node, sides: list[int], input_shape: tuple[int, ...]) -> bool:
    return len(sides) == 2 and sides[1] == 1 and _pair(node, "strides") == (1, 1) and input_shape[0] == 1


def _enlargement(node: ir.Node, before: Reach, shapes: Shapes) -> tuple[Layer | None, Reach]:
    """Describe upsampling, or a pixel shuffle; no layer if the graph does not show the sizes."""
    input_shape, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    small, large = _map(input_shape), _map(output)
    if len(small) != 3 or len(large) != 3 or 0 in (*small, *large):
        return None, before
    times = (large[1] / small[1], large[2] / small[2])
    mode = node.attributes.get_string("mode", "nearest")
    # Pixels of the map that one new pixel is computed from, along each side.
    taps = 1 if node.op_type == "DepthToSpace" else {"linear": 2, "cubic": 4}.get(mode, 1)
    kind = "pixel shuffle" if node.op_type == "DepthToSpace" else f"{mode} upsampling"
    reach = grown(before, (taps, taps), (1, 1))
    after = replace(reach, jump=(before.jump[0] / times[0], before.jump[1] / times[1]))
    is_same = times[0] == times[1] or len(input_shape) == 2
    by = f"{times[1]:g}" if is_same else f"{times[0]:g}x{times[1]:g}"
    return Layer(name_of(node, ()), f"{kind} * {by}", output, after.field, input=input_shape, enlarges=max(times) > 1), after


def _linear(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    output, numbers = shapes.item(node.outputs[0]), shapes.numbers(node.outputs[0])
    terms = _terms_of_product(node, weights, output)
    multiply_adds = numbers * terms if numbers is not None and terms else None
    # On a map whose channels are the last axis, a product with weights is a convolution of 1x1.
    is_pointwise = before.channels == -1 and len(output) > 1 and weights[-1].value is not node.inputs[0]
    after = before if is_pointwise else replace(before, field=None)
    return Layer(name_of(node, weights), "linear", output, after.field, multiply_adds=multiply_adds), after


def _terms_of_product(node: ir.Node, weights: Sequence[Weight], output: tuple[int, ...]) -> int:
    """Return how many products are added for one number of a matrix product; 0 if the graph does not show it."""
    weight = next((weight for weight in weights if weight.value in node.inputs[:2]), None)
    if weight is None:
        return 0
    if node.op_type == "MatMul" and weight.value is node.inputs[0]:
        return weight.dims[-1] if weight.dims else 0
    if node.op_type == "MatMul" and len(weight.dims) > 1:
        return weight.dims[-2]
    return weight.numbers // output[-1] if output and output[-1] else 0


def _recurrent(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    """Describe a recurrent layer, whose input is [steps, batch, numbers]. Its weights without biases are used once a step."""
    input_shape = shapes.item(node.inputs[0])
    numbers = shapes.numbers(node.inputs[0])
    is_bidirectional = node.attributes.get_string("direction", "forward") == "bidirectional"
    output = (input_shape[0], (2 if is_bidirectional else 1) * node.attributes.get_int("hidden_size", 0))
    used = sum(weight.numbers for weight in weights if weight.value in node.inputs[1:3])
    multiply_adds = used * (numbers // input_shape[-1]) if numbers is not None and input_shape[-1] else None
    kind = f"{'bidirectional ' if is_bidirectional else ''}{node.op_type.lower()}"
    return Layer(name_of(node, weights), kind, output, None, multiply_adds=multiply_adds), replace(before, field=None)


def _is_global(node: ir.Node, before: Reach, shapes: Shapes) -> bool:
    input_shape, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    # Two dimensions are the channels and steps of a signal only after a layer with windows.
    is_map = len(input_shape) == 3 or (len(input_shape) == 2 and before.channels == 1)
    return is_map and math.prod(output) == input_shape[0]


def _map(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return channels, height and width; a signal of [channels, steps] is a map of height 1."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _window(
    node: ir.Node, sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]], input_shape: tuple[int, ...], after: Reach
) -> Window:
    kernel, stride, spread = sizes
    jump = (round(after.jump[0]), round(after.jump[1]))
    rounded_up = bool(node.attributes.get_int("ceil_mode", 0))
    if node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME"):
        return Window(kernel, stride, spread, (max(0, spread[0] - 1), max(0, spread[1] - 1)), rounded_up, (0, 0), jump)
    pads = list(node.attributes.get_ints("pads", ()))
    pads = [0, pads[0], 0, pads[1]] if len(pads) == 2 else pads if len(pads) == 4 else [0, 0, 0, 0]
    padding = (pads[0] + pads[2], pads[1] + pads[3])
    lost, input_shape = (0, 0), _map(input_shape)
    if len(input_shape) == 3 and all(input_shape) and not rounded_up:
        rest = [(input_shape[1 + axis] + padding[axis] - spread[axis]) % stride[axis] for axis in (0, 1)]
        lost = (max(0, rest[0] - pads[2]), max(0, rest[1] - pads[3]))  # padding that no window reaches loses nothing
    return Window(kernel, stride, spread, padding, rounded_up, lost, jump)


def _pair(node: ir.Node, attribute: str) -> tuple[int, int]:
    return _two(tuple(node.attributes.get_ints(attribute, ())))


def _two(sides: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width. The length of a sequence is its width; for more than two dimensions return (1, 1)."""
    if len(sides) == 2:
        return sides[0], sides[1]
    return (1, sides[0]) if len(sides) == 1 else (1, 1)


def _step(stride: tuple[int, int]) -> str:
    return "" if stride == (1, 1) else f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride[0]}x{stride[1]}"
