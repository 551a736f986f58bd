"""Read folders of files, and single files, of one kind of content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avizor_inference.items.dataset import Entry, list_dataset
from avizor_inference.items.file_access import path_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.source_rule import SourceRule


class FolderSource:
    """Lists and opens the files below each root (a folder, or one file), named as `file_access.name_of` writes names.

    content: what each file is.
    """

    def __init__(self, roots: Sequence[str], content: type[FileContent], source_pattern: str = "") -> None:
        self._content = content
        self._roots = [path_of(root) for root in roots]
        self._rule = SourceRule(source_pattern)

    def list(self, left_out: LeftOut | None = None) -> Iterator[Entry]:
        """See Source."""
        return list_dataset(self._roots, self._content.suffixes, self._rule, left_out)

    def open(self, entry: Entry) -> Content:
        """See Source."""
        return self._content(entry.path)
