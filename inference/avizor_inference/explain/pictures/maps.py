"""Draw maps over the items that they explain: the item beside the map over it, both on the same axes.

Colours: red speaks for the class, blue against it, and the more colour there is, the more it does. Where the map is 0 the item
shows through, in grey where it is an image, so that all colour is the map's. Errors, which are never negative, go from dark to
light. Both colour maps are even to the eye (coolwarm: K. Moreland, 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Floats
from avizor_inference.explain.background import (
    Background,
    Cells,
    Lines,
    Picture,
    Spectrogram,
    background_of,
    name_of_row,
)
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.pictures.figure import new_figure
from avizor_inference.explain.pictures.names import KINDS, plain, target_of
from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec
from avizor_inference.items.kinds.mel_scale import MelScale, hz_to_mel, mel_to_hz
from avizor_inference.items.kinds.sound_front_ends import LogMelFrontEnd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (4.2, 3.4)  # inches
_BAR = 0.26  # inches of a bar of a table
_MOST_BARS = 40
_MOST_ALPHA = 0.8
_DARKEST = 90  # of an image under a map, of 255: colours over black are hard to tell apart
_MEANINGS = {"cam": "logit", "occlusion": "fall when hidden", "error_map": "squared error"}
_HZ = (20_000, 10_000, 5000, 2000, 1000, 500, 200, 100, 50, 20)
_LEAST_STEP = 0.06  # between two ticks, of the height


def draw_maps(maps: Sequence[HeatMap], spec: InputSpec) -> Figure:
    """Return a figure with a line of panels for each item: the item, then each of its maps over it.

    maps: at least one; those of one row follow each other. spec: of the model's input. Raises SettingsError without matplotlib.
    """
    lines = [list(group) for _, group in groupby(maps, key=lambda each: id(each.row))]
    if background_is_text := isinstance(background_of(maps[0].row, spec), Cells):
        height = _BAR * min(_MOST_BARS, maps[0].values.size) + 1
        columns = max(map(len, lines))
    else:
        height, columns = _PANEL[1], 1 + max(map(len, lines))
    figure = new_figure(_width(spec) * columns + 0.8, height * len(lines))
    panels = figure.subplots(len(lines), columns, squeeze=False)
    for line, group in zip(panels, lines, strict=True):
        background = background_of(group[0].row, spec)
        if background_is_text:
            own = line[: len(group)]
        else:
            own = line[1 : 1 + len(group)]
            _draw_background(line[0], background, spec, group[0])
            line[0].set_title(name_of_row(group[0].row, spec), fontsize="medium")
        for panel, each in zip(own, group, strict=True):
            _draw_map(figure, panel, each, background, spec)
            panel.set_title(_title(each, spec, with_item=background_is_text), fontsize="medium")
        for panel in line[len(group) + (not background_is_text) :]:
            panel.set_axis_off()
    return figure


def _width(spec: InputSpec) -> float:
    """Return the width of a panel in inches: an image keeps its proportions."""
    if not isinstance(spec, ImageInput):
        return _PANEL[0]
    return min(max((_PANEL[1] - 1) * spec.width / spec.height, 2.4), 6.0) + 0.8


def _title(map: HeatMap, spec: InputSpec, with_item: bool) -> str:
    """Return the class and its probability, and how the map was computed."""
    value = f"{map.target_unit} {map.target_value:.3g}"
    if probability := map.settings.get("probability"):
        value = f"probability {float(probability):.3f}, {value}"
    item = f"{name_of_row(map.row, spec)}\n" if with_item else ""
    target = "" if map.target == "score" else f"{target_of(map)}: "
    return plain(f"{item}{target}{value}\n{KINDS[map.kind]}")


def _draw_map(figure: Figure, panel: Axes, map: HeatMap, background: Background | None, spec: InputSpec) -> None:
    low, high = limits(map)
    colours: dict[str, Any] = {"cmap": "coolwarm" if low < 0 else "plasma", "vmin": low, "vmax": high}
    if isinstance(background, Cells):
        _draw_bars(panel, map, background)
        return
    is_over = _fits(map, background)
    alpha: Any = _alpha(map.values, high) if is_over else None  # matplotlib's types do not know an alpha for each place
    y = map.y
    if is_over:
        _draw_background(panel, _in_grey(background), spec, map)
        if len(map.values) == 1 and background is not None:  # a place for each time: over the whole height
            y = Axis(np.array(sorted(panel.get_ylim())), map.y.unit)
    if isinstance(background, Picture) and _is_even(map.x) and _is_even(map.y):  # a mesh of a million places takes a minute
        interpolation = "bilinear" if map.kind == "cam" else "nearest"
        extent = (map.x.edges[0], map.x.edges[-1], map.y.edges[-1], map.y.edges[0])
        drawn: Any = panel.imshow(map.values, extent=extent, interpolation=interpolation, alpha=alpha, **colours)
    else:
        drawn = panel.pcolormesh(map.x.edges, y.edges, map.values, alpha=alpha, **colours)
    if not is_over:
        if isinstance(background, Spectrogram):
            panel.set_xlim(background.x.edges[0], background.x.edges[-1])
        panel.set_xlabel(_label(map.x, "x"))
        panel.set_ylabel("coefficient" if isinstance(spec, AudioInput) else _label(map.y, "y"))
    bar = figure.colorbar(drawn, ax=panel, shrink=0.9)
    bar.set_label(_meaning(map))


def _meaning(map: HeatMap) -> str:
    """Return what the numbers of a map are."""
    if map.kind == "error_map":
        return _MEANINGS[map.kind]
    if map.target_unit == "score":
        return "fall of the score when hidden"
    return f"{_MEANINGS[map.kind]}: + for, \N{MINUS SIGN} against"


def limits(map: HeatMap) -> tuple[float, float]:
    """Return the values at the ends of the colours: symmetric around 0, or from 0 on for errors, which are never negative."""
    largest = float(np.abs(map.values).max()) or 1.0
    return (0.0 if map.kind == "error_map" else -largest), largest


def _alpha(values: NDArray[np.float32], largest: float) -> Floats:
    """Return how much a map covers its item, 0 to 1: the root of its size, so that weak places can still be seen."""
    return np.asarray(_MOST_ALPHA * np.sqrt(np.abs(values) / largest), np.float64)


def _is_even(axis: Axis) -> bool:
    """Return whether all places of an axis have the same extent."""
    extents = np.diff(axis.edges)
    return bool(np.allclose(extents, extents[0]))


def _fits(map: HeatMap, background: Background | None) -> bool:
    """Return whether a map has the axes of what is behind it."""
    if isinstance(background, Spectrogram):
        return map.y.unit == "Hz" or len(map.values) == 1
    return background is not None


def _draw_background(panel: Axes, background: Background | None, spec: InputSpec, map: HeatMap) -> None:
    if isinstance(background, Picture):
        height, width = background.pixels.shape[:2]
        panel.imshow(background.pixels, extent=(0, width, height, 0), interpolation="nearest")
        panel.set_xlabel("pixels")
    elif isinstance(background, Spectrogram):
        panel.pcolormesh(background.x.edges, background.y.edges, background.decibels, cmap="gray", rasterized=True)
        _set_hz(panel, spec, map)
        panel.set_xlim(background.x.edges[0], background.x.edges[-1])
        panel.set_xlabel("seconds")
    elif isinstance(background, Lines):
        _draw_lines(panel, background)
    else:
        panel.text(0.5, 0.5, "this input is not described as\nan image, a sound, a signal or a table", ha="center", va="center")
        panel.set_axis_off()


def _set_hz(panel: Axes, spec: InputSpec, map: HeatMap) -> None:
    """Give a spectrogram the frequencies of the model's front end: its mel scale, and the bands that it sees."""
    low, high = panel.get_ylim()
    if map.y.unit == "Hz":
        low, high = map.y.edges[0], map.y.edges[-1]
    front_end = spec.front_end if isinstance(spec, AudioInput) else None
    if isinstance(front_end, LogMelFrontEnd):
        scale = front_end.mel_scale
        panel.set_yscale("function", functions=(lambda hz: hz_to_mel(hz, scale), lambda mel: mel_to_hz(mel, scale)))
        ticks = _mel_ticks(low, high, scale)
        panel.set_yticks(ticks, [str(each) for each in ticks])
        panel.minorticks_off()
    panel.set_ylim(low, high)
    panel.set_ylabel("Hz")


