"""Read real raw items for parity and calibration from a folder of files, a table, or a .npy file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Items
from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.data.arrays import open_array
from avizor_inference.items.data.folder_notes import Notes
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.data.tar_files import TAR_SUFFIXES, TarPack
from avizor_inference.items.dataset import Entry, is_listing, list_dataset
from avizor_inference.items.decode import content_of_file, decode_item
from avizor_inference.items.file_access import exists, name_of
from avizor_inference.items.find_files import LeftOut, suffix_of
from avizor_inference.items.input_spec import KINDS, InputSpec, TableInput
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.object_files import check_store
from avizor_inference.items.path_lists import TABLE_SUFFIXES, is_pattern
from avizor_inference.items.source_rule import DEFAULT_SOURCE, SourceRule


def is_table(path: Path) -> bool:
    """Return whether a file is a table, by its suffix."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_recordings(
    path: Path, spec: InputSpec, rule: SourceRule, source_column: str = "", notes: Notes | None = None
) -> Iterator[NormalRecording]:
    """Yield the recordings at `path`, with their sources: recordings cut into windows, images, or rows or items of a file.

    source_column: the column of a table that names each row's source; without it all are of the default source.
    notes: collects what was left out or clipped; without it, that is logged at the end.
    Raises DatasetError: calibration data that cannot be read is not left out silently.
    """
    check_exists(path)
    if path.suffix == ".npy":
        for item in _items(path, spec):
            yield NormalRecording(DEFAULT_SOURCE, np.array(item[None]))
    elif _holds_files(path, spec):
        own = notes or Notes()
        files = _Files(spec)
        for entry in files.list(path, rule, own.left_out):
            own.sources[entry.source] += 1
            yield _recording_of(files, entry, own)
        if notes is None:
            own.warn(path, rule.pattern)
    elif isinstance(spec, TableInput) and is_table(path):
        yield from _rows(path, spec, source_column)
    else:
        raise DatasetError(
            f"{name_of(str(path))}: give a .npy file of raw items; for {plurals()} a folder of files, for rows a .csv or "
            ".parquet file"
        )


def sample_items(path: Path, spec: InputSpec, limit: int) -> Items:
    """Read at most `limit` raw items [n, *item_shape], evenly spaced among those at `path`. Raises DatasetError."""
    check_exists(path)
    if _holds_files(path, spec):
        notes, files = Notes(), _Files(spec)
        entries = list(files.list(path, SourceRule(), notes.left_out))
        from_each = -(-limit // max(1, len(entries)))
        parts = [
            windows[evenly_spaced(len(windows), from_each)]
            for place in evenly_spaced(len(entries), limit)
            for windows in [_recording_of(files, entries[place], notes).windows]
        ]
        notes.warn(path)
    elif path.suffix == ".npy":
        items = _items(path, spec)
        parts = [np.array(items[evenly_spaced(len(items), limit)])] if len(items) else []
    else:
        parts = [recording.windows for recording in read_recordings(path, spec, SourceRule(""))]
    if not parts:
        raise DatasetError(f"{name_of(str(path))} holds no items")
    items = np.concatenate(parts)
    return items[evenly_spaced(len(items), limit)]


def check_exists(path: Path) -> None:
    """Raise DatasetError if the path does not exist, before anything is said about its kind."""
    if not is_pattern(path) and not exists(path):
        raise DatasetError(f"{name_of(str(path))} does not exist")


def plurals() -> str:
    """Return what the files of a folder may be, for messages."""
    return ", ".join(content.plural for kind in KINDS.values() if (content := kind.file_content()))


def evenly_spaced(count: int, limit: int) -> NDArray[np.int64]:
    """Return the indices of at most `limit` of `count` things, evenly spaced; the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)) if count else np.zeros(0, np.int64)


def _items(path: Path, spec: InputSpec) -> Items:
    """Open the raw items [n, *item_shape] of a .npy file, which stay on the disk."""
    tensor, items = spec.tensor(), open_array(path)
    if items.dtype != np.dtype(tensor.dtype) or items.shape[1:] != tensor.item_shape:
        wanted = f"{tensor.dtype}[n, {', '.join(map(str, tensor.item_shape))}]"
        raise DatasetError(f"{path} holds {items.dtype}{list(items.shape)}; wanted {wanted}")
    return items


def _rows(path: Path, spec: TableInput, source_column: str) -> Iterator[NormalRecording]:
    try:
        from avizor_inference.items.data.table_data import read_table  # pyarrow is only needed here
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"{path}: a table is read with {error.name}, which is not installed; pip install 'avizor[pipeline]'"
        ) from error
    table = read_table(path, spec, [source_column] if source_column else [])
    rows = table.rows()
    sources = table.texts(source_column) if source_column else [""] * len(rows)
    for source, row in zip(sources, rows, strict=True):
        yield NormalRecording(source or DEFAULT_SOURCE, row[None])


class _Files:
    """Lists and opens the files that are items of a model, also those in tars."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        content = spec.file_content()
        self._packs = dict.fromkeys(TAR_SUFFIXES, TarPack([content])) if content else {}

    def list(self, path: Path, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See `list_dataset`."""
        return list_dataset([path], self.spec.suffixes | self._packs.keys(), rule, left_out, packs=self._packs)

    def open(self, entry: Entry) -> Content:
        """Return the content of one of them. Raises MediaError."""
        if pack := self._packs.get(suffix_of(entry.path)):
            ((_, content),) = pack.open(entry)
            return content
        return content_of_file(entry.path, self.spec)


def _holds_files(path: Path, spec: InputSpec) -> bool:
    """Return whether a path stands for many files that are items of the model."""
    return bool(spec.suffixes) and (is_listing(path, spec.suffixes) or suffix_of(path) in TAR_SUFFIXES)


def _recording_of(files: _Files, entry: Entry, notes: Notes) -> NormalRecording:
    """Read a file that is one item: of a recording the windows of all its channels."""
    try:
        item = decode_item(files.open(entry), files.spec)
    except (MediaError, OSError) as error:
        check_store()
        raise DatasetError(f"{entry.uri}: {error}; fix or remove the file") from error
    notes.level(entry.uri, item.level)
    return NormalRecording(entry.source, item.rows, is_short=item.is_short)
