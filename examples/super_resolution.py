"""Super-resolution: double the height and width of digits, compared with bicubic enlargement of the same small images.

    python examples/super_resolution.py --models models                     # scikit-learn's bundled digits: 4 x 4 -> 8 x 8
    python examples/super_resolution.py --mnist PATH_TO/mnist --models models              # MNIST: 14 x 14 -> 28 x 28

A pixel of a small image is the mean of four pixels of the original, rounded to a byte. The metrics are peak signal-to-noise
ratios in dB against the original images, measured through the exported model.

The first command ends with:

    scikit-learn digits, last fifth, PSNR in dB: bicubic 13.40, super-resolution 18.83
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from denoising import Images, as_bytes, psnr
from handwritten_digits import Digits, Pixels, run_from_command_line, scaled
from publishing import Metrics, Run, publish_measured
from torch import Tensor
from training import train_autoencoder

from avizor_export import ExportRequest, build_autoencoder
from avizor_inference import ImageInput, ModelVersion

SPEC = "conv48k5bn conv48x2bn shuffle2"


def shrunk(images: Tensor) -> Tensor:
    """Return images in 0..1 [n, 1, 2h, 2w] at half their height and width, rounded to the values that bytes can have."""
    return torch.nn.functional.avg_pool2d(images, 2).mul(255).round() / 255


def bicubic(small: Pixels) -> Images:
    """Enlarge bicubically: uint8[n, h, w, 1] -> [n, 2h, 2w] in 0..1. torch's kernel gives better results here than Pillow's."""
    images = torch.from_numpy(small[..., 0]).unsqueeze(1) / 255
    return np.asarray(torch.nn.functional.interpolate(images, scale_factor=2.0, mode="bicubic")[:, 0].numpy())


def train_and_export(digits: Digits, models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train, export, and measure through the exported model. Return its version and metrics, which are in its manifest too."""
    digits = digits.in_original_size()
    images, tested = (scaled(part) for part in (digits.train, digits.test))
    height, width = images.shape[2] // 2, images.shape[3] // 2
    torch.manual_seed(seed)
    network = build_autoencoder(SPEC, (1, height, width))
    history = train_autoencoder(network, images, epochs=60 if len(images) < 5000 else 5, corrupt=shrunk, seed=seed)
    small = as_bytes(shrunk(tested).permute(0, 2, 3, 1))
    request = ExportRequest(
        name="digits-enlarged",
        task="reconstruct",
        training=history,
        input=ImageInput(height=height, width=width, channels=1),
        real_items=small[:64],
        evaluation={"test_images": len(digits.test), "split": digits.origin},
    )
    return publish_measured(network, request, models, lambda run: measure(run, digits, small))


def measure(run: Run, digits: Digits, small: Pixels) -> Metrics:
    """Return the PSNR of the model's enlargement and of the bicubic one."""
    large = digits.test[..., 0] / 255
    return {"psnr": psnr(run(small, "reconstruction")[:, 0], large), "bicubic_psnr": psnr(bicubic(small), large)}


def main() -> None:
    """Train, measure and export."""
    digits, metrics = run_from_command_line(__doc__, train_and_export)
    print(f"{digits.origin}, PSNR in dB: bicubic {metrics['bicubic_psnr']:.2f}, super-resolution {metrics['psnr']:.2f}")


if __name__ == "__main__":
    main()
