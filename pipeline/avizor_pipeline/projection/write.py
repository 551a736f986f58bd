"""Write a map into the results of a job: projection/MODEL-METHOD.parquet, its pictures and report, each by one rename.

The folder is removed when the job is run again, as all that sums up its tables. maps/ stays, to place new points in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from avizor_inference.arrays import Floats
from avizor_inference.errors import JobError
from avizor_inference.job_results import SUMMARY_FILE
from avizor_inference.job_tables import PROJECTION
from avizor_inference.strict_json import Strict
from avizor_pipeline.projection.colours import COLOURS, Colour
from avizor_pipeline.projection.embeddings import KEYS, Embedded
from avizor_pipeline.projection.labels import Labels
from avizor_pipeline.projection.map_file import MAPS, MapFile, map_path, write_map
from avizor_pipeline.projection.methods import Method, Metric
from avizor_pipeline.projection.trust import Trust
from avizor_pipeline.sinks.lock import job_lock
from avizor_pipeline.sinks.output_files import OutputPath, make_folder, publish, sha256_of, temporary_for, write_whole
from avizor_pipeline.sinks.write_errors import reading, writing

FOLDER = "projection"


class ProjectionReport(Strict):
    """Holds what a map was made from and how far to trust it; projection/MODEL-METHOD.json is this."""

    out: str
    model: str
    model_version: int
    method: Method
    metric: Metric
    perplexity: float = Field(description="of t-SNE; 0 for another method")
    seed: int
    windows: int = Field(description="windows of the job that have an embedding")
    points: int = Field(description="of these, those in the table: all, or a random sample")
    dimensions: int = Field(description="numbers of an embedding")
    directions: int = Field(description="of most variance, in which the method worked")
    placed_in: str = Field(default="", description="the old map; empty: a map of these points")
    kept: int = Field(default=0, description="points that have their place in the old map")
    explained: tuple[float, float] | None = Field(default=None, description="shares of variance of x and y, of PCA")
    trust: Trust
    seconds: float
    table: str
    map: str
    pictures: list[str]


def state_of(out: OutputPath) -> str:
    """Return what changes when the job is run again; "" while it runs. Raises JobError."""
    with reading(out):
        return sha256_of(out / SUMMARY_FILE) if (out / SUMMARY_FILE).exists() else ""


def names_of(model: str, method: str) -> tuple[str, str, str]:
    """Return the table, the report and the map of a model and method, below the results."""
    stem = f"{model}-{method}"
    return f"{FOLDER}/{stem}.parquet", f"{FOLDER}/{stem}.json", f"{MAPS}/{stem}.npz"


def picture_name(model: str, method: str, colour: Colour) -> str:
    """Return the picture of a model and method in these colours, below the results."""
    return f"{FOLDER}/{model}-{method}-{colour}.png"


def projection_table(found: Embedded, method: str, places: Floats, labels: Labels | None) -> pa.Table:
    """Return the rows of the table, in the order of windows/."""
    columns = {name: found.rows[name] for name in KEYS}
    length = found.rows.num_rows
    columns |= {
        "method": pa.array([method] * length),
        "true_label": labels.texts if labels else pa.nulls(length, pa.string()),
        "x": pa.array(places[:, 0].astype(np.float32)),
        "y": pa.array(places[:, 1].astype(np.float32)),
    }
    return pa.table(columns).cast(PROJECTION)


def write_projection(
    out: OutputPath, read_in: str, table: pa.Table, pictures: Mapping[str, bytes], report: ProjectionReport, map: MapFile
) -> None:
    """Write all files of a map. read_in: `state_of` the job when its rows were read. pictures: PNG by name below `out`.

    Raises JobError if the job was run again since, if it is running, or if the disk refuses a file.
    """
    with job_lock(out):
        if state_of(out) != read_in:
            raise JobError(f"the job in {out} was run again meanwhile, so the map is of other rows; run avizor project again")
        with writing(out / FOLDER):
            make_folder(out / FOLDER)
            make_folder(out / MAPS)
            write_map(map_path(out, report.model, report.method), map)
            path = out / report.table
            temporary = temporary_for(path)
            pq.write_table(table, temporary, compression="zstd")
            publish(temporary, path)
            for each in COLOURS:
                if (name := picture_name(report.model, report.method, each)) not in pictures:  # it would show an earlier map
                    (out / name).unlink(missing_ok=True)
            for name, picture in pictures.items():
                temporary = temporary_for(out / name)
                temporary.write_bytes(picture)
                publish(temporary, out / name)
            write_whole(out / names_of(report.model, report.method)[1], report.model_dump_json(indent=2) + "\n")
