"""Denoising: an autoencoder that takes noisy digits and gives clean ones back, against a Gaussian and a median filter.

    python examples/denoising.py --models models                     # scikit-learn's bundled digits
    python examples/denoising.py --mnist PATH_TO/mnist --models models

Noise is Gaussian, with a standard deviation of NOISE of the full range, and the noisy pixels are rounded and clipped to bytes
as a camera's would be. Figures are peak signal-to-noise ratios in dB against the clean images, through the exported model. Each
filter has the width that is best on the training images.

The first command ends with:

    scikit-learn digits, last fifth, PSNR in dB: noisy 14.24, denoised 18.95
      best Gaussian filter 14.93, best median filter 14.24
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from handwritten_digits import Digits, Pixels, run_as_told, scaled
from numpy.typing import NDArray
from publishing import Figures, Run, publish_measured
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor
from training import train_autoencoder

from avizor_export import ExportRequest, build_autoencoder
from avizor_inference import ImageInput, ModelVersion

Images = NDArray[np.floating]  # [n, height, width], 0..1

NOISE = 0.25
SPEC = "conv32bn conv48s2bn conv48bn latentmap32"
SIGMAS = tuple(np.arange(0.3, 1.6, 0.1))
SIZES = (1, 2, 3, 5)


def noisy(images: Tensor) -> Tensor:
    """Images in 0..1 with noise, as bytes would hold them."""
    return (images + NOISE * torch.randn_like(images)).mul(255).round().clamp(0, 255) / 255


def psnr(found: Images, clean: Images) -> float:
    """Peak signal-to-noise ratio in dB over all images, both in 0..1; what lies outside is clipped."""
    return float(-10 * np.log10(((np.clip(found, 0, 1) - clean) ** 2).mean()))


def best_filter(filters: list[Callable[[Images], Images]], noisy_images: Images, clean: Images) -> Callable[[Images], Images]:
    """The filter that comes nearest to the clean images."""
    return max(filters, key=lambda each: psnr(each(noisy_images), clean))


def gaussian(sigma: float) -> Callable[[Images], Images]:
    """A Gaussian filter over height and width."""
    return lambda images: np.asarray(gaussian_filter(images, (0, sigma, sigma)))


def median(size: int) -> Callable[[Images], Images]:
    """A median filter over height and width."""
    return lambda images: np.asarray(median_filter(images, (1, size, size)))


def train_and_export(digits: Digits, models: Path, seed: int = 0) -> tuple[ModelVersion, Figures]:
    """Train, export, and measure through the exported model; the figures are also in its manifest."""
    digits = digits.unenlarged()
    _, height, width, _ = digits.train.shape
    images = scaled(digits.train)
    torch.manual_seed(seed)
    network = build_autoencoder(SPEC, (1, height, width))
    history = train_autoencoder(network, images, epochs=60 if len(images) < 5000 else 4, corrupt=noisy, seed=seed)
    torch.manual_seed(1000 + seed)
    noisy_train, noisy_test = (as_bytes(noisy(torch.from_numpy(part) / 255)) for part in (digits.train, digits.test))
    request = ExportRequest(
        name="digits-denoised",
        task="reconstruct",
        training=history,
        input=ImageInput(height=height, width=width, channels=1),
        real_items=noisy_test[:64],
        evaluation={"test_images": len(digits.test), "split": digits.origin, "noise": NOISE},
    )
    return publish_measured(network, request, models, lambda run: measure(run, digits, noisy_train, noisy_test))


def measure(run: Run, digits: Digits, noisy_train: Pixels, noisy_test: Pixels) -> Figures:
    """PSNR of the noisy test images, of the filters' and of the model's."""
    known, new, clean = (part[..., 0] / 255 for part in (noisy_train, noisy_test, digits.test))
    clean_train = digits.train[..., 0] / 255
    figures = {"noisy_psnr": psnr(new, clean), "psnr": psnr(run(noisy_test, "reconstruction")[:, 0], clean)}
    for name, filters in (("gaussian", [gaussian(sigma) for sigma in SIGMAS]), ("median", [median(size) for size in SIZES])):
        figures[f"{name}_psnr"] = psnr(best_filter(filters, known, clean_train)(new), clean)
    return figures


def as_bytes(images: Tensor) -> Pixels:
    """Images in 0..1 as pixels."""
    return (images * 255).round().to(torch.uint8).numpy()


def main() -> None:
    """Train, measure, export."""
    digits, figures = run_as_told(__doc__, train_and_export)
    print(f"{digits.origin}, PSNR in dB: noisy {figures['noisy_psnr']:.2f}, denoised {figures['psnr']:.2f}")
    print(f"  best Gaussian filter {figures['gaussian_psnr']:.2f}, best median filter {figures['median_psnr']:.2f}")


if __name__ == "__main__":
    main()
