"""What is refused whatever the graph gives: a reference that is not finite, is random, or lets items influence each other."""

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
    """The reference's outputs for a batch of each size, of the 8 items of a kind.

    Raises ExportError if they are not finite, lack rows or are random; ItemsInfluenceError if an item's depend on the others
    in its batch.
    """
    outputs: dict[int, dict[str, Items]] = {}
    for size in BATCH_SIZES:
        outputs[size] = reference(np.ascontiguousarray(items[rows_of_batch(size)]))
        _refuse_non_finite(outputs[size], f"{kind}, batch of {size}", kind)
        _refuse_other_rows(outputs[size], size)
    whole = max(BATCH_SIZES)
    for size in BATCH_SIZES:
        rows = rows_of_batch(size)
        name = _first_difference({each: values[rows] for each, values in outputs[whole].items()}, outputs[size])
        if name is not None:
            raise _why(reference, items, name, (size, whole), kind)
    return outputs


def _why(reference: Run, items: Items, name: str, sizes: tuple[int, int], kind: str) -> ExportError:
    if _first_difference(reference(items), reference(items)) is not None:
        return ExportError(
            f"the network gives another {name} when it is run again on the same items: something in it is random, such as "
            "dropout that is still on; make it in eval mode, and leave the randomness to the training"
        )
    small, whole = sizes
    if not _neighbours_matter(reference, items):
        return ItemsInfluenceError(
            f"{name} of an item is another in a batch of {small} than in one of {whole}, whatever else is in it ({kind}); look "
            "for a division by the size of the batch, what jumps at a rounding (round, argmax, a comparison), and values so "
            f"large that float32 keeps no digits after the point{or_left_out(name)}"
        )
    return ItemsInfluenceError(
        f"items of a batch influence each other: {name} of an item depends on what else is in its batch ({kind}, batches of "
        f"{small} and {whole}); look for a batch norm that takes the batch's own statistics, or a mean, a norm or a sum over "
        f"dimension 0{or_left_out(name)}"
    )


def _neighbours_matter(reference: Run, items: Items) -> bool:
    """Whether an item gets something else in a batch of the same size, at the same place in it, among copies of itself."""
    place = len(items) // 2
    among_others, among_copies = (
        {name: values[place : place + 1] for name, values in reference(batch).items()}
        for batch in (items, np.ascontiguousarray(np.broadcast_to(items[place], items.shape)))
    )
    return _first_difference(among_others, among_copies) is not None


def _first_difference(wanted: Mapping[str, Items], got: Mapping[str, Items]) -> str | None:
    return next((name for name, each in output_differences(wanted, got, "").items() if not each.passed), None)


def _refuse_non_finite(outputs: Mapping[str, Items], sample: str, kind: str) -> None:
    for name, values in outputs.items():
        if name != LOGITS and not np.isfinite(values.astype(np.float64)).all():  # -inf is the logit of a class that never is
            zeros = "a division by something that is 0 there, which wants an eps, or for " if kind == "zeros" else ""
            raise ExportError(
                f"output {name} of the network is not finite on {sample}; look for {zeros}overflow or NaN in the weights"
                f"{or_left_out(name)}"
            )


def _refuse_other_rows(outputs: Mapping[str, Items], size: int) -> None:
    for name, values in outputs.items():
        if values.ndim == 0 or len(values) != size:
            rows = len(values) if values.ndim else "no"
            raise ExportError(
                f"{name} has {rows} rows for a batch of {size}; an output has one for each item{or_left_out(name)}"
            )