def _mel_ticks(low: float, high: float, scale: MelScale) -> list[int]:
    """Return round frequencies that are not too near each other on a mel axis."""
    first, last = (float(hz_to_mel(np.array(each), scale)) for each in (low, high))
    ticks, above = list[int](), float("inf")
    for hz in _HZ:
        place = (float(hz_to_mel(np.array(hz, np.float64), scale)) - first) / (last - first)
        if low <= hz <= high and above - place >= _LEAST_STEP:
            ticks.append(hz)
            above = place
    return ticks


def _in_grey(background: Background | None) -> Background | None:
    """Return an image in shades of grey, not too dark for colours over it; anything else as it is."""
    if not isinstance(background, Picture):
        return background
    grey = background.pixels @ np.array([0.299, 0.587, 0.114])
    return Picture(np.repeat((_DARKEST + grey * ((255 - _DARKEST) / 255))[..., None], 3, axis=2).astype(np.uint8))


def _draw_lines(panel: Axes, lines: Lines) -> None:
    """Draw each channel in a strip of height 1, the first at the top, scaled by itself."""
    middles = (lines.x.edges[:-1] + lines.x.edges[1:]) / 2
    for place, values in enumerate(lines.values):
        low, high = values.min(), values.max()
        scaled = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        panel.plot(middles, place + 0.95 - 0.9 * scaled, color="black", linewidth=0.6)
    panel.set_ylim(len(lines.values), 0)
    panel.set_xlim(lines.x.edges[0], lines.x.edges[-1])
    panel.set_yticks(np.arange(len(lines.values)) + 0.5, [plain(name) for name in lines.names])
    panel.set_xlabel(_label(lines.x, "sample"))


def _draw_bars(panel: Axes, map: HeatMap, cells: Cells) -> None:
    """Draw the values of the columns of a row: the largest ones, in their order."""
    values = map.values.reshape(-1)
    shown = np.sort(np.argsort(-np.abs(values), kind="stable")[:_MOST_BARS])
    names = map.x.names or tuple(str(place) for place in range(len(values)))
    texts = dict(zip(cells.names, cells.values, strict=True))
    labels = [f"{names[place]} = {texts[names[place]]}" if names[place] in texts else names[place] for place in shown]
    panel.barh(range(len(shown)), values[shown], color=["#b40426" if value > 0 else "#3b4cc0" for value in values[shown]])
    panel.set_yticks(range(len(shown)), [plain(label) for label in labels])
    panel.invert_yaxis()
    panel.axvline(0, color="black", linewidth=0.8)
    left_out = f" (the {len(shown)} largest of {len(values)})" if len(shown) < len(values) else ""
    panel.set_xlabel(_meaning(map) + left_out)


def _label(axis: Axis, otherwise: str) -> str:
    return axis.unit or otherwise
