"""A network layer by layer: output shape, receptive field, parameters, multiply-adds. Read from its ONNX graph.

So that a torch module, an exported program, a published model and a model from elsewhere are all described by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

WHOLE = "all"


@dataclass(frozen=True)
class Layer:
    """One layer with weights, or one that changes the size of the map.

    output: shape without the batch. field: pixels of the input that one output depends on, height and width; None for all.
    parameters: numbers in its weights. multiply_adds: of one item. kernel, stride: of a map's layer, else None.
    lost: rows and columns of the input that no window of the layer reaches.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    field: tuple[int, int] | None
    parameters: int
    multiply_adds: int
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    input: tuple[int, ...] = ()
    lost: tuple[int, int] = (0, 0)
    after_join: bool = False  # some skip connection or branch was joined before it
    enlarges: bool = False


@dataclass(frozen=True)
class _Reach:
    """What one value depends on: its field and the distance of neighbours, in pixels of the input."""

    field: tuple[int, int] | None = (1, 1)
    jump: tuple[float, float] = (1.0, 1.0)
    joined: bool = False


_START = _Reach()
_JOINS = {"Add", "Concat", "Sum"}
_GLOBAL = {"GlobalAveragePool", "GlobalMaxPool"}


def layers_of(graph: ir.Graph) -> list[Layer]:
    """The layers of a graph, in its order. Front ends (weights that are not the network's) are left out."""
    reaches: dict[ir.Value, _Reach] = {}
    ours = {value for value in graph.initializers.values() if _is_network(value, graph)}
    layers = []
    for node in graph:
        before = [_reach(value, reaches) for value in node.inputs if value is not None and not value.is_initializer()]
        joined = _join(before, node.op_type in _JOINS and len(before) > 1)
        layer, after = _layer(node, joined, ours)
        reaches.update(dict.fromkeys(node.outputs, after))
        if layer:
            layers.append(layer)
    return layers


def _is_network(value: ir.Value, graph: ir.Graph) -> bool:
    """What export writes has the network's weights below `network.`; in another file every constant may be a weight."""
    exported = any((name or "").startswith("network.") for name in graph.initializers)
    return (value.name or "").startswith("network.") or not exported


def _stored(value: ir.Value) -> ir.Value:
    """A weight of a quantised graph as it is stored, before it is brought back to float32; any other value itself."""
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        return node.inputs[0]
    return value


def _reach(value: ir.Value, reaches: dict[ir.Value, _Reach]) -> _Reach:
    return reaches.get(value, _START)


def _join(before: Sequence[_Reach], is_join: bool) -> _Reach:
    if not before:
        return _START
    fields = [reach.field for reach in before]
    widest = None if None in fields else (max(f[0] for f in fields if f), max(f[1] for f in fields if f))
    jump = (max(reach.jump[0] for reach in before), max(reach.jump[1] for reach in before))
    return _Reach(widest, jump, is_join or any(reach.joined for reach in before))


def _layer(node: ir.Node, before: _Reach, ours: set[ir.Value]) -> tuple[Layer | None, _Reach]:
    stored = [_stored(value) for value in node.inputs if value is not None]
    weights = [value for value in stored if value in ours and value.shape is not None]
    if node.op_type in ("Conv", "ConvTranspose") and weights:
        return _convolution(node, before, weights)
    if node.op_type in ("MaxPool", "AveragePool"):
        return _pool(node, before)
    if node.op_type in _GLOBAL or (node.op_type == "ReduceMean" and len(_shape(node.inputs[0])) == 3):
        layer = Layer(_name(node, ()), "global pool", _shape(node.outputs[0]), None, 0, 0)
        return layer, replace(before, field=None)
    if node.op_type in ("Resize", "DepthToSpace"):
        return _enlargement(node, before)
    if node.op_type in ("Gemm", "MatMul") and weights:
        return _linear(node, before, weights)
    if node.op_type == "BatchNormalization" and weights:
        layer = Layer(_name(node, weights), "batch norm", _shape(node.outputs[0]), before.field, 2 * _numbers(weights[:1]), 0)
        return layer, before
    if node.op_type == "LRN":
        return Layer(_name(node, ()), "local response norm", _shape(node.outputs[0]), before.field, 0, 0), before
    return None, before


def _convolution(node: ir.Node, before: _Reach, weights: Sequence[ir.Value]) -> tuple[Layer, _Reach]:
    kernel = _dims(weights[0])[2:]
    if len(kernel) != 2:
        kernel = (1, *kernel) if len(kernel) == 1 else (1, 1)
    transposed = node.op_type == "ConvTranspose"
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    spread = (1 + (kernel[0] - 1) * dilation[0], 1 + (kernel[1] - 1) * dilation[1])
    output, given = _shape(node.outputs[0]), _shape(node.inputs[0])
    # Each weight of a convolution is used once for each place of its output map; of a transposed one, of its input map.
    places = math.prod((given if transposed else output)[1:])
    if transposed:
        reached = (math.ceil(spread[0] / stride[0]), math.ceil(spread[1] / stride[1]))
        after = replace(_grown(before, reached, (1, 1)), jump=(before.jump[0] / stride[0], before.jump[1] / stride[1]))
    else:
        after = _grown(before, spread, stride)
    kind = f"{'transposed ' if transposed else ''}conv {kernel[0]}x{kernel[1]}{_step(stride)}"
    layer = Layer(
        name=_name(node, weights),
        kind=kind,
        output=output,
        field=after.field,
        parameters=_numbers(weights),
        multiply_adds=_numbers(weights[:1]) * places,
        kernel=(kernel[0], kernel[1]),
        stride=stride,
        input=given,
        lost=(0, 0) if transposed else _lost(node, given, spread, stride),
        after_join=before.joined,
        enlarges=transposed and stride != (1, 1),
    )
    return layer, after


