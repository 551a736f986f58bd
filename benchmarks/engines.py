"""Compare the engines that run in one's own process: model x engine x precision, on one thread.

    python benchmarks/engines.py [--mnist FOLDER] [--spoken PATH_TO/fsdd] [--epochs 3] [--rounds 7] [--seconds 0.5]

Trains a LeNet, a ResNet-18 (on spectrograms of 64 x 96) and an autoencoder of spectrograms, and exports them; the classifiers
in int8 too. Prints rows/s at batch 1 and 32 from interleaved runs: medians, in brackets the lowest and highest; the ratio to
ONNX Runtime in fp32 at batch 32 in the same run; the largest difference from ONNX Runtime on the same file, of any output, as a
share of its largest value; and a classifier's accuracy on held-out items. A network that the guard of export or the proof in
bf16 refuses says so. Without --mnist and --spoken the items are scikit-learn's digits and generated sounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import int8
import numpy as np
import torch
from int8 import SOUND, Sounds

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from handwritten_digits import chosen_digits
from training import in_batches, train_autoencoder, train_classifier

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.front_ends.build import build_front_end, fit_constants
from avizor_export.front_ends.image_scaling import ImageScaling
from avizor_export.request import ExportRequest
from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.open_engine import engines_here, open_engine
from avizor_inference.errors import ExportError, VersionRefused
from avizor_inference.items.input_spec import ImageFrontEnd, ImageInput
from avizor_inference.repository.models import ModelRepository

DIGITS = list("0123456789")
BATCHES = (1, 32)


@dataclass(frozen=True)
class Subject:
    """Holds a published model and items to send it. labels: of a classifier's items."""

    title: str
    name: str
    items: Array
    labels: Array | None = None


@dataclass
class Row:
    """Holds one engine with one model, and what was measured: rows/s by batch."""

    subject: Subject
    precision: str
    engine_name: str
    engine: Engine
    rates: dict[int, list[float]]


def published(request: ExportRequest, network: torch.nn.Module, models: Path) -> Iterator[str]:
    """Export in fp32 and in int8, and yield the names."""
    yield export_model(network, request, models).name
    try:
        yield export_model(network, replace(request, name=f"{request.name}-int8", precision="int8"), models).name
    except ExportError as error:
        print(f"{request.name} in int8: {error}", file=sys.stderr)


def lenet(mnist: Path | None, models: Path) -> Iterator[Subject]:
    """Train a LeNet on digits of 32 x 32 pixels."""
    digits = chosen_digits(mnist)
    scale = digits.train / 255
    front_end = ImageFrontEnd(mean=(float(scale.mean()),), std=(float(scale.std()),))
    torch.manual_seed(0)
    network = build("lenet", 10, (1, 32, 32))
    pixels = in_batches(ImageScaling(front_end), torch.from_numpy(digits.train))
    train_classifier(network, pixels, torch.from_numpy(digits.train_labels), epochs=3, peak_rate=3e-3, batch_size=32)
    held_out = LabelledItems(digits.test, digits.test_labels)
    image = ImageInput(height=32, width=32, channels=1, front_end=front_end)
    request = ExportRequest("lenet", "classify", image, labels=DIGITS, real_items=digits.train[:256], held_out=held_out)
    for name in published(request, network, models):
        yield Subject("LeNet", name, digits.test, digits.test_labels)


def resnet18(sounds: Sounds, epochs: int, models: Path) -> Iterator[Subject]:
    """Train a ResNet-18 as int8.py does."""
    network, sound = int8.trained(sounds, epochs)
    held_out = LabelledItems(sounds.test, sounds.test_labels)
    request = ExportRequest("resnet18", "classify", sound, labels=DIGITS, real_items=sounds.train[::5], held_out=held_out)
    for name in published(request, network, models):
        yield Subject("ResNet-18", name, sounds.test, sounds.test_labels)


