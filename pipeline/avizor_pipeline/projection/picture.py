"""Draw a map as PNG. Needs matplotlib: `pip install 'avizor[pictures]'`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from avizor_inference.arrays import Floats
from avizor_inference.explain.pictures.figure import new_figure, png_of
from avizor_pipeline.projection.colours import Classes, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#c4c4c4"

# Names in the legend are cut to this length.
_NAME = 28

# Shorter ones are written into the map, too.
_SHORT = 12

# Scores beyond these percentiles have the colour of the last one: a few large ones would leave one colour for the rest.
_PERCENTILES = (1, 99)

_VERDICTS = {"normal": "#8fa9c4", "anomaly": "#d62728"}


class _Dots(TypedDict):
    """Holds how points are drawn. s: their area in square points."""

    s: float
    linewidths: float


def draw(places: Floats, colour: Classes | Scores, title: str, note: str, axes: tuple[str, str], old: Floats | None) -> bytes:
    """Return the picture of places[n, 2] as PNG.

    axes: their labels; empty where distances along one mean nothing. old: points of the map that are drawn in grey below.
    """
    figure = new_figure(8.4, 6.6)
    area = figure.subplots()
    area.set_aspect("equal", adjustable="datalim")
    area.set_title(title, loc="left", fontsize=12, pad=20)
    area.text(0, 1.012, note, transform=area.transAxes, fontsize=8.5, color="#444444")
    shown = len(places) + (0 if old is None else len(old))
    size, opacity = float(np.clip(40_000 / max(shown, 1), 1.5, 22)), 0.8 if shown < 20_000 else 0.5
    dots = _Dots(s=size, linewidths=0)
    if old is not None:
        area.scatter(old[:, 0], old[:, 1], c="#dedede", label="old points", **dots)
    if isinstance(colour, Scores):
        low, high = np.nanpercentile(colour.values, _PERCENTILES)
        order = np.argsort(colour.values)  # high scores on top
        x, y = places[order].T
        drawn = area.scatter(x, y, c=colour.values[order], cmap="viridis", vmin=low, vmax=high, **dots)
        figure.colorbar(drawn, ax=area, label=colour.title, shrink=0.7, extend="both")
    else:
        _draw_classes(area, places, colour, opacity, dots)
    area.set_xlabel(axes[0])
    area.set_ylabel(axes[1])
    if not any(axes):
        area.set_xticks([])
        area.set_yticks([])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in scripts that the font does not have
        return png_of(figure, dpi=110)


def _draw_classes(area: Axes, places: Floats, classes: Classes, opacity: float, dots: _Dots) -> None:
    palette = _palette(len(classes.names))
    rest = classes.codes < 0
    if rest.any():
        area.scatter(*places[rest].T, color=_GREY, label=classes.others or "not judged", alpha=opacity, **dots)
    for place, name in enumerate(classes.names):
        of_class = classes.codes == place
        plain = " ".join(name.split())
        short = plain if len(plain) <= _NAME else plain[: _NAME - 3] + "..."
        label = f"{short} ({of_class.sum():,})"
        color = _VERDICTS[name] if classes.title == "verdict" else palette[place]
        label = f"\u200b{label}" if label.startswith("_") else label  # matplotlib hides labels with an underscore first
        area.scatter(*places[of_class].T, color=color, label=label, alpha=opacity, **dots)
        _name_it(area, places[of_class], short)
    scale = float(np.sqrt(45 / dots["s"]))
    legend = area.legend(
        title=classes.title, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, markerscale=scale
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is one


def _palette(count: int) -> list[tuple[float, float, float, float]]:
    """Return colours of matplotlib that differ most; the grey ones last, since grey means `other` here."""
    from matplotlib import colormaps

    few, many = colormaps["tab10"], colormaps["tab20"]
    if count <= 10:
        return [few(place) for place in (0, 1, 2, 3, 4, 5, 6, 8, 9)] + [(0.0, 0.0, 0.0, 1.0)]
    return [many(place) for place in (*range(0, 14, 2), 16, 18, *range(1, 14, 2), 17, 19)] + [few(7), (0.0, 0.0, 0.0, 1.0)]


def _name_it(area: Axes, places: Floats, name: str) -> None:
    """Write a short name at the middle of its points, so that a reader need not match colours with the legend."""
    from matplotlib.patheffects import withStroke

    if len(name) > _SHORT or not len(places):
        return
    x, y = np.median(places, axis=0)
    outline = [withStroke(linewidth=3, foreground="white")]
    area.text(
        x, y, name, fontsize=10, weight="bold", ha="center", va="center", path_effects=outline, zorder=5, parse_math=False
    )
