"""Define `avizor call classify`, `detect`, `embed` and `reconstruct`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np

from avizor_client.answers import Answer, Classification, ClassProbability, Embedding, Reconstruction, Verdict
from avizor_client.cli.finite_range import FiniteRange
from avizor_client.cli.output import judges, print_line, where
from avizor_client.cli.questions import Question, item_options
from avizor_client.client import Client
from avizor_client.errors import InputError
from avizor_client.requests import Format


@click.command(
    short_help="The most probable classes of files.",
    epilog="""\b
Examples:
  avizor call classify digits 'scans/*.png'
  avizor call classify spoken monday.wav --top-k 3 --windows
""",
)
@item_options
@click.option("--top-k", type=click.IntRange(min=0), default=0, show_default="1, or all over their thresholds", help="Classes.")
@click.option(
    "--threshold",
    type=FiniteRange(0, 1),
    default=0.0,
    show_default=True,
    help="Only classes of at least this probability.",
)
@click.option("--windows", is_flag=True, help="A line for each window of a recording, too.")
def classify(question: Question, top_k: int, threshold: float, windows: bool) -> None:
    """Print the most probable classes of FILES, asked of MODEL.

    A file is what the model takes: a picture, a sound, a signal, a CSV file of rows, a .npy file of one tensor; `-` is standard
    input. A quoted pattern such as 'scans/*.png' is expanded.
    """

    def ask(client: Client, items: list[Any]) -> Answer[Classification]:
        return client.classify(question.model, items, version=question.version, top_k=top_k, threshold=threshold)

    for name, item, _ in question.ask(ask):
        if not question.as_json:
            print_line([name, _classes(item.classes)], [question.width()])
            for window in item.windows if windows else ():
                print_line([f"  {where(window.span)}", _classes(window.classes)], [question.width()])
    question.end()


def _classes(classes: Sequence[ClassProbability]) -> str:
    return ", ".join(f"{each.label} {each.probability:.3f}" for each in classes) or "no class"


@click.command(
    short_help="How unusual files are.",
    epilog="""\b
Examples:
  avizor call detect fan monday.wav --source fan-1
  avizor call detect transfers rows.csv --alpha 0.01 --json
""",
)
@item_options
@click.option(
    "--alpha",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    show_default="that of the gateway",
    help="Promised share of false alarms.",
)
@click.option("--windows", is_flag=True, help="A line for each window of a recording, too.")
@click.option("--exit-code", is_flag=True, help="End with 4 if there is an anomaly.")
def detect(question: Question, alpha: float | None, windows: bool, exit_code: bool) -> None:
    """Print verdict, p-value and score of FILES, asked of the autoencoder MODEL. FILES: see `avizor call classify`."""

    def ask(client: Client, items: list[Any]) -> Answer[Verdict]:
        return client.detect(question.model, items, version=question.version, alpha=alpha or 0.0)

    anomalies = 0
    for name, item, _ in question.ask(ask):
        anomalies += item.is_anomaly
        if not question.as_json:
            verdict = "ANOMALY" if item.is_anomaly else "normal"
            columns = [name, verdict, f"p {item.p_value:.4g}", f"score {item.score:.4g}", judges(item.judged_by)]
            print_line(columns, [question.width(), 7, 10, 14])
            for window in item.windows if windows else ():
                columns = [f"  {where(window.span)}", "", f"p {window.p_value:.4g}", f"score {window.score:.4g}"]
                print_line(columns, [question.width(), 7, 10])
    question.end(is_anomaly=exit_code and anomalies > 0)


@click.command(
    short_help="A vector for each window of files.",
    epilog="""\b
Example:
  avizor call embed digits 'scans/*.png' --out vectors
""",
)
@item_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write the vectors of each item as a .npy file.")
def embed(question: Question, out: Path | None) -> None:
    """Print the size of the embeddings of FILES, or all numbers with --json; --out writes them. FILES: see `classify`."""

    def ask(client: Client, items: list[Any]) -> Answer[Embedding]:
        return client.embed(question.model, items, version=question.version)

    places = _Places(out) if out else None

    def write(name: str, item: Embedding) -> Path:
        assert places is not None
        place = places.of(name, ".npy")
        with _whole(place) as file:
            np.save(file, item.vectors)
        return place

    for name, item, written in question.ask(ask, write if places else None):
        windows, size = item.vectors.shape[0], item.vectors.size // max(item.vectors.shape[0], 1)
        if not question.as_json:
            print_line([name, f"{windows} x {size}", written], [question.width(), 12])
    question.end()


@click.command(
    short_help="What an autoencoder makes of files.",
    epilog="""\b
Example:
  avizor call reconstruct caps cap.png --out made --format png
""",
)
@item_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", required=True, help="Where the results are written.")
@click.option(
    "--format",
    type=click.Choice(["tensor", "png", "wav"]),
    default="tensor",
    show_default=True,
    help="A .npy file on the network's scale, a picture, or a sound.",
)
def reconstruct(question: Question, out: Path, format: Format) -> None:
    """Write what the autoencoder MODEL makes of FILES, such as a picture without noise. FILES: see `classify`."""

    def ask(client: Client, items: list[Any]) -> Answer[Reconstruction]:
        return client.reconstruct(question.model, items, version=question.version, format=format)

    places = _Places(out)

    def write(name: str, item: Reconstruction) -> Path:
        place = places.of(name, ".npy" if format == "tensor" else f".{format}")
        with _whole(place) as file:
            if item.tensor is None:
                file.write(item.file)
            else:
                np.save(file, item.tensor)
        return place

    for name, _, place in question.ask(ask, write):
        if not question.as_json:
            print_line([name, place], [question.width()])
    question.end()


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[BinaryIO]:
    """Give a file that has its name once all is written. Raises InputError, and leaves what was there before then."""
    part = place.with_name(f".{place.name}.part")
    try:
        with _writing(place), part.open("wb") as file:
            yield file
        with _writing(place):
            part.replace(place)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Raise InputError where a file or its folder cannot be written."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{place}: cannot be written ({why}); make room, or choose another folder with --out") from error


@dataclass
class _Places:
    """Says where the result of each item is written: below `out`, at the path of the item with another suffix."""

    out: Path
    _items: dict[Path, Path] = field(default_factory=dict)

    def of(self, name: str, suffix: str) -> Path:
        """Return the place for an item, whose folder is made. Raises InputError, also if it is that of another one."""
        item = Path(name)
        parts = [part for part in item.parts if part not in ("/", "..", ".")]
        place = self.out.joinpath(*parts)
        place = place.with_name(place.name + suffix)
        if (before := self._items.setdefault(place, item)) != item:
            raise InputError(f"{before} and {item} would both be written to {place}; ask about them apart, with another --out")
        with _writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        return place
