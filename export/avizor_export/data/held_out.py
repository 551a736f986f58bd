"""Read labelled held-out data (`--evaluate-on`): folders named after classes, a table with a column `label`, or a .npz file."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avizor_export.data.labelled_items import NORMAL_LABELS, LabelledItems
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.data.arrays import read_arrays
from avizor_inference.items.data.folder_notes import Notes
from avizor_inference.items.data.item_files import check_exists, is_table, plurals, read_recordings
from avizor_inference.items.data.table_data import read_table
from avizor_inference.items.dataset import Columns
from avizor_inference.items.file_access import folders_and_files, is_folder, name_of
from avizor_inference.items.input_spec import InputSpec, TableInput
from avizor_inference.items.source_rule import DEFAULT_SOURCE, SourceRule
from avizor_inference.items.windows import ChannelMode

LABEL_COLUMN = "label"


@stage("read held-out items")
def read_held_out(
    path: Path,
    spec: InputSpec,
    classes: Sequence[str] | None,
    columns: Columns | None = None,
    channels: ChannelMode = "each",
) -> LabelledItems:
    """Read every item below `path` with its class. classes: a classifier's labels in order; None for an autoencoder.

    A folder of files has a sub-folder for each class; a table a column `label`; a .npz file the arrays `items`, raw
    items [n, *item_shape], and `labels` [n], or for a multi-label model [n, classes] of 0 and 1. Labels are names of classes,
    or their indices where no class is named by a number. For an autoencoder those of NORMAL_LABELS are normal and all others
    anomalies; or numbers 0 and 1, 1 being an anomaly.
    columns: with that of paths or of bytes, the files of a table are read, whose column `label` names their classes. channels:
    see `read_recordings`. Raises ExportError naming what cannot be read or is not known.
    """
    check_exists(path)
    if path.suffix == ".npz":
        items, labels = read_arrays(path, "items", "labels")
    elif spec.suffixes and is_folder(path):
        items, labels = _folders(path, spec, channels)
    elif spec.suffixes and is_table(path) and columns and (columns.path or columns.bytes):
        items, labels = _listed(path, spec, columns, channels)
    elif isinstance(spec, TableInput) and is_table(path):
        table = read_table(path, spec, [LABEL_COLUMN])
        items, labels = table.rows(), np.array(table.texts(LABEL_COLUMN, classes or ()))
    else:
        raise ExportError(
            f"{path}: give a .npz file with items and labels; for {plurals()} a folder with a sub-folder for each class, "
            f"for rows a .csv or .parquet file with a column {LABEL_COLUMN!r}"
        )
    return LabelledItems(items, _indices(labels, classes, path))


def _folders(path: Path, spec: InputSpec, channels: ChannelMode) -> tuple[Items, Items]:
    parts: list[Items] = []
    labels: list[str] = []
    notes = Notes()
    folders, files = folders_and_files(path)
    for folder in sorted([*folders, *files]):
        if folder.name.startswith(".") or folder in files:
            notes.left_out.add(folder)
            continue
        for recording in read_recordings(folder, spec, SourceRule(""), notes=notes, channels=channels):
            parts.append(recording.windows)
            labels += [name_of(folder.name)] * len(recording.windows)
    notes.warn(path)
    if not parts:
        raise ExportError(f"{path} has no sub-folders with files; put each class into a folder of its name")
    return np.concatenate(parts), np.array(labels)


def _listed(path: Path, spec: InputSpec, columns: Columns, channels: ChannelMode) -> tuple[Items, Items]:
    """Read the files that a table holds or lists; what is the source elsewhere is the class here."""
    recordings = list(read_recordings(path, spec, SourceRule(""), replace(columns, source=LABEL_COLUMN), channels=channels))
    labels = [recording.source for recording in recordings for _ in recording.windows]
    if not labels or DEFAULT_SOURCE in labels:
        raise ExportError(f"{path}: {labels.count(DEFAULT_SOURCE)} items have no label; label them or leave them out")
    return np.concatenate([recording.windows for recording in recordings]), np.array(labels)


def _indices(labels: Items, classes: Sequence[str] | None, path: Path) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.dtype.kind in "biu" and classes is not None:
        return labels.astype(np.int64)
    if labels.ndim != 1:
        raise ExportError(
            f"{path}: labels are {labels.dtype}{list(labels.shape)}; give one for each item, or for a multi-label classifier a "
            "whole number 0 or 1 for each item and class"
        )
    if labels.dtype.kind not in "biuU":
        raise ExportError(f"{path}: labels are {labels.dtype}; give names of classes or whole numbers")
    if labels.dtype.kind == "U":
        return _of_names(labels.tolist(), classes, path)
    if classes is not None and any(map(_is_number, classes)):
        # 1 may be the class of that name or the second one: the name it is, as it would be in a folder or a table.
        return _of_names([str(int(label)) for label in labels], classes, path)
    if len(labels) and labels.max() > np.iinfo(np.int64).max:
        raise ExportError(f"{path}: the label {labels.max()} is the index of no class")
    return labels.astype(np.int64)


def _of_names(names: Sequence[str], classes: Sequence[str] | None, path: Path) -> NDArray[np.int64]:
    if "" in names:
        raise ExportError(f"{path}: {names.count('')} items have no label; label them or leave them out")
    if classes is None:
        return np.array([name.lower() not in NORMAL_LABELS for name in names], dtype=np.int64)
    # As `SourceRule` has names of folders: an accent is a part of its letter.
    names = [unicodedata.normalize("NFC", name) for name in names]
    place = {unicodedata.normalize("NFC", name): index for index, name in enumerate(classes)}
    by_name = any(map(_is_number, classes))
    if not by_name:
        place |= {str(index): index for index in range(len(classes))}
    if unknown := sorted(set(names) - set(place)):
        rule = "; with numbers for names of classes, labels have to be names and not indices" if by_name else ""
        raise ExportError(f"{path} has labels that the model does not: {', '.join(map(repr, unknown[:5]))}{rule}")
    return np.array([place[name] for name in names], dtype=np.int64)


def _is_number(name: str) -> bool:
    return name.strip().lstrip("+-").isdecimal()
