"""Draw the deletion and insertion curves of maps, and those of orders by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avizor_inference.explain.curves import Curve, Curves
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.pictures.figure import new_figure
from avizor_inference.explain.pictures.names import KINDS, plain, target_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Dark enough on white, and different in grey and for those who do not see red or green well.
_STYLES = (("#0b559f", "-"), ("#d1550a", "--"), ("#6a2c91", "-."))


def draw_curves(judged: Sequence[tuple[HeatMap, Curves]]) -> Figure:
    """Return a figure of two panels, deletion and insertion, with a line for each map of one row and one for chance beside it.

    Raises SettingsError without matplotlib.
    """
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    first = judged[0][0]
    for (found, curves), (colour, line) in zip(judged, _STYLES, strict=False):
        _draw(left, curves.deletion, KINDS[found.kind], (colour, line))
        _draw(right, curves.insertion, KINDS[found.kind], (colour, line))
        # Each map has its own: the blocks that are hidden are those of its axes.
        _draw(left, curves.random_deletion, "  in random order", (colour, ":"), 1.0)
        _draw(right, curves.random_insertion, "  in random order", (colour, ":"), 1.0)
    left.set_ylabel(_what(first))
    left.set_title("deletion: the highest places are hidden first\n(a low area is good)", fontsize="medium")
    left.set_xlabel("share of the item that is hidden")
    right.set_title("insertion: only the highest places are shown\n(a high area is good)", fontsize="medium")
    right.set_xlabel("share of the item that is shown")
    title = "area below the curve" + (", of score / first score" if first.target_unit == "score" else "")
    for panel in (left, right):
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
        panel.grid(visible=True, color="0.9")
        panel.legend(fontsize="small", title=title, title_fontsize="small")
    return figure


def _what(found: HeatMap) -> str:
    if found.target_unit == "score":
        return "score"
    return plain(f"probability of {target_of(found)}")


def _draw(panel: Axes, curve: Curve, name: str, style: tuple[str, str], width: float = 1.8) -> None:
    panel.plot(curve.share, curve.values, label=f"{name}: {curve.auc:.3f}", color=style[0], linestyle=style[1], linewidth=width)
