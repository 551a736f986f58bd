"""Labelled held-out data of `--evaluate-on`: folders named after the classes, a table with a column `label`, or a .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avizor_export.data.real_data import recordings
from avizor_export.data.table_data import SUFFIXES, read_table
from avizor_export.variants.quality import LabelledItems
from avizor_inference.errors import ExportError
from avizor_inference.inputs import AudioInput, ImageInput, InputSpec, TableInput
from avizor_inference.sources import SourceRule

# Labels, and names of folders, of what is no anomaly; written small.
_NORMAL = ("normal", "0", "false")
LABEL_COLUMN = "label"

Items = NDArray[np.generic]


def read_held_out(path: Path, spec: InputSpec, classes: Sequence[str] | None) -> LabelledItems:
    """Every item below `path` with its class. classes: a classifier's labels in order; None for an autoencoder.

    A folder of sounds or images has a sub-folder for each class; a table a column `label`; a .npz file the arrays `items`, raw
    items [n, *item_shape], and `labels` [n]. Labels are names of classes or their indices; for an autoencoder `normal` or any
    other name, or 0 and 1, 1 being an anomaly. Raises ExportError naming what cannot be read or is not known.
    """
    if path.suffix == ".npz":
        items, labels = _arrays(path)
    elif isinstance(spec, AudioInput | ImageInput) and path.is_dir():
        items, labels = _folders(path, spec)
    elif isinstance(spec, TableInput) and path.suffix in SUFFIXES:
        table = read_table(path, spec, [LABEL_COLUMN])
        items, labels = table.rows(), np.array(table.texts(LABEL_COLUMN))
    else:
        raise ExportError(
            f"{path}: give a .npz file with items and labels; for sound or images a folder with a sub-folder for each class, "
            f"for rows a .csv or .parquet file with a column {LABEL_COLUMN!r}"
        )
    return LabelledItems(items, _indices(labels, classes, path))


def _arrays(path: Path) -> tuple[Items, Items]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["items"], arrays["labels"]
    except KeyError as error:
        raise ExportError(f"{path} has to hold two arrays, items and labels: {error}") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is not a .npz file that can be read: {error}") from error


def _folders(path: Path, spec: InputSpec) -> tuple[Items, Items]:
    parts: list[Items] = []
    labels: list[str] = []
    for folder in sorted(each for each in path.iterdir() if each.is_dir()):
        for _, windows in recordings(folder, spec, SourceRule("")):
            parts.append(windows)
            labels += [folder.name] * len(windows)
    if not parts:
        raise ExportError(f"{path} has no sub-folders with files; put each class into a folder of its name")
    return np.concatenate(parts), np.array(labels)


def _indices(labels: Items, classes: Sequence[str] | None, path: Path) -> NDArray[np.int64]:
    if labels.ndim != 1:
        raise ExportError(f"{path}: labels are {list(labels.shape)}; give one for each item")
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64)
    if labels.dtype.kind != "U":
        raise ExportError(f"{path}: labels are {labels.dtype}; give names of classes or whole numbers")
    names = labels.tolist()
    if "" in names:
        raise ExportError(f"{path}: {names.count('')} items have no label; label them or leave them out")
    if classes is None:
        return np.array([name.lower() not in _NORMAL for name in names], dtype=np.int64)
    place = {str(index): index for index in range(len(classes))} | {name: index for index, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(place)):
        raise ExportError(f"{path} has labels that the model does not: {', '.join(map(repr, unknown[:5]))}")
    return np.array([place[name] for name in names], dtype=np.int64)
