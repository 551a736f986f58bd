"""Odd digits: train a detector on nine of the ten digits, and flag the tenth.

    python examples/odd_digits.py --odd 3 --models models

The data is scikit-learn's bundled digits, 8 x 8 pixels. Each digit in turn is left out of the training, and its test images are
the unusual ones. `--odd` trains and publishes the model for one digit. The detector is compared with as many principal
components as its latent vector has numbers, and with a dense autoencoder like DCASE's baseline, on the same pixels.

With `--odd 4` it ends with:

      detector                 ROC AUC 0.984, partial 0.924
      16 principal components  ROC AUC 0.944, partial 0.814
      dense autoencoder        ROC AUC 0.996, partial 0.979
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from baselines import areas, dense, errors, pca, pca_errors
from handwritten_digits import Digits, bundled, scaled
from numpy.typing import NDArray
from publishing import Metrics, Run, publish_measured

from avizor_export import ExportRequest, describe_export, train_detector
from avizor_inference import ImageInput, ModelVersion, NormalRecording

LATENT = 16
DENSE_EPOCHS = 20


def train_and_export(digits: Digits, odd: int, models: Path, seed: int = 0) -> tuple[ModelVersion, Metrics]:
    """Train without one digit, export with a calibration, and measure through the exported model.

    A fifth of the training images of the other digits is for the calibration, and a tenth ends the training. The metrics are
    also in the manifest.
    """
    digits = digits.in_original_size()
    _, height, width, _ = digits.train.shape
    normal = digits.train[digits.train_labels != odd]
    trained, ending, calibrated = np.split(normal, [len(normal) * 7 // 10, len(normal) * 8 // 10])
    detector, history = train_detector(scaled(trained), scaled(ending), seed=seed)
    others = baselines(scaled(np.concatenate([trained, ending])), scaled(digits.test), seed)
    is_odd = digits.test_labels == odd

    def measure(run: Run) -> Metrics:
        scored = {"": run(digits.test, "score")[:, 0], **others}
        return {key: value for name, scores in scored.items() for key, value in areas(name, is_odd, scores).items()}

    request = ExportRequest(
        name="odd-digits",
        task="reconstruct",
        training=history,
        input=ImageInput(height=height, width=width, channels=1),
        real_items=digits.test[:64],
        normal=[NormalRecording("digits", image[None]) for image in calibrated],
        evaluation={"odd": odd, "test_images": len(digits.test), "split": digits.origin},
    )
    return publish_measured(detector, request, models, measure)


def baselines(images: torch.Tensor, tested: torch.Tensor, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return the errors of the test images by both baselines, which are fitted to the same training images."""
    return {
        "pca_": pca_errors(pca(images, LATENT), tested),
        "dense_": errors(dense(images, epochs=DENSE_EPOCHS, seed=seed), tested),
    }


def mean_over(digits: Digits, odd: Sequence[int], models: Path, seed: int = 0) -> Metrics:
    """Return the mean metrics over digits left out in turn. Each one is published as a version of the model."""
    by_digit = [train_and_export(digits, digit, models, seed)[1] for digit in odd]
    return {name: float(np.mean([metrics[name] for metrics in by_digit])) for name in by_digit[0]}


def main() -> None:
    """Train, measure and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--odd", type=int, choices=range(10), help="The digit to leave out. Default: each one in turn.")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    if arguments.odd is None:
        metrics = mean_over(bundled(), range(10), arguments.models, arguments.seed)
        print("means over ten digits, each left out in turn:")
    else:
        version, metrics = train_and_export(bundled(), arguments.odd, arguments.models, arguments.seed)
        describe_export(version)
    for name, title in (("", "detector"), ("pca_", f"{LATENT} principal components"), ("dense_", "dense autoencoder")):
        print(f"  {title:24s} ROC AUC {metrics[name + 'roc_auc']:.3f}, partial {metrics[name + 'partial_auc']:.3f}")


if __name__ == "__main__":
    main()
