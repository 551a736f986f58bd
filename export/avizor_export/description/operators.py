"""One node of a graph as a layer, by its operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from avizor_export.description.layer import Layer, Window
from avizor_export.description.reach import Reach, grown
from avizor_export.description.weights import Weight, name_of

_GLOBAL = {"GlobalAveragePool", "GlobalMaxPool"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
_POINTWISE = {
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "InstanceNormalization": "instance norm",
    "GroupNormalization": "group norm",
    "PRelu": "prelu",
}


def layer_of(node: ir.Node, before: Reach, weights: Sequence[Weight]) -> tuple[Layer | None, Reach]:
    """The layer that a node is, and what depends on it; None for a node that is no layer of its own."""
    kind = node.op_type
    if kind in ("Conv", "ConvTranspose") and weights:
        return _convolution(node, before, weights)
    if kind in ("MaxPool", "AveragePool"):
        return _pool(node, before)
    if kind in _GLOBAL or (kind == "ReduceMean" and _is_global(node)):
        return Layer(name_of(node, ()), "global pool", shape_of(node.outputs[0]), None), replace(before, field=None)
    if kind in ("Resize", "DepthToSpace"):
        return _enlargement(node, before)
    if kind in ("Gemm", "MatMul") and weights:
        return _linear(node, before, weights)
    if kind in _RECURRENT and weights:
        return _recurrent(node, before, weights)
    if kind in _POINTWISE and weights:
        return Layer(name_of(node, weights), _POINTWISE[kind], shape_of(node.outputs[0]), before.field), before
    if kind == "Gather" and weights:
        return Layer(name_of(node, weights), "embedding", shape_of(node.outputs[0]), before.field), before
    if kind == "LRN":
        return Layer(name_of(node, ()), "local response norm", shape_of(node.outputs[0]), before.field), before
    return None, before


def other(node: ir.Node, reach: Reach, weights: Sequence[Weight]) -> Layer:
    """A node that is no layer, and yet has weights of its own: a parameter that is added, a scale."""
    return Layer(name_of(node, weights), f"other ({node.op_type})", shape_of(node.outputs[0]), reach.field)


def _convolution(node: ir.Node, before: Reach, weights: Sequence[Weight]) -> tuple[Layer, Reach]:
    kernel = _two(weights[0].dims[2:] or tuple(node.attributes.get_ints("kernel_shape", ())))
    transposed = node.op_type == "ConvTranspose"
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    spread = (1 + (kernel[0] - 1) * dilation[0], 1 + (kernel[1] - 1) * dilation[1])
    output, given = shape_of(node.outputs[0]), shape_of(node.inputs[0])
    # Each weight of a convolution is used once for each place of its output map; of a transposed one, of its input map.
    places = math.prod((given if transposed else output)[1:])
    if transposed:
        reached = (math.ceil(spread[0] / stride[0]), math.ceil(spread[1] / stride[1]))
        after = replace(grown(before, reached, (1, 1)), jump=(before.jump[0] / stride[0], before.jump[1] / stride[1]))
    else:
        after = grown(before, spread, stride)
    layer = Layer(
        name=name_of(node, weights),
        kind=f"{'transposed ' if transposed else ''}conv {kernel[0]}x{kernel[1]}{_step(stride)}",
        output=output,
        field=after.field,
        multiply_adds=weights[0].numbers * places,
        input=given,
        window=None if transposed else _window(node, (kernel, stride, spread), given, after),
        enlarges=transposed and stride != (1, 1),
        after_join=before.joined,
    )
    return layer, after


def _pool(node: ir.Node, before: Reach) -> tuple[Layer, Reach]:
    sides = list(node.attributes.get_ints("kernel_shape", ()))
    given, output = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if len(sides) == 3 and sides[1:] == [1, 1]:
        # Means over neighbouring channels, of maps that were given a dimension more: how torch writes its LocalResponseNorm.
        return Layer(name_of(node, ()), f"local response norm {sides[0]}", output[1:], before.field), before
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    after = grown(before, kernel, stride)
    kind = f"{'max' if node.op_type == 'MaxPool' else 'average'} pool {kernel[0]}x{kernel[1]}{_step(stride)}"
    window = _window(node, (kernel, stride, kernel), given, after)
    return Layer(name_of(node, ()), kind, output, after.field, input=given, window=window, after_join=before.joined), after


def _enlargement(node: ir.Node, before: Reach) -> tuple[Layer | None, Reach]:
    """Upsampling, or pixels out of channels. Nothing is said of sizes that the graph does not tell."""
    given, output = shape_of(node.inputs[0]), shape_of(node.outputs[0])
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


def _linear(node: ir.Node, before: Reach, weights: Sequence[Weight]) -> tuple[Layer, Reach]:
    output = shape_of(node.outputs[0])
    work = max(weight.numbers for weight in weights) * math.prod(output[:-1])
    return Layer(name_of(node, weights), "linear", output, None, multiply_adds=work), replace(before, field=None)


def _recurrent(node: ir.Node, before: Reach, weights: Sequence[Weight]) -> tuple[Layer, Reach]:
    """Its input is [steps, batch, numbers]; its weights, but for the biases, are used once a step."""
    given = node.inputs[0]
    first = given.shape[0] if given is not None and given.shape is not None else 0
    steps = first if isinstance(first, int) else 0
    both = node.attributes.get_string("direction", "forward") == "bidirectional"
    output = (steps, (2 if both else 1) * node.attributes.get_int("hidden_size", 0))
    work = steps * sum(weight.numbers for weight in weights if weight.value in node.inputs[1:3])
    kind = f"{'bidirectional ' if both else ''}{node.op_type.lower()}"
    return Layer(name_of(node, weights), kind, output, None, multiply_adds=work), replace(before, field=None)


def _is_global(node: ir.Node) -> bool:
    given, output = shape_of(node.inputs[0]), shape_of(node.outputs[0])
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
    if len(given) == 3 and not rounded_up:
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


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """Without the batch; 0 for a size that the graph does not tell."""
    dims = list(value.shape) if value is not None and value.shape is not None else []
    return tuple(dim if isinstance(dim, int) else 0 for dim in dims[1:])
