"""Find files by a pattern such as `sounds/**/*.wav`, and by lists: a text file, or a column of a CSV or Parquet file."""

from __future__ import annotations

import codecs
import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.column_names import no_such_column, why_unreadable
from avizor_inference.items.file_access import first_line_of, name_of, open_file
from avizor_inference.items.find_files import find_files
from avizor_inference.items.object_files import check_store, is_object
from avizor_inference.items.text_encoding import not_utf8
from avizor_inference.object_store import is_url

LIST_SUFFIXES = (".txt", ".lst")
TABLE_SUFFIXES = (".csv", ".parquet")

# Bytes of a list that are read at once. Among the first, one sees what is between its paths.
_BLOCK = 1 << 16

_WILD = re.compile(r"[*?\[]")


def is_pattern(root: Path) -> bool:
    """Return whether a root is a pattern: it has `*`, `?` or `[`, and no file has that name."""
    return bool(_WILD.search(str(root))) and not (is_object(root) if is_url(root) else root.exists())


def fixed_part(pattern: Path) -> Path:
    """Return the folders of a pattern before the first that has a wildcard."""
    fixed: list[str] = []
    for part in pattern.parts:
        if _WILD.search(part):
            break
        fixed.append(part)
    return Path(*fixed)


def matching_files(pattern: Path) -> Iterator[Path]:
    """Yield the files of a pattern in the order of `find_files`, whatever their suffix. Hidden ones are left out.

    `*` and `?` stay within a part of the path; `**` is any number of folders. Raises DatasetError if nothing matches, OSError.
    """
    base, matches = fixed_part(pattern), matcher(pattern)
    found = False
    for path in find_files(base, None) if base.is_dir() else ():
        if matches(path.relative_to(base)):
            found = True
            yield path
    if not found:
        raise nothing_matches(pattern)


def matcher(pattern: Path) -> Callable[[PurePath], bool]:
    """Return what tells whether a path below the fixed part matches a pattern."""
    expression = re.compile(_expression(pattern.relative_to(fixed_part(pattern)).parts), re.DOTALL)
    return lambda relative: expression.fullmatch(relative.as_posix()) is not None


def nothing_matches(pattern: Path) -> DatasetError:
    """Return the error for a pattern without files."""
    return DatasetError(f"no file matches {name_of(str(pattern))}; see the folder and the pattern")


def listed_files(root: Path) -> Iterator[Path]:
    """Yield the paths of a text file, one a line; empty lines are left out. Raises OSError, DatasetError.

    A list with NUL bytes has one after each path, as `find -print0` writes them; then a path may hold the end of a line. A
    mark of UTF-8 before the first path is no part of it. In a list that is in an object store, paths are below its folder,
    unless absolute or URLs.
    """
    with _opened(root) as file:
        start = file.read(_BLOCK)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DatasetError(f"{name_of(str(root))}: it {not_utf8(start, root)}")
        file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
        for path in _ended_by_nul(file) if b"\0" in start else (line.rstrip(b"\r\n") for line in file):
            if path:
                yield _below(root.parent if is_url(root) else Path(), os.fsdecode(path))


def _ended_by_nul(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(b"\0")
        yield from whole
    yield rest


def _below(folder: Path, name: str) -> Path:
    return Path(name) if is_url(name) else folder / name


@contextmanager
def _opened(root: Path) -> Iterator[BinaryIO]:
    """Open a list. Raises OSError for one on the disk, DatasetError for one in an object store, StoreUnavailable."""
    if not is_url(root):
        with root.open("rb") as file:
            yield file
        return
    try:
        with open_file(root) as file:
            yield file
    except MediaError as error:
        raise DatasetError(f"{name_of(str(root))}: {error}") from error
    except OSError:
        check_store()
        raise


def table_files(root: Path, column: str, source_column: str = "") -> Iterator[tuple[Path, str]]:
    """Yield the paths in a column of a CSV or Parquet file, which are below its folder unless absolute, and their sources.

    The source is "" without a source column. Raises DatasetError.
    """
    import pyarrow as pa  # not needed for folders
    import pyarrow.csv
    import pyarrow.parquet

    names = [column, *([source_column] if source_column else [])]
    try:
        with _opened(root) as file:
            schema, batches = _batches(file, root.suffix.lower(), pyarrow)
            if missing := [name for name in names if name not in schema.names]:
                raise DatasetError(f"{name_of(str(root))} has {no_such_column(missing, schema.names)}")
            if twice := [name for name in names if schema.names.count(name) > 1]:
                raise DatasetError(f"{name_of(str(root))} has more than one column {twice[0]!r}; leave one of them out")
            for batch in batches:
                texts = [batch.column(name).cast(pa.string()).fill_null("").to_pylist() for name in names]
                for path, *source in zip(*texts, strict=True):
                    if "\0" in path:
                        raise DatasetError(f"{name_of(str(root))} holds {path!r}, which no file can be called; correct it")
                    yield _below(root.parent, path), "".join(source)
    except UnicodeDecodeError as error:  # of the header
        raise DatasetError(f"{name_of(str(root))}: it {not_utf8(first_line_of(root), root)}") from error
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{name_of(str(root))}: {why_unreadable(root, first_line_of(root), error)}") from error


def _batches(file: BinaryIO, suffix: str, pyarrow: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema of a table, and its rows in parts. Columns of a CSV file are text, whatever they look like."""
    if suffix == ".parquet":
        opened = pyarrow.parquet.ParquetFile(file)
        return opened.schema_arrow, opened.iter_batches(batch_size=4096)
    names = pyarrow.csv.open_csv(file).schema.names
    file.seek(0)
    types = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()))
    reader = pyarrow.csv.open_csv(file, convert_options=types)
    return reader.schema, reader


def _expression(parts: tuple[str, ...]) -> str:
    """Return a regular expression for a path of these parts, with `/` between them."""
    *folders, last = parts
    return "".join("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in folders) + (
        "(?:[^/]+/)*[^/]+" if last == "**" else _part(last)
    )


def _part(part: str) -> str:
    """Return a regular expression for one part: fnmatch's, in which no wildcard matches `/`."""
    pieces = re.split(r"(\*+|\?|\[[^\]]+\])", part)
    wild = {"*": "[^/]*", "?": "[^/]"}

    def expression(piece: str) -> str:
        if piece[:1] == "[" and piece[-1:] == "]":
            return f"(?!/){fnmatch.translate(piece)[4:-3]}"  # `[!a]` is no `/` either
        return wild.get(piece[:1], re.escape(piece))

    return "".join(map(expression, pieces))
