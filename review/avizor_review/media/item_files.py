"""Find the file behind an item of a job, and open it as the job did: also in a tar, a column of bytes, an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePath

from avizor_inference.errors import MediaError
from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.data.packs import PackOfItems, contents_by_suffix, open_listed
from avizor_inference.items.dataset import Columns, Entry, Part
from avizor_inference.items.file_access import exists, text_of
from avizor_inference.items.find_files import suffix_of
from avizor_inference.items.input_spec import CONTENTS, InputSpec
from avizor_inference.items.kinds.base import Content, FileContent, TensorBytes
from avizor_inference.items.windows import ChannelMode
from avizor_inference.object_store import is_url
from avizor_review.results import Results

_COLUMNS = 'uri, path, source, size, modified_ns, item, first, items, "offset"'


class ItemFiles:
    """Opens the items of a job by their uris. Not for several threads at once: an open tar is read on from where it is."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def entry(self, uri: str) -> Entry:
        """Return the entry that holds an item, maybe with others of its file. Raises MediaError if none was planned."""
        sql = f"SELECT {_COLUMNS} FROM rounds WHERE uri = ? ORDER BY modified_ns DESC LIMIT 1"
        if rows := self._results.tables.rows(sql, [uri]):
            return _entry(*rows[0])
        base, _, number = uri.rpartition("#")
        if base and number.isdecimal():
            among = (
                f"SELECT {_COLUMNS} FROM rounds WHERE starts_with(uri, ?) AND uri[length(?) + 1:] = "
                "item AND first <= ? AND ? < first + items ORDER BY modified_ns DESC LIMIT 1"
            )
            if rows := self._results.tables.rows(among, [f"{base}#", f"{base}#", int(number), int(number)]):
                return _entry(*rows[0])
        raise MediaError("the job's rounds do not say where it is")

    @contextmanager
    def opened(self, uri: str, spec: InputSpec) -> Iterator[Content]:
        """Give an item as a model takes it. Raises MediaError, which says of a file that it is gone, or was changed since."""
        entry = self.entry(uri)
        if self._results.job.kept:
            entry = entry._replace(file=str(self._results.folder / entry.file))
        self._check(entry)
        if self._results.job.kept:
            yield from self._kept(entry, uri, spec)
            return
        if pack := self._packs.get(suffix_of(entry.file)):
            for item, content in pack.open(entry):
                if item.uri == uri and spec.takes(content):
                    yield content.taking(self._results.job.channels)
                    return
            raise MediaError("its file does not hold it any more")
        kinds = [kind for kind in contents_by_suffix(entry, self._files) if issubclass(kind, spec.contents())]
        if not kinds:
            raise MediaError("it is not of the kind that the model takes")
        if is_url(entry.file):
            with open_listed(entry) as file:
                yield kinds[0](file).taking(self._results.job.channels)
        else:
            yield kinds[0](entry.path).taking(self._results.job.channels)

    def channels_of(self, uri: str) -> ChannelMode:
        """Return what of the channels of a sound a model of one channel took. A gateway was told so with each sound."""
        if not self._results.job.kept:
            return self._results.job.channels
        return "mix" if PurePath(uri).stem.endswith(".mix") else "each"

    def _kept(self, entry: Entry, uri: str, spec: InputSpec) -> Iterator[Content]:
        """Yield an item that a gateway has kept. What it is its model knows, and its content tells: names are for people."""
        contents: tuple[type[Content], ...] = (*spec.contents(), TensorBytes)
        if entry.part is None:
            kinds = [kind for kind in contents if issubclass(kind, FileContent)]
            yield kinds[0](entry.path).taking(self.channels_of(uri))
            return
        no_files = [kind for kind in contents if not issubclass(kind, FileContent)]
        packs = open_packs(no_files, row_columns=spec.column_names(), whole_rows=True)
        for _, content in packs[suffix_of(entry.file)].open(entry):
            yield content

    def _check(self, entry: Entry) -> None:
        now = entry.as_it_is()
        if now.modified_ns == entry.modified_ns and now.size == entry.size:
            return
        if not exists(entry.path):
            raise MediaError(f"its file is gone: {entry.path}")
        raise MediaError(f"its file was changed since the job read it: {entry.path}")

    @cached_property
    def _files(self) -> Sequence[type[FileContent]]:
        return [kind for kind in self._kinds if issubclass(kind, FileContent)]

    @property
    def _kinds(self) -> Sequence[type[Content]]:
        return [CONTENTS[name] for name in self._results.job.contents if name in CONTENTS]

    @cached_property
    def _packs(self) -> dict[str, PackOfItems]:
        job = self._results.job
        columns = Columns(job.path_column, job.source_column, job.bytes_column)
        return open_packs(self._kinds, columns, job.row_columns, whole_rows=True)


def _entry(
    uri: str,
    path: str,
    source: str,
    size: int,
    modified_ns: int,
    item: str | None,
    first: int | None,
    items: int | None,
    offset: int | None,
) -> Entry:
    part = None if item is None else Part(item, first or 0, 1 if items is None else items, offset or 0)
    return Entry(uri, text_of(path), source or "", size or 0, modified_ns or 0, part)
