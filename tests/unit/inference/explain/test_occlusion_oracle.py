"""Occlusion is captum's: the same falls at the same places, for the same windows and the same fill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.function_model import Function, function_model, network_of
from support.sounds import SOUND, tone

from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.hiding.cover_of import cover_of
from avizor_inference.explain.hiding.fills import fill_array
from avizor_inference.explain.hiding.places import windows_for
from avizor_inference.explain.hiding.settings import By, HidingSettings, chosen_fill
from avizor_inference.explain.occlusion import occlusion_map, rows_of_map
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import (
    ImageInput,
    InputSpec,
    NumberColumn,
    SignalInput,
    TableFrontEnd,
    TableInput,
    TensorInput,
)

LABELS = ("a", "b", "c")
COLOUR = ImageInput(height=23, width=31, channels=3)
GREY = ImageInput(height=16, width=16, channels=1)
SIGNAL = SignalInput(channels=2, window_samples=50, hop_samples=50, sample_rate=100.0)
TENSOR = TensorInput(item_shape=(2, 9, 7))
LINE = TensorInput(item_shape=(40,))
ROW = TableInput(front_end=TableFrontEnd(columns=tuple(NumberColumn(name=each, mean=0.3) for each in "pqrst")))


def a_row(spec: InputSpec, seed: int = 1) -> np.ndarray:
    """A row whose values differ from place to place, and not only as noise does."""
    rng, tensor = np.random.default_rng(seed), spec.tensor_spec
    if tensor.dtype == "uint8":
        return rng.integers(0, 256, tensor.item_shape).astype(np.uint8) // 2 + np.uint8(64)
    return rng.standard_normal(tensor.item_shape).astype(np.float32)


def captum(
    function: Function, row: np.ndarray, window: tuple[int, ...], stride: tuple[int, ...], fill: np.ndarray
) -> np.ndarray:
    """The attribution of captum's Occlusion for the class that is the most probable."""
    from captum.attr import Occlusion  # it loads much, and each worker would

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(function(rows.numpy().astype(row.dtype)))

    item = torch.from_numpy(row[None].astype(np.float32))
    target = int(function(row[None])[0].argmax())
    baseline = torch.from_numpy(np.broadcast_to(fill, row.shape)[None].astype(np.float32))
    result = Occlusion(forward).attribute(item, window, strides=stride, target=target, baselines=baseline)
    return np.asarray(result[0].numpy())


def over_places(found: HeatMap, rate: float = 1.0) -> np.ndarray:
    """The map with one value for each pixel or sample."""
    y, x = (np.rint(np.diff(axis.edges) * factor).astype(int) for axis, factor in ((found.y, 1.0), (found.x, rate)))
    return np.repeat(np.repeat(found.values, y, axis=0), x, axis=1)


def mapped(spec: InputSpec, function: Function, row: np.ndarray, settings: HidingSettings) -> HeatMap:
    engine, version = function_model(spec, function, LABELS)
    found = occlusion_map(engine, version, RawRow("item", 0, row), settings)
    assert np.abs(found.values).max() > 0.02, "the network does not care, so that nothing is compared"
    assert sum(engine.batches) == rows_of_map(spec, settings)
    return found


@pytest.mark.parametrize("fill", ["mean", "blur", "black", "128"])
@pytest.mark.parametrize(
    ("size", "stride"),
    [((5, 5), (2, 2)), ((7, 4), (3, 4)), ((6, 6), (5, 5)), ((23, 9), (1, 9)), ((23, 31), (40, 40)), ((8, 31), (8, 40))],
)
def test_patches_of_a_colour_image_are_captums(size: tuple[int, int], stride: tuple[int, int], fill: str) -> None:
    function, row = network_of(COLOUR, 3), a_row(COLOUR)
    found = mapped(COLOUR, function, row, HidingSettings(size, stride, fill))
    covered = fill_array(COLOUR, row, chosen_fill(COLOUR, fill), max(size))
    expected = captum(function, row, (*size, 3), (*stride, 3), covered)
    np.testing.assert_allclose(over_places(found), expected[..., 0], atol=1e-4)


