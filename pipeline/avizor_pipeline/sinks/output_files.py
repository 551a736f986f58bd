"""Write, read and remove files of an output folder, which is on a disk or on an object store.

On a disk a file becomes visible by one rename, after it was flushed; on a store by one PUT. On both it is whole or absent.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avizor_inference import durable_files
from avizor_inference.daemon_threads import DaemonThreads
from avizor_inference.digests import sha256_of_file
from avizor_inference.error_text import lacks_open_files
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.write_errors import unreadable

OutputPath = Path | ObjectPath

T = TypeVar("T")
Found = TypeVar("Found")

# Threads that read what is in an output folder. From a store most of the time is waited.
_READERS, _STORE_READERS = 4, 32

# Rows of a part that are read at a time.
_ROWS = 65536

# Small files that are sent to a store at once.
_SENT_AT_ONCE = 8


def output_path(text: str) -> OutputPath:
    """Return what --out names: a folder, or a place on an object store (s3://BUCKET/PREFIX). Raises SettingsError."""
    return ObjectPath.parse(text) if "://" in text else Path(text)


def make_folder(path: OutputPath) -> None:
    """Create a folder and its missing parents. A store has no folders. Raises OSError."""
    if isinstance(path, Path):
        durable_files.make_folder(path)


def make_folder_of(path: OutputPath) -> None:
    """Create the folder of a file of an output folder, which is there. Raises OSError if it was removed meanwhile."""
    if isinstance(path, Path) and not path.parent.exists():
        path.parent.mkdir(exist_ok=True)
        durable_files.sync_folder(path.parent.parent)


def temporary_for(path: OutputPath) -> Path:
    """Return a name on a local disk for a file that `publish` then makes visible as `path`."""
    return durable_files.temporary_name(path if isinstance(path, Path) else path.working_folder() / path.name)


def publish(temporary: Path, path: OutputPath, *, new: bool = False) -> None:
    """Make a finished local file visible as `path` in one step; `temporary` is gone then.

    new: whether no file may be there; only a store checks that. Raises OSError, FileExistsError.
    """
    if isinstance(path, Path):
        durable_files.flush_and_rename(temporary, path)
    else:
        path.put_file(temporary, new=new)
        temporary.unlink()
        _remove_if_empty(temporary.parent)


def publish_folder(temporary: Path, folder: OutputPath) -> None:
    """Make a local folder of finished files visible as `folder`: by one rename on a disk, file by file on a store.

    Raises OSError.
    """
    if isinstance(folder, Path):
        os.sync()  # one flush for all files: there may be many small ones
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        durable_files.sync_folder(folder.parent)
    else:
        folder.remove_with_contents()
        with DaemonThreads(_SENT_AT_ONCE) as threads:
            for sent in [threads.submit(partial((folder / path.name).put_file, path)) for path in sorted(temporary.iterdir())]:
                sent.result()
        shutil.rmtree(temporary)
        _remove_if_empty(temporary.parent)


def _remove_if_empty(working_folder: Path) -> None:
    """Remove the working folder of a store if no job runs, whose lock file is in it."""
    with suppress(OSError):
        working_folder.rmdir()


def write_whole(path: OutputPath, text: str, *, new: bool = False) -> None:
    """Write a small file in one step. new: see `publish`. Raises OSError, FileExistsError."""
    if isinstance(path, Path):
        durable_files.write_text(path, text)
    else:
        path.put(text.encode(), new=new)


def remove(path: OutputPath) -> None:
    """Remove a file, or a folder with all that is in it; nothing if it is absent. Raises OSError."""
    if isinstance(path, ObjectPath):
        path.remove_with_contents()
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_files(folder: OutputPath, names: Sequence[str]) -> None:
    """Remove files of a folder, those that are there. Raises OSError."""
    if isinstance(folder, ObjectPath):
        folder.unlink_below(names)
    else:
        for name in names:
            (folder / name).unlink(missing_ok=True)


def remove_file(path: OutputPath) -> None:
    """Remove a file that is there, so that it stays removed. Raises OSError."""
    path.unlink()
    if isinstance(path, Path):
        durable_files.sync_folder(path.parent)


def sync(folder: OutputPath) -> None:
    """Make what was removed from a folder stay removed. A store does so by itself, and so does a folder that is absent.

    Raises OSError.
    """
    if isinstance(folder, Path) and folder.is_dir():
        durable_files.sync_folder(folder)


def opened(path: OutputPath) -> Path | BinaryIO:
    """Return what Parquet readers read. Raises OSError."""
    return path if isinstance(path, Path) else path.open()


def read_part(
    part: OutputPath, columns: Sequence[str] | None = None, where: pc.Expression | None = None, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """Return the rows of a part, or those of them for which `where` holds, which knows the columns that are read.

    dictionaries: columns of texts that are read as dictionaries. Raises OSError, ArrowException.
    """
    names = None if columns is None else list(columns)
    if isinstance(part, Path):
        return pq.read_table(part, columns=names, filters=where, read_dictionary=list(dictionaries))
    with _parquet(part, read_dictionary=list(dictionaries)) as file:
        none = file.schema_arrow.empty_table()
        found = [none if names is None else none.select(names)]
        for batch in file.iter_batches(columns=names, use_threads=False):
            rows = pa.Table.from_batches([batch])
            found.append(rows if where is None else rows.filter(where))
    return pa.concat_tables(rows.select(found[0].column_names) for rows in found)


def part_batches(
    part: OutputPath | BinaryIO, columns: Sequence[str], rows: int = _ROWS, *, check: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part, at most so many at a time. check: whether pages are compared with their checksums.

    Raises OSError, ArrowException.
    """
    with _parquet(part, page_checksum_verification=check) as file:
        yield from file.iter_batches(rows, columns=list(columns), use_threads=isinstance(part, Path))


def _parquet(part: OutputPath | BinaryIO, **options: Any) -> pq.ParquetFile:
    """Open a part. A file of Python is read by no thread of Arrow, if its batches are read so, too.

    Such a thread lets go of the file when it was read, perhaps as the process ends, which that aborts.
    """
    source = opened(part) if isinstance(part, OutputPath) else part
    return pq.ParquetFile(source, pre_buffer=isinstance(part, Path), **options)


def files_of(folder: OutputPath, suffix: str) -> Sequence[OutputPath]:
    """Return the files of a folder with this suffix, sorted by name; none if the folder is absent. Raises OSError."""
    return sorted(folder.glob(f"*{suffix}")) if isinstance(folder, Path) else folder.files(suffix)


def problem_of(path: OutputPath) -> str:
    """Return what keeps a path from being read as a file, before it is read; "" for a file and on a store."""
    # Reading a pipe would wait for ever.
    return f"{path} is not a file" if isinstance(path, Path) and path.exists() and not path.is_file() else ""


def each_at_once(out: OutputPath, items: Iterable[T], read: Callable[[T], Found]) -> Iterator[tuple[T, Found]]:
    """Yield each item, in order, with what is read for it in `out`. Some are read ahead, so few are in memory at once."""
    readers = _READERS if isinstance(out, Path) else _STORE_READERS
    begun = deque[tuple[T, Future[Found]]]()
    with DaemonThreads(readers) as threads:
        for item in items:
            begun.append((item, threads.submit(partial(read, item))))
            if len(begun) > 2 * readers:
                first, found = begun.popleft()
                yield first, found.result()
        while begun:
            first, found = begun.popleft()
            yield first, found.result()


def check_absent(path: OutputPath, error: OSError) -> None:
    """Raise JobError if a file could not be read, and may be intact.

    So it is on a store that has not said that it is absent: it may be away, or refuse it for a while. And where this process
    may open no more files, or not this one.
    """
    on_store = isinstance(path, ObjectPath) and not isinstance(error, FileNotFoundError)
    if on_store or lacks_open_files(error) or isinstance(error, PermissionError):
        raise unreadable(path, error) from error


def sha256_of(path: OutputPath) -> str:
    """Return the sha256, in hexadecimal, of a file's bytes, which are read in blocks. Raises OSError."""
    return sha256_of_file(path) if isinstance(path, Path) else path.sha256()
