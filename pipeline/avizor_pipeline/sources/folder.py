"""Read folders, patterns and lists of files, and single files, of the kinds of content that the models of a job take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from avizor_inference.items.dataset import Columns, Entry, list_dataset
from avizor_inference.items.file_access import path_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.source_rule import SourceRule


class FolderSource:
    """Lists and opens the files of each root (see `list_dataset`), named as `file_access.name_of` writes names.

    contents: what the files may be. The suffix tells which; a file that is named itself may have any, and is then all of them.
    """

    def __init__(
        self,
        roots: Sequence[str],
        contents: Sequence[type[FileContent]],
        source_pattern: str = "",
        columns: Columns | None = None,
        limit: int | None = None,
    ) -> None:
        self._contents = contents
        self._roots = [path_of(root) for root in roots]
        self._rule = SourceRule(source_pattern)
        self._columns, self._limit = columns, limit

    def list(self, left_out: LeftOut | None = None) -> Iterator[Entry]:
        """See Source."""
        suffixes = frozenset(suffix for content in self._contents for suffix in content.suffixes)
        return islice(list_dataset(self._roots, suffixes, self._rule, left_out, self._columns), self._limit)

    def kinds(self, entry: Entry) -> tuple[str, ...]:
        """See Source."""
        return tuple(content.name for content in self._contents_of(entry))

    def open(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See Source."""
        yield from ((entry, content(entry.path)) for content in self._contents_of(entry))

    def _contents_of(self, entry: Entry) -> Sequence[type[FileContent]]:
        suffix = entry.path.suffix.lower()
        return [each for each in self._contents if suffix in each.suffixes] or self._contents
