"""Every architecture: trained on real digits, exported, proven equal, and timed on one thread.

    python benchmarks/architectures.py [--mnist FOLDER] [--only lenet,vgg16] [--json results.json]

Prints one table. Accuracy is on held-out digits; rows/s are medians over interleaved runs at batch 1 and 32, in brackets their
spread (largest over smallest); the int8 column is int8's rows/s over fp32's in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from handwritten_digits import Digits, bundled, mnist
from training import in_batches, train_classifier

from avizor_export.architectures.catalogue import ARCHITECTURES, build
from avizor_export.exporter import ExportRequest, export_model
from avizor_export.front_ends import ImageScaling
from avizor_inference.manifest import ImageFrontEnd, ImageInput

SPEC = "conv32x2bn pool conv64x2bn pool drop0.25 fc256 drop fc10"


@dataclass(frozen=True)
class Recipe:
    """How one design is trained: pixels of the input, epochs (10 at most), peak learning rate, batch norm."""

    design: str
    size: int = 32
    epochs: int = 3
    rate: float = 1e-3
    batch_norm: bool = False


RECIPES = [
    Recipe("lenet", epochs=10, rate=3e-3),
    Recipe("alexnet", epochs=4, rate=5e-4, batch_norm=True),
    Recipe("zfnet", epochs=3, rate=5e-4, batch_norm=True),
    Recipe("googlenet", epochs=4),
    Recipe("vgg16", epochs=4, rate=5e-4, batch_norm=True),
    Recipe("resnet34", epochs=3),
    Recipe("densenet121", epochs=3),
    Recipe(SPEC, epochs=5, rate=3e-3),
]


def measure(recipe: Recipe, digits: Digits, models: Path) -> dict[str, Any]:
    """Train, export, time; the figures of one row."""
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
    labels = list("0123456789")
    request = ExportRequest(name, "classify", image, labels=labels, real_items=digits.test[:64])
    version = export_model(network, request, models)
    manifest = version.manifest
    parity = max(output.largest_absolute for output in manifest.parity.outputs.values())
    row: dict[str, Any] = {
        "design": f"`{recipe.design}`" + (" + batch norm" if recipe.batch_norm else ""),
        "input": f"1x{recipe.size}x{recipe.size}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": recipe.epochs,
        "accuracy": accuracy,
        "parity": parity,
        "megabytes": manifest.model_bytes / 1e6,
        "training_seconds": seconds,
    }
    row |= timings({"fp32": version.model_path.read_bytes()}, "image", digits.test)
    return row


def timings(variants: dict[str, bytes], input_name: str, items: NDArray[np.uint8], seconds: float = 1.0) -> dict[str, Any]:
    """Rows/s of each variant at batch 1 and 32: median and spread of five interleaved runs on one thread."""
    sessions = {}
    for name, proto in variants.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        sessions[name] = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    figures: dict[str, Any] = {}
    for batch in (1, 32):
        rates: dict[str, list[float]] = {name: [] for name in sessions}
        feed = {input_name: np.ascontiguousarray(np.resize(items, (batch, *items.shape[1:])))}
        for _ in range(5):
            for name, session in sessions.items():
                rates[name].append(_rate(session, feed, batch, seconds / 5))
        for name, found in rates.items():
            figures[f"{name}_{batch}"] = median(found)
            figures[f"{name}_{batch}_spread"] = max(found) / min(found)
    return figures


def _rate(session: ort.InferenceSession, feed: dict[str, Any], batch: int, seconds: float) -> float:
    session.run(["probabilities"], feed)
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or count < 3:
        session.run(["probabilities"], feed)
        count += 1
    return count * batch / passed


def print_table(rows: list[dict[str, Any]]) -> None:
    """One markdown table."""
    print("| design | input | parameters | epochs | accuracy | parity | MB | rows/s, batch 1 | rows/s, batch 32 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['design']} | {row['input']} | {row['parameters']:,} | {row['epochs']} | {row['accuracy']:.3f} "
            f"| {row['parity']:.1e} | {row['megabytes']:.1f} | {row['fp32_1']:,.0f} ({row['fp32_1_spread']:.2f}) "
            f"| {row['fp32_32']:,.0f} ({row['fp32_32_spread']:.2f}) |"
        )


def main() -> None:
    """Measure each design in turn; print the table. Exit code 1 if one does not reach 0.90."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="Folder of MNIST's files; scikit-learn's bundled digits without it.")
    parser.add_argument("--only", default="", help="Names of designs, separated by commas.")
    parser.add_argument("--json", type=Path, help="Also write the figures there, design by design.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, threads of a busy machine wait for each other

    digits = mnist(arguments.mnist) if arguments.mnist else bundled()
    chosen = [recipe for recipe in RECIPES if not arguments.only or recipe.design in arguments.only.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in chosen:
            print(f"{recipe.design}:", file=sys.stderr, flush=True)
            rows.append(measure(recipe, digits, Path(folder)))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"{digits.origin}: {len(digits.train)} to train, {len(digits.test)} held out\n")
    print_table(rows)
    weak = [row["design"] for row in rows if row["accuracy"] < 0.9]
    if weak:
        sys.exit(f"below 0.90: {', '.join(weak)}")


if __name__ == "__main__":
    main()
