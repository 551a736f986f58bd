"""Real raw items for parity and calibration, read from a folder of audio or image files, a table, or a .npy file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avizor_export.data.arrays import open_array
from avizor_export.data.folder_notes import Notes
from avizor_export.data.table_data import is_table, read_table
from avizor_inference.anomaly.calibrate import NormalRecording
from avizor_inference.errors import ExportError, MediaError
from avizor_inference.items.dataset import SUFFIXES, list_dataset
from avizor_inference.items.decode import content_of_file, decode_item
from avizor_inference.items.files import name_of
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput
from avizor_inference.items.sources import DEFAULT_SOURCE, SourceRule


def recordings(
    path: Path, spec: InputSpec, rule: SourceRule, source_column: str = "", notes: Notes | None = None
) -> Iterator[NormalRecording]:
    """Recordings below `path`, with their sources: audio files cut into windows, images, or rows or items of a file one by one.

    source_column: the column of a table that names each row's source; without it all are of the default source.
    notes: where what was left out or clipped is collected; without it, it is told at the end.
    Raises ExportError: calibration data that cannot be read is not left out silently.
    """
    require(path)
    if path.suffix == ".npy":
        for item in _items(path, spec):
            yield NormalRecording(DEFAULT_SOURCE, np.array(item[None]))
    elif isinstance(spec, AudioInput | ImageInput) and path.is_dir():
        own = notes or Notes()
        for entry in list_dataset([path], SUFFIXES[spec.modality], rule, own.left_out):
            own.sources[entry.source] += 1
            yield _recording_of(entry.path, spec, entry.source, own)
        if notes is None:
            own.tell(path, rule.pattern)
    elif isinstance(spec, TableInput) and is_table(path):
        yield from _rows(path, spec, source_column)
    else:
        raise ExportError(
            f"{path}: give a .npy file of raw items; for sound or images a folder of files, for rows a .csv or .parquet file"
        )


def sample(path: Path, spec: InputSpec, most: int) -> NDArray[np.generic]:
    """At most so many raw items [n, *item_shape], spread evenly over what lies below `path`. Raises ExportError."""
    require(path)
    if isinstance(spec, AudioInput | ImageInput) and path.is_dir():
        notes = Notes()
        files = [entry.path for entry in list_dataset([path], SUFFIXES[spec.modality], left_out=notes.left_out)]
        each = -(-most // max(1, len(files)))
        parts = [
            windows[spread(len(windows), each)]
            for place in spread(len(files), most)
            for windows in [_recording_of(files[place], spec, DEFAULT_SOURCE, notes).windows]
        ]
        notes.tell(path)
    elif path.suffix == ".npy":
        items = _items(path, spec)
        parts = [np.array(items[spread(len(items), most)])] if len(items) else []
    else:
        parts = [recording.windows for recording in recordings(path, spec, SourceRule(""))]
    if not parts:
        raise ExportError(f"{path} holds no items")
    items = np.concatenate(parts)
    return items[spread(len(items), most)]


def require(path: Path) -> None:
    """Raise ExportError for a path that is not there, before anything is said of its kind."""
    if not path.exists():
        raise ExportError(f"{path} does not exist")


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Places of at most `most` among `count` things, evenly spread; the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, np.int64)


def _items(path: Path, spec: InputSpec) -> NDArray[np.generic]:
    """Raw items [n, *item_shape] of a .npy file, on the disk."""
    tensor, items = spec.tensor(), open_array(path)
    if items.dtype != np.dtype(tensor.dtype) or items.shape[1:] != tensor.item_shape:
        wanted = f"{tensor.dtype}[n, {', '.join(map(str, tensor.item_shape))}]"
        raise ExportError(f"{path} holds {items.dtype}{list(items.shape)}; wanted {wanted}")
    return items


def _rows(path: Path, spec: TableInput, source_column: str) -> Iterator[NormalRecording]:
    table = read_table(path, spec, [source_column] if source_column else [])
    rows = table.rows()
    sources = table.texts(source_column) if source_column else [""] * len(rows)
    for source, row in zip(sources, rows, strict=True):
        yield NormalRecording(source or DEFAULT_SOURCE, row[None])


def _recording_of(path: Path, spec: AudioInput | ImageInput, source: str, notes: Notes) -> NormalRecording:
    """A sound with the windows of all its channels, or an image."""
    try:
        item = decode_item(content_of_file(path, spec), spec)
    except (MediaError, OSError) as error:
        raise ExportError(f"{name_of(str(path))}: {error}; mend or remove the file") from error
    notes.level(path, item.level)
    return NormalRecording(source, item.rows, is_short=item.is_short)
