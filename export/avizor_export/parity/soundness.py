"""Refuse a reference that is not finite, is random, or lets items influence each other, whatever the graph returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from avizor_export.graph.logits import LOGITS
from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.parity.probe_items import BATCH_SIZES, rows_of_batch
from avizor_export.parity.tolerances import output_differences
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError, ItemsInfluenceError

# Raw items [n, *item_shape] -> each output by name, [n, ...].
Run = Callable[[Items], dict[str, Items]]


def run_reference(reference: Run, items: Items, kind: str) -> dict[int, dict[str, Items]]:
    """Return the reference's outputs [n, ...] by name, for a batch of each size n, of the 8 items of a kind.

    Raises ExportError if they are not finite, lack rows or are random; ItemsInfluenceError if an item's outputs depend on the
    others in its batch.
    """
    outputs: dict[int, dict[str, Items]] = {}
    for size in BATCH_SIZES:
        outputs[size] = reference(np.ascontiguousarray(items[rows_of_batch(size)]))
        _refuse_non_finite(outputs[size], f"{kind}, batch of {size}", kind)
        _refuse_other_row_counts(outputs[size], size)
    largest = max(BATCH_SIZES)
    for size in BATCH_SIZES:
        rows = rows_of_batch(size)
        same_items = {name: values[rows] for name, values in outputs[largest].items()}
        if (differing := _first_difference(same_items, outputs[size])) is not None:
            raise _influence_error(reference, items, differing, (size, largest), kind)
    return outputs


def _influence_error(reference: Run, items: Items, name: str, sizes: tuple[int, int], kind: str) -> ExportError:
    """Return the error that says why output `name` of the same items differs between batches of these two sizes."""
    if _first_difference(reference(items), reference(items)) is not None:
        return ExportError(
            f"the network returns other values of {name} when it is run again on the same items: something in it is random, "
            "such as dropout that is still on; create it in eval mode, and let it be random in training only"
        )
    small, largest = sizes
    if not _neighbours_matter(reference, items):
        return ItemsInfluenceError(
            f"{name} of an item differs between a batch of {small} and one of {largest}, whatever else is in it ({kind}); look "
            "for a division by the size of the batch, for an operation that jumps at a rounding (round, argmax, a comparison), "
            f"and for values so large that float32 keeps no digits after the point{or_left_out(name)}"
        )
    return ItemsInfluenceError(
        f"items of a batch influence each other: {name} of an item depends on what else is in its batch ({kind}, batches of "
        f"{small} and {largest}); look for a batch norm that takes the batch's own statistics, or a mean, a norm or a sum over "
        f"dimension 0{or_left_out(name)}"
    )


def _neighbours_matter(reference: Run, items: Items) -> bool:
    """Return whether an item's outputs change if the other items of its batch become copies of it."""
    index = len(items) // 2
    among_others, among_copies = (
        {name: values[index : index + 1] for name, values in reference(batch).items()}
        for batch in (items, np.ascontiguousarray(np.broadcast_to(items[index], items.shape)))
    )
    return _first_difference(among_others, among_copies) is not None


def _first_difference(expected: Mapping[str, Items], actual: Mapping[str, Items]) -> str | None:
    differences = output_differences(expected, actual, "")
    return next((name for name, difference in differences.items() if not difference.passed), None)


def _refuse_non_finite(outputs: Mapping[str, Items], sample: str, kind: str) -> None:
    for name, values in outputs.items():
        if name != LOGITS and not np.isfinite(values.astype(np.float64)).all():  # -inf: the logit of an impossible class
            zeros = "a division by something that is 0 there (add an eps to it), or for " if kind == "zeros" else ""
            if kind == "missing":
                zeros = "NaN that reaches a network which cannot take it (give each column a fill), or for "
            raise ExportError(
                f"output {name} of the network is not finite on {sample}; look for {zeros}overflow or NaN in the weights"
                f"{or_left_out(name)}"
            )


def _refuse_other_row_counts(outputs: Mapping[str, Items], size: int) -> None:
    for name, values in outputs.items():
        if values.ndim == 0 or len(values) != size:
            rows = len(values) if values.ndim else "no"
            raise ExportError(
                f"{name} has {rows} rows for a batch of {size}; let the network return one for each item{or_left_out(name)}"
            )
