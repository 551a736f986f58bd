"""front_ends/: the constants of a front end are in the graph, and standardised features come out."""

import numpy as np
import pytest
import torch

from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_inference.items.input_spec import AudioInput, ImageFrontEnd, ImageInput, LogMelFrontEnd


def test_standardised_bands_have_mean_0_and_deviation_1() -> None:
    spec = AudioInput(
        sample_rate=8000, window_samples=4096, hop_samples=4096, front_end=LogMelFrontEnd(n_fft=256, hop_length=128, n_mels=16)
    )
    sounds = 0.1 * torch.randn(50, 4096, generator=torch.Generator().manual_seed(0))
    fitted = fit_constants(spec, sounds.split(7))
    bands = build_front_end(fitted)(sounds)[:, 0]
    np.testing.assert_allclose(bands.mean(dim=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(bands.std(dim=(0, 2), correction=0), 1, atol=1e-3)


def test_a_band_that_never_changes_does_not_divide_by_zero() -> None:
    spec = AudioInput(
        sample_rate=8000, window_samples=512, hop_samples=512, front_end=LogMelFrontEnd(n_fft=256, hop_length=128, n_mels=16)
    )
    fitted = fit_constants(spec, [torch.zeros(4, 512)])
    assert isinstance(fitted.front_end, LogMelFrontEnd)
    assert set(fitted.front_end.std) == {1.0}


def test_standardised_channels_of_images() -> None:
    spec = ImageInput(height=4, width=4, channels=2)
    pixels = torch.randint(0, 200, (40, 4, 4, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[..., 1] = 51  # never changes
    found = fit_constants(spec, pixels.split(7))
    assert found.front_end.mean[1] == pytest.approx(0.2)
    assert found.front_end.std[1] == 1.0
    channel = ImageScaling(found.front_end)(pixels)[:, 0]
    assert float(channel.mean()) == pytest.approx(0, abs=1e-5)
    assert float(channel.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_training_data_that_is_not_finite() -> None:
    spec = AudioInput(
        sample_rate=8000, window_samples=512, hop_samples=512, front_end=LogMelFrontEnd(n_fft=256, hop_length=128, n_mels=16)
    )
    with pytest.raises(ValueError, match="not finite"):
        fit_constants(spec, [torch.zeros(4, 512), torch.full((1, 512), torch.nan)])


def test_image_scaling() -> None:
    scale = ImageScaling(ImageFrontEnd(mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 0.125)))
    image = torch.tensor([[[[0, 0, 0], [255, 255, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-1.0, 1.0]], [[0.0, 1.0]], [[-2.0, 6.0]]]])
    torch.testing.assert_close(scale(image), expected)
