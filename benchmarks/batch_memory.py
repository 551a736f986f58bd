"""Measure the peak memory of the batch job for 300 and for 3,000 files: it must not grow with their number.

    python benchmarks/batch_memory.py [--runs 3]

Prints the median and spread of the peak over runs, in MiB of PSS (each page is counted once for all processes of the job), and
the ratio of the two. The models are a small CNN and a convolutional autoencoder on 64 x 64 log-mels; they are not trained,
because the memory does not depend on the weights. The files are 300 machine sounds of 4.2 s, each with ten names in the larger
set.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from machine_anomalies import SOUND
from machine_sounds import generate

COPIES = 10
CLASSIFIER = "conv8bn pool conv16bn pool conv24bn pool conv32bn pool gap drop0.3 fc"
AUTOENCODER = "conv16s2bn conv32s2bn conv64s2bn latent24"


def peak_pss_mib(command: list[str]) -> tuple[float, float]:
    """Run a command; return the peak of its processes' summed PSS in MiB, sampled every 50 ms, and its seconds."""
    started = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_pss, [process, *_children(process)])))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the job failed with exit code {process.returncode}: {' '.join(command)}")
    return peak / 2**20, time.monotonic() - started


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0


def prepare(folder: Path) -> None:
    """Write the models and both sets of files."""
    export_model(
        build(CLASSIFIER, 3, (1, 64, 64)), ExportRequest("kinds", "classify", SOUND, labels=["a", "b", "c"]), folder / "models"
    )
    export_model(build_autoencoder(AUTOENCODER, (1, 64, 64)), ExportRequest("normal", "reconstruct", SOUND), folder / "models")
    generate(folder / "data", "train", 50, 0, seed=7)
    (folder / "data" / "train").rename(folder / "300")
    for path in (folder / "300").rglob("*.wav"):
        for copy in range(COPIES):
            target = folder / "3000" / str(copy) / path.relative_to(folder / "300")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)


def main() -> None:
    """Measure both sets and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    avizor = str(Path(sys.executable).with_name("avizor"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        peaks: dict[str, list[float]] = {"300": [], "3000": []}
        rates: dict[str, list[float]] = {"300": [], "3000": []}
        for run in range(runs):
            for files in peaks:
                out = folder / f"out-{files}-{run}"
                models = ["--models", str(folder / "models"), "--model", "kinds", "--model", "normal"]
                peak, seconds = peak_pss_mib([avizor, "batch", str(folder / files), *models, "--out", str(out)])
                peaks[files].append(peak)
                rates[files].append(int(files) / seconds)
    print("files   peak PSS MiB, median (min-max)   clips/s, whole process, median (min-max)")
    for files in peaks:
        print(f"{files:>5}   {_spread(peaks[files]):30}   {_spread(rates[files])}")
    print(f"ratio of peaks 3000 / 300: {statistics.median(peaks['3000']) / statistics.median(peaks['300']):.3f}")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


if __name__ == "__main__":
    main()
