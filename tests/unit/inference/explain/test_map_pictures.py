"""Maps as pictures: colours for and against, and a panel for each kind of item."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support.sounds import SOUND, tone
from support.tables import TRANSFER, transfers

from avizor_inference.explain.axes import on_axes
from avizor_inference.explain.heat_map import HeatMap, Kind
from avizor_inference.explain.pictures.maps import draw_maps, limits
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import ImageInput, InputSpec, SignalInput, TensorInput
from avizor_inference.items.kinds.base import Span

IMAGE = ImageInput(height=20, width=30, channels=3)
SIGNAL = SignalInput(channels=2, window_samples=50, hop_samples=50, columns=("a$", "b"))


def made(spec: InputSpec, row: RawRow, values: object, kind: Kind = "cam", target: str = "dog") -> HeatMap:
    map, y, x = on_axes(spec, np.asarray(values), row.span)
    return HeatMap(kind, row, target, 1.5, "logit", map, y, x, {"probability": "0.75"})


def grey(item: str = "cat.png") -> RawRow:
    return RawRow(item, 0, np.full((20, 30, 3), 128, np.uint8))


def test_what_speaks_for_the_class_is_red_and_what_speaks_against_it_is_blue() -> None:
    figure = draw_maps([made(IMAGE, grey(), [[1.0, -1.0]], "occlusion")], IMAGE)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    panel = figure.axes[1]
    for x, is_for in ((7, True), (22, False)):
        column, row = panel.transData.transform((x, 10)).astype(int)
        red, _, blue, _ = pixels[pixels.shape[0] - row, column]
        assert (red > blue + 50) if is_for else (blue > red + 50)
    assert figure.axes[0].get_title() == "cat.png"
    assert panel.get_title() == "dog: probability 0.750, logit 1.5\nhidden parts"


def test_colours_are_symmetric_around_0_but_for_errors() -> None:
    assert limits(made(IMAGE, grey(), [[1.0, 3.0]])) == (-3, 3)
    assert limits(made(IMAGE, grey(), [[1.0, 3.0]], "error_map")) == (0, 3)
    assert limits(made(IMAGE, grey(), [[0.0, 0.0]])) == (-1, 1)


def test_maps_of_one_item_are_beside_each_other_and_items_below() -> None:
    one, other = grey(), grey("dog.png")
    maps = [made(IMAGE, one, [[1.0]]), made(IMAGE, one, [[1.0]], "occlusion"), made(IMAGE, other, [[1.0]])]
    titles = [panel.get_title() for panel in draw_maps(maps, IMAGE).axes[:6]]
    assert (titles[0], titles[3]) == ("cat.png", "dog.png")
    assert titles[2].endswith("hidden parts")
    assert not titles[5]


@pytest.mark.parametrize(
    ("spec", "row", "values", "panels"),
    [
        (SOUND, RawRow("a.wav", 1, tone(4096 / 8000), Span(0, 4096, 4096)), np.ones((2, 3)), 3),
        (SIGNAL, RawRow("s.npy", 0, np.ones((2, 50), np.float32), Span(0, 0, 50)), np.ones(5), 3),
        (TRANSFER, RawRow("t.csv", 3, transfers(1)[0]), np.ones(len(TRANSFER.columns)), 1),
        (TensorInput(item_shape=(4, 4)), RawRow("x.npy", 0, np.ones((4, 4), np.float32)), np.ones((2, 2)), 3),
    ],
    ids=["sound", "signal", "table", "tensor"],
)
def test_every_kind_of_item_has_a_picture(spec: InputSpec, row: RawRow, values: object, panels: int) -> None:
    figure = draw_maps([made(spec, row, values, "occlusion")], spec)
    figure.canvas.draw()
    assert len(figure.axes) == panels
