"""Measure the peak memory of the batch job over 1x, 10x and 100x the data: it must not grow with it.

    python benchmarks/batch_memory.py [--runs 3]

The data are short recordings of 1 s (100, 1,000 and 10,000 files), one long recording (1, 10 and 100 minutes), and images of
32 x 32 pixels (100, 1,000 and 10,000 files). Prints for each the median and spread of the peak over runs, in MiB of PSS (each
page is counted once for all processes of the job), and its ratio to that of 1x. Two workers, so that machines compare. The
models (a convolutional autoencoder on log-mels, LeNet) are not trained, because the memory does not depend on the weights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput

sys.path.insert(0, str(Path(__file__).parent))
from batch.inputs import AUTOENCODER, RATE, export_models, write_clips
from batch.measured import run

LENET = "lenet"
TIMES = (1, 10, 100)
FILES, MINUTES = 100, 1
AVIZOR = Path(sys.executable).with_name("avizor")


def prepare(folder: Path) -> None:
    """Write the models and the data: a folder for each kind and size."""
    export_models(folder / "models")
    image = ImageInput(height=32, width=32, channels=1)
    export_model(LeNet(), ExportRequest(LENET, "classify", image, labels=list("0123456789")), folder / "models")
    for kind in ("short", "long", "images"):
        (folder / kind).mkdir()
    for times in TIMES:
        write_clips(folder / "short" / str(times), FILES * times)
        _write_long(folder / "long" / str(times), MINUTES * times)
        _write_images(folder / "images" / str(times), FILES * times)


def _write_long(folder: Path, minutes: int) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(folder / "long.wav", "w", RATE, 1, "PCM_16") as file:
        for _ in range(minutes):
            file.write(generator.uniform(-0.5, 0.5, 60 * RATE))


def _write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)).save(folder / "0.png")
    for number in range(1, count):
        os.link(folder / "0.png", folder / f"{number}.png")


def main() -> None:
    """Measure each kind and size, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    models = {"short": AUTOENCODER, "long": AUTOENCODER, "images": LENET}
    peaks: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for _ in range(runs):
            for kind, model in models.items():
                for times in TIMES:
                    data, options = folder / kind / str(times), ("--model", model, "--workers", "2")
                    done = run([AVIZOR, "batch", data, "--models", folder / "models", *options, "--out", folder / "out"])
                    peaks[kind, times].append(done.peak_mib)
                    shutil.rmtree(folder / "out")
    print("| data | peak MiB at 1x | 10x | 100x | 100x / 1x |\n|---|---:|---:|---:|---:|")
    for kind in models:
        ratio = statistics.median(peaks[kind, TIMES[-1]]) / statistics.median(peaks[kind, TIMES[0]])
        print(f"| {kind} | {' | '.join(_spread(peaks[kind, times]) for times in TIMES)} | {ratio:.2f} |")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


if __name__ == "__main__":
    main()
