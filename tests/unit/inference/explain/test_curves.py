"""Deletion and insertion curves tell a good map from a bad one, and both from chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.function_model import function_model
from support.sounds import SOUND

from avizor_inference.arrays import Array, Items
from avizor_inference.errors import InvalidInput
from avizor_inference.explain.curves import ROWS_OF_CURVES, curves
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import ImageInput

SQUARE = ImageInput(height=32, width=32, channels=1)
LABELS = ("no", "yes")


def sees_the_corner(rows: Items) -> Array:
    """The probability of `yes` is the brightness of the 8 x 8 pixels in the corner."""
    yes = rows[:, :8, :8].reshape(len(rows), -1).mean(axis=1) / 255
    return np.stack([1 - yes, yes], axis=1).astype(np.float32)


def white_map(values: np.ndarray) -> HeatMap:
    edges = np.linspace(0, 32, len(values) + 1)
    row = RawRow("white", 0, np.full((32, 32, 1), 255, np.uint8))
    return HeatMap("cam", row, "yes", 1.0, "logit", values.astype(np.float32), Axis(edges, "pixels"), Axis(edges, "pixels"))


def test_a_map_of_the_corner_is_far_better_than_chance_and_one_of_all_else_far_worse() -> None:
    engine, version = function_model(SQUARE, sees_the_corner, LABELS)
    corner = np.zeros((4, 4))
    corner[0, 0] = 1
    right = curves(engine, version, white_map(corner), "black")
    # 1/16 of the area counts: all is lost, and found again, within that share.
    assert right.deletion.auc == pytest.approx(1 / 32, abs=1e-3)
    assert right.insertion.auc == pytest.approx(1 - 1 / 32, abs=1e-3)
    wrong = curves(engine, version, white_map(-corner), "black")
    assert (wrong.deletion.auc, wrong.insertion.auc) == pytest.approx((1 - 1 / 32, 1 / 32), abs=1e-3)
    assert right.random_deletion.auc == pytest.approx(0.5, abs=0.05)
    assert right.random_insertion.auc == pytest.approx(0.5, abs=0.05)
    assert right.random_deletion.auc == wrong.random_deletion.auc


def test_curves_begin_and_end_with_the_whole_item_and_with_nothing() -> None:
    engine, version = function_model(SQUARE, sees_the_corner, LABELS)
    found = curves(engine, version, white_map(np.random.default_rng(0).random((8, 8))), "black")
    for curve, first, last in ((found.deletion, 1, 0), (found.insertion, 0, 1), (found.random_insertion, 0, 1)):
        assert (curve.share[0], curve.share[-1]) == pytest.approx((0, 1))
        assert (curve.values[0], curve.values[-1]) == pytest.approx((first, last))
        assert (np.diff(curve.share) > 0).all()
    assert sum(engine.batches) == ROWS_OF_CURVES
    assert set(engine.batches[:-1]) == {8}


def test_the_order_is_that_of_the_map_whatever_its_resolution() -> None:
    engine, version = function_model(SQUARE, sees_the_corner, LABELS)
    fine = np.zeros((32, 32))
    fine[:8, :8] = 1
    coarse = np.zeros((4, 4))
    coarse[0, 0] = 1
    found = [curves(engine, version, white_map(each), "black").deletion.auc for each in (fine, coarse)]
    assert found[0] == pytest.approx(found[1])


def test_an_occlusion_map_of_sound_is_judged_on_its_own_bands() -> None:
    def has_the_tone(rows: Items) -> Array:
        power = np.abs(np.fft.rfft(rows)) ** 2
        return np.asarray(power[:, 500:530].sum(axis=1, keepdims=True), np.float32)

    engine, version = function_model(SOUND, has_the_tone)
    time = np.arange(4096) / 8000
    row = RawRow("tone", 0, (0.3 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32))
    for by in ("frequency", "both"):
        found = occlusion_map(engine, version, row, HidingSettings(by=by, fill="silence"))
        judged = curves(engine, version, found, "silence")
        assert judged.deletion.auc < 0.6 * judged.random_deletion.auc
        # The score is divided by that of the row itself, so that 1 is where it began.
        assert 0 < judged.deletion.auc < 1


def test_coefficients_cannot_be_hidden_in_a_waveform() -> None:
    engine, version = function_model(SOUND, lambda rows: rows[:, :1])
    row = RawRow("silence", 0, np.zeros(4096, np.float32))
    x = Axis(np.linspace(0, 0.512, 9), "seconds")
    found = HeatMap("error_map", row, "score", 1.0, "score", np.zeros((13, 8), np.float32), Axis(np.arange(14.0)), x)
    with pytest.raises(InvalidInput, match="no bands of frequency"):
        curves(engine, version, found)
    in_hertz = replace(found, y=Axis(np.linspace(0, 4000, 14), "Hz"))
    assert curves(engine, version, in_hertz).fill == "mean"
