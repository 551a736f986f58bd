"""Dimensionality reduction: represent digits by eight numbers, compared with eight principal components.

    python examples/dimensionality_reduction.py --models models                     # scikit-learn's bundled digits
    python examples/dimensionality_reduction.py --mnist PATH_TO/mnist --models models

Two metrics, both measured through the exported model: the mean squared error of an image that is reconstructed from its eight
numbers (pixels in 0..1), and how often the five nearest training images in the latent space predict the right digit.

The first command ends with:

    scikit-learn digits, last fifth, 8 numbers an image:
      squared error  0.0163; principal components 0.0249
      kNN accuracy   0.9167; principal components 0.9139
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from baselines import pca, pca_errors
from handwritten_digits import Digits, run_from_command_line, scaled
from numpy.typing import NDArray
from publishing import Metrics, Run, publish_measured
from sklearn.neighbors import KNeighborsClassifier
from training import train_autoencoder

from avizor_export import ExportRequest, build_autoencoder
from avizor_inference import ImageInput, ModelVersion

LATENT = 8
SPEC = f"conv16s2bn conv32s2bn fc128bn latent{LATENT}"
NEIGHBOURS = 5


def train_and_export(digits: Digits, models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train, export, and measure through the exported model. Return its version and metrics, which are in its manifest too."""
    digits = digits.in_original_size()
    _, height, width, _ = digits.train.shape
    images = scaled(digits.train)
    torch.manual_seed(seed)
    network = build_autoencoder(SPEC, (1, height, width))
    history = train_autoencoder(network, images, epochs=60 if len(images) < 5000 else 10, seed=seed)
    request = ExportRequest(
        name="digit-codes",
        task="reconstruct",
        training=history,
        input=ImageInput(height=height, width=width, channels=1),
        real_items=digits.test[:64],
        evaluation={"test_images": len(digits.test), "split": digits.origin, "dimension": LATENT},
    )
    return publish_measured(network, request, models, lambda run: measure(run, digits, images))


def measure(run: Run, digits: Digits, images: torch.Tensor) -> Metrics:
    """Return both metrics of the model and of principal components."""
    tested = scaled(digits.test)
    components = pca(images, LATENT)
    codes = [components.transform(part.flatten(1).numpy()) for part in (images, tested)]
    return {
        "squared_error": float(run(digits.test, "score").mean()),
        "pca_squared_error": float(pca_errors(components, tested).mean()),
        "knn_accuracy": knn_accuracy(run(digits.train, "embedding"), run(digits.test, "embedding"), digits),
        "pca_knn_accuracy": knn_accuracy(codes[0], codes[1], digits),
    }


def knn_accuracy(known: NDArray[np.float32], new: NDArray[np.float32], digits: Digits) -> float:
    """Return the share of test images whose nearest training images, by distance of their codes, mostly show the same digit."""
    nearest = KNeighborsClassifier(NEIGHBOURS).fit(known, digits.train_labels)
    return float(nearest.score(new, digits.test_labels))


def main() -> None:
    """Train, measure and export."""
    digits, metrics = run_from_command_line(__doc__, train_and_export)
    print(f"{digits.origin}, {LATENT} numbers an image:")
    print(f"  squared error  {metrics['squared_error']:.4f}; principal components {metrics['pca_squared_error']:.4f}")
    print(f"  kNN accuracy   {metrics['knn_accuracy']:.4f}; principal components {metrics['pca_knn_accuracy']:.4f}")


if __name__ == "__main__":
    main()
