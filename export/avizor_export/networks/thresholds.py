"""Read the thresholds of a multi-label classifier: one number for all classes, or a file with one for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from avizor_inference.errors import ExportError

DEFAULT_THRESHOLD = 0.5

# One number for all classes, one for each in the order of the labels, or one for each by its label.
Thresholds = float | Sequence[float] | Mapping[str, float]


def read_thresholds(text: str) -> Thresholds:
    """Return the thresholds of `--thresholds`: a number, a JSON file (a list, or an object of labels), or a text file.

    manifest.json of a version is such a JSON file: its thresholds are taken. A text file has one number a line, in the order
    of the labels. Raises ExportError if the file cannot be read, or holds something else.
    """
    try:
        return float(text)
    except ValueError:
        path = Path(text)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"--thresholds {text} is not a number, and not a file that can be read ({reason})") from error
    return _parse(content, path)


def thresholds_of(given: Thresholds | None, labels: Sequence[str]) -> tuple[float, ...]:
    """Return one threshold for each label; without any given, 0.5. Raises ExportError if they do not fit the labels."""
    if isinstance(given, Mapping):
        if given.keys() != set(labels):
            missing, unknown = [name for name in labels if name not in given], [name for name in given if name not in labels]
            raise ExportError(
                "thresholds by label have to name each label once"
                + (f"; {', '.join(map(repr, missing[:5]))} have none" if missing else "")
                + (f"; {', '.join(map(repr, unknown[:5]))} are not labels" if unknown else "")
            )
        values = [given[name] for name in labels]
    elif isinstance(given, Sequence):
        values = list(given)
    else:
        values = [DEFAULT_THRESHOLD if given is None else given] * len(labels)
    if len(values) != len(labels):
        raise ExportError(f"{len(values)} thresholds for {len(labels)} labels; give one for all, or one for each label")
    for value in values:
        if not 0 < value <= 1:  # also NaN
            raise ExportError(f"a threshold of {value:g}; thresholds are probabilities over 0, and at most 1")
    return tuple(map(float, values))


def _parse(content: str, path: Path) -> Thresholds:
    try:
        values = json.loads(content) if path.suffix == ".json" else [float(line) for line in content.split()]
    except (ValueError, RecursionError) as error:
        what = "JSON" if path.suffix == ".json" else "a file of one number a line; a JSON file needs the suffix .json"
        raise ExportError(f"{path} is not {what}: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("thresholds"), list):  # manifest.json of a version
        values = values["thresholds"]
    numbers = values.values() if isinstance(values, dict) else values if isinstance(values, list) else [values]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise ExportError(
            f"{path} has to hold one number for all labels, a list of one for each, or an object of label: number"
        )
    thresholds: Thresholds = values
    return thresholds
