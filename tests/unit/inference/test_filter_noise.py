"""explain/filter_noise.py: filters that have learned a shape are told from fresh weights."""

from __future__ import annotations

import numpy as np
import pytest

from avizor_inference.arrays import Floats
from avizor_inference.explain.filter_noise import network_noise, noise_of, share_of_noise
from avizor_inference.explain.layer_spectrum import spectrum_p_value
from avizor_inference.repository.reports import FilterNoise

SHAPES = [(1, 3, 3), (3, 5, 5), (64, 3, 3), (1, 80), (16, 7)]


def drawn(shape: tuple[int, ...], kind: str, filters: int = 2000) -> Floats:
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (filters, *shape)) if kind == "uniform" else random.standard_normal((filters, *shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_fresh_weights_get_each_p_value_about_equally_often(shape: tuple[int, ...], kind: str) -> None:
    noise = noise_of(drawn(shape, kind, 2000 if shape[0] < 64 else 400))
    assert (noise < 0.01).mean() <= 0.02
    assert (noise < 0.05).mean() <= 0.07
    assert 0.47 <= noise.mean() <= 0.57


@pytest.mark.parametrize("shape", SHAPES)
def test_smooth_filters_are_not_noise(shape: tuple[int, ...]) -> None:
    places = np.indices(shape[1:]).sum(axis=0) / sum(shape[1:])
    smooth = np.broadcast_to(np.exp(-((places - 0.4) ** 2) * 8), shape) + 0.05 * drawn(shape, "normal", 20)
    assert (noise_of(smooth) < 0.05).all()


def test_a_filter_that_oscillates_is_not_noise() -> None:
    wave = np.sin(np.arange(80) * 2.6) * np.hanning(80)
    assert noise_of(wave[None, None])[0] < 1e-6


def test_no_scale_of_a_filter_changes_its_noise() -> None:
    weights = drawn((3, 3, 3), "normal", 50)
    factors = np.geomspace(1e-9, 1e9, 50) * np.tile([1, -1], 25)
    np.testing.assert_allclose(noise_of(weights * factors[:, None, None, None]), noise_of(weights), rtol=1e-9)


def test_zeros_and_filters_without_neighbours_say_nothing() -> None:
    weights = drawn((4, 3, 3), "normal", 3)
    weights[1] = 0
    assert np.isnan(noise_of(weights)).tolist() == [False, True, False]
    assert np.isnan(noise_of(drawn((64, 1, 1), "normal", 3))).all()
    assert np.isnan(noise_of(drawn((1, 1, 2), "normal", 3))).all()
    assert np.isnan(noise_of(drawn((1, 3, 3, 3), "normal", 3))).all()
    assert share_of_noise(np.array([np.nan])) is None


def test_the_share_counts_the_filters_that_are_noise() -> None:
    smooth = np.ones((300, 1, 5, 5)) + 0.1 * drawn((1, 5, 5), "normal", 300)
    half = np.concatenate([smooth, drawn((1, 5, 5), "uniform", 300)])
    share = share_of_noise(noise_of(half))
    assert share is not None
    assert share == pytest.approx(0.5, abs=0.06)


def test_a_network_is_judged_by_all_its_filters() -> None:
    learned, fresh = np.ones((48, 1, 5, 5)) + 0.1 * drawn((1, 5, 5), "normal", 48), drawn((16, 3, 3), "normal", 48)
    noise = network_noise([("first", learned), ("narrow", drawn((8, 1, 1), "normal", 8)), ("second", fresh)])
    assert list(noise.layers) == ["first", "second"]
    assert (noise.filters, noise.not_judged) == (96, "")
    assert noise.layers["first"] < 0.01 < 0.7 < noise.layers["second"]
    assert noise.share == pytest.approx((noise.layers["first"] + noise.layers["second"]) / 2, abs=0.05)
    assert noise.warning == ""
    assert "fresh weights" in network_noise([("second", fresh)]).warning


def test_a_network_of_few_filters_is_not_judged() -> None:
    assert network_noise([]) == FilterNoise(filters=0, not_judged="no filter has enough weights side by side")
    few = network_noise([("a", drawn((1, 5, 5), "normal", 6))])
    assert (few.share, few.warning) == (None, "")
    assert few.not_judged == "only 6 filters have enough weights side by side"


def test_a_network_whose_filters_look_like_noise_is_told_by_a_direction_that_they_share() -> None:
    """As after a short training of a large layer: no filter has become smooth."""
    fresh = drawn((64, 3, 3), "uniform", 128)
    random = np.random.default_rng(1)
    direction = random.standard_normal(128)[:, None] * random.standard_normal(64 * 9)[None]
    learned = network_noise([("a", fresh + 0.15 * direction.reshape(fresh.shape))])
    assert learned.share is not None
    assert learned.share > 0.9
    assert learned.p_value is not None
    assert learned.p_value < 1e-6
    assert (learned.warning, bool(network_noise([("a", fresh)]).warning)) == ("", True)


@pytest.mark.parametrize("shape", [(16, 1, 5, 5), (32, 9), (64, 16, 3, 3), (24, 100), (256, 64, 1, 1)])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_a_fresh_layer_seldom_has_a_small_p_value(shape: tuple[int, ...], kind: str) -> None:
    random = np.random.default_rng(0)
    make = (lambda: random.uniform(-1, 1, shape)) if kind == "uniform" else (lambda: random.standard_normal(shape))
    p_values = np.array([spectrum_p_value(make()) for _ in range(200)], dtype=float)
    assert (p_values < 0.01).mean() <= 0.02
    assert (p_values < 0.05).mean() <= 0.07
    assert 0.5 <= p_values.mean() <= 0.75


def test_no_scale_of_a_filter_changes_the_spectrum_and_small_layers_are_not_judged() -> None:
    weights = drawn((3, 3, 3), "normal", 50)
    factors = np.geomspace(1e-150, 1e150, 50) * np.tile([1, -1], 25)
    assert spectrum_p_value(weights * factors[:, None, None, None]) == pytest.approx(spectrum_p_value(weights))
    weights[7] = 0
    assert spectrum_p_value(weights) is not None
    assert spectrum_p_value(drawn((1, 1, 3), "normal", 50)) is None
    assert spectrum_p_value(np.zeros((50, 3, 3, 3))) is None
