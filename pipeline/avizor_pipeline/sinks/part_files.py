"""Write and check a shard's files.

Parquet parts are written under temporary names and published, each in one step; last comes the commit record.
Only a shard with a commit record counts. To publish and to record waits for the disk, or a store, and needs nearly no CPU.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from avizor_inference.anomaly.drift import Evidence, added, evidence_of
from avizor_inference.daemon_threads import DaemonThreads
from avizor_inference.digests import digest_of, sha256_of_file
from avizor_inference.durable_files import temporary_name
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import JobError
from avizor_inference.job_results import COMMITS
from avizor_inference.job_tables import TABLES as TABLES  # of the package's face, too
from avizor_inference.strict_json import Strict, validation_message
from avizor_pipeline.sinks.output_files import (
    OutputPath,
    check_absent,
    make_folder_of,
    problem_of,
    publish,
    read_part,
    sha256_of,
    temporary_for,
    write_whole,
)
from avizor_pipeline.sinks.row_groups import ROW_GROUP
from avizor_pipeline.sinks.write_errors import writing


class SourceCount(Strict):
    """Holds the counts of one model and one source. `recordings` counts items; the name is that of the commit records on disk.

    short: items shorter than the model's window. anomalies, not_judged: 0 for a classifier. drift: by calibration, see
    Tallies; not written where it is empty, as of a classifier.
    """

    recordings: int = 0
    anomalies: int = 0
    not_judged: int = 0
    short: int = 0
    drift: dict[str, dict[int, tuple[int, ...]]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_empty(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what records of earlier jobs do not have: their digests are of what they hold."""
        written: dict[str, Any] = fields(self)
        return written if self.drift else {name: value for name, value in written.items() if name != "drift"}

    def drift_from(self, calibration: str | None) -> Evidence:
        """Return the evidence that scores have drifted from the calibration with this id."""
        return evidence_of(self.drift.get(calibration or "", {}))

    def __add__(self, other: SourceCount) -> SourceCount:
        """Return the counts of both together."""
        return SourceCount(
            recordings=self.recordings + other.recordings,
            anomalies=self.anomalies + other.anomalies,
            not_judged=self.not_judged + other.not_judged,
            short=self.short + other.short,
            drift={
                calibration: added(self.drift.get(calibration, {}), other.drift.get(calibration, {}))
                for calibration in sorted(self.drift.keys() | other.drift.keys())
            },
        )


class Commit(Strict):
    """Records a finished shard: its parts with their digests, and the numbers of the job's summary.

    clipped: files with samples beyond full scale, which were clipped. peak: largest magnitude in them. low_rate: files of
    a lower sample rate than a model's. several_channels: files of more channels than a model takes, see JobSettings.channels.
    padded: files shorter than a model's window, which were filled up with zeros. rows: by table.
    sha256: by path below the output folder. labels: model -> label -> items. sources: model -> source -> counts.
    digest: of all of the above, in the file; a record that was altered is not used.
    """

    shard: str
    files: int
    windows: int
    dead_letters: int
    clipped: int = 0
    peak: float = 0.0
    low_rate: int = 0
    several_channels: int = 0
    padded: int = 0
    rows: dict[str, int]
    sha256: dict[str, str]
    labels: dict[str, dict[str, int]]
    sources: dict[str, dict[str, SourceCount]]
    digest: str = ""

    @property
    def own_digest(self) -> str:
        """Return the value that `digest` must have."""
        return digest_of(self.model_copy(update={"digest": ""}))


