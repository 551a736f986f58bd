"""front_ends/: the constants of a front end are in the graph, and standardised features come out."""

from typing import Any

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


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("range", "expected"), [("0..1", [0.0, 0.2, 1.0]), ("-1..1", [-1.0, -0.6, 1.0]), ("0..255", [0.0, 51.0, 255.0])]
)
def test_order_layout_and_range_of_the_network(range: Any, expected: list[float], layout: Any) -> None:
    image = torch.tensor([[[[0, 51, 255]], [[255, 0, 51]]]], dtype=torch.uint8)  # two pixels, one below the other
    red_first, blue_first = (
        ImageScaling(ImageFrontEnd(order=order, layout=layout, range=range))(image) for order in ("rgb", "bgr")
    )
    assert red_first.shape == blue_first.shape == ((1, 2, 1, 3) if layout == "nhwc" else (1, 3, 2, 1))
    pixel = (0, 0, 0) if layout == "nhwc" else (0, slice(None), 0, 0)
    torch.testing.assert_close(red_first[pixel], torch.tensor(expected))
    torch.testing.assert_close(blue_first[pixel], torch.tensor(expected[::-1]))


def test_mean_and_std_are_on_the_scale_of_the_range_and_in_the_networks_order() -> None:
    caffe = ImageFrontEnd(order="bgr", range="0..255", mean=(104.0, 117.0, 124.0))
    image = torch.tensor([[[[124, 117, 105]]]], dtype=torch.uint8)
    torch.testing.assert_close(ImageScaling(caffe)(image).flatten(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-4, rtol=0)
    signed = ImageFrontEnd(range="-1..1", mean=(0.5,), std=(2.0,))
    torch.testing.assert_close(ImageScaling(signed)(image)[0, 0, 0, 0], torch.tensor((2 * 124 / 255 - 1.5) / 2))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_constants_are_fitted_in_the_networks_order(layout: Any) -> None:
    front_end = ImageFrontEnd(order="bgr", layout=layout, range="0..255")
    pixels = torch.randint(0, 256, (9, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = fit_constants(ImageInput(height=4, width=4, channels=3, front_end=front_end), [pixels])
    channels = pixels.double().flatten(0, 2)
    assert found.front_end.mean == pytest.approx(channels.mean(0).flip(0).tolist())
    assert found.front_end.std == pytest.approx(channels.std(0, correction=0).flip(0).tolist())
    assert found.front_end.range == "0..255"


def test_image_scaling() -> None:
    scale = ImageScaling(ImageFrontEnd(mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 0.125)))
    image = torch.tensor([[[[0, 0, 0], [255, 255, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-1.0, 1.0]], [[0.0, 1.0]], [[-2.0, 6.0]]]])
    torch.testing.assert_close(scale(image), expected)
