"""Prove that a converted or freed graph returns for each row what the file returns for it, and find the node where it does not.

The file runs on ONNX Runtime as it is, in batches of its own size. The last batch is filled up with other rows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from avizor_export.networks.onnx_batch_trace import refusal
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import BATCH_SIZES, random_items, rows_of_batch
from avizor_export.parity.soundness import Run
from avizor_export.parity.tolerances import output_differences
from avizor_inference.arrays import Array, Items
from avizor_inference.error_text import one_line, shortened
from avizor_inference.errors import ExportError, FrozenBatch
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.onnx_graph import MAX_IR_VERSION, OPSET, graph_of

_log = logging.getLogger(__name__)

_FAILED_NODE = re.compile(r"while running (\w+) node. Name:'([^']*)' Status Message: (.*)")
# The row that is changed, to see whether others change with it.
_CHANGED_ROW = 3


def by_batches(run: Run, size: int) -> Run:
    """Return a function that runs any number of items in batches of one size, the last one filled up with other items."""

    def by_size(items: Items) -> dict[str, Items]:
        filled = items[np.arange(-(-len(items) // size) * size) % len(items)]
        parts = [run(np.ascontiguousarray(filled[start : start + size])) for start in range(0, len(filled), size)]
        return {name: np.concatenate([_rows(part[name], size) for part in parts])[: len(items)] for name in parts[0]}

    return by_size


def prove_rows(
    file: onnx.ModelProto,
    written: onnx.ModelProto,
    network: onnx.ModelProto,
    spec: InputSpec,
    frozen: int = 0,
    real: Items | None = None,
) -> None:
    """Compare the network with the file on batches of 1, 2, 3 and 8 random items.

    If the batch was frozen, see as well that no row changes another one. A file of a free batch whose outputs are random is
    left to the parity check, which says so.

    file: as it was read. written: the file's graph in the contract's opset, with the batch and the outputs of the file.
    network: the graph to prove. spec: the network's input. frozen: the batch size of the file; 0 if it takes any.
    real: items [n, *item_shape] of the network's input; they show the range of whole numbers.
    Raises FrozenBatch naming the first node that returns something else, ExportError if the file itself does not run.
    """
    names = [value.name for value in network.graph.output]
    items = random_items(spec, max(BATCH_SIZES), real=real)
    original = _original_run(file, written, names, frozen, items)
    try:
        freed = _only(onnxruntime_run(_with_node_names(network)), names)
    except ExportError as error:
        raise FrozenBatch(f"its graph does not load any more: {shortened(one_line(error))}") from error
    if not frozen and not _equal(original(items), original(items)):
        return
    if frozen > 1:
        _check_rows_apart(original, items)
    for size in BATCH_SIZES:
        batch = np.ascontiguousarray(items[rows_of_batch(size)])
        try:
            outputs = freed(batch)
        except ExportError as error:
            raise FrozenBatch(_why_not_run(error, size)) from error
        if not _equal(original(batch), outputs):
            raise _difference(written, network, items, frozen, f"a batch of {size}")
    if frozen:
        _check_no_influence(freed, written, network, items, frozen)


def _check_no_influence(freed: Run, written: onnx.ModelProto, network: onnx.ModelProto, items: Items, frozen: int) -> None:
    """Raise FrozenBatch if other rows change when one row is changed."""
    changed = items.copy()
    changed[_CHANGED_ROW] = items[_CHANGED_ROW + 1] if items.dtype.kind in "iu" else -2 * items[_CHANGED_ROW] - 1
    others = np.arange(len(items)) != _CHANGED_ROW
    before, after = ({name: values[others] for name, values in freed(each).items()} for each in (items, changed))
    if not _equal(before, after):
        raise _difference(written, network, items, frozen, "other rows after one row was changed")


def _with_node_names(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a name for each node, which ONNX Runtime's messages then have."""
    named = onnx.ModelProto()
    named.CopyFrom(network)
    for node in named.graph.node:
        node.name = node.name or next(filter(None, node.output), "")
    return named


def _why_not_run(error: ExportError, size: int) -> str:
    if match := _FAILED_NODE.search(one_line(error)):
        operator, name, reason = match.groups()
        return f"{operator} {name!r} does not run on a batch of {size}: {shortened(reason)}"
    return f"the freed graph does not run on a batch of {size}: {shortened(one_line(error))}"


