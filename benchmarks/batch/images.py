"""Compare the batch job over pictures with a torch DataLoader that has the same decoder, and the same graph.

    python benchmarks/batch/images.py [--rounds 3] [--json FILE]

Two models: LeNet on 32 x 32 pixels, where decoding takes nearly all, and one of the size of ResNet-18 on 96 x 96. Pictures
are JPEGs of 256 x 256. The loader has a process for each core. Its main process runs the graph, with one thread or with one for
each core, and writes Parquet; both are shown, and the better one counts. Rates are those of N pictures less N/10, medians
over interleaved rounds; in brackets is their range. Exit code 1: the job is slower than the loader.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.models import resnet18

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.measured import CORES, JOB, Measured, run, spread

from avizor_export.architectures.catalogue import build
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.kinds.image import ImageInput

SIDE = 256
# Model -> pictures: a minute of work or more on two cores.
COUNTS = {"lenet": 60_000, "r18": 8_000}
_DIFFERENT = 500
LOADER = Path(__file__).with_name("loader_way.py")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    slower, measured = False, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_models(folder / "models")
        for model, count in COUNTS.items():
            for pictures, size in (("few", count // 10), ("many", count)):
                write_pictures(folder / model / pictures, size, like=folder / model / "few")
            rates: dict[str, list[float]] = defaultdict(list)
            memory: dict[str, list[float]] = defaultdict(list)
            for _ in range(options.rounds):
                for way in ("job", "loader, 1 thread", f"loader, {CORES} threads"):
                    few, many = (_measure(way, folder, model, folder / model / pictures) for pictures in ("few", "many"))
                    rates[way].append((count - count // 10) / (many.seconds - few.seconds))
                    memory[way].append(many.peak_mib)
                    print(".", end="", file=sys.stderr, flush=True)
            measured[model] = {"pictures/s": rates, "MiB": memory}
            slower |= _print_table(model, count, rates, memory)
    if options.json:
        options.json.write_text(json.dumps(measured))
    sys.exit(1 if slower else 0)


def export_models(folder: Path) -> None:
    """Export both models with random weights: speed does not depend on them."""
    labels = list("0123456789")
    small, large = (ImageInput(height=side, width=side, channels=3) for side in (32, 96))
    lenet = build("lenet", 10, (3, 32, 32))
    export_model(lenet.eval(), ExportRequest("lenet", "classify", small, labels=labels), folder)
    export_model(resnet18(num_classes=10).eval(), ExportRequest("r18", "classify", large, labels=labels), folder)


def write_pictures(folder: Path, count: int, like: Path) -> None:
    """Write `count` JPEGs of smooth noise. like: pictures that were written before, to link to."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        path, first = folder / f"{number:06d}.jpg", like / f"{number % _DIFFERENT:06d}.jpg"
        if first.exists():
            os.link(first, path)
            continue
        noise = Image.fromarray(generator.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8))
        noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=90)


def _measure(way: str, folder: Path, model: str, pictures: Path) -> Measured:
    out = folder / "out"
    if way == "job":
        command: list[str | Path] = [
            *JOB,
            pictures,
            "--models",
            folder / "models",
            "--model",
            model,
            "--out",
            out,
            "--workers",
            str(CORES),
        ]
        done = run(command)
        shutil.rmtree(out)
        return done
    threads = way.split()[1]
    done = run([sys.executable, LOADER, folder / "models", model, pictures, out, str(CORES), threads])
    out.unlink()
    return done


def _print_table(model: str, count: int, rates: dict[str, list[float]], memory: dict[str, list[float]]) -> bool:
    """Print what one model gave; return whether the job is slower than the better loader."""
    print(f"\n{model}, {count} JPEGs of {SIDE} x {SIDE}, {CORES} cores\n\n| way | pictures/s | peak MiB |\n|---|---:|---:|")
    for way, values in rates.items():
        print(f"| {way} | {spread(values)} | {spread(memory[way])} |")
    medians = {way: statistics.median(values) for way, values in rates.items()}
    job = medians.pop("job")
    ratio = job / max(medians.values())
    print(f"\n{model}: job / better loader: {ratio:.2f}   goal at least 1.0: {'reached' if ratio >= 1 else 'MISSED'}")
    return ratio < 1


if __name__ == "__main__":
    main()
