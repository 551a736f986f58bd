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
from avizor_inference.items.audio import AUDIO_SUFFIXES, Level, windows_of
from avizor_inference.items.files import find_files, name_of, open_file
from avizor_inference.items.images import IMAGE_SUFFIXES, decode_image
from avizor_inference.items.inputs import AudioInput, ImageInput, InputSpec, TableInput
from avizor_inference.items.sources import DEFAULT_SOURCE, SourceRule


def read_recordings(
    path: Path, spec: InputSpec, rule: SourceRule, source_column: str = "", notes: Notes | None = None
) -> Iterator[NormalRecording]:
    """Recordings below `path`, with their sources: audio files cut into windows, images, or rows or items of a file one by one.

    source_column: the column of a table that names each row's source; without it all are of the default source.
    notes: where what was left out or clipped is collected; without it, it is told at the end.
    Raises ExportError: calibration data that cannot be read is not left out silently.
    """
    check_exists(path)
    if path.suffix == ".npy":
        for item in _items(path, spec):
            yield NormalRecording(DEFAULT_SOURCE, np.array(item[None]))
    elif isinstance(spec, AudioInput | ImageInput) and path.is_dir():
        own = notes or Notes()
        for file in files_below(path, spec, own):
            source = rule.source_of(file.relative_to(path))
            own.sources[source] += 1
            yield _recording_of(file, spec, source, own)
        if notes is None:
            own.warn(path, rule.pattern)
    elif isinstance(spec, TableInput) and is_table(path):
        yield from _rows(path, spec, source_column)
    else:
        raise ExportError(
            f"{path}: give a .npy file of raw items; for sound or images a folder of files, for rows a .csv or .parquet file"
        )


def sample_items(path: Path, spec: InputSpec, most: int) -> NDArray[np.generic]:
    """At most so many raw items [n, *item_shape], spread evenly over what lies below `path`. Raises ExportError."""
    check_exists(path)
    if isinstance(spec, AudioInput | ImageInput) and path.is_dir():
        notes = Notes()
        files = list(files_below(path, spec, notes))
        each = -(-most // max(1, len(files)))
        parts = [
            windows[evenly_spaced(len(windows), each)]
            for place in evenly_spaced(len(files), most)
            for windows in [_recording_of(files[place], spec, DEFAULT_SOURCE, notes).windows]
        ]
        notes.warn(path)
    elif path.suffix == ".npy":
        items = _items(path, spec)
        parts = [np.array(items[evenly_spaced(len(items), most)])] if len(items) else []
    else:
        parts = [recording.windows for recording in read_recordings(path, spec, SourceRule(""))]
    if not parts:
        raise ExportError(f"{path} holds no items")
    items = np.concatenate(parts)
    return items[evenly_spaced(len(items), most)]


def check_exists(path: Path) -> None:
    """Raise ExportError for a path that is not there, before anything is said of its kind."""
    if not path.exists():
        raise ExportError(f"{path} does not exist")


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Places of at most `most` among `count` things, evenly spread; the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, np.int64)


def files_below(folder: Path, spec: AudioInput | ImageInput, notes: Notes) -> Iterator[Path]:
    """Audio or image files, whichever the model takes, by the rule of `find_files`. Raises ExportError."""
    try:
        yield from find_files(folder, AUDIO_SUFFIXES if isinstance(spec, AudioInput) else IMAGE_SUFFIXES, notes.left_out)
    except OSError as error:
        raise ExportError(f"{name_of(str(folder))}: cannot be listed ({error.strerror})") from error


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
        if isinstance(spec, ImageInput):
            with open_file(path) as file:
                return NormalRecording(source, decode_image(file, spec)[None])
        level = Level()
        windows = [window for _, window in windows_of(path, [spec.window_format()], level)]
        notes.level(path, level)
    except (MediaError, OSError) as error:
        raise ExportError(f"{name_of(str(path))}: {error}; mend or remove the file") from error
    return NormalRecording(
        source, np.stack([window.samples for window in windows]), is_short=windows[0].length < spec.window_samples
    )
