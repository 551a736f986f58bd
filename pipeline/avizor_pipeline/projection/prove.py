"""Prove that the maps of a job are of its rows: part of `avizor verify`."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from avizor_inference.job_tables import PROJECTION
from avizor_pipeline.projection.embeddings import KEYS
from avizor_pipeline.projection.write import FOLDER
from avizor_pipeline.sinks.output_files import OutputPath, files_of, part_batches, read_part

_AGAIN = "run avizor project again, or remove it"


def projection_problems(out: OutputPath) -> Iterator[str]:
    """Yield what is wrong with the maps in `out`: each has rows of windows/ alone, in their order, and none twice."""
    for path in files_of(out / FOLDER, ".parquet"):
        try:
            table = read_part(path)
        except pa.ArrowException as error:
            yield f"{path} cannot be read ({str(error).splitlines()[0]}); {_AGAIN}"
            continue
        if table.schema != PROJECTION:
            yield f"{path} has not the columns of a map; {_AGAIN}"
        elif problem := _stray(out, table):
            yield f"{path} has {problem}; {_AGAIN}"


def _stray(out: OutputPath, table: pa.Table) -> str:
    """Return what is wrong with the rows; "" if each is, in this order, a row of windows/."""
    if any(table[axis].null_count or not all(map(_is_finite, table[axis].to_pylist())) for axis in ("x", "y")):
        return "places that are not finite"
    missing = iter(zip(*(table[name].to_pylist() for name in KEYS), strict=True))
    wanted = next(missing, None)
    for part in files_of(out / "windows", ".parquet"):
        for batch in part_batches(part, KEYS):
            for key in zip(*(batch[name].to_pylist() for name in KEYS), strict=True):
                if key == wanted:
                    wanted = next(missing, None)
    return "" if wanted is None else f"a row of {wanted[0]} that windows/ does not have, or has in another place"


def _is_finite(value: float | None) -> bool:
    return value is not None and abs(value) < float("inf")
