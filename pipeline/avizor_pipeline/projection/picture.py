"""Draw a map as PNG. Needs matplotlib: `pip install 'avizor[pictures]'`."""

from __future__ import annotations

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
    figure.suptitle(title, x=0.02, ha="left", fontsize=12)
    area.set_title(note, loc="left", fontsize=8.5, color="#444444")
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
    return png_of(figure, dpi=110)


def _draw_classes(area: Axes, places: Floats, classes: Classes, opacity: float, dots: _Dots) -> None:
    from matplotlib import colormaps

    palette = [colormaps["tab10" if len(classes.names) <= 10 else "tab20"](place) for place in range(20)]
    rest = classes.codes < 0
    if rest.any():
        area.scatter(*places[rest].T, color=_GREY, label=classes.others or "not judged", alpha=opacity, **dots)
    for place, name in enumerate(classes.names):
        of_class = classes.codes == place
        short = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
        label = f"{short} ({of_class.sum():,})"
        color = _VERDICTS[name] if classes.title == "verdict" else palette[place]
        label = f"\u200b{label}" if label.startswith("_") else label  # matplotlib hides labels with an underscore first
        area.scatter(*places[of_class].T, color=color, label=label, alpha=opacity, **dots)
    scale = float(np.sqrt(45 / dots["s"]))
    area.legend(
        title=classes.title, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, markerscale=scale
    )
