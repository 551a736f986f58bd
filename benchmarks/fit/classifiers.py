"""Compare `avizor fit --labels` without an option with the examples, whose classifiers were made by hand for their data.

Both train with the same items, and are measured on the same others: of MNIST the last 2,000 of its test set's 10,000, of the
spoken digits the official test split.
"""

from __future__ import annotations

import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import handwritten_digits
import numpy as np
from fit.run import fit, printed_by
from PIL import Image

from avizor_inference.classify import MeanProbabilities
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.intervals import wilson
from avizor_inference.items.decode import content_of_file, decode_item
from avizor_inference.repository.models import ModelVersion

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
HEAD = (
    "| set | trained with | minutes | CPU minutes | accuracy of the example | accuracy of `avizor fit --labels` | on |",
    "|---|---:|---:|---:|---:|---:|---:|",
)


@dataclass(frozen=True)
class Comparison:
    """Names the items of a set, and its example.

    example: its command, without `--models`; it prints its accuracy. pattern: takes the class out of a path. write: the items
    into the folders `train` and `test`.
    """

    name: str
    example: tuple[str, ...]
    pattern: str
    write: Callable[[Path], None]

    def row(self, out: Path, data: Path) -> str:
        """Train both, measure both, and return a row of the table."""
        folder = out / self.name
        shutil.rmtree(folder, ignore_errors=True)
        self.write(folder)
        script, *options = self.example
        example = [sys.executable, str(EXAMPLES / script), *options, str(data), "--models", str(folder / "by-hand")]
        by_hand = float(re.findall(r"^accuracy .*: (\S+) of", printed_by(example), re.MULTILINE)[-1])
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, version = fit(folder / "train", "fitted", folder / "models", "--labels", "--source-pattern", self.pattern)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
        right = list(self._right(version, folder))
        low, high = wilson(sum(right), len(right))
        trained = len(list((folder / "train").rglob("*.*")))
        fitted = f"{np.mean(right):.4f} ({low:.4f} to {high:.4f})"
        return f"| {self.name} | {trained} | {seconds / 60:.1f} | {cpu:.1f} | {by_hand:.4f} | {fitted} | {len(right)} |"

    def _right(self, version: ModelVersion, folder: Path) -> Iterator[bool]:
        """Yield for each test item whether the published model finds its class, through the embedded engine."""
        spec, labels = version.manifest.input, version.manifest.labels or ()
        with EmbeddedEngine(folder / "models", device="cpu") as engine:
            for path in sorted((folder / "test").rglob("*.*")):
                rows = decode_item(content_of_file(path, spec), spec).rows
                asked = InferRequest("fitted", {spec.tensor().name: rows}, ["probabilities"])
                found = MeanProbabilities.of(infer_rows(engine, asked)["probabilities"]).value
                match = re.search(self.pattern, path.relative_to(folder / "test").as_posix())
                assert match
                yield labels[int(found.argmax())] == match[1]


def comparisons(data: Path) -> list[tuple[Comparison, Path]]:
    """Return each comparison, with the data of its example."""
    mnist, fsdd = data / "mnist10k", data / "fsdd"
    return [
        (
            Comparison("mnist-digits", ("handwritten_digits.py", "--mnist"), r"^(\d)/", lambda out: _write_mnist(mnist, out)),
            mnist,
        ),
        (Comparison("spoken-digits", ("spoken_digits.py", "--data"), r"^(\d)_", lambda out: _write_spoken(fsdd, out)), fsdd),
    ]


def _write_mnist(mnist: Path, out: Path) -> None:
    digits = handwritten_digits.mnist(mnist).in_original_size()
    for part, images, labels in (
        ("train", digits.train, digits.train_labels),
        ("test", digits.test, digits.test_labels),
    ):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = out / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(folder / f"{number}.png")


def _write_spoken(fsdd: Path, out: Path) -> None:
    for path in sorted(fsdd.glob("*.wav")):
        part = "test" if int(path.stem.split("_")[2]) < 5 else "train"  # the official split
        (out / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / part)
