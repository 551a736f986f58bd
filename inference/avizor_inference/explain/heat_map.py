"""Hold an explanation of one row of a model's input: a value for each place of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Array, Floats
from avizor_inference.explain.raw_rows import RawRow

Kind = Literal["cam", "occlusion", "error_map"]
Unit = Literal["pixels", "seconds", "Hz", ""]


@dataclass(frozen=True, eq=False)
class Axis:
    """Describes one axis of a map of n places: where each begins and the last one ends, edges[n + 1], in the unit.

    Edges increase. names: of the places, where they are columns or channels and have no extent.
    """

    edges: Floats
    unit: Unit = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Holds one map: float32[h, w], one value for each place of the row, on its axes `y` (h) and `x` (w).

    kind: how it was computed. target: the class, or `score`. target_value: the model's value of it for the row as it is,
    which is a `target_unit`. High values of the map speak for the target. `cam`: they raise the class's logit. `occlusion`: by
    so much the value falls when the place is hidden. `error_map`: the error there. settings: what the map was computed with,
    for its reader, such as the size and stride of the hidden patches. arrays: further numbers behind it, by name.
    """

    kind: Kind
    row: RawRow
    target: str
    target_value: float
    target_unit: Literal["logit", "probability", "score"]
    values: NDArray[np.float32]
    y: Axis
    x: Axis
    settings: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