class PartWriter:
    """Writes the rows of one shard. Nothing counts before `commit`.

    Every method raises JobError if the disk refuses what is written. rows: in memory before they are written as one row group.
    """

    def __init__(self, out: OutputPath, shard: str, rows: int = ROW_GROUP) -> None:
        self._out, self._shard, self._rows = out, shard, rows
        self._columns: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schema.names} for table, schema in TABLES.items()
        }
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._temporary = {table: temporary_for(part_path(out, table, shard)) for table in TABLES}
        self._taken: dict[str, dict[str, str]] = {}  # digests by table
        self._finished: list[tuple[Path, OutputPath]] = []  # parts: temporary and final path
        self._absent: list[OutputPath] = []  # parts that the shard does not have
        self.counts = dict.fromkeys(TABLES, 0)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Add one row; columns that are left out are null."""
        self.add_rows(table, [row])

    def add_rows(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; columns that are left out are null."""
        if rows:
            self.add_columns(table, {name: [row.get(name) for row in rows] for name in self._columns[table]})

    def add_columns(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add rows, given as a value for each of them by column; columns that are left out are null."""
        count = len(next(iter(columns.values())))
        for name, values in self._columns[table].items():
            values.extend(columns.get(name) or [None] * count)
        self.counts[table] += count
        while len(self._columns[table]["uri"]) >= self._rows:
            self._flush(table)

    def take_part(self, table: str, rows: int, sha256: Mapping[str, str]) -> None:
        """Take over a part that is there already, of a table without other rows. rows: their number in it."""
        self.counts[table] += rows
        self._taken.setdefault(table, {}).update(sha256)

    def drop(self, table: str, uris: Collection[str]) -> None:
        """Remove all rows of these files from a table. No rows of it may be added after this."""
        self._flush(table)
        path = part_path(self._out, table, self._shard)
        with self._writing(path):
            self._writers[table].close()
            self.counts[table] = _without(self._temporary[table], uris, self._rows)

    def finish(self) -> dict[str, str]:
        """Finish the parts under their temporary names; return their digests by path. A table without rows has no part."""
        digests: dict[str, str] = {}
        for table in TABLES:
            path = part_path(self._out, table, self._shard)
            if table in self._taken:
                digests.update(self._taken[table])
            elif self.counts[table]:
                digests[f"{table}/{path.name}"] = self._close(table)
                self._finished.append((self._temporary[table], path))
            else:
                with self._writing(path):
                    self._temporary[table].unlink(missing_ok=True)  # all rows were dropped
                self._absent.append(path)
        return digests

    def publish(self) -> None:
        """Give the finished parts their final names. Those of a worker that died before its commit go."""
        calls = [(path, partial(publish, temporary, path)) for temporary, path in self._finished]
        calls += [(path, partial(path.unlink, missing_ok=True)) for path in self._absent]
        self._finished, self._absent = [], []
        with DaemonThreads(len(TABLES)) as threads:
            begun = [(path, threads.submit(call)) for path, call in calls]
            wait([done for _, done in begun])  # or one might come late, beside what is written after an error
        for path, done in begun:
            with self._writing(path):
                done.result()

    def commit(self, commit: Commit) -> Commit:
        """Publish the parts, and make the shard count."""
        self.publish()
        with self._writing(commit_path(self._out, self._shard)):
            write_commit(self._out, commit, new=True)
        return commit

    def _close(self, table: str) -> str:
        """Write what is left of a part, and return its digest."""
        with self._writing(part_path(self._out, table, self._shard)):
            self._flush(table)
            self._writers[table].close()
            return sha256_of_file(self._temporary[table])

    def _flush(self, table: str) -> None:
        """Write the first rows as a row group."""
        columns = self._columns[table]
        group = {name: values[: self._rows] for name, values in columns.items()}
        for values in columns.values():
            del values[: self._rows]
        if not group["uri"]:
            return
        path = part_path(self._out, table, self._shard)
        with self._writing(path):
            if table not in self._writers:
                make_folder_of(path)
                self._writers[table] = pq.ParquetWriter(self._temporary[table], TABLES[table], compression="zstd")
            self._writers[table].write_table(pa.Table.from_pydict(group, schema=TABLES[table]))

    @contextmanager
    def _writing(self, path: OutputPath) -> Iterator[None]:
        """Remove all unfinished parts if one cannot be written, which frees space on a full disk."""
        try:
            with writing(path):
                yield
        except JobError:
            for writer in self._writers.values():
                with suppress(OSError):
                    writer.close()
                writer.is_open = False  # else it is closed again when it is collected, which shows the error as a traceback
            for temporary in self._temporary.values():
                with suppress(OSError):
                    temporary.unlink()
            raise


def _without(part: Path, uris: Collection[str], rows: int) -> int:
    """Write a closed part again without the rows of these files, in bounded memory; return the number of rows that are left."""
    remaining = temporary_name(part)
    with pq.ParquetFile(part) as file, pq.ParquetWriter(remaining, file.schema_arrow, compression="zstd") as writer:
        dropped = pa.array(uris, pa.string())
        for group in file.iter_batches(rows):
            kept = group.filter(pc.invert(pc.is_in(group["uri"], dropped)))
            if kept.num_rows:
                writer.write_batch(kept)
    os.replace(remaining, part)
    return int(pq.read_metadata(part).num_rows)


def part_path(out: OutputPath, table: str, shard: str) -> OutputPath:
    """Return the file of a shard's rows of one table."""
    return out / table / f"{shard}.parquet"


def shard_of(stem: str) -> str:
    """Return the shard of a part by the part's name without its suffix: a part of a section has its number behind."""
    return stem.partition("-")[0]


def commit_path(out: OutputPath, shard: str) -> OutputPath:
    """Return the file of a shard's commit record."""
    return out / COMMITS / f"{shard}.json"


def write_commit(out: OutputPath, commit: Commit, *, new: bool = False) -> None:
    """Write the record of a finished shard, with its digest, in one step. new: see `publish`. Raises OSError."""
    path = commit_path(out, commit.shard)
    make_folder_of(path)
    write_whole(path, commit.model_copy(update={"digest": commit.own_digest}).model_dump_json() + "\n", new=new)


def read_commit(out: OutputPath, shard: str) -> Commit | str:
    """Return the record of a finished shard, or what is wrong with it. Raises JobError if it cannot be read now."""
    path = commit_path(out, shard)
    if problem := problem_of(path):
        return problem
    try:
        commit = Commit.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return f"{path} is not a file"
    except ValidationError as error:
        return f"{path} cannot be read: {validation_message(error)}"
    except OSError as error:
        what_to_do = remedy(error, "make it readable, or choose another --out")
        raise JobError(f"{path} cannot be read ({reason(error)}); {what_to_do}") from error
    names = {(path.parent.name, shard_of(path.stem)) for path in map(PurePath, commit.sha256)}
    if commit.shard != shard or names != {(table, shard) for table in TABLES if commit.rows.get(table)}:
        return f"{path} is not the record of its shard"
    if commit.digest != commit.own_digest:
        return f"{path} is not what was written"
    return commit


def dead_uris(out: OutputPath, shard: str) -> frozenset[str]:
    """Return the uris of a finished shard's dead letters; none of a shard that is not finished or damaged."""
    commit = read_commit(out, shard)
    if isinstance(commit, str) or not commit.dead_letters or find_damage(out, commit):
        return frozenset()
    return frozenset(read_part(part_path(out, "dead_letters", shard), ["uri"])["uri"].to_pylist())


def find_damage(out: OutputPath, commit: Commit) -> str:
    """Return what is wrong with a finished shard's parts; "" if each is, byte for byte, what was committed.

    Raises JobError if a store does not give one that may be intact.
    """
    for name, digest in commit.sha256.items():
        try:
            if problem := problem_of(out / name):
                return problem
            if sha256_of(out / name) != digest:
                return f"{out / name} is not what was written"
        except OSError as error:
            check_absent(out / name, error)
            return f"{out / name} cannot be read ({reason(error)})"
    return ""
