"""Read real raw items for parity and calibration from a folder of files, a table, or a .npy file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Items
from avizor_inference.errors import DatasetError, InvalidInput, MediaError
from avizor_inference.items.data.arrays import open_array
from avizor_inference.items.data.folder_notes import Notes
from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Columns, Entry, first_items, is_listing, list_dataset
from avizor_inference.items.decode import decode_item
from avizor_inference.items.file_access import exists, name_of
from avizor_inference.items.find_files import LeftOut, suffix_of
from avizor_inference.items.input_spec import KINDS, InputSpec, TableInput
from avizor_inference.items.kinds.base import Content, ItemInput, TensorBytes
from avizor_inference.items.object_files import check_store
from avizor_inference.items.path_lists import TABLE_SUFFIXES, is_pattern
from avizor_inference.items.source_rule import DEFAULT_SOURCE, SourceRule
from avizor_inference.items.windows import ChannelMode


def is_table(path: Path) -> bool:
    """Return whether a file is a table, by its suffix."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_recordings(
    path: Path,
    spec: InputSpec,
    rule: SourceRule,
    columns: Columns | None = None,
    notes: Notes | None = None,
    channels: ChannelMode = "each",
    first: int | None = None,
) -> Iterator[NormalRecording]:
    """Yield the recordings at `path`, with their sources: recordings cut into windows, images, or rows or items of a file.

    columns: of tables, see `dataset.Columns`; without that of the sources all rows of a table are of the default source.
    notes: collects what was left out or clipped; without it, that is logged at the end. channels: of a sound, for a model that
    takes one at a time. first: files, or items in files of many, to read; None: all. Raises DatasetError: calibration data that
    cannot be read is not left out silently.
    """
    check_exists(path)
    columns = columns or Columns()
    if path.suffix == ".npy":
        for number, item in enumerate(_items(path, spec)[:first]):
            yield NormalRecording(DEFAULT_SOURCE, np.array(item[None]), name=str(number))
    elif isinstance(spec, TableInput) and _is_rows(path, spec, columns):
        yield from islice(_rows(path, spec, columns.source), first)
    elif (files := ItemFiles(spec, columns, channels)).holds(path):
        own = notes or Notes()
        for entry in first_items(files.list(path, rule, own.left_out), first):
            own.sources[entry.source] += entry.items
            yield from files.recordings(entry, spec, own)
        if notes is None:
            own.warn(path, rule.pattern)
    else:
        raise DatasetError(
            f"{name_of(str(path))}: give a .npy file of raw items; for {plurals()} a folder of files, or a table with "
            "--path-column or --bytes-column; for rows a .csv or .parquet file"
        )


