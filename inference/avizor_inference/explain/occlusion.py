"""Hide parts of a row, one after the other, and see by how much the model's answer falls: occlusion, Zeiler and Fergus 2014."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats
from avizor_inference.engines.base import Engine
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.hiding.batches import masked_batches
from avizor_inference.explain.hiding.cover import Mask
from avizor_inference.explain.hiding.cover_of import cover_of, start_of
from avizor_inference.explain.hiding.places import Windows, windows_for
from avizor_inference.explain.hiding.settings import DEFAULT, HidingSettings, chosen_fill
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.explain.target import target_values
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.models import ModelVersion


def occlusion_map(
    engine: Engine,
    version: ModelVersion,
    row: RawRow,
    settings: HidingSettings = DEFAULT,
    target: str | int | None = None,
    timeout_s: float | None = None,
) -> HeatMap:
    """Return by how much the probability of a class, or an autoencoder's score, falls where the row is hidden.

    Windows slide over the row. A place has the mean of the falls of all windows that cover it, as in captum's Occlusion. The
    row and its masked copies run in full batches, a few of which are in memory at once.

    target: the label or the place of a class; None for the most probable one. An autoencoder has None. timeout_s: for each
    batch. Raises InvalidInput for settings that do not fit, and what Engine.infer raises.
    """
    spec = version.manifest.input
    windows, fill = windows_for(spec, settings), chosen_fill(spec, settings.fill)
    y, x = windows.y.axis, windows.x.axis
    x = replace(x, edges=x.edges + start_of(spec, row))
    size = max(windows.y.stops[0] - windows.y.starts[0], windows.x.stops[0] - windows.x.starts[0])
    cover = cover_of(spec, row, y, x, fill, float(size))
    batch = engine.spec(version.name, version.version).max_batch_size
    rows = masked_batches(row.values, cover, _masks(windows), batch)
    found, values = target_values(engine, version, rows, target, timeout_s)
    return HeatMap(
        kind="occlusion",
        row=row,
        target=found.name,
        target_value=float(values[0]),
        target_unit=found.unit,
        values=_mean_falls(windows, values[0] - values[1:]),
        y=y,
        x=x,
        settings={**_described(windows), "fill": _text(fill), "copies": str(windows.count)},
    )


def rows_of_map(spec: InputSpec, settings: HidingSettings = DEFAULT) -> int:
    """Return how many rows the model runs for one map: the masked copies and the row itself.

    Raises InvalidInput for settings that do not fit, or that would cost more than MAX_COPIES.
    """
    return windows_for(spec, settings).count + 1


def _masks(windows: Windows) -> Iterator[Mask]:
    """Yield the mask of each window: bool[h, w], the same array each time."""
    mask = np.zeros((len(windows.y.axis.edges) - 1, len(windows.x.axis.edges) - 1), np.bool_)
    for place in _boxes(windows):
        mask[place] = True
        yield mask
        mask[place] = False


def _boxes(windows: Windows) -> Iterator[tuple[slice, slice]]:
    columns = windows.x.places()
    return ((rows, each) for rows in windows.y.places() for each in columns)


def _mean_falls(windows: Windows, falls: Floats) -> NDArray[np.float32]:
    total = np.zeros((len(windows.y.axis.edges) - 1, len(windows.x.axis.edges) - 1))
    covered = np.zeros_like(total)
    for place, fall in zip(_boxes(windows), falls, strict=True):
        total[place] += fall
        covered[place] += 1
    return (total / covered).astype(np.float32)


def _described(windows: Windows) -> dict[str, str]:
    """Return size and stride along each axis that has several windows which are no columns or channels."""
    axes = [each for each in (windows.y, windows.x) if len(each) > 1 and not each.names]
    sizes = [_range(each.stops - each.starts, each.unit) for each in axes]
    strides = [_range(np.diff(each.starts), each.unit) for each in axes]
    return {"size": " x ".join(sizes), "stride": " x ".join(strides)} if axes else {}


def _range(lengths: Floats, unit: str) -> str:
    """Return the lengths as text; the last window may be shorter, and is left out."""
    least, most = float(lengths[:-1].min(initial=lengths[0])), float(lengths[:-1].max(initial=lengths[0]))
    number = f"{least:.4g}" if most - least < 1e-3 * most else f"{least:.4g} to {most:.4g}"
    return f"{number} {unit}".strip()


def _text(fill: str | float) -> str:
    return fill if isinstance(fill, str) else f"{fill:g}"
