"""One node of a graph as a layer, by its operator."""

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
# Not one multiplication for each number at most, and not worked out.
_OF_UNKNOWN_WORK = {"ConvInteger", "Einsum", "If", "Loop", "MatMulInteger", "QLinearConv", "QLinearMatMul", "Scan"}
_POINTWISE = {
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "InstanceNormalization": "instance norm",
    "GroupNormalization": "group norm",
    "PRelu": "prelu",
}


def layer_of_node(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer | None, Reach]:
    """Return the layer that a node is, and what depends on it; None for a node that is not a layer."""
    kind = node.op_type
    if kind in ("Conv", "ConvTranspose") and weights:
        return _convolution(node, before, weights, shapes)
    if kind in ("MaxPool", "AveragePool"):
        return _pool(node, before, shapes)
    if kind in _GLOBAL or (kind == "ReduceMean" and _is_global(node, shapes)):
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
    """A product of two values that both depend on the input, as in attention: every place may look at every other."""
    output, common = shapes.numbers(node.outputs[0]), (shapes.item(node.inputs[0]) or (0,))[-1]
    work = output * common if output is not None and common else None
    layer = Layer(name_of(node, ()), "product", shapes.item(node.outputs[0]), None, multiply_adds=work)
    return layer, replace(before, field=None)


def other(node: ir.Node, reach: Reach, weights: Sequence[Weight], shapes: Shapes) -> Layer:
    """A node that is no layer, and yet has weights of its own: a parameter that is added, a scale."""
    work = None if node.op_type in _OF_UNKNOWN_WORK else 0
    return Layer(
        name_of(node, weights), f"other ({node.op_type})", shapes.item(node.outputs[0]), reach.field, multiply_adds=work
    )


def _convolution(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    kernel = _two(weights[0].dims[2:] or tuple(node.attributes.get_ints("kernel_shape", ())))
    is_transposed = node.op_type == "ConvTranspose"
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    spread = (1 + (kernel[0] - 1) * dilation[0], 1 + (kernel[1] - 1) * dilation[1])
    output, given = shapes.item(node.outputs[0]), shapes.item(node.inputs[0])
    # Each weight of a convolution is used once for each place of its output map; of a transposed one, of its input map. The
    # channels of that map are the first dimension of the weights.
    numbers = shapes.numbers(node.inputs[0] if is_transposed else node.outputs[0])
    channels = weights[0].dims[0] if weights[0].dims else 0
    work = weights[0].numbers * numbers // channels if numbers is not None and channels else None
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
        multiply_adds=work,
        input=given,
        window=None if is_transposed else _window(node, (kernel, stride, spread), given, after),
        enlarges=is_transposed and stride != (1, 1),
        after_join=before.joined,
        groups=node.attributes.get_int("group", 1),
    )
    return layer, after


def _pool(node: ir.Node, before: Reach, shapes: Shapes) -> tuple[Layer, Reach]:
    sides = list(node.attributes.get_ints("kernel_shape", ()))
    given, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    if len(sides) == 3 and sides[1:] == [1, 1]:
        # Means over neighbouring channels, of maps that were given a dimension more: how torch writes its LocalResponseNorm.
        return Layer(name_of(node, ()), f"local response norm {sides[0]}", output[1:], before.field), before
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    after = grown(before, kernel, stride)
    kind = f"{'max' if node.op_type == 'MaxPool' else 'average'} pool {kernel[0]}x{kernel[1]}{_step(stride)}"
    window = _window(node, (kernel, stride, kernel), given, after)
    return Layer(name_of(node, ()), kind, output, after.field, input=given, window=window, after_join=before.joined), after


def _enlargement(node: ir.Node, before: Reach, shapes: Shapes) -> tuple[Layer | None, Reach]:
    """Upsampling, or pixels out of channels. Nothing is said of sizes that the graph does not tell."""
    given, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    if len(given) != 3 or len(output) != 3 or 0 in (*given, *output):
        return None, before
    times = (output[1] / given[1], output[2] / given[2])
    mode = node.attributes.get_string("mode", "nearest")
    # Pixels of the map that one new pixel is made of.
    taps = 1 if node.op_type == "DepthToSpace" else {"linear": 2, "cubic": 4}.get(mode, 1)
    kind = "pixel shuffle" if node.op_type == "DepthToSpace" else f"{mode} upsampling"
    reach = grown(before, (taps, taps), (1, 1))
    after = replace(reach, jump=(before.jump[0] / times[0], before.jump[1] / times[1]))
    by = f"{times[0]:g}" if times[0] == times[1] else f"{times[0]:g}x{times[1]:g}"
    return Layer(name_of(node, ()), f"{kind} * {by}", output, after.field, input=given, enlarges=max(times) > 1), after


