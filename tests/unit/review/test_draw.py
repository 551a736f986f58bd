"""Drawing: pixels of known numbers, and what is drawn of signals and of tensors."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd, SignalInput, TensorInput
from avizor_inference.items.kinds.base import Row, Span
from avizor_review.media.draw import view_of
from avizor_review.media.excerpt import Excerpt
from avizor_review.media.pixels import area_means, lines_png, overlay_png, picture_bytes

SIGNAL = SignalInput(channels=2, window_samples=100, hop_samples=100, sample_rate=50.0)


def signal(windows: int = 3) -> Excerpt:
    values = np.random.default_rng(0).standard_normal((windows, 2, 100)).astype(np.float32)
    return Excerpt(tuple(Row(each, Span(0, 100 * place, 100)) for place, each in enumerate(values)), 1)


def errors_of(row: RawRow) -> HeatMap:
    """An error in the second channel of the second window."""
    assert row.span
    start = row.span.start_sample / 50
    values = np.zeros((2, 100), np.float32)
    values[1] = start == 2.0
    return HeatMap(
        "error_map", row, "score", 1.0, "score", values, Axis(np.arange(3.0)), Axis(np.linspace(start, start + 2, 101))
    )


def test_means_over_areas_are_exact_where_places_are_split() -> None:
    values = np.array([[1.0, 3.0]])
    edges = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(area_means(values, edges, np.array([0.0, 0.5, 1.5, 2.0]), 1), [[1, 2, 3]])
    np.testing.assert_allclose(area_means(values, edges, np.array([-2.0, -1.0, 5.0]), 1)[0, 0], 1)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.integers(1, 30))
def test_means_over_areas_keep_the_mean_of_the_whole(values: list[float], pixels: int) -> None:
    array = np.array([values])
    found = area_means(array, np.linspace(0, 1, len(values) + 1), np.linspace(0, 1, pixels + 1), 1)
    assert found.mean() == pytest.approx(array.mean(), abs=1e-6)


def test_a_signal_is_drawn_with_its_error_over_the_channel_and_the_window() -> None:
    view = view_of(signal(), "s.npy", SIGNAL, errors_of)
    overlay = view.overlay()
    assert overlay
    assert (view.x and (view.x.low, view.x.high, view.x.unit)) == (0.0, 6.0, "s")
    assert view.mark == pytest.approx((1 / 3, 2 / 3))
    strength = np.asarray(Image.open(io.BytesIO(overlay)).convert("RGBA"))[..., 3].astype(float)
    height, width = strength.shape
    assert strength[height // 2 :, width // 3 + 2 : 2 * width // 3 - 2].min() > 150
    assert strength[: height // 2].max() == 0
    assert strength[:, : width // 3 - 2].max() == 0
    assert view.sound is None


def test_a_short_sound_is_drawn_in_more_frames_than_a_coarse_model_has() -> None:
    """A click of 5 ms in 0.3 s, before a model with frames of 128 ms."""
    samples = np.full(2400, 1e-4, np.float32) * np.random.default_rng(0).standard_normal(2400).astype(np.float32)
    samples[1200:1240] = 0.5
    front_end = LogMelFrontEnd(n_fft=1024, hop_length=512, n_mels=16)
    spec = AudioInput(sample_rate=8000, window_samples=2400, hop_samples=2400, front_end=front_end)
    view = view_of(Excerpt((Row(samples, Span(0, 0, 2400)),), 0), "s.wav", spec, None)
    assert view.picture
    loudness = np.asarray(Image.open(io.BytesIO(view.picture)).convert("L")).mean(axis=0)
    bright = np.flatnonzero(loudness > loudness.max() / 2)
    assert 0.45 < bright.mean() / len(loudness) < 0.55
    assert np.ptp(bright) < 0.2 * len(loudness)


def test_without_a_map_a_signal_is_drawn_all_the_same() -> None:
    view = view_of(signal(), "s.npy", SIGNAL, None)
    assert view.picture
    assert view.map is None


def test_a_tensor_is_drawn_as_its_error_alone() -> None:
    spec = TensorInput(item_shape=(4, 4))
    excerpt = Excerpt((Row(np.ones((4, 4), np.float32)),), 0)
    assert view_of(excerpt, "t.npy", spec, None).picture is None
    view = view_of(
        excerpt,
        "t.npy",
        spec,
        lambda row: HeatMap(
            "error_map", row, "score", 1.0, "score", np.eye(4, dtype=np.float32), Axis(np.arange(5.0)), Axis(np.arange(5.0))
        ),
    )
    assert view.picture
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(view.picture))), 255 * np.eye(4))


def test_a_constant_channel_and_an_error_of_zeros_are_drawn() -> None:
    assert Image.open(io.BytesIO(lines_png(np.zeros((1, 10)), 40, 20))).size == (40, 20)
    clear = Image.open(io.BytesIO(overlay_png(np.zeros((4, 6))))).convert("RGBA")
    assert np.asarray(clear)[..., 3].max() == 0


def test_a_large_photograph_becomes_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    data = picture_bytes(pixels)
    assert max(Image.open(io.BytesIO(data)).size) == 512
    assert data.startswith(b"\xff\xd8")
