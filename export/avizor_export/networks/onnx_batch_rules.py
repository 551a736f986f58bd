"""Say for each operator what takes the place of a node that holds the frozen batch size as a number.

A rule takes the trace and a node that is in `trace.before` already, and returns the nodes that take its place; usually that is
the node itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper

from avizor_export.networks.onnx_batch_trace import BATCH, Trace, refusal

Rule = Callable[[Trace, onnx.NodeProto], list[onnx.NodeProto]]

_TO_THE_END = np.iinfo(np.int64).max


def _as_it_is(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Keep the node; repeat inputs that hold the frozen number of rows, if it does not run, or lacks the batch, without."""
    shapes = trace.plain(node)
    if shapes is not None and (not trace.batch_inputs(node) or _grows(trace, node, shapes)):
        return [node]
    return _with_rows(trace, node)


def _grows(trace: Trace, node: onnx.NodeProto, shapes: Mapping[str, object]) -> bool:
    return any(shapes.get(name) is None or shapes[name] != trace.before.shape(name) for name in node.output if name)


def _with_rows(trace: Trace, node: onnx.NodeProto, first: int = 0) -> list[onnx.NodeProto]:
    """Return the node with constants that hold the frozen number of rows repeated. first: index of the first such input."""
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    for index, name in enumerate(node.input):
        if index >= first and name and trace.axis(name) is None:
            place = _place_of_rows(trace, node, name)
            if place is not None:
                changed.input[index] = _repeated(trace, name, place)
    return [changed]


def _place_of_rows(trace: Trace, node: onnx.NodeProto, name: str) -> int | None:
    """Return the dimension in which an input without the batch holds as many rows as the batch of another input."""
    shape = trace.before.shape(name)
    for batch in trace.batch_inputs(node):
        axis, like = trace.axis(batch), trace.before.shape(batch)
        if shape is None or like is None or axis is None:
            continue
        place = axis if len(shape) >= len(like) else axis - (len(like) - len(shape))
        if 0 <= place < len(shape) and shape[place] == like[axis]:
            return place
    return None


def _repeated(trace: Trace, name: str, place: int) -> str:
    """Add nodes that repeat a constant's first row for each item of the batch; return the name of what they make.

    place: the dimension of the rows. The file's rows may differ from each other; then the proof refuses the graph.
    """
    shape = trace.before.shape(name)
    assert shape is not None
    if trace.frozen > 1:
        rows = shape[place] // trace.frozen
        bounds = [trace.constant([value]) for value in (0, rows, place)]
        name = trace.node("Slice", [name, *bounds], "row")
    ones = [[1] * place, [1] * (len(shape) - place - 1)]
    before, after = ([trace.constant(each)] if each else [] for each in ones)
    times = trace.node("Concat", [*before, BATCH, *after], "times", axis=0)
    return trace.node("Tile", [name, times], "rows")