def _original_run(file: onnx.ModelProto, written: onnx.ModelProto, names: Sequence[str], frozen: int, items: Items) -> Run:
    """Return a run of the file as it is, or of what it was converted to if ONNX Runtime does not run its opset.

    Raises ExportError if the file fails on these items, which is not the fault of its batch.
    """
    as_it_is = onnx.ModelProto()
    as_it_is.CopyFrom(file)
    as_it_is.ir_version = min(file.ir_version, MAX_IR_VERSION)
    failures = []
    for model in (as_it_is, written) if graph_of(file).opset != OPSET else (as_it_is,):
        try:
            run = _only(onnxruntime_run(model), names)
            run = by_batches(run, frozen) if frozen else run
            run(items)
        except ExportError as error:
            failures.append(shortened(one_line(error)))
            continue
        if failures:
            _log.warning("the file is compared in opset %d, since it does not run as it is: %s", OPSET, failures[0])
        return run
    is_whole = np.issubdtype(items.dtype, np.integer)
    advice = "; give real items: whole numbers are drawn from their range, or else from 0 to 255" if is_whole else ""
    raise ExportError(f"the file does not run: {failures[0]}{advice}")


def _only(run: Run, names: Sequence[str]) -> Run:
    """Return only the outputs of these names, under names that mean nothing to the comparison.

    NaN is 0 here: values that are not finite are refused later, whatever returns them.
    """

    def named(items: Items) -> dict[str, Items]:
        outputs = run(items)
        return {f"output {name}": np.nan_to_num(outputs[name]) for name in names}

    return named


def _rows(values: Items, size: int) -> Items:
    """Return an output with a row for each item: a batch of 1 may be left out, as by torch's squeeze()."""
    return values[None] if size == 1 and (values.ndim == 0 or len(values) != 1) else values


def _equal(expected: Mapping[str, Items], actual: Mapping[str, Items]) -> bool:
    if any(values.shape != actual[name].shape for name, values in expected.items()):
        return False
    return all(difference.passed for difference in output_differences(expected, actual, "").values())


def _check_rows_apart(original: Run, items: Items) -> None:
    """Raise FrozenBatch if the file itself returns something else for a row among other neighbours."""
    among_others = {name: np.roll(values, -1, axis=0) for name, values in original(np.roll(items, 1, axis=0)).items()}
    if not _equal(original(items), among_others):
        raise FrozenBatch("rows of the file's own batch influence each other, or each has weights of its own")


_WHY = {
    "BatchNormalization": "it takes mean and variance from the rows of the batch, as in training",
    "Loop": "its number of rounds, or what it carries on, is written for one batch size",
    "Scan": "what it carries on is written for one batch size",
}


def _difference(written: onnx.ModelProto, network: onnx.ModelProto, items: Items, frozen: int, where: str) -> FrozenBatch:
    """Return the error that names the first node whose values differ from the file's."""
    node = _first_differing(written, network, items, frozen or 1)
    if node is None:
        return FrozenBatch(f"the graph does not return what the file returns, on {where}")
    why = _WHY.get(node.op_type, "it combines rows, or holds a number that is right for one batch size alone")
    return refusal(node, f"does not return for a row what it returns in the file, on {where}: {why}")


def _first_differing(written: onnx.ModelProto, network: onnx.ModelProto, items: Items, frozen: int) -> onnx.NodeProto | None:
    rows = np.resize(items, (2 * frozen, *items.shape[1:]))
    common = {name for node in network.graph.node for name in node.output if name}
    names = [name for node in written.graph.node for name in node.output if name in common]
    file_run = _with_values(written, names)
    parts = [file_run(np.ascontiguousarray(each)) for each in (rows[:frozen], rows[frozen:])]
    values = _with_values(network, names)(rows)
    for node in written.graph.node:
        if any(name in values and not _same_rows([part[name] for part in parts], values[name]) for name in node.output):
            return node
    return None


def _with_values(model: onnx.ModelProto, names: Sequence[str]) -> Run:
    """Return a run that returns these values of the graph too."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    del extended.graph.output[:]
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return onnxruntime_run(extended, optimised=False)


def _same_rows(parts: Sequence[Array], whole: Array) -> bool:
    """Return whether a value of two batches is that of the two, one after the other, in the dimension that grew."""
    if whole.dtype == object or parts[0].ndim != whole.ndim or (whole.ndim < 2 and whole.dtype.kind in "iu"):
        return True  # not followed: texts, sequences, and sizes, in which the batch's own is a number
    axis = next((axis for axis in range(whole.ndim) if whole.shape[axis] != parts[0].shape[axis]), None)
    expected = parts[0] if axis is None else np.concatenate(parts, axis=axis)
    if whole.shape != expected.shape:
        return False
    scale = float(np.nan_to_num(np.abs(expected.astype(np.float64))).max(initial=1.0))
    same = np.allclose(expected.astype(np.float64), whole.astype(np.float64), rtol=1e-3, atol=1e-5 * scale, equal_nan=True)
    return same and (axis is not None or whole.size == 0 or np.array_equal(parts[0], parts[1]))
