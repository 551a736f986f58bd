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
from avizor_export.networks.onnx_sizes import Shape
from avizor_inference.arrays import Array

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


def _with_rows(trace: Trace, node: onnx.NodeProto, first: int = 0, but: int | None = None) -> list[onnx.NodeProto]:
    """Return the node with constants that hold the frozen number of rows repeated.

    first: index of the first such input. but: index of one that is none.
    """
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    for index, name in enumerate(node.input):
        if index >= first and index != but and name and trace.axis(name) is None:
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
        place = axis - len(like) + len(shape)  # shapes are aligned at their ends
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
        found = _place_after_reshape(shape, target, axis, trace.outer(data) * prod(shape[:axis]), trace.frozen)
        if found is None:
            raise refusal(node, f"mixes the batch with other sizes: it makes {list(target)} of {list(shape)}")
        place, outer = found
        trace.set_outer(output, outer)
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


def _place_after_reshape(
    shape: Sequence[int], target: Sequence[int], axis: int, outer: int, frozen: int
) -> tuple[int, int] | None:
    """Return the dimension of the batch in `target`, and what of `outer` is in that dimension too; None if it has none.

    shape: of what is reshaped; axis: the batch's dimension in it. outer: how many numbers lie outside the rows. Rows stay
    together in memory, so that as many lie outside afterwards. With a batch of 1 several dimensions may be it. Then the batch
    is, in this order: not joined with the features, which are last; not joined with what is outside; where it was before.
    """
    ranked = []
    for place, size in enumerate(target):
        before = prod(target[:place])
        if not before or outer % before or not size or size % (outer // before * frozen):
            continue
        joined = outer // before
        is_last = place == len(target) - 1 and axis != len(shape) - 1
        ranked.append(((is_last, joined > 1, place != axis, size // joined, place), (place, joined)))
    return min(ranked)[1] if ranked else None


def _squeeze(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Keep the batch, which torch's squeeze() without dimensions removes if it is 1. Inside a graph the rest counts on that."""
    data, output = node.input[0], node.output[0]
    axis, shape = trace.axis(data), trace.before.shape(data)
    axes = trace.before.value(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if axis is None or shape is None or (axes is None and len(node.input) > 1):
        return [node]
    removed = [dim % len(shape) for dim in axes.tolist()] if axes is not None else [d for d, n in enumerate(shape) if n == 1]
    if axis in removed and output not in trace.outputs:
        raise refusal(node, "removes the dimension of the batch, which has the size 1 in the file")
    if axes is not None and axis not in removed:
        return [node]
    kept = [dim for dim in removed if dim != axis]
    if not kept:
        return [helper.make_node("Identity", [data], [output], node.name)]
    return [helper.make_node("Squeeze", [data, trace.constant(kept)], [output], node.name)]


def _expand(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    axis, shape, target = trace.axis(node.input[0]), trace.before.shape(node.input[0]), trace.before.shape(node.output[0])
    sizes = trace.before.value(node.input[1])
    if axis is None:
        return _expand_constant(trace, node)
    if shape is None or target is None or sizes is None:
        return [node]
    shapes = trace.plain(node)
    if shapes is not None and shapes[node.output[0]] == trace.scaled(target, len(target) - len(shape) + axis):
        return [node]
    free = sizes.tolist()
    free[len(free) - len(shape) + axis] = 1  # a size of 1 leaves the value's own
    return [helper.make_node("Expand", [node.input[0], trace.constant(free)], list(node.output), node.name)]


def _expand_constant(trace: Trace, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Expand, with the batch in the sizes that the graph computes, of a constant that has the frozen number of rows."""
    shape, before, after = (each for each in (trace.before.shape(node.input[0]), *trace.sizes(node.input[1])))
    if shape is None or before is None or after is None or len(before) < len(shape):
        return [node]
    first = len(before) - len(shape)
    for place, size in enumerate(shape):
        if size != 1 and before[first + place] == size != after[first + place]:
            return [
                helper.make_node(
                    "Expand", [_repeated(trace, node.input[0], place), node.input[1]], list(node.output), node.name
                )
            ]
    return [node]


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
    if rows is not None and (within := _indices_within_rows(trace, shape, rows)) is not None:
        view = trace.node("Reshape", [data, trace.constant([-1, shape[0] // trace.frozen])], "flat")
        return [helper.make_node("Gather", [view, trace.constant(within)], list(node.output), node.name, axis=1)]
    raise refusal(node, "takes some of the rows of its batch")


def _indices_within_rows(trace: Trace, shape: Shape, indices: Array) -> Array | None:
    """Return which numbers of each flat row are taken, if the indices [frozen, ...] into the flat batch take the same of all.

    torch writes its as_strided in this way. None if they do not.
    """
    size = shape[0] // trace.frozen
    if len(shape) != 1 or not indices.ndim or len(indices) != trace.frozen:
        return None
    first = indices[0]
    starts = size * np.arange(trace.frozen).reshape(-1, *[1] * first.ndim)
    inside = bool(((first >= 0) & (first < size)).all())
    return first if inside and np.array_equal(indices, first + starts) else None


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
    lengths = node.input[4] if len(node.input) > 4 else ""
    changed = _with_rows(trace, node, first=4)[0]
    if lengths and axis is not None and trace.axis(lengths) is None:
        changed.input[4] = _repeated(trace, lengths, 0)
    return [changed]


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
        # These take as many rows as each input has, without a complaint. The indices of ScatterND are not rows.
        "GridSample": _with_rows,
        "GatherElements": _with_rows,
        "ScatterElements": _with_rows,
        "ScatterND": lambda trace, node: _with_rows(trace, node, but=1),
    },
)
