"""Say what all files that hold many items share: an error in one costs that file alone, and none changes under its readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO

from avizor_inference.error_text import one_line
from avizor_inference.errors import AvizorError, ColumnMissing, MediaError
from avizor_inference.items.dataset import Entry
from avizor_inference.items.file_access import open_file, state_of
from avizor_inference.items.find_files import LeftOut, suffix_in
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.object_files import check_store
from avizor_inference.items.source_rule import SourceRule


class PackOfItems(ABC):
    """Lists and opens the items of files of one kind. See dataset.Pack.

    in_folders: whether such files are found in folders, too, and not only where they are named themselves.
    """

    in_folders: bool = True

    def entries(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """Yield the items; then, if the rest of the file cannot be read, the file itself. Raises ColumnMissing."""
        try:
            with _only_known_errors():
                yield from self.parts(file, relative, rule, left_out)
        except ColumnMissing:
            raise
        except MediaError:
            check_store()
            yield file  # reading it says why

    def open(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """Yield each item of an entry with its content. Raises MediaError."""
        if entry.part is None:
            with _only_known_errors():
                for _ in self.parts(entry, PurePath(entry.path.name), SourceRule(), LeftOut()):
                    pass
            raise MediaError("the file was changed since it was listed; run again when it is finished")
        yield from self.items(entry)

    @abstractmethod
    def contents(self, entry: Entry) -> Sequence[type[Content]]:
        """Return what the items of an entry may be."""

    @abstractmethod
    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """Yield what is in a file, in its order. Raises MediaError if it cannot be read, or only in part."""

    @abstractmethod
    def items(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """Yield each item of what `parts` gave, with its content. Raises MediaError."""


@contextmanager
def _only_known_errors() -> Iterator[None]:
    """Turn what a reader of a damaged file raises and nobody expected into a MediaError: it costs the file, and not the job."""
    try:
        yield
    except (AvizorError, MemoryError):
        raise
    except Exception as error:
        raise MediaError(f"the file cannot be read ({type(error).__name__}: {one_line(error)})") from error


def contents_by_suffix(entry: Entry, files: Sequence[type[FileContent]]) -> Sequence[type[FileContent]]:
    """Return what a file, or one in a tar, is taken for by its suffix; all of `files` for any other suffix."""
    suffix = suffix_in(entry.uri)
    return [each for each in files if suffix in each.suffixes] or files


def open_listed(entry: Entry) -> BinaryIO:
    """Open the file of an entry; the caller closes it. Raises MediaError, also if it was changed since it was listed."""
    file = open_file(entry.path)
    state = state_of(file)
    if state and state[1] != entry.modified_ns:
        file.close()
        raise MediaError("the file was changed since it was listed; run again when it is finished")
    return file
