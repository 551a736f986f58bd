"""Outputs that are the same whatever the item: that two graphs agree in them proves nothing of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avizor_export.parity.tolerances import SQUARES, output_differences
from avizor_inference.arrays import Items

# Zeros, and rows without values, are 8 times the same item.
_TELLING = ("random", "real")


def same_for_all(expected: Mapping[str, Mapping[str, Items]]) -> tuple[str, ...]:
    """Names of the outputs in which the proof could not tell one item from another. expected: by kind, of its 8 items."""
    kinds = [expected[kind] for kind in _TELLING if kind in expected]
    if not kinds:
        return ()
    every = {name: np.concatenate([outputs[name] for outputs in kinds]) for name in kinds[0]}
    first = {name: np.broadcast_to(values[:1], values.shape) for name, values in every.items()}
    compared = output_differences(every, first, "")
    return tuple(name for name, each in compared.items() if each.passed and name not in SQUARES)


def constant_outputs_warning(names: Sequence[str], has_real: bool) -> str:
    """What it may mean that these outputs are the same for all items."""
    what = "all random and real items" if has_real else "all random items"
    is_or_are = "is" if len(names) == 1 and names[0] != "probabilities" else "are"
    return (
        f"{' and '.join(names)} {is_or_are} the same for {what}, within what the proof allows, and so it says little: the "
        "weights may be random or all 0, the input may be on another scale than in training (--input: mean, std), or the "
        "network may be dead or saturated, or give tiny values" + ("" if has_real else "; give real items (--items) to tell")
    )
