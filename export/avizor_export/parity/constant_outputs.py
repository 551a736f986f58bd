"""Find outputs that are the same for every item: if two graphs agree in such an output, that proves nothing about either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avizor_export.parity.tolerances import SQUARES, output_differences
from avizor_inference.arrays import Items

# The kinds whose items differ. Zeros, and rows without values, are 8 times the same item.
_KINDS_THAT_VARY = ("random", "real")


def same_for_all(expected: Mapping[str, Mapping[str, Items]]) -> tuple[str, ...]:
    """Return the names of the outputs that are the same for all items, within the tolerances of the proof.

    expected: outputs [8, ...] by name, for each kind of items.
    """
    kinds = [expected[kind] for kind in _KINDS_THAT_VARY if kind in expected]
    if not kinds:
        return ()
    every = {name: np.concatenate([outputs[name] for outputs in kinds]) for name in kinds[0]}
    first = {name: np.broadcast_to(values[:1], values.shape) for name, values in every.items()}
    differences = output_differences(every, first, "")
    return tuple(name for name, difference in differences.items() if difference.passed and name not in SQUARES)


def constant_outputs_warning(names: Sequence[str], has_real: bool) -> str:
    """Return a warning that says why these outputs may be the same for all items. has_real: real items were compared too."""
    what = "all random and real items" if has_real else "all random items"
    is_or_are = "is" if len(names) == 1 and names[0] != "probabilities" else "are"
    return (
        f"{' and '.join(names)} {is_or_are} the same for {what}, within what the proof allows, and so it says little: the "
        "weights may be random or all 0, the input may be on another scale than in training (--input: mean, std), or the "
        "network may be dead or saturated, or give tiny values" + ("" if has_real else "; give real items (--items) to tell")
    )
