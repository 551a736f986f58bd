"""Measure the peak memory of the batch job over 1x, 10x and 100x the data: it must not grow with it.

    python benchmarks/batch_memory.py [--runs 1] [--memory 1GiB]

The data are short recordings of 1 s (130, 1,300 and 13,000 files), one long recording (5, 50 and 500 minutes), and images of
32 x 32 pixels (130, 1,300 and 13,000 files). Prints for each the peak (with several runs the median and spread), in MiB of PSS
(each page is counted once for all processes of the job), its ratio to that of 1x, and the most bytes of temporary files. Two
workers, so that machines compare; the long recording is cut into sections of 1 MiB, so that both are busy at each size. The
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import soundfile
from PIL import Image

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.durable_files import is_temporary
from avizor_inference.items.input_spec import ImageInput

sys.path.insert(0, str(Path(__file__).parent))
from batch.inputs import export_autoencoder, write_clips
from batch.measured import run
from batch.sound import AUTOENCODER, RATE

LENET = "lenet"
TIMES = (1, 10, 100)
FILES, MINUTES = 130, 5
OPTIONS: dict[str, tuple[str, ...]] = {"long": ("--shard-mib", "1")}
MODELS = {"short": AUTOENCODER, "long": AUTOENCODER, "images": LENET}
NAMES = {"short": "recordings of 1 s", "long": "one long recording", "images": "images"}
AVIZOR = Path(sys.executable).with_name("avizor")


def prepare(folder: Path) -> None:
    """Write the models and the data: a folder for each kind and size."""
    export_autoencoder(folder / "models")
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


class Disk:
    """Keeps the most bytes that a job has on the disk for a while: unfinished files in its output, and in its TMPDIR."""

    def __init__(self, out: Path, temporary: Path) -> None:
        self._out, self._temporary, self.peak = out, temporary, 0

    def look(self, processes: Sequence[psutil.Process]) -> None:
        """Take in what there is now; files without a name are found where they are open."""
        named = [path for path in self._out.rglob("*") if is_temporary(path)] + list(self._temporary.rglob("*"))
        opened = [path for each in processes for path in Path(f"/proc/{each.pid}/fd").glob("*") if _is_unnamed(path)]
        self.peak = max(self.peak, sum(map(_size, (*named, *opened))))


def _is_unnamed(path: Path) -> bool:
    with suppress(OSError):
        name = str(path.readlink())
        return name.startswith("/") and name.endswith(" (deleted)") and not name.startswith(("/dev/", "/memfd:"))
    return False


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def measure(folder: Path, kind: str, times: int, memory: str) -> tuple[float, float, float]:
    """Run one job; return its peak of memory in MiB, of temporary disk in KiB, and its seconds."""
    out, temporary = folder / "out", folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    disk = Disk(out, temporary)
    options: tuple[str | Path, ...] = (
        "--models",
        folder / "models",
        "--model",
        MODELS[kind],
        "--workers",
        "2",
        "--memory",
        memory,
        *OPTIONS.get(kind, ()),
    )
    done = run([AVIZOR, "batch", folder / kind / str(times), *options, "--out", out], disk.look)
    shutil.rmtree(out)
    shutil.rmtree(temporary)
    return done.peak_mib, disk.peak / 2**10, done.seconds


def main() -> None:
    """Measure each kind and size, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--memory", default="1GiB", help="ceiling of each job")
    arguments = parser.parse_args()
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for _ in range(arguments.runs):
            for kind in MODELS:
                for times in TIMES:
                    found[kind, times].append(each := measure(folder, kind, times, arguments.memory))
                    print(f"{kind} {times}x: {each[0]:.0f} MiB, {each[1]:.0f} KiB of disk, {each[2]:.0f} s", file=sys.stderr)
    print(f"--memory {arguments.memory}, 2 workers\n")
    print("| data | MiB at 1x | 10x | 100x | 100x / 1x | temporary disk, KiB, at 1x | 10x | 100x |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for kind in MODELS:
        memory, disk = ([[each[place] for each in found[kind, times]] for times in TIMES] for place in (0, 1))
        ratio = statistics.median(memory[-1]) / statistics.median(memory[0])
        cells = [*map(_spread, memory), f"{ratio:.2f}", *(f"{max(peaks):.0f}" for peaks in disk)]
        print(f"| {NAMES[kind]} | {' | '.join(cells)} |")


def _spread(values: list[float]) -> str:
    middle = f"{statistics.median(values):.0f}"
    return f"{middle} ({min(values):.0f}-{max(values):.0f})" if len(values) > 1 else middle


if __name__ == "__main__":
    main()
