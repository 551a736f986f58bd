"""A shard's files: Parquet parts under temporary names, flushed, renamed, and last the commit record that makes them count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from avizor_inference.digests import digest_of, sha256_of_file
from avizor_inference.durable_files import give_name, make_folder, temporary_name, write_text
from avizor_inference.error_text import reason
from avizor_inference.errors import JobError
from avizor_inference.strict_json import Strict, describe
from avizor_pipeline.sinks.durable import writing
from avizor_pipeline.sinks.tables import TABLES

COMMITS = "commits"

# Rows held before they are written out as one row group.
ROW_GROUP = 16384


class SourceCount(Strict):
    """What one model said of one source.

    short: recordings shorter than the model's window. anomalies, not_judged: 0 for a classifier.
    """

    recordings: int = 0
    anomalies: int = 0
    not_judged: int = 0
    short: int = 0

    def __add__(self, other: SourceCount) -> SourceCount:
        """Both together."""
        return SourceCount(
            recordings=self.recordings + other.recordings,
            anomalies=self.anomalies + other.anomalies,
            not_judged=self.not_judged + other.not_judged,
            short=self.short + other.short,
        )


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
    digest: str = ""  # of all of the above, in the file: the figures of a record that was altered are not believed

    @property
    def own_digest(self) -> str:
        """What `digest` has to be."""
        return digest_of(self.model_copy(update={"digest": ""}))


class PartWriter:
    """Writes the rows of one shard. Leaves nothing that counts unless `commit` was reached.

    Every method raises JobError where the disk does not take what is written.
    """

    def __init__(self, out: Path, shard: str) -> None:
        self._out, self._shard = out, shard
        self._rows: dict[str, list[Mapping[str, Any]]] = {table: [] for table in TABLES}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._temporary = {table: temporary_name(part_path(out, table, shard)) for table in TABLES}
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
                path = part_path(self._out, table, self._shard)
                with self._writing(path):
                    self._writers[table].close()
                    digests[str(path.relative_to(self._out))] = sha256_of_file(self._temporary[table])
                    give_name(self._temporary[table], path)
        return digests

    def commit(self, commit: Commit) -> None:
        """Make the shard count."""
        path = commit_path(self._out, self._shard)
        with self._writing(path):
            make_folder(path.parent)
            write_text(path, commit.model_copy(update={"digest": commit.own_digest}).model_dump_json() + "\n")

    def _flush(self, table: str) -> None:
        rows, self._rows[table] = self._rows[table], []
        if not rows:
            return
        path = part_path(self._out, table, self._shard)
        with self._writing(path):
            if table not in self._writers:
                make_folder(path.parent)
                self._writers[table] = pq.ParquetWriter(self._temporary[table], TABLES[table], compression="zstd")
            self._writers[table].write_table(pa.Table.from_pylist(rows, schema=TABLES[table]))

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Let go of the parts where one cannot be written: a full disk gets its space back."""
        try:
            with writing(path):
                yield
        except JobError:
            for writer in self._writers.values():
                with suppress(OSError):
                    writer.close()
                writer.is_open = False  # or it is closed again when it is collected, and the error shown as a traceback
            for temporary in self._temporary.values():
                with suppress(OSError):
                    temporary.unlink()
            raise


def part_path(out: Path, table: str, shard: str) -> Path:
    """Where a shard's rows of one table lie."""
    return out / table / f"{shard}.parquet"


def commit_path(out: Path, shard: str) -> Path:
    """Where a shard's commit record lies."""
    return out / COMMITS / f"{shard}.json"


def read_commit(out: Path, shard: str) -> Commit | str:
    """The record of a finished shard, or what is wrong with it. Raises JobError where the disk does not give it."""
    path = commit_path(out, shard)
    if not path.is_file():
        return f"{path} is not a file"
    try:
        commit = Commit.model_validate_json(path.read_bytes())
    except ValidationError as error:
        return f"{path} cannot be read: {describe(error)}"
    except OSError as error:
        raise JobError(f"{path} cannot be read ({reason(error)}); put that right, or choose another --out") from error
    if commit.shard != shard or commit.sha256.keys() != {
        f"{table}/{shard}.parquet" for table in TABLES if commit.rows.get(table)
    }:
        return f"{path} is not the record of its shard"
    if commit.digest != commit.own_digest:
        return f"{path} is not what was written"
    return commit


def flaw(out: Path, commit: Commit) -> str:
    """What is wrong with a finished shard's parts; nothing where each is, byte for byte, what was committed."""
    for name, digest in commit.sha256.items():
        try:
            if (out / name).exists() and not (out / name).is_file():  # a pipe would be waited for
                return f"{out / name} is not a file"
            if sha256_of_file(out / name) != digest:
                return f"{out / name} is not what was written"
        except OSError as error:
            return f"{out / name} cannot be read ({reason(error)})"
    return ""
