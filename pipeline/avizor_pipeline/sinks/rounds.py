"""Keep what each run has planned: rounds/000001.parquet holds the files of the first, and never changes.

A round is written before its first shard begins. So a job that was interrupted goes on with the files it had planned, and the
next run plans only files that no round has. A round may name the calibrations that judge its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avizor_inference.errors import JobError
from avizor_inference.items.dataset import Entry, Part
from avizor_inference.items.file_access import name_of, text_of
from avizor_inference.job_results import ROUNDS
from avizor_inference.job_tables import ROUND
from avizor_pipeline.settings import PinnedCalibration
from avizor_pipeline.sinks.output_files import (
    OutputPath,
    files_of,
    make_folder_of,
    opened,
    part_batches,
    publish,
    temporary_for,
)

# Key of the schema's metadata under which a round names its calibrations.
_CALIBRATIONS = b"avizor.calibrations"

# Entries in memory at once: they take some 8 KiB each while they are made and written, and as columns a fiftieth of it.
_AT_ONCE = 256
# Batches of them in one row group.
_BATCHES = 16


class States(NamedTuple):
    """Holds the files of one round, without their names: keys uint64[n], sizes int64[n], times of change int64[n]."""

    keys: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]


def key_of(entry: Entry) -> int:
    """Return what stands for a file's one path, and for the item in it: 64 bits of their BLAKE2 digest.

    Two of five million files have the same with a probability of 7e-7. The second is then said to be a change of the first.
    """
    return _key(os.fsencode(entry.file) + (f"\0{entry.part.key}".encode() if entry.part else b""))


def key_of_path(path: str) -> int:
    """Return the same for a whole file."""
    return _key(os.fsencode(path))


def _key(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def round_files(out: OutputPath | None) -> Sequence[OutputPath]:
    """Return the files of the rounds of an output folder, the first round first. Raises JobError if one is missing."""
    files = _in_order(files_of(out / ROUNDS, ".parquet")) if out else []
    if out and files != [_path(out, number) for number in range(1, len(files) + 1)]:
        raise JobError(f"{out / ROUNDS} lacks rounds, or holds other files; restore them, or choose another --out")
    return files


def _in_order(files: Sequence[OutputPath]) -> list[OutputPath]:
    """Return files of rounds by their numbers: from the millionth on, these have a digit more."""
    return sorted(files, key=lambda file: (len(file.name), file.name))


def write_round(file: BinaryIO, entries: Iterable[Entry], calibrations: Sequence[PinnedCalibration] = ()) -> int:
    """Write the files of a round, in bounded memory, and return their number. calibrations: that judge them, see `Shard`."""
    count, remaining = 0, iter(entries)
    pins = json.dumps([pin.model_dump() for pin in calibrations])
    schema = ROUND.with_metadata({_CALIBRATIONS: pins.encode()}) if calibrations else ROUND
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        batches = (_as_columns(group, schema) for group in iter(lambda: list(islice(remaining, _AT_ONCE)), []))
        while group := list(islice(batches, _BATCHES)):
            writer.write_table(pa.Table.from_batches(group, schema=schema))
            count += sum(batch.num_rows for batch in group)
    return count


def _as_columns(entries: Sequence[Entry], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        [entry.uri for entry in entries],
        [name_of(entry.file) for entry in entries],
        [entry.source for entry in entries],
        [entry.size for entry in entries],
        [entry.modified_ns for entry in entries],
        [key_of(entry) for entry in entries],
        *([entry.part and getattr(entry.part, name) for entry in entries] for name in Part._fields),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def store_round(out: OutputPath, file: BinaryIO, number: int) -> None:
    """Copy a written round into the output folder in one step. From then on its files are planned. Raises OSError."""
    path = _path(out, number)
    make_folder_of(path)
    temporary = temporary_for(path)
    file.seek(0)
    with temporary.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    publish(temporary, path, new=True)


def read_round(file: OutputPath | BinaryIO) -> Iterator[Entry]:
    """Yield the files of a round in their order, in bounded memory. Raises JobError."""
    for batch in _batches(file, ["uri", "path", "source", "size", "modified_ns", *Part._fields]):
        columns = [column.to_pylist() for column in batch.columns]
        for uri, path, source, size, modified_ns, item, *place in zip(*columns, strict=True):
            yield Entry(uri, text_of(path), source, size, modified_ns, None if item is None else Part(item, *place))


def read_calibrations(file: OutputPath | BinaryIO) -> tuple[PinnedCalibration, ...]:
    """Return the calibrations that a round names; none if its files are judged by those that the job began with.

    Raises JobError.
    """
    try:
        metadata = pq.read_schema(opened(file) if isinstance(file, OutputPath) else file).metadata or {}
        return tuple(map(PinnedCalibration.model_validate, json.loads(metadata.get(_CALIBRATIONS, b"[]"))))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise JobError(f"{file} is damaged ({error}); restore it, or choose another --out") from error


def last_calibrations(rounds: Sequence[OutputPath]) -> tuple[PinnedCalibration, ...]:
    """Return the calibrations that the last round names. Raises JobError."""
    return read_calibrations(rounds[-1]) if rounds else ()


def read_states(file: OutputPath | BinaryIO) -> States:
    """Return the files of a round without their names. Raises JobError."""
    rows, states = 0, States(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))
    for batch in _batches(file, ["key", "size", "modified_ns"]):
        for place, column in enumerate(states):  # they grow where they are: there may be millions of rows
            column.resize(rows + batch.num_rows, refcheck=False)
            column[rows:] = batch.column(place).to_numpy()
        rows += batch.num_rows
    return states


def _batches(file: OutputPath | BinaryIO, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from part_batches(file, names, _AT_ONCE, check=True)
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{file} is damaged ({error}); restore it, or choose another --out") from error


def _path(out: OutputPath, number: int) -> OutputPath:
    return out / ROUNDS / f"{number:06d}.parquet"
