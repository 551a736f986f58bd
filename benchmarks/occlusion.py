"""Compare the cost of an occlusion map with that of the same number of plain forward passes in full batches.

    python benchmarks/occlusion.py [--rounds 9]

An image of 224 x 224 pixels, hidden in patches of 32 pixels at a stride of 16: 170 rows, in batches of 16, on the embedded
engine. Prints the ratio of both times, taken in turns: median and quartiles, of wall-clock and of CPU time. A network that does
hardly anything shows what masking costs; ResNet-18 is one that is in use. Exit code 1 if the ratio of ResNet-18 is over 1.15.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torchvision

from avizor_export import ExportRequest, build, export_model
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference import EmbeddedEngine, ImageInput, InferRequest, ModelVersion, infer_rows
from avizor_inference.explain.hiding.settings import HidingSettings
from avizor_inference.explain.occlusion import occlusion_map, rows_of_map
from avizor_inference.explain.raw_rows import RawRow

SPEC = ImageInput(height=224, width=224, channels=3)
SETTINGS = HidingSettings(size=(32,), stride=(16,))
PROMISED = {"resnet-18": 1.15}
BATCH = 16

Seconds = tuple[float, float]  # wall-clock, CPU


def networks() -> dict[str, torch.nn.Module]:
    """Return the networks, with random weights: their time does not depend on them."""
    torch.manual_seed(0)
    return {
        "two convolutions": build("conv8s4bn conv16s4bn gap fc", 10, (3, 224, 224)),
        "resnet-18": torchvision.models.resnet18(num_classes=10),
    }


def timed(run: Callable[[], object]) -> Seconds:
    """Return the time that a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(engine: EmbeddedEngine, version: ModelVersion, rounds: int) -> bool:
    """Print one row. Return whether the promise was kept."""
    image = np.random.default_rng(0).integers(0, 256, SPEC.tensor_spec.item_shape).astype(np.uint8)
    row = RawRow("noise", 0, image)
    plain = InferRequest(
        version.name, {"image": np.repeat(image[None], rows_of_map(SPEC, SETTINGS), axis=0)}, ["probabilities"]
    )
    pairs = []
    for round in range(rounds + 1):
        runs = [lambda: infer_rows(engine, plain, in_flight=2), lambda: occlusion_map(engine, version, row, SETTINGS)]
        order = (0, 1) if round % 2 else (1, 0)
        times = {place: timed(runs[place]) for place in order}
        if round:  # the first one opens sessions
            pairs.append((times[0], times[1]))
    cells = []
    for clock in (0, 1):
        ratios = [occluded[clock] / forward[clock] for forward, occluded in pairs]
        low, _, high = quantiles(ratios, n=4)
        cells.append((median(ratios), f"{median(ratios):.3f} | {low:.3f} to {high:.3f}"))
    per_row = median(forward[1] for forward, _ in pairs) / len(plain.inputs["image"])
    print(f"| {version.name} | {1e3 * per_row:.2f} | {cells[0][1]} | {cells[1][1]} |", flush=True)
    return cells[1][0] <= PROMISED.get(version.name, np.inf)


def main() -> None:
    """Export, measure both networks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        models = Path(folder)
        labels, serving = [str(each) for each in range(10)], ServingOptions(max_batch_size=BATCH)
        versions = [
            export_model(network, ExportRequest(name, "classify", SPEC, labels=labels, serving=serving), models)
            for name, network in ((name.replace(" ", "-"), network) for name, network in networks().items())
        ]
        print("| network | CPU ms a row | wall-clock ratio | quartiles | CPU ratio | quartiles |")
        print("|---|---:|---:|---:|---:|---:|")
        with EmbeddedEngine(models, device="cpu") as engine:
            kept = [measure(engine, version, arguments.rounds) for version in versions]
    if not all(kept):
        sys.exit("a map costs more than 1.15 times its forward passes")


if __name__ == "__main__":
    main()
