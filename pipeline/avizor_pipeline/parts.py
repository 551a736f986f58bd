"""A shard's files: Parquet parts under temporary names, flushed, renamed, and last the commit record that makes them count."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import JobError
from avizor_inference.strict import Strict, describe
from avizor_pipeline.tables import TABLES

COMMITS = "commits"

# Rows held before they are written out as one row group.
ROW_GROUP = 16384


class SourceCount(Strict):
    """What one model said of one source: recordings judged, and those flagged (0 for a classifier)."""

    recordings: int = 0
    anomalies: int = 0


class Commit(Strict):
    """The record of a finished shard: what lies where, and the figures of the job's summary."""

    shard: str
    files: int
    windows: int
    dead_letters: int
    clipped: int = 0  # files with samples beyond full scale, which were clipped
    peak: float = 0.0  # largest magnitude in them
    rows: dict[str, int]  # table -> rows
    sha256: dict[str, str]  # path below the output folder -> digest
    labels: dict[str, dict[str, int]]  # model -> label -> recordings
    sources: dict[str, dict[str, SourceCount]]  # model -> source -> counts


class PartWriter:
    """Writes the rows of one shard. Leaves nothing that counts unless `commit` was reached."""

    def __init__(self, out: Path, shard: str) -> None:
        self._out, self._shard = out, shard
        self._rows: dict[str, list[Mapping[str, Any]]] = {table: [] for table in TABLES}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.counts = dict.fromkeys(TABLES, 0)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Add one row; columns that are left out are null."""
        self._rows[table].append(row)
        self.counts[table] += 1
        if len(self._rows[table]) >= ROW_GROUP:
            self._flush(table)

    def close(self) -> dict[str, str]:
        """Finish the parts and give them their names; return their digests by path. A table without rows has no part."""
        digests = {}
        for table in TABLES:
            if self.counts[table]:
                self._flush(table)
                self._writers.pop(table).close()
                digests[self._name(table)] = _show(self._temporary(table), self._out / self._name(table))
        return digests

    def commit(self, commit: Commit) -> None:
        """Make the shard count."""
        path = commit_path(self._out, self._shard)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(commit.model_dump_json() + "\n", encoding="utf-8")
        _show(temporary, path)

    def _flush(self, table: str) -> None:
        rows, self._rows[table] = self._rows[table], []
        if not rows:
            return
        if table not in self._writers:
            path = self._temporary(table)
            path.parent.mkdir(exist_ok=True)
            self._writers[table] = pq.ParquetWriter(path, TABLES[table], compression="zstd")
        self._writers[table].write_table(pa.Table.from_pylist(rows, schema=TABLES[table]))

    def _name(self, table: str) -> str:
        return f"{table}/{self._shard}.parquet"

    def _temporary(self, table: str) -> Path:
        return self._out / table / f".{self._shard}.tmp"


def commit_path(out: Path, shard: str) -> Path:
    """Where a shard's commit record lies."""
    return out / COMMITS / f"{shard}.json"


def commits(out: Path) -> Iterator[Commit]:
    """The records of all finished shards."""
    for path in sorted((out / COMMITS).glob("*.json")):
        try:
            yield Commit.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise JobError(f"{path} cannot be read: {describe(error)}; remove it, and its shard is done again") from error


def _show(temporary: Path, path: Path) -> str:
    """Flush a finished file to disk and give it its name; return its digest."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    digest = sha256_of_file(temporary)
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest
