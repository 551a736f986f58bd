"""The axes of maps: pixels, seconds and Hz, samples, columns."""

from __future__ import annotations

import numpy as np
import pytest
from support.tables import TRANSFER

from avizor_export.front_ends.mel_filters import mel_filters
from avizor_inference.explain.axes import on_axes
from avizor_inference.explain.background import Spectrogram, background_of, name_of_row
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import (
    AudioInput,
    ImageInput,
    LogMelFrontEnd,
    MfccFrontEnd,
    SignalInput,
    SpectrogramFrontEnd,
    WaveformFrontEnd,
)
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.kinds.sound_front_ends import SoundFrontEnd

RATE = 8000
LOG_MEL = LogMelFrontEnd(n_fft=256, hop_length=80, n_mels=20)
FRAMES = LOG_MEL.frames(RATE)
SECOND_WINDOW = Span(0, 4000, RATE)


def sound(front_end: SoundFrontEnd) -> AudioInput:
    return AudioInput(sample_rate=RATE, window_samples=RATE, hop_samples=4000, front_end=front_end)


def test_an_image_has_the_pixels_of_the_models_input() -> None:
    values, y, x = on_axes(ImageInput(height=30, width=64, channels=3), np.ones((3, 4)))
    assert values.shape == (3, 4)
    assert (y.unit, x.unit) == ("pixels", "pixels")
    assert y.edges.tolist() == [0, 10, 20, 30]
    assert x.edges.tolist() == [0, 16, 32, 48, 64]


@pytest.mark.parametrize("layout", ["NCFT", "NCTF", "NFT", "NTF"])
def test_sound_has_hz_upwards_and_seconds_of_its_recording_to_the_right_in_every_layout(layout: str) -> None:
    spec = sound(LOG_MEL.model_copy(update={"layout": layout}))
    map = np.arange(4 * 7.0).reshape(4, 7)
    values, y, x = on_axes(spec, map.T if layout.endswith("TF") else map, SECOND_WINDOW)
    assert np.array_equal(values, map)
    assert (y.unit, x.unit) == ("Hz", "seconds")
    assert (len(y.edges), len(x.edges)) == (5, 8)
    assert (np.diff(y.edges) > 0).all()
    assert (np.diff(x.edges) > 0).all()
    assert 0.5 <= x.edges[0] < 0.52
    assert 1.48 < x.edges[-1] <= 1.5


def test_a_mel_band_is_around_the_middle_of_its_filter() -> None:
    spec = sound(LogMelFrontEnd(n_fft=2048, hop_length=80, n_mels=20))
    _, y, _ = on_axes(spec, np.ones((20, 1)))
    assert isinstance(spec.front_end, LogMelFrontEnd)
    middles = mel_filters(spec.front_end, RATE).argmax(axis=1) * (RATE / 2048)
    assert (y.edges[:-1] < middles).all()
    assert (middles < y.edges[1:]).all()


def test_a_frame_is_a_hop_around_its_middle() -> None:
    _, _, x = on_axes(sound(LOG_MEL), np.ones((20, FRAMES)))
    assert (x.edges[0], x.edges[1]) == pytest.approx(((128 - 40) / RATE, (128 + 40) / RATE))
    centred = LOG_MEL.model_copy(update={"center": True})
    _, _, x = on_axes(sound(centred), np.ones((20, centred.frames(RATE))))
    assert (x.edges[0], x.edges[1], x.edges[-1]) == pytest.approx((0, 40 / RATE, 1))


def test_bins_have_hz_coefficients_have_numbers_and_a_waveform_has_seconds_alone() -> None:
    _, y, _ = on_axes(sound(SpectrogramFrontEnd(n_fft=256, hop_length=80)), np.ones((129, 4)))
    assert (y.unit, y.edges[0], y.edges[1], y.edges[-1]) == ("Hz", 0, RATE / 512, RATE / 2)
    _, y, _ = on_axes(sound(MfccFrontEnd(n_fft=256, hop_length=80, n_mels=20, n_mfcc=12)), np.ones((4, 3)))
    assert (y.unit, y.edges.tolist()) == ("", [0, 3, 6, 9, 12])
    values, y, x = on_axes(sound(WaveformFrontEnd()), np.arange(5), SECOND_WINDOW)
    assert values.shape == (1, 5)
    assert (y.unit, y.edges.tolist()) == ("Hz", [0, RATE / 2])
    assert (x.unit, x.edges[0], x.edges[-1]) == ("seconds", 0.5, 1.5)


def test_a_signal_has_seconds_or_samples_and_a_row_has_columns() -> None:
    steps = SignalInput(channels=2, window_samples=100, hop_samples=50)
    _, _, x = on_axes(steps, np.ones(4), Span(0, 50, 100))
    assert (x.unit, x.edges.tolist()) == ("", [50, 75, 100, 125, 150])
    _, _, x = on_axes(steps.model_copy(update={"sample_rate": 100.0}), np.ones(4), Span(0, 50, 100))
    assert (x.unit, x.edges[0], x.edges[-1]) == ("seconds", 0.5, 1.5)
    values, _, x = on_axes(TRANSFER, np.ones(len(TRANSFER.columns)))
    assert values.shape == (1, len(TRANSFER.columns))
    assert x.names in (TRANSFER.columns, TRANSFER.feature_names())


def test_the_spectrogram_behind_a_map_has_the_tone_at_its_frequency_and_time() -> None:
    spec = sound(LOG_MEL)
    waveform = np.zeros(RATE, np.float32)
    waveform[4000:6000] = np.sin(2 * np.pi * 1000 * np.arange(2000) / RATE)
    row = RawRow("/sounds/pump.wav", 1, waveform, SECOND_WINDOW)
    found = background_of(row, spec)
    assert isinstance(found, Spectrogram)
    frequency, time = np.unravel_index(found.decibels.argmax(), found.decibels.shape)
    assert found.y.edges[frequency] <= 1000 <= found.y.edges[frequency + 1]
    assert 0.5 + 0.5 <= found.x.edges[time] <= 0.5 + 0.75
    assert found.decibels.max() == 0
    assert found.decibels.min() == pytest.approx(-80)
    assert name_of_row(row, spec) == "pump.wav, 0.5 to 1.5 s"
