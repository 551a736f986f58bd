"""Write the numbers of a map, and those of its curves, as a .npz file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.durable_files import write_bytes
from avizor_inference.explain.curves import Curves
from avizor_inference.explain.heat_map import HeatMap


def write_npz(path: Path, found: HeatMap, judged: Curves | None, model: str) -> None:
    """Write the map, its axes and what it was computed with, whole or not at all; `about` is JSON. Raises OSError.

    model: its name, and what else was chosen.
    """
    arrays = {
        "values": found.values,
        "y_edges": found.y.edges,
        "x_edges": found.x.edges,
        "about": np.array(json.dumps({"model": model, **about(found)})),
        **found.arrays,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **(_curve_arrays(judged) if judged else {}))  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def about(found: HeatMap) -> dict[str, Any]:
    """Return what a map is about, for JSON: all but its values and edges."""
    axes = {
        name: {"unit": axis.unit} | ({"names": list(axis.names)} if axis.names else {})
        for name, axis in (("y", found.y), ("x", found.x))
    }
    return {
        "item": found.row.item,
        "row": found.row.index,
        "kind": found.kind,
        "target": found.target,
        "target_value": found.target_value,
        "target_unit": found.target_unit,
        "axes": axes,
        "settings": found.settings,
    }


def areas(judged: Curves) -> dict[str, float]:
    """Return the area below each curve, by its name."""
    return {name: curve.auc for name, curve in _by_name(judged).items()}


def _curve_arrays(judged: Curves) -> dict[str, Array]:
    named = _by_name(judged).items()
    shares = {f"{name}_share": curve.share for name, curve in named}
    return shares | {f"{name}_values": curve.values for name, curve in named} | {"curves_fill": np.array(judged.fill)}


def _by_name(judged: Curves) -> dict[str, Any]:
    return {
        "deletion": judged.deletion,
        "insertion": judged.insertion,
        "random_deletion": judged.random_deletion,
        "random_insertion": judged.random_insertion,
    }
