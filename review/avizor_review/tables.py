"""Open the Parquet tables of a results folder with DuckDB: read-only, in bounded memory, without what does not count yet.

A part counts when the commit record of its shard is there. So a job may run, or may have been killed, while its results are
read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from avizor_inference.error_text import reason, shortened
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.job_results import COMMITS, ROUNDS
from avizor_review.temporary_folder import TemporaryFolder

# What DuckDB keeps in memory; beyond that it writes to a temporary folder.
_MEMORY = "512MB"
_THREADS = 2

# How often the parts are listed, if one of them has gone since: a gateway writes parts anew.
_TRIES = 5

_CLASSES = "STRUCT(label VARCHAR, probability FLOAT)[]"

# Columns that are read here, by table, with the types that they have where a table has no part. Parts may have more columns.
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "windows": {
        "uri": "VARCHAR",
        "source": "VARCHAR",
        "channel": "SMALLINT",
        "start_sample": "BIGINT",
        "end_sample": "BIGINT",
        "start_s": "DOUBLE",
        "end_s": "DOUBLE",
        "model": "VARCHAR",
        "model_version": "INTEGER",
        "label": "VARCHAR",
        "probability": "FLOAT",
        "top_k": _CLASSES,
        "embedding": "FLOAT[]",
        "score": "FLOAT",
        "p_value": "DOUBLE",
        "is_anomaly": "BOOLEAN",
    },
    "recordings": {
        "uri": "VARCHAR",
        "source": "VARCHAR",
        "model": "VARCHAR",
        "windows": "INTEGER",
        "label": "VARCHAR",
        "probability": "FLOAT",
        "labels": _CLASSES,
        "score": "FLOAT",
        "p_value": "DOUBLE",
        "is_anomaly": "BOOLEAN",
        "judged_by": "VARCHAR",
        "calibration_id": "VARCHAR",
        "not_judged": "VARCHAR",
    },
    "dead_letters": {
        "uri": "VARCHAR",
        "source": "VARCHAR",
        "stage": "VARCHAR",
        "error_class": "VARCHAR",
        "message": "VARCHAR",
    },
    "rounds": {
        "uri": "VARCHAR",
        "path": "VARCHAR",
        "source": "VARCHAR",
        "size": "BIGINT",
        "modified_ns": "BIGINT",
        "item": "VARCHAR",
        "first": "BIGINT",
        "items": "BIGINT",
        "offset": "BIGINT",
    },
}

Row = tuple[Any, ...]


class Tables:
    """Holds the tables of one results folder as views of their names. Threads may ask at once.

    is_kept: whether a gateway has written them. Then no part is there twice, and each may go.
    """

    def __init__(self, folder: Path, *, is_kept: bool = False) -> None:
        self.folder, self._is_kept = folder, is_kept
        self._temporary = TemporaryFolder()
        self._lock = threading.Lock()
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": _MEMORY,
                "threads": str(_THREADS),
                "temp_directory": str(self._temporary.path),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            self.reload()
        except BaseException:
            self.close()
            raise

    def reload(self) -> None:
        """Look again at which parts count: a job that runs has more by now. Raises JobError, SettingsError."""
        if not self.folder.is_dir():
            raise JobError(f"{self.folder} is not there any more; bring it back, or name another folder of results")
        with self._lock, reading(self.folder):
            for left in reversed(range(_TRIES)):
                try:
                    for table, parts in self._parts().items():
                        self._connection.execute(f'CREATE OR REPLACE VIEW "{table}" AS {_select(parts, COLUMNS[table])}')
                    return
                except duckdb.IOException:  # a part has gone meanwhile
                    if not left:
                        raise

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Return the rows of a query. Raises JobError if a table cannot be read."""
        with reading(self.folder):
            try:
                return self._cursor().execute(sql, parameters).fetchall()
            except duckdb.IOException:  # a part has gone meanwhile: a gateway keeps nothing for ever
                self.reload()
                return self._cursor().execute(sql, parameters).fetchall()

    def named(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query, each by the names of its columns. Raises JobError."""
        with reading(self.folder):
            found = self._cursor().execute(sql, parameters)
            names = [column[0] for column in found.description or ()]
            while rows := found.fetchmany(1024):
                yield from (dict(zip(names, row, strict=True)) for row in rows)

    def batches(self, sql: str, parameters: Sequence[object] = (), rows: int = 8192) -> Iterator[Any]:
        """Yield the result of a query as Arrow record batches of at most so many rows. Raises JobError."""
        with reading(self.folder):
            reader: Any = self._cursor().sql(sql, params=list(parameters)).to_arrow_reader(rows)
            yield from reader

    def close(self) -> None:
        """Close the database, and remove what it had to write."""
        self._connection.close()
        self._temporary.remove()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._connection.cursor()

    def _parts(self) -> dict[str, list[Path]]:
        """Return the parts of each table that count, sorted: all by the same records, which may change meanwhile."""
        while True:
            finished = self._finished()
            found = {table: sorted((self.folder / table).glob("*.parquet")) for table in COLUMNS}
            if finished == self._finished():
                break
        every = (path for parts in found.values() for path in parts)
        if strange := next((path for path in every if path.exists() and not path.is_file()), None):
            raise JobError(f"{strange} is no file: a pipe, a folder or a device; remove it")  # DuckDB would wait for a pipe
        if finished is None:
            return found
        counted = COLUMNS if self._is_kept else COLUMNS.keys() - {ROUNDS}  # what a job has planned counts at once
        return {
            table: [path for path in parts if table not in counted or path.stem.partition("-")[0] in finished]
            for table, parts in found.items()
        }

    def _finished(self) -> frozenset[str] | None:
        """Return the shards, or a gateway's parts, that have a commit record; None if there are no such records at all."""
        commits = self.folder / COMMITS
        return frozenset(path.stem for path in commits.glob("*.json")) if commits.is_dir() else None


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn the errors of DuckDB, and of the disk, into a JobError."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise JobError(f"{folder}: the question takes more than {_MEMORY} and the temporary folder; ask for less") from error
    except duckdb.BinderException as error:
        raise SettingsError(
            f"{folder} holds tables of another version of Avizor ({_said(error)}); run its job again with this one"
        ) from error
    except duckdb.Error as error:
        raise JobError(
            f"{folder}: its tables cannot be read ({_said(error)}); if its job runs, try again; `avizor verify` tells which "
            "are damaged"
        ) from error
    except OSError as error:
        raise JobError(f"{error.filename or folder} cannot be read ({reason(error)}); make it readable") from error


def _said(error: duckdb.Error) -> str:
    """Return what DuckDB says, without the question, which it repeats with a pointer into it."""
    return shortened(str(error).partition("\nLINE ")[0])


def _select(parts: Sequence[Path], columns: Mapping[str, str]) -> str:
    """Return a SELECT of the columns from these parts; of no rows if there are none."""
    if not parts:
        return "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items()) + " WHERE false"
    names = ", ".join(f'{_value(name, kind)} AS "{name}"' for name, kind in columns.items())
    files = ", ".join(quoted(path) for path in parts)
    return f"SELECT {names} FROM read_parquet([{files}], hive_partitioning = false)"


def _value(name: str, kind: str) -> str:
    """Return a column as it is read: what is not a number is missing; an item without a source has one with an empty name."""
    value = f'"{name}"::{kind}'
    if kind in ("FLOAT", "DOUBLE"):
        # Not `isnan`, nor a comparison: DuckDB answers those from the statistics of the file, which know of no NaN.
        return f"CASE WHEN isfinite({value}) OR isinf({value}) THEN {value} END"
    return f"coalesce({value}, '')" if name == "source" else value


def quoted(path: Path) -> str:
    """Return a path as a literal of SQL that stands for no pattern."""
    text = "".join(f"[{character}]" if character in "*?[" else character for character in str(path))
    return "'" + text.replace("'", "''") + "'"
