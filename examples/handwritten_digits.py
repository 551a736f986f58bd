"""Handwritten digits: train LeNet-5 and export it.

    python examples/handwritten_digits.py --models models                     # scikit-learn's bundled digits
    python examples/handwritten_digits.py --mnist PATH_TO/mnist --models models

The folder of MNIST holds its files (`train-images-idx3-ubyte.gz` and so on). If it has only the 10,000 images of the test set,
the first 8,000 are for training and the last 2,000 for the test.

The first command ends with:

    accuracy on scikit-learn digits, last fifth: 0.9694 of 360 images
    published models/handwritten-digits/1: classify, 0.25 MB, sha256 3d8feea99928
      parity  probabilities: torch 2.14.1 and ONNX Runtime differ by at most 1.2e-07 (real, batch of 1)
      parity  embedding: torch 2.14.1 and ONNX Runtime differ by at most 1.4e-06 (real, batch of 8)
      parity  activations: torch 2.14.1 and ONNX Runtime differ by at most 1.9e-06 (real, batch of 8)
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor
from training import in_batches, train_classifier

from avizor_export import ExportRequest, build, build_front_end, describe_export, export_model
from avizor_inference import ImageFrontEnd, ImageInput, ModelVersion

Pixels = NDArray[np.uint8]  # [n, 32, 32, 1]


class Digits(NamedTuple):
    """Holds images with their digits."""

    train: Pixels
    train_labels: NDArray[np.int64]
    test: Pixels
    test_labels: NDArray[np.int64]
    origin: str
    inner: slice  # the rows and columns that contain the original image, before it was enlarged to 32 x 32

    def in_original_size(self) -> Digits:
        """Return the same images in their original size: 8 x 8 from scikit-learn, 28 x 28 from MNIST."""
        inner, whole = self.inner, slice(None)
        return self._replace(train=self.train[:, inner, inner], test=self.test[:, inner, inner], inner=whole)


def bundled() -> Digits:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, enlarged by a factor of four; the last fifth is for the test."""
    digits = load_digits()
    images = np.kron(digits.images * (255 / 16), np.ones((1, 4, 4))).round().astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    split = len(images) * 4 // 5
    return Digits(
        images[:split], labels[:split], images[split:], labels[split:], "scikit-learn digits, last fifth", slice(None, None, 4)
    )


def mnist(folder: Path) -> Digits:
    """Read MNIST, with its own split if its training files exist."""
    images, labels = _idx(folder / "t10k-images-idx3-ubyte.gz"), _idx(folder / "t10k-labels-idx1-ubyte.gz")
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        split = 8000
        parts = (images[:split], labels[:split], images[split:], labels[split:])
        return _digits(*parts, origin="MNIST, last 2,000 of the test set's 10,000")
    train, train_labels = _idx(folder / "train-images-idx3-ubyte.gz"), _idx(folder / "train-labels-idx1-ubyte.gz")
    return _digits(train, train_labels, images, labels, origin="MNIST test set")


def _digits(train: Pixels, train_labels: Pixels, test: Pixels, test_labels: Pixels, origin: str) -> Digits:
    def widen(images: Pixels) -> Pixels:  # 28 x 28 -> 32 x 32, the input size of the original LeNet
        return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]

    return Digits(widen(train), train_labels.astype(np.int64), widen(test), test_labels.astype(np.int64), origin, slice(2, -2))


def scaled(pixels: Pixels) -> Tensor:
    """Return pixels as input of a network that has no normalisation: float32[n, 1, height, width] in 0..1."""
    image = ImageInput(height=pixels.shape[1], width=pixels.shape[2], channels=pixels.shape[3])
    return in_batches(build_front_end(image), torch.from_numpy(pixels))


def digits_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser for the options that all examples on digits have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="Folder of MNIST's files.")
    parser.add_argument("--models", type=Path, default=Path("models"))
    return parser


def chosen_digits(folder: Path | None) -> Digits:
    """Return MNIST if its folder is given, otherwise the bundled digits."""
    return mnist(folder) if folder else bundled()


def run_from_command_line(
    description: str | None, train_and_export: Callable[[Digits, Path, int], tuple[ModelVersion, dict[str, float]]]
) -> tuple[Digits, dict[str, float]]:
    """Train and export with the digits, folder and seed of the command line, and print what was published."""
    parser = digits_parser(description)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    digits = chosen_digits(arguments.mnist)
    version, metrics = train_and_export(digits, arguments.models, arguments.seed)
    describe_export(version)
    return digits, metrics


def _idx(path: Path) -> Pixels:
    with gzip.open(path) as file:
        data = file.read()
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def main() -> None:
    """Train, measure and export."""
    parser = digits_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()

    digits = chosen_digits(arguments.mnist)
    scale = digits.train / 255
    image = ImageInput(
        height=32, width=32, channels=1, front_end=ImageFrontEnd(mean=(float(scale.mean()),), std=(float(scale.std()),))
    )
    front_end = build_front_end(image)
    torch.manual_seed(0)
    network = build("lenet", 10, (1, 32, 32))
    pixels = in_batches(front_end, torch.from_numpy(digits.train))
    history = train_classifier(network, pixels, torch.from_numpy(digits.train_labels), epochs=arguments.epochs)

    logits = in_batches(torch.nn.Sequential(front_end, network), torch.from_numpy(digits.test))
    reached = float((logits.argmax(dim=1).numpy() == digits.test_labels).mean())
    print(f"accuracy on {digits.origin}: {reached:.4f} of {len(digits.test)} images")
    request = ExportRequest(
        name="handwritten-digits",
        task="classify",
        training=history,
        input=image,
        labels=list("0123456789"),
        real_items=digits.test[:64],
        evaluation={"test_accuracy": reached, "test_images": len(digits.test), "split": digits.origin},
    )
    describe_export(export_model(network, request, arguments.models))


if __name__ == "__main__":
    main()