def sample_items(
    path: Path,
    spec: InputSpec,
    limit: int,
    columns: Columns | None = None,
    channels: ChannelMode = "each",
    first: int | None = None,
) -> Items:
    """Read at most `limit` raw items [n, *item_shape], evenly spaced among those at `path`. Raises DatasetError.

    columns, channels, first: see `read_recordings`.
    """
    check_exists(path)
    columns = columns or Columns()
    if path.suffix == ".npy":
        items = _items(path, spec)[:first]
        parts = [np.array(items[evenly_spaced(len(items), limit)])] if len(items) else []
    elif not _is_rows(path, spec, columns) and (files := ItemFiles(spec, columns, channels)).holds(path):
        notes = Notes()
        entries = list(first_items(files.list(path, SourceRule(), notes.left_out), first))
        from_each = -(-limit // max(1, len(entries)))
        parts = []
        for place in evenly_spaced(len(entries), limit):
            windows = np.concatenate([recording.windows for recording in files.recordings(entries[place], spec, notes)])
            parts.append(windows[evenly_spaced(len(windows), from_each)])
        notes.warn(path)
    else:
        parts = [recording.windows for recording in read_recordings(path, spec, SourceRule(""), first=first)]
    if not parts:
        raise DatasetError(f"{name_of(str(path))} holds no items")
    items = np.concatenate(parts)
    return items[evenly_spaced(len(items), limit)]


def check_exists(path: Path) -> None:
    """Raise DatasetError if the path does not exist, before anything is said about its kind."""
    if not is_pattern(path) and not exists(path):
        raise DatasetError(f"{name_of(str(path))} does not exist; name a folder of items, or a file")


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


def _is_rows(path: Path, spec: InputSpec, columns: Columns) -> bool:
    """Return whether a file is a table whose rows are the items."""
    return isinstance(spec, TableInput) and is_table(path) and not columns.path


def _not_installed(error: ModuleNotFoundError) -> DatasetError:
    return DatasetError(f"a table is read with {error.name}, which is not installed; pip install 'avizor[jobs]'")


def _rows(path: Path, spec: TableInput, source_column: str) -> Iterator[NormalRecording]:
    try:
        from avizor_inference.items.data.table_data import read_table  # pyarrow is only needed here
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    table = read_table(path, spec, [source_column] if source_column else [])
    rows = table.rows()
    sources = table.texts(source_column) if source_column else [""] * len(rows)
    for number, (source, row) in enumerate(zip(sources, rows, strict=True)):
        yield NormalRecording(source or DEFAULT_SOURCE, row[None], name=str(number))


class ItemFiles:
    """Lists and opens the files that are items of a model, and those that hold many of them.

    kind: the input of the model; its class will do to list and open, before more is known. row_columns: those of a table that
    are read; the model's where they are left out.
    """

    def __init__(
        self,
        kind: InputSpec | type[ItemInput],
        columns: Columns,
        channels: ChannelMode = "each",
        row_columns: Sequence[str] | None = None,
    ) -> None:
        self._columns, self._channels = columns, channels
        self._file = kind.file_content()
        wanted = getattr(kind, "columns", ()) if row_columns is None else row_columns
        try:
            self._packs = open_packs([kind.content or TensorBytes], columns, wanted)
            if columns.path:
                import pyarrow  # noqa: F401 - the table is read later
        except ModuleNotFoundError as error:
            raise _not_installed(error) from error
        in_folders = {suffix for suffix, pack in self._packs.items() if pack.in_folders}
        self._suffixes = (self._file.suffixes if self._file else frozenset()) | in_folders

    def holds(self, path: Path) -> bool:
        """Return whether a path stands for many items that can be listed."""
        is_list = bool(self._columns.path) and is_table(path)
        return is_list or is_listing(path, self._suffixes) or suffix_of(path) in self._packs

    def list(self, path: Path, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See `list_dataset`."""
        left_out.remedies = dict(self._file.more_suffixes) if self._file else {}
        return list_dataset([path], self._suffixes, rule, left_out, self._columns, self._packs)

    def is_of_many(self, entry: Entry) -> bool:
        """Return whether the file of an entry holds many items."""
        return suffix_of(entry.file) in self._packs

    def recordings(self, entry: Entry, spec: InputSpec, notes: Notes) -> Iterator[NormalRecording]:
        """Yield the items of an entry: of a recording the windows of all its channels, or of those that are taken."""
        for each, content in self.contents(entry):
            yield self.recording(each, content, spec, notes)

    def recording(self, entry: Entry, content: Content, spec: InputSpec, notes: Notes) -> NormalRecording:
        """Return an item as the model sees it. entry, content: as `contents` yields them. Raises DatasetError."""
        with _blamed_on(entry):
            item = decode_item(content, spec)
        notes.level(entry.uri, item.level)
        notes.surprise(entry.uri, item.note)
        name = PurePath(entry.part.item if entry.part else entry.file).name
        return NormalRecording(entry.source, item.rows, item.is_short, name)

    def contents(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """Yield each item of an entry, with its content. Raises DatasetError."""
        with _blamed_on(entry):
            if pack := self._packs.get(suffix_of(entry.file)):
                for each, content in pack.open(entry):
                    yield each, content.taking(self._channels)
            elif self._file:
                yield entry, self._file(entry.path).taking(self._channels)
            else:
                raise InvalidInput("a file is not one item of the model")


@contextmanager
def _blamed_on(entry: Entry) -> Iterator[None]:
    try:
        yield
    except (InvalidInput, MediaError, OSError) as error:
        check_store()
        raise DatasetError(f"{entry.uri}: {error}; fix or remove the file") from error