def _linear(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    output, numbers = shapes.item(node.outputs[0]), shapes.numbers(node.outputs[0])
    common = _common(node, weights, output)
    work = numbers * common if numbers is not None and common else None
    # On the channels of a map that are its last axis it is a convolution of 1x1.
    keeps = before.channels == -1 and len(output) > 1 and weights[-1].value is not node.inputs[0]
    after = before if keeps else replace(before, field=None)
    return Layer(name_of(node, weights), "linear", output, after.field, multiply_adds=work), after


def _common(node: ir.Node, weights: Sequence[Weight], output: tuple[int, ...]) -> int:
    """Numbers that one number of a product is made of; 0 where the graph does not tell."""
    weight = next((each for each in weights if each.value in node.inputs[:2]), None)
    if weight is None:
        return 0
    if node.op_type == "MatMul" and weight.value is node.inputs[0]:
        return weight.dims[-1] if weight.dims else 0
    if node.op_type == "MatMul" and len(weight.dims) > 1:
        return weight.dims[-2]
    return weight.numbers // output[-1] if output and output[-1] else 0


def _recurrent(node: ir.Node, before: Reach, weights: Sequence[Weight], shapes: Shapes) -> tuple[Layer, Reach]:
    """Its input is [steps, batch, numbers]; its weights, but for the biases, are used once a step."""
    given = shapes.item(node.inputs[0])
    numbers = shapes.numbers(node.inputs[0])
    both = node.attributes.get_string("direction", "forward") == "bidirectional"
    output = (given[0], (2 if both else 1) * node.attributes.get_int("hidden_size", 0))
    used = sum(weight.numbers for weight in weights if weight.value in node.inputs[1:3])
    work = used * (numbers // given[-1]) if numbers is not None and given[-1] else None
    kind = f"{'bidirectional ' if both else ''}{node.op_type.lower()}"
    return Layer(name_of(node, weights), kind, output, None, multiply_adds=work), replace(before, field=None)


def _is_global(node: ir.Node, shapes: Shapes) -> bool:
    given, output = shapes.item(node.inputs[0]), shapes.item(node.outputs[0])
    return len(given) == 3 and math.prod(output) == given[0]


def _window(
    node: ir.Node, sizes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]], given: tuple[int, ...], after: Reach
) -> Window:
    kernel, stride, spread = sizes
    jump = (round(after.jump[0]), round(after.jump[1]))
    rounded_up = bool(node.attributes.get_int("ceil_mode", 0))
    if node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME"):
        return Window(kernel, stride, spread, (max(0, spread[0] - 1), max(0, spread[1] - 1)), rounded_up, (0, 0), jump)
    pads = list(node.attributes.get_ints("pads", ()))
    pads = pads if len(pads) == 4 else [0, 0, 0, 0]
    padding = (pads[0] + pads[2], pads[1] + pads[3])
    lost = (0, 0)
    if len(given) == 3 and all(given) and not rounded_up:
        left = [(given[1 + axis] + padding[axis] - spread[axis]) % stride[axis] for axis in (0, 1)]
        lost = (max(0, left[0] - pads[2]), max(0, left[1] - pads[3]))  # padding that no window reaches is no loss
    return Window(kernel, stride, spread, padding, rounded_up, lost, jump)


def _pair(node: ir.Node, attribute: str) -> tuple[int, int]:
    return _two(tuple(node.attributes.get_ints(attribute, ())))


def _two(sides: tuple[int, ...]) -> tuple[int, int]:
    """Height and width; of a sequence its length is the width, and of more dimensions none is shown."""
    if len(sides) == 2:
        return sides[0], sides[1]
    return (1, sides[0]) if len(sides) == 1 else (1, 1)


def _step(stride: tuple[int, int]) -> str:
    return "" if stride == (1, 1) else f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride[0]}x{stride[1]}"