def _reshape(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    data, output = node.input[0], node.output[0]
    axis, shape, target = trace.axis(data), trace.before.shape(data), trace.before.shape(output)
    if axis is None or shape is None or target is None:
        return [_with_free_first(trace, node)]
    sizes: list[int] = list(target)
    if _drops_batch(trace, output, shape, target, axis):
        sizes.insert(0, -1)
    else:
        place = _place_after_reshape(shape, target, axis, trace.frozen)
        if place is None:
            raise refusal(node, f"mixes the batch with other sizes: it makes {list(target)} of {list(shape)}")
        shapes = trace.plain(node)
        if shapes is not None and shapes[output] == trace.scaled(target, place):
            return [node]
        sizes[place] = -1
    return [helper.make_node("Reshape", [data, trace.constant(sizes)], [output], node.name)]


def _with_free_first(trace: Trace, node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a Reshape of a value of unknown shape so that it keeps dimension 0; any other node as it is."""
    sizes = trace.before.value(node.input[1]) if node.op_type == "Reshape" else None
    if sizes is None or not len(sizes) or sizes[0] != trace.frozen or trace.before.shape(node.input[0]) is not None:
        return node
    return helper.make_node("Reshape", [node.input[0], trace.constant([0, *sizes[1:].tolist()])], list(node.output), node.name)


def _drops_batch(trace: Trace, output: str, shape: Sequence[int], target: Sequence[int], axis: int) -> bool:
    """Return whether a reshape at the graph's end leaves a batch of 1 out, as torch's squeeze() does."""
    is_last = output in trace.outputs and trace.frozen == 1 and shape[axis] == 1
    return is_last and len(target) < len(shape) and prod(target[:1]) != 1


def _place_after_reshape(shape: Sequence[int], target: Sequence[int], axis: int, frozen: int) -> int | None:
    """Return the dimension of the batch in `target`; None if it has none.

    Rows stay together in memory: what was before the batch still is, and the batch may be joined with what was behind it. With
    a batch of 1 several dimensions may be it: then the one that it was before, else the first.
    """
    outer = prod(shape[:axis])
    places = [place for place, size in enumerate(target) if prod(target[:place]) == outer and size and size % frozen == 0]
    return axis if axis in places else next(iter(places), None)


def _squeeze(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    axis, shape = trace.axis(node.input[0]), trace.before.shape(node.input[0])
    target = trace.before.shape(node.output[0])
    if axis is not None and shape and target is not None and node.output[0] not in trace.outputs:
        axes = trace.before.value(node.input[1]) if len(node.input) > 1 else None
        removed = [dim % len(shape) for dim in axes.tolist()] if axes is not None else []
        if axis in removed or (axes is None and len(node.input) == 1 and shape[axis] == 1):
            raise refusal(node, "removes the dimension of the batch, which has the size 1 in the file")
    return _reshape(trace, node)


def _expand(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    axis, shape, target = trace.axis(node.input[0]), trace.before.shape(node.input[0]), trace.before.shape(node.output[0])
    sizes = trace.before.value(node.input[1])
    if axis is None or shape is None or target is None or sizes is None:
        return [node]
    shapes = trace.plain(node)
    if shapes is not None and shapes[node.output[0]] == trace.scaled(target, len(target) - len(shape) + axis):
        return [node]
    free = sizes.tolist()
    free[len(free) - len(shape) + axis] = 1  # a size of 1 leaves the value's own
    return [helper.make_node("Expand", [node.input[0], trace.constant(free)], list(node.output), node.name)]


def _slice(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    data, output = node.input[0], node.output[0]
    axis, shape, target = trace.axis(data), trace.before.shape(data), trace.before.shape(output)
    shapes = trace.plain(node)
    if axis is None or shape is None or target is None or (shapes and shapes[output] == trace.scaled(target, axis)):
        return [node]
    if target[axis] != shape[axis]:
        raise refusal(node, f"takes {target[axis]} of the {shape[axis]} rows of its batch")
    ends = trace.before.value(node.input[2])
    axes = trace.before.value(node.input[3]) if len(node.input) > 3 and node.input[3] else np.arange(len(shape))
    if ends is None or axes is None:
        return [node]
    free = [_TO_THE_END if dim % len(shape) == axis else int(end) for dim, end in zip(axes, ends, strict=False)]
    return [helper.make_node("Slice", [*node.input[:2], trace.constant(free), *node.input[3:]], [output], node.name)]


def _gather(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    data, indices = node.input[:2]
    shape, axis = trace.before.shape(data), trace.axis(data)
    dim = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    if shape is None or axis is None or dim % len(shape) != axis:
        return _as_it_is(trace, node)
    rows = trace.before.value(indices)
    takes_all = rows is not None and shape[axis] == trace.frozen and rows.ravel().tolist() == list(range(trace.frozen))
    if rows is not None and takes_all and (rows.ndim == 1 or node.output[0] in trace.outputs):
        return [helper.make_node("Identity", [data], list(node.output), node.name)]
    raise refusal(node, "takes some of the rows of its batch")


def _resize(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    data, output = node.input[0], node.output[0]
    axis, target = trace.axis(data), trace.before.shape(output)
    shapes = trace.plain(node)
    if axis is None or target is None or (shapes and shapes[output] == trace.scaled(target, axis)) or len(node.input) < 4:
        return _as_it_is(trace, node)
    if target[axis] != trace.frozen or any(attribute.name == "axes" for attribute in node.attribute):
        raise refusal(node, f"resizes the batch: it returns {list(target)}")
    parts = [trace.constant(each) if each else "" for each in (target[:axis], target[axis + 1 :])]
    sizes = trace.node("Concat", [name for name in (parts[0], BATCH, parts[1]) if name], "sizes", axis=0)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input[3] = sizes
    return [changed]


def _recurrent(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """LSTM, GRU, RNN: their initial states hold a row for each item."""
    layout = next((attribute.i for attribute in node.attribute if attribute.name == "layout"), 0)
    axis = trace.axis(node.input[0])
    if axis is not None and axis != (0 if layout else 1):
        raise refusal(node, "takes the batch for its time steps, so that items influence each other")
    return _with_rows(trace, node, first=4)


def _batch_norm(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
        raise refusal(
            node, "is in training mode: it takes mean and variance from the rows of the batch; export it in eval mode"
        )
    return _as_it_is(trace, node)


def _for_any_operator() -> Rule:
    return _as_it_is


RULES: defaultdict[str, Rule] = defaultdict(
    _for_any_operator,
    {
        "Reshape": _reshape,
        "Flatten": _reshape,
        "Squeeze": _squeeze,
        "Expand": _expand,
        "Slice": _slice,
        "Gather": _gather,
        "Resize": _resize,
        "LSTM": _recurrent,
        "GRU": _recurrent,
        "RNN": _recurrent,
        "BatchNormalization": _batch_norm,
        # These take as many rows as each input has, without a complaint.
        "GridSample": _with_rows,
        "GatherElements": _with_rows,
        "ScatterElements": _with_rows,
        "ScatterND": _with_rows,
    },
)
