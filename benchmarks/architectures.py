"""Measure every architecture: train on real digits, export, run in both engines, quantise, and time on one thread.

    python benchmarks/architectures.py [--mnist FOLDER] [--only lenet,vgg16] [--json results.json]

Prints one table. Accuracy is on held-out digits. engines is the largest difference between ONNX Runtime in this process and a
Triton server (the wheel that the tests use) for 32 of them. rows/s are medians over interleaved runs at batch 1 and 32, their
spread (largest / smallest) in brackets. int8 is the rows/s of int8 divided by those of fp32 in the same run at batch 32,
with its accuracy in brackets, or `refused` by the guard.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from handwritten_digits import Digits, chosen_digits
from training import in_batches, train_classifier
from triton_server.install import install
from triton_server.server import TritonServer

from avizor_export.architectures.catalogue import ARCHITECTURES, build
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.precision.speed import BATCH_SIZES, one_thread, rates
from avizor_export.request import ExportRequest
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import ImageFrontEnd, ImageInput
from avizor_inference.repository.models import ModelRepository, ModelVersion

SPEC = "conv32x2bn pool conv64x2bn pool drop0.25 fc256 drop fc10"


@dataclass(frozen=True)
class Recipe:
    """Describes how one design is trained: epochs (at most 10), peak learning rate, batch norm."""

    design: str
    epochs: int = 3
    rate: float = 1e-3
    batch_norm: bool = False

    @property
    def size(self) -> int:
        """Return the height and width of the input in pixels: the smallest that is valid; 32 for a spec."""
        return ARCHITECTURES[self.design].smallest if self.design in ARCHITECTURES else 32


RECIPES = [
    Recipe("lenet", epochs=10, rate=3e-3),
    Recipe("alexnet", epochs=4, rate=5e-4, batch_norm=True),
    Recipe("zfnet", epochs=4, rate=3e-4),
    Recipe("googlenet", epochs=4),
    Recipe("vgg16", epochs=4, rate=5e-4, batch_norm=True),
    Recipe("resnet34", epochs=3),
    Recipe("densenet121", epochs=3),
    Recipe(SPEC, epochs=5, rate=3e-3),
]


def measure(recipe: Recipe, digits: Digits, models: Path) -> dict[str, Any]:
    """Train, export and time one design. Return its row of the table."""
    digits = digits._replace(train=shrunk(digits.train, recipe.size), test=shrunk(digits.test, recipe.size))
    scale = digits.train / 255
    front_end = ImageFrontEnd(mean=(float(scale.mean()),), std=(float(scale.std()),))
    image = ImageInput(height=recipe.size, width=recipe.size, channels=1, front_end=front_end)
    scaling = ImageScaling(front_end)
    torch.manual_seed(0)
    network = build(recipe.design, 10, (1, recipe.size, recipe.size), batch_norm=recipe.batch_norm)
    started = time.monotonic()
    pixels = in_batches(scaling, torch.from_numpy(digits.train))
    train_classifier(
        network, pixels, torch.from_numpy(digits.train_labels), epochs=recipe.epochs, peak_rate=recipe.rate, batch_size=32
    )
    seconds = time.monotonic() - started
    logits = in_batches(torch.nn.Sequential(scaling, network), torch.from_numpy(digits.test), 64)
    accuracy = float((logits.argmax(dim=1).numpy() == digits.test_labels).mean())
    name = recipe.design if recipe.design in ARCHITECTURES else "spec"
    request = ExportRequest(
        name,
        "classify",
        image,
        labels=list("0123456789"),
        real_items=digits.train[:256],
        held_out=LabelledItems(digits.test, digits.test_labels),
    )
    version = export_model(network, request, models)
    manifest = version.manifest
    int8 = quantised(network, request, models)
    variants = {"fp32": version} | ({"int8": int8} if isinstance(int8, ModelVersion) else {})
    row: dict[str, Any] = {
        "name": name,
        "design": f"`{recipe.design}`" + (" + batch norm" if recipe.batch_norm else ""),
        "input": f"1x{recipe.size}x{recipe.size}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": recipe.epochs,
        "accuracy": accuracy,
        "parity": max(output.largest_absolute for output in manifest.parity.outputs.values()),
        "megabytes": manifest.model_bytes / 1e6,
        "training_seconds": seconds,
        "int8": int8 if isinstance(int8, str) else f"{_after(int8):.3f}",
    }
    return row | timings(variants, digits.test)


def shrunk(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images of 32 x 32 pixels reduced to uint8[n, size, size, 1] by means over blocks."""
    factor = images.shape[1] // size
    blocks = images.reshape(len(images), size, factor, size, factor, 1)
    return np.asarray(blocks.mean(axis=(2, 4)).round().astype(np.uint8))


