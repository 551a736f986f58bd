"""Denoising: train an autoencoder that removes noise from digits, and compare it with a Gaussian and a median filter.

    python examples/denoising.py --models models                     # scikit-learn's bundled digits
    python examples/denoising.py --mnist PATH_TO/mnist --models models

The noise is Gaussian, with a standard deviation of NOISE of the full range. The noisy pixels are rounded and clipped to
bytes, as in a camera. The metrics are peak signal-to-noise ratios in dB against the clean images, through the exported model.
Each filter has the width that is best on the training images.

The first command ends with:

    scikit-learn digits, last fifth, PSNR in dB: noisy 14.24, denoised 18.95
      best Gaussian filter 14.93, best median filter 14.24
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from handwritten_digits import Digits, Pixels, run_from_command_line, scaled
from numpy.typing import NDArray
from publishing import Metrics, Run, publish_measured
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
    """Add noise to images in 0..1, rounded and clipped to the values that bytes can have."""
    return (images + NOISE * torch.randn_like(images)).mul(255).round().clamp(0, 255) / 255


def psnr(images: Images, clean: Images) -> float:
    """Return the peak signal-to-noise ratio in dB over all images, both in 0..1; values outside are clipped."""
    return float(-10 * np.log10(((np.clip(images, 0, 1) - clean) ** 2).mean()))


def best_filter(filters: list[Callable[[Images], Images]], noisy_images: Images, clean: Images) -> Callable[[Images], Images]:
    """Return the filter whose results are closest to the clean images."""
    return max(filters, key=lambda apply: psnr(apply(noisy_images), clean))


def gaussian(sigma: float) -> Callable[[Images], Images]:
    """Return a Gaussian filter over height and width. sigma: standard deviation in pixels."""
    return lambda images: np.asarray(gaussian_filter(images, (0, sigma, sigma)))


def median(size: int) -> Callable[[Images], Images]:
    """Return a median filter over height and width. size: pixels."""
    return lambda images: np.asarray(median_filter(images, (1, size, size)))


def train_and_export(digits: Digits, models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train, export, and measure through the exported model. Return its version and metrics, which are in its manifest too."""
    digits = digits.in_original_size()
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


def measure(run: Run, digits: Digits, noisy_train: Pixels, noisy_test: Pixels) -> Metrics:
    """Return the PSNR of the noisy test images, and that of the results of the filters and of the model."""
    known, new, clean = (part[..., 0] / 255 for part in (noisy_train, noisy_test, digits.test))
    clean_train = digits.train[..., 0] / 255
    metrics = {"noisy_psnr": psnr(new, clean), "psnr": psnr(run(noisy_test, "reconstruction")[:, 0], clean)}
    for name, filters in (("gaussian", [gaussian(sigma) for sigma in SIGMAS]), ("median", [median(size) for size in SIZES])):
        metrics[f"{name}_psnr"] = psnr(best_filter(filters, known, clean_train)(new), clean)
    return metrics


def as_bytes(images: Tensor) -> Pixels:
    """Return images in 0..1 as pixels."""
    return (images * 255).round().to(torch.uint8).numpy()


def main() -> None:
    """Train, measure and export."""
    digits, metrics = run_from_command_line(__doc__, train_and_export)
    print(f"{digits.origin}, PSNR in dB: noisy {metrics['noisy_psnr']:.2f}, denoised {metrics['psnr']:.2f}")
    print(f"  best Gaussian filter {metrics['gaussian_psnr']:.2f}, best median filter {metrics['median_psnr']:.2f}")


if __name__ == "__main__":
    main()
