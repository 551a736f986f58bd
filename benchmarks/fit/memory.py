"""Measure the peak memory of `avizor fit` over folders of 1x, 10x and 100x the items: it must not grow without a bound.

    python benchmarks/fit/memory.py [--out FOLDER]

Recordings of 4 s at 16 kHz (300, 3,000 and 30,000 files; 3.6 GiB at last) and pictures of 64 x 64 pixels (the same numbers), of
noise, for a detector and for a classifier. A few steps of training, because memory does not depend on their number. Prints the
size of the folder, and the peak of the command in MiB (PSS). What may grow is bounded: 256 MiB of features of a detector, 512
MiB of raw items of a classifier, and the list of 100,000 items.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from batch.measured import run

ITEMS, TIMES = 300, (1, 10, 100)
AVIZOR = Path(sys.executable).with_name("avizor")
Write = Callable[[Path, np.random.Generator], None]


def main() -> None:
    """Write, measure, remove: one folder at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()), help="Where 4 GiB are free for a while.")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().out) as name:
        print("| items | task | number | MiB of files | peak MiB | minutes |\n|---|---|---:|---:|---:|---:|", flush=True)
        for row in rows(Path(name)):
            print(row, flush=True)


def rows(folder: Path) -> Iterator[str]:
    """Yield a row for each kind, task and size."""
    kinds: tuple[tuple[str, str, Write], ...] = (("recordings of 4 s", ".wav", sound), ("pictures", ".png", picture))
    for kind, suffix, write in kinds:
        for times in TIMES:
            items = folder / "items"
            megabytes = fill(items, ITEMS * times, suffix, write)
            for task, options in (("detector", ("--folds", "0")), ("classifier", ("--labels",))):
                command = [AVIZOR, "fit", items, "--name", "m", "--models", folder / "models", "--steps", "60", *options]
                done = run(command)
                sizes = f"{ITEMS * times:,} | {megabytes:,.0f} | {done.peak_mib:,.0f}"
                yield f"| {kind} | {task} | {sizes} | {done.seconds / 60:.1f} |"
                shutil.rmtree(folder / "models")
            shutil.rmtree(items)


def fill(folder: Path, count: int, suffix: str, write: Write) -> float:
    """Write so many items into two sub-folders; return their size in MiB."""
    generator = np.random.default_rng(0)
    for source in ("a", "b"):
        (folder / source).mkdir(parents=True)
    paths = [folder / "ab"[number % 2] / f"{number}{suffix}" for number in range(count)]
    for path in paths:
        write(path, generator)
    return sum(path.stat().st_size for path in paths) / 2**20


def sound(path: Path, generator: np.random.Generator) -> None:
    """Write 4 s of noise."""
    soundfile.write(path, generator.integers(-9000, 9000, 4 * 16_000, dtype=np.int16), 16_000)


def picture(path: Path, generator: np.random.Generator) -> None:
    """Write a picture of noise."""
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