def quantised(network: torch.nn.Module, request: ExportRequest, models: Path) -> ModelVersion | str:
    """Return the int8 version, or `refused` if the guard refused it."""
    try:
        return export_model(network, replace(request, name=f"{request.name}-int8", precision="int8"), models)
    except ExportError as error:
        print(f"int8 refused: {error}", file=sys.stderr)
        return "refused"


def _after(version: ModelVersion) -> float:
    assert version.manifest.variant is not None  # it is int8
    return version.manifest.variant.after


def engines_differ(models: Path, names: list[str], items: NDArray[np.uint8]) -> dict[str, float]:
    """Return for each model the largest absolute difference of any output between the embedded engine and Triton.

    models: the model repository that both engines use.
    """
    differences = {}
    repository = ModelRepository(models)
    with (
        TritonServer(install(), models, load_models=names) as server,
        open_engine("ort", repository) as embedded,
        open_engine(f"triton://{server.grpc_url}", repository) as triton,
    ):
        for name in names:
            spec = embedded.spec(name)
            images, outputs = shrunk(items[:32], spec.inputs["image"].item_shape[0]), list(spec.outputs)
            one, other = (engine.infer(InferRequest(name, {"image": images}, outputs)) for engine in (embedded, triton))
            differences[name] = max(float(np.abs(one[output] - other[output]).max()) for output in outputs)
    return differences


def timings(variants: dict[str, ModelVersion], items: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the rows/s of each variant at batch 1 and 32: median and spread of five interleaved runs on one thread."""
    sessions = [one_thread(onnx.load(version.model_path)) for version in variants.values()]
    metrics: dict[str, Any] = {}
    for batch in BATCH_SIZES:
        by_variant = zip(*rates(sessions, items, batch, "probabilities", rounds=5, seconds=0.2), strict=True)
        for name, variant_rates in zip(variants, by_variant, strict=True):
            metrics[f"{name}_{batch}"] = median(variant_rates)
            metrics[f"{name}_{batch}_spread"] = max(variant_rates) / min(variant_rates)
    return metrics


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a markdown table."""
    print("| design | input | parameters | epochs | accuracy | parity | engines | MB | rows/s, b1 | rows/s, b32 | int8 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        gain = f"{row['int8_32'] / row['fp32_32']:.2f} ({row['int8']})" if "int8_32" in row else row["int8"]
        print(
            f"| {row['design']} | {row['input']} | {row['parameters']:,} | {row['epochs']} | {row['accuracy']:.3f} "
            f"| {row['parity']:.1e} | {row['engines']:.1e} | {row['megabytes']:.1f} "
            f"| {row['fp32_1']:,.0f} ({row['fp32_1_spread']:.2f}) "
            f"| {row['fp32_32']:,.0f} ({row['fp32_32_spread']:.2f}) | {gain} |"
        )


def main() -> None:
    """Measure each design; print the table. Exit code 1 if an accuracy is below 0.90, or the engines differ by over 1e-4."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="Folder of MNIST's files. Default: scikit-learn's bundled digits.")
    parser.add_argument("--only", default="", help="Names of designs, separated by commas.")
    parser.add_argument("--json", type=Path, help="File to write the metrics to as well.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, threads of a busy machine wait for each other

    digits = chosen_digits(arguments.mnist)
    chosen = [recipe for recipe in RECIPES if not arguments.only or recipe.design in arguments.only.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in chosen:
            print(f"{recipe.design}:", file=sys.stderr, flush=True)
            rows.append(measure(recipe, digits, Path(folder)))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        for name, difference in engines_differ(Path(folder), [row["name"] for row in rows], digits.test).items():
            next(row for row in rows if row["name"] == name)["engines"] = difference
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"{digits.origin}: {len(digits.train)} to train, {len(digits.test)} held out\n")
    print_table(rows)
    weak = [row["design"] for row in rows if row["accuracy"] < 0.9 or row["engines"] > 1e-4]
    if weak:
        sys.exit(f"below 0.90, or different on the two engines: {', '.join(weak)}")


if __name__ == "__main__":
    main()
