"""List a dataset: the files of folders, in one order, with the source, the size and the time of change of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.errors import DatasetError
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut, find_files
from avizor_inference.items.source_rule import SourceRule


@dataclass(frozen=True)
class Entry:
    """Describes one file of a dataset.

    uri: its path, below the root as the root was given, as `file_access.name_of` writes it. size, in bytes, and modified_ns, in
    nanoseconds since 1970, are 0 for what cannot be looked at; reading it says why.
    """

    uri: str
    path: Path
    source: str
    size: int
    modified_ns: int


def list_dataset(
    roots: Sequence[Path], suffixes: frozenset[str], rule: SourceRule | None = None, left_out: LeftOut | None = None
) -> Iterator[Entry]:
    """Yield the files below each root (a folder, or one file of any suffix) by the rule of `find_files.find_files`.

    rule: tells a file's source from its path below the root. left_out: counts what is not listed.
    Raises DatasetError if a root does not exist or cannot be listed.
    """
    rule = rule or SourceRule()
    for root in roots:
        if not root.exists():
            raise DatasetError(f"{name_of(str(root))} does not exist; give a folder of files, or one file")
        base = root if root.is_dir() else root.parent
        try:
            for path in find_files(root, suffixes, left_out) if root.is_dir() else iter([root]):
                yield Entry(name_of(str(path)), path, rule.source_of(path.relative_to(base)), *_size_and_time(path))
        except OSError as error:
            raise DatasetError(f"{name_of(str(error.filename))}: cannot be listed ({error.strerror})") from error


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
