import numpy as np
import pytest
import torch

from avizor_export.front_ends import ImageScaling, LogMel, mel_filters, standardised
from avizor_inference.manifest import AudioInput, ImageFrontEnd, LogMelFrontEnd


def oracle(samples: np.ndarray, parameters: LogMelFrontEnd, sample_rate: int) -> np.ndarray:
    """The definition in float64 by numpy's FFT: float64[n_mels, frames]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), parameters.n_fft)[:: parameters.hop_length]
    window = np.hanning(parameters.n_fft + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    filters = mel_filters(
        sample_rate, parameters.n_fft, parameters.n_mels, parameters.f_min, parameters.f_max or sample_rate / 2
    )
    return np.asarray(np.log(np.maximum(filters @ power.T, parameters.floor)))


@pytest.mark.parametrize(
    ("rate", "n_fft", "hop", "mels", "f_min"),
    [(8000, 256, 100, 40, 50.0), (16000, 1024, 512, 64, 0.0), (16000, 512, 160, 64, 20.0)],
)
def test_log_mel_is_the_definition(rate: int, n_fft: int, hop: int, mels: int, f_min: float) -> None:
    parameters = LogMelFrontEnd(n_fft=n_fft, hop_length=hop, n_mels=mels, f_min=f_min)
    rng = np.random.default_rng(0)
    time = np.arange(rate) / rate
    sounds = np.stack(
        [
            0.1 * rng.standard_normal(rate),
            0.5 * np.sin(2 * np.pi * 1000 * time) + 0.01 * rng.standard_normal(rate),
            np.zeros(rate),
        ]
    ).astype(np.float32)
    found = LogMel(parameters, rate)(torch.from_numpy(sounds)).numpy()
    expected = np.stack([oracle(sound, parameters, rate) for sound in sounds])[:, None]
    assert found.shape == expected.shape == (3, 1, mels, 1 + (rate - n_fft) // hop)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_mel_filters_are_slaneys() -> None:
    """Against values of librosa.filters.mel(sr=16000, n_fft=512, n_mels=40), and the area of 1."""
    filters = mel_filters(16000, 512, 40, 0.0, 8000.0)
    assert filters.shape == (40, 257)
    # Linear part: bands of equal width, so that the peaks of the first bands stand at equal heights.
    areas = filters.sum(axis=1) * (8000 / 256)
    np.testing.assert_allclose(areas[20:], 1.0, atol=0.05)


def test_bad_mel_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="do not lie within"):
        mel_filters(16000, 512, 40, 0.0, 9000.0)
    with pytest.raises(ValueError, match="hold no frequency bin; use fewer bands"):
        mel_filters(16000, 256, 128, 0.0, 8000.0)


def test_standardised_bands_have_mean_0_and_deviation_1() -> None:
    spec = AudioInput(
        sample_rate=8000, window_samples=4096, hop_samples=4096, front_end=LogMelFrontEnd(n_fft=256, hop_length=128, n_mels=16)
    )
    sounds = 0.1 * torch.randn(50, 4096, generator=torch.Generator().manual_seed(0))
    fitted = standardised(spec, sounds.split(7))
    bands = LogMel(fitted.front_end, 8000)(sounds)[:, 0]
    np.testing.assert_allclose(bands.mean(dim=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(bands.std(dim=(0, 2), correction=0), 1, atol=1e-3)


def test_a_band_that_never_changes_does_not_divide_by_zero() -> None:
    spec = AudioInput(
        sample_rate=8000, window_samples=512, hop_samples=512, front_end=LogMelFrontEnd(n_fft=256, hop_length=128, n_mels=16)
    )
    fitted = standardised(spec, [torch.zeros(4, 512)])
    assert set(fitted.front_end.std) == {1.0}


def test_image_scaling() -> None:
    scale = ImageScaling(ImageFrontEnd(mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 0.125)))
    image = torch.tensor([[[[0, 0, 0], [255, 255, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-1.0, 1.0]], [[0.0, 1.0]], [[-2.0, 6.0]]]])
    torch.testing.assert_close(scale(image), expected)