def autoencoder(sounds: Sounds, models: Path) -> Subject:
    """Train an autoencoder of the same sounds."""
    windows = torch.from_numpy(sounds.train)
    sound = fit_constants(SOUND, torch.split(windows, 256))
    torch.manual_seed(0)
    network = build_autoencoder("conv16s2bn conv32s2bn latent24", (1, 64, 96))
    train_autoencoder(network, in_batches(build_front_end(sound), windows), epochs=10)
    export_model(network, ExportRequest("ae", "reconstruct", sound, real_items=sounds.train[:256]), models)
    return Subject("autoencoder", "ae", sounds.test)


def rows_per_second(row: Row, batch: int, seconds: float) -> float:
    """Return rows/s of calls of `batch` rows for about `seconds`, of the output that batch jobs ask for."""
    spec = row.engine.spec(row.subject.name)
    (name,) = spec.inputs
    request = InferRequest(row.subject.name, {name: np.resize(row.subject.items, (batch, *row.subject.items.shape[1:]))}, [
        next(iter(spec.outputs))
    ])  # fmt: skip
    row.engine.infer(request)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        row.engine.infer(request)
        calls += 1
    return calls * batch / (time.perf_counter() - started)


def answers(row: Row) -> dict[str, Array]:
    """Return all outputs for all items."""
    spec = row.engine.spec(row.subject.name)
    (name,) = spec.inputs
    return infer_rows(row.engine, InferRequest(row.subject.name, {name: row.subject.items}, list(spec.outputs)), in_flight=1)


def rows_of(subjects: list[Subject], models: Path) -> list[Row]:
    """Open each model on each engine that takes it."""
    rows, repository = [], ModelRepository(models)
    for subject in subjects:
        quantised = repository.version(subject.name).manifest.precision == "int8"
        for engine_name in engines_here():
            if quantised and engine_name == "openvino:bf16":
                continue  # the same as openvino
            engine = open_engine(
                engine_name, repository, device="cpu" if engine_name == "ort" else "config", intra_op_threads=1
            )
            try:
                precision = engine.spec(subject.name).precision or repository.version(subject.name).manifest.precision
            except VersionRefused as error:
                print(f"{subject.title} on {engine_name}: {error}", file=sys.stderr)
            else:
                rows.append(Row(subject, precision, engine_name.partition(":")[0], engine, {batch: [] for batch in BATCHES}))
    return rows


def print_table(rows: list[Row]) -> None:
    """Print the rows as a markdown table."""
    print("| model | engine | precision | batch 1 | batch 32 | of ONNX Runtime fp32 | largest difference | accuracy |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for row in rows:
        alike = [each for each in rows if each.subject.title == row.subject.title and each.engine_name == "ort"]
        same_file = next(each for each in alike if each.subject.name == row.subject.name)
        ratios = [one / other for one, other in zip(row.rates[32], alike[0].rates[32], strict=True)]
        mine, reference = answers(row), answers(same_file)
        difference = max(float(np.abs(mine[name] - values).max() / np.abs(values).max()) for name, values in reference.items())
        right = "" if row.subject.labels is None else f"{(mine['probabilities'].argmax(1) == row.subject.labels).mean():.4f}"
        rates = " | ".join(f"{median(each):,.0f} ({min(each):,.0f}-{max(each):,.0f})" for each in row.rates.values())
        print(
            f"| {row.subject.title} | {row.engine_name} | {row.precision} | {rates} | {median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) | {difference:.1e} | {right} |"
        )


def main() -> None:
    """Train, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="Folder of MNIST's files. Default: scikit-learn's digits.")
    parser.add_argument("--spoken", type=Path, help="Folder of the Free Spoken Digit Dataset. Default: generated sounds.")
    parser.add_argument("--epochs", type=int, default=3, help="Of the ResNet-18.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="Of each run.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, threads of a busy machine wait for each other
    sounds = int8.spoken(arguments.spoken) if arguments.spoken else int8.generated()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        subjects = [*lenet(arguments.mnist, models), *resnet18(sounds, arguments.epochs, models), autoencoder(sounds, models)]
        rows = rows_of(subjects, models)
        for _ in range(arguments.rounds):
            for batch in BATCHES:
                for row in rows:
                    row.rates[batch].append(rows_per_second(row, batch, arguments.seconds))
        print_table(rows)


if __name__ == "__main__":
    main()
