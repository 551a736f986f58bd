"""Write the tables of a results folder, as `avizor batch` would, from rows that a test gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.job_results import ROWS_FORMAT
from avizor_inference.job_tables import ROUND, TABLES

PART = "0123456789abcdef"

Rows = Iterable[Mapping[str, Any]]


def write_results(
    out: Path,
    *,
    recordings: Rows = (),
    windows: Rows = (),
    dead_letters: Rows = (),
    rounds: Rows = (),
    finished: bool = True,
    **job: Any,
) -> Path:
    """Write a job of one shard. job: what job.json has of other values than models `m` and `c` and alpha 0.05."""
    tables = {"recordings": recordings, "windows": windows, "dead_letters": dead_letters}
    for name, rows in tables.items():
        _write(out / name / f"{PART}.parquet", list(rows), TABLES[name])
    _write(out / "rounds" / "000001.parquet", list(rounds), ROUND)
    models = [{"name": name, "version": 1, "sha256": "0"} for name in ("m", "c")]
    settings = {"rows_format": ROWS_FORMAT, "roots": ["."], "repository": "models", "models": models, "alpha": 0.05, **job}
    (out / "job.json").write_text(json.dumps(settings))
    if finished:
        (out / "summary.json").write_text("{}")
    return out


def add_commits(out: Path) -> None:
    """Say that the shard is finished."""
    (out / "commits").mkdir()
    (out / "commits" / f"{PART}.json").write_text("{}")


def _write(path: Path, rows: list[Mapping[str, Any]], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if rows:
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