def _pool(node: ir.Node, before: _Reach) -> tuple[Layer, _Reach]:
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    after, given = _grown(before, kernel, stride), _shape(node.inputs[0])
    kind = f"{'max' if node.op_type == 'MaxPool' else 'average'} pool {kernel[0]}x{kernel[1]}{_step(stride)}"
    ceil = node.attributes.get_int("ceil_mode", 0)
    lost = (0, 0) if ceil else _lost(node, given, kernel, stride)
    layer = Layer(_name(node, ()), kind, _shape(node.outputs[0]), after.field, 0, 0, kernel, stride, given, lost, before.joined)
    return layer, after


def _enlargement(node: ir.Node, before: _Reach) -> tuple[Layer | None, _Reach]:
    """Upsampling, or pixels out of channels. Nothing is said of sizes that the graph does not tell."""
    given, output = _shape(node.inputs[0]), _shape(node.outputs[0])
    if len(given) != 3 or len(output) != 3 or 0 in (*given, *output):
        return None, before
    times = (output[1] / given[1], output[2] / given[2])
    mode = node.attributes.get_string("mode", "nearest")
    # Pixels of the map that one new pixel is made of.
    taps = 1 if node.op_type == "DepthToSpace" else {"linear": 2, "cubic": 4}.get(mode, 1)
    kind = "pixel shuffle" if node.op_type == "DepthToSpace" else f"{mode} upsampling"
    grown = _grown(before, (taps, taps), (1, 1))
    after = replace(grown, jump=(before.jump[0] / times[0], before.jump[1] / times[1]))
    by = f"{times[0]:g}" if times[0] == times[1] else f"{times[0]:g}x{times[1]:g}"
    return Layer(_name(node, ()), f"{kind} * {by}", output, after.field, 0, 0, input=given, enlarges=max(times) > 1), after


def _linear(node: ir.Node, before: _Reach, weights: Sequence[ir.Value]) -> tuple[Layer, _Reach]:
    matrix = max(weights, key=lambda value: _numbers([value]))
    output = _shape(node.outputs[0])
    rows = math.prod(output[:-1])
    layer = Layer(_name(node, weights), "linear", output, None, _numbers(weights), _numbers([matrix]) * rows)
    return layer, replace(before, field=None)


def _grown(before: _Reach, spread: Sequence[int], stride: Sequence[int]) -> _Reach:
    field = before.field
    if field is not None:
        grown = [round(field[axis] + (spread[axis] - 1) * before.jump[axis]) for axis in (0, 1)]
        field = (grown[0], grown[1])
    return replace(before, field=field, jump=(before.jump[0] * stride[0], before.jump[1] * stride[1]))


def _lost(node: ir.Node, given: tuple[int, ...], spread: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    pads = list(node.attributes.get_ints("pads", ())) or [0, 0, 0, 0]
    if len(given) != 3 or len(pads) != 4:
        return (0, 0)
    left = [(given[1 + axis] + pads[axis] + pads[2 + axis] - spread[axis]) % stride[axis] for axis in (0, 1)]
    # Padding that no window reaches is no loss.
    return max(0, left[0] - pads[2]), max(0, left[1] - pads[3])


def _pair(node: ir.Node, attribute: str) -> tuple[int, int]:
    values = list(node.attributes.get_ints(attribute, ())) or [1, 1]
    return (values[0], values[1]) if len(values) == 2 else (1, values[0])


def _step(stride: tuple[int, int]) -> str:
    return "" if stride == (1, 1) else f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride[0]}x{stride[1]}"


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    """Without the batch; 0 for a size that the graph does not tell."""
    dims = list(value.shape) if value is not None and value.shape is not None else []
    return tuple(dim if isinstance(dim, int) else 0 for dim in dims[1:])


def _numbers(values: Iterable[ir.Value]) -> int:
    return sum(math.prod(_dims(value)) for value in values)


def _dims(value: ir.Value) -> tuple[int, ...]:
    """Dimensions of a constant."""
    return tuple(dim for dim in value.shape or () if isinstance(dim, int))


def _name(node: ir.Node, weights: Sequence[ir.Value]) -> str:
    if weights and weights[0].name:
        return weights[0].name.removeprefix("network.").rpartition(".")[0] or weights[0].name
    return (node.name or node.op_type).removeprefix("node_")


def table(layers: Sequence[Layer], total: int | None = None) -> list[tuple[str, ...]]:
    """Rows of text, the header first and the totals last. Shares are of all multiply-adds.

    total: parameters of the network where they are known; what layers of a graph have folded in counts otherwise.
    """
    work = sum(layer.multiply_adds for layer in layers) or 1
    numbers = sum(layer.parameters for layer in layers) if total is None else total
    rows = [("layer", "kind", "output", "field", "parameters", "multiply-adds", "share")]
    rows += [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output)),
            WHOLE if layer.field is None else "x".join(map(str, layer.field)),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            f"{layer.multiply_adds / work:.1%}",
        )
        for layer in layers
    ]
    return [*rows, ("total", "", "", "", f"{numbers:,}", f"{sum(layer.multiply_adds for layer in layers):,}", "100.0%")]
