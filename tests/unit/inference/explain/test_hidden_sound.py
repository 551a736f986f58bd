"""A hidden band is gone, the others are as they were, and nothing rings through the window."""

from __future__ import annotations

import numpy as np
import pytest

from avizor_inference.explain.hiding.sound_cover import SoundCover

RATE = 8000
SECONDS = 1.0
BANDS = np.linspace(0, 4000, 9)  # 8 bands of 500 Hz
WHOLE = np.array([0.0, SECONDS])
TONES = (250, 1250, 1310, 3000)
TIME = np.arange(RATE) / RATE
MUSIC = 0.1 * np.sin(2 * np.pi * np.outer(TONES, TIME)).sum(axis=0).astype(np.float32)


def levels(wave: np.ndarray) -> dict[int, float]:
    """The level of each tone in dB; 0 is that of the music."""
    powers = np.abs(np.fft.rfft(wave)) ** 2
    whole = np.abs(np.fft.rfft(MUSIC)) ** 2
    return {hertz: float(10 * np.log10((powers[hertz] + 1e-12) / whole[hertz])) for hertz in TONES}


def hidden(cover: SoundCover, mask: np.ndarray, wave: np.ndarray = MUSIC) -> np.ndarray:
    out = np.empty_like(wave)
    cover.hide(mask, out)
    return out


def of_bands(*numbers: int) -> np.ndarray:
    mask = np.zeros((8, 1), bool)
    mask[list(numbers)] = True
    return mask


def test_a_hidden_band_is_gone_and_the_others_keep_their_energy() -> None:
    after = levels(hidden(SoundCover(MUSIC, "silence", RATE, BANDS, WHOLE), of_bands(2)))
    assert after[1250] < -80
    assert after[1310] < -80
    assert abs(after[250]) < 0.01
    assert abs(after[3000]) < 0.01


def test_a_number_quiets_a_band_by_so_many_decibels() -> None:
    after = levels(hidden(SoundCover(MUSIC, -20.0, RATE, BANDS, WHOLE), of_bands(2)))
    assert after[1250] == pytest.approx(-20, abs=0.01)
    assert after[250] == pytest.approx(0, abs=0.01)


def test_the_mean_level_takes_the_tones_out_of_a_band_and_leaves_noise() -> None:
    rng = np.random.default_rng(3)
    noisy = (MUSIC + 0.01 * rng.standard_normal(RATE)).astype(np.float32)
    out = hidden(SoundCover(noisy, "mean", RATE, BANDS, WHOLE), of_bands(2), noisy)
    band = np.abs(np.fft.rfft(out)[1050:1450]) ** 2
    noise = np.abs(np.fft.rfft(noisy)[2050:2450]) ** 2
    assert band.max() < 3 * band.mean(), "a tone is left"
    assert 0.3 < band.mean() / noise.mean() < 3, "it is louder or quieter than the noise around"


def test_the_edges_of_a_band_fade_so_that_a_click_does_not_ring() -> None:
    click = np.zeros(RATE, np.float32)
    click[RATE // 2] = 1
    taken = click - hidden(SoundCover(click, "silence", RATE, BANDS, WHOLE), of_bands(2), click)
    spectrum = np.fft.rfft(click)
    spectrum[(np.arange(4001) < 1000) | (np.arange(4001) >= 1500)] = 0
    cut = np.fft.irfft(spectrum)
    far = np.abs(np.arange(RATE) - RATE // 2) > 0.05 * RATE
    assert np.abs(taken[far]).max() < 0.1 * np.abs(cut[far]).max()
    assert np.abs(taken).max() == pytest.approx(np.abs(cut).max(), rel=0.05)


def test_all_bands_together_are_the_whole_sound() -> None:
    cover = SoundCover(MUSIC, "silence", RATE, BANDS, WHOLE)
    np.testing.assert_allclose(hidden(cover, of_bands(*range(8))), 0, atol=1e-6)
    one_by_one = sum(MUSIC - hidden(cover, of_bands(each)) for each in range(8))
    np.testing.assert_allclose(one_by_one, MUSIC, atol=1e-5)


def test_a_band_in_a_stretch_is_hidden_there_and_only_there() -> None:
    seconds = np.linspace(0, SECONDS, 5)
    cover = SoundCover(MUSIC, "silence", RATE, BANDS, seconds)
    mask = np.zeros((8, 4), bool)
    mask[2, 1] = True
    out = hidden(cover, mask)
    inside, after = slice(2400, 3600), slice(5000, 8000)
    tones_250_and_3000 = 0.1 * (np.sin(2 * np.pi * 250 * TIME) + np.sin(2 * np.pi * 3000 * TIME))
    np.testing.assert_allclose(out[inside], tones_250_and_3000[inside], atol=2e-3)
    np.testing.assert_allclose(out[after], MUSIC[after], atol=1e-6)


def test_stretches_alone_are_replaced_sample_by_sample_in_all_channels() -> None:
    stereo = np.stack([MUSIC, -MUSIC])
    cover = SoundCover(stereo, "silence", RATE, None, np.array([0, 0.25, 0.5, 1.0]))
    out = hidden(cover, np.array([[False, True, False]]), stereo)
    np.testing.assert_array_equal(out[:, 2000:4000], 0)
    np.testing.assert_array_equal(out[:, :2000], stereo[:, :2000])
    np.testing.assert_array_equal(out[:, 4000:], stereo[:, 4000:])


def test_silence_can_be_hidden_with_its_mean_level() -> None:
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_allclose(hidden(SoundCover(silence, "mean", RATE, BANDS, WHOLE), of_bands(2), silence), 0, atol=1e-9)