def test_one_number_is_the_size_along_both_axes_and_the_stride_is_half_of_it() -> None:
    function, row = network_of(GREY, 3), a_row(GREY)
    found = mapped(GREY, function, row, HidingSettings((6,), (), "black"))
    np.testing.assert_allclose(over_places(found), captum(function, row, (6, 6, 1), (3, 3, 1), np.zeros(1))[..., 0], atol=1e-4)


@pytest.mark.parametrize(("size", "stride"), [(0.08, 0.03), (0.05, 0.05), (0.21, 0.2)])
def test_stretches_of_a_signal_are_captums_channel_by_channel(size: float, stride: float) -> None:
    function, row = network_of(SIGNAL, 3), a_row(SIGNAL)
    found = mapped(SIGNAL, function, row, HidingSettings((size,), (stride,)))
    steps = (round(size * 100), round(stride * 100))
    expected = captum(function, row, (1, steps[0]), (1, steps[1]), row.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(over_places(found, rate=100.0), expected, atol=1e-4)
    assert found.y.names == ("channel 1", "channel 2")
    assert found.x.unit == "seconds"


def test_columns_are_captums_one_by_one() -> None:
    function, row = network_of(ROW, 3), a_row(ROW)
    found = mapped(ROW, function, row, HidingSettings())
    np.testing.assert_allclose(found.values[0], captum(function, row, (1,), (1,), np.full(1, 0.3)), atol=1e-4)
    assert found.x.names == tuple("pqrst")


def test_a_tensor_is_hidden_over_its_last_two_dimensions_through_all_of_the_first() -> None:
    function, row = network_of(TENSOR, 3), a_row(TENSOR)
    found = mapped(TENSOR, function, row, HidingSettings((4, 3), (3, 2), "zero"))
    np.testing.assert_allclose(over_places(found), captum(function, row, (2, 4, 3), (2, 3, 2), np.zeros(1))[0], atol=1e-4)


def test_a_tensor_of_one_dimension_is_hidden_in_stretches() -> None:
    function, row = network_of(LINE, 3), a_row(LINE)
    found = mapped(LINE, function, row, HidingSettings((7,), (3,), 0.5))
    np.testing.assert_allclose(over_places(found)[0], captum(function, row, (7,), (3,), np.full(1, 0.5)), atol=1e-4)


@pytest.mark.parametrize("fill", ["silence", "-20", "mean"])
def test_stretches_of_sound_are_captums(fill: str) -> None:
    function, row = network_of(SOUND, 3, gain=10), tone(4096 / 8000)
    found = mapped(SOUND, function, row, HidingSettings((0.1,), (0.03,), fill))
    still = np.empty_like(row)
    cover_of(SOUND, RawRow("item", 0, row), found.y, found.x, chosen_fill(SOUND, fill), 0).hide(
        np.ones(found.values.shape, bool), still
    )
    np.testing.assert_allclose(over_places(found, 8000)[0], captum(function, row, (800,), (240,), still), atol=1e-4)


@pytest.mark.parametrize("by", ["frequency", "both"])
def test_bands_of_sound_slide_as_captums_windows_do(by: By) -> None:
    function, row = network_of(SOUND, 3, gain=10), tone(4096 / 8000)
    settings = HidingSettings(by=by)
    found = mapped(SOUND, function, row, settings)
    cover = cover_of(SOUND, RawRow("item", 0, row), found.y, found.x, "mean", 0)

    def waves(kept: np.ndarray) -> np.ndarray:
        """The network of a map of what is kept: captum hides windows of two places in it."""
        rows = np.empty((len(kept), *row.shape), np.float32)
        for each, out in zip(kept, rows, strict=True):
            cover.hide(each == 0, out)
        return function(rows)

    window = (2, 1) if by == "frequency" else (2, 2)
    windows = windows_for(SOUND, settings)
    assert (len(windows.y), len(windows.x)) == tuple(np.array(found.values.shape) - np.array(window) + 1)
    expected = captum(waves, np.ones(found.values.shape, np.float32), window, (1, 1), np.zeros((1, 1)))
    np.testing.assert_allclose(found.values, expected, atol=1e-4)
