"""Write q_values.parquet: for each recording that was judged, the least rate of false discoveries at which it is flagged.

Benjamini and Hochberg, "Controlling the false discovery rate", 1995: of the m p-values of one model in the job, sorted,

    q(p_i) = min over j >= i of p_j * m / j.

Flag what has q <= 0.1, and at most a tenth of the flagged recordings is expected to be normal. That holds also for conformal
p-values that share a calibration (Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", 2023).

A p-value is a number of calibration recordings divided by another, so there are few distinct ones, however many recordings
there are. They are counted in a first pass over the parts, and the rows are written in a second one: memory grows with the
calibration, not with the job.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avizor_inference.job_tables import Q_VALUES
from avizor_pipeline.sinks.output_files import OutputPath, files_of, part_batches, publish, temporary_for
from avizor_pipeline.sinks.write_errors import writing

Q_VALUES_FILE = "q_values.parquet"

_READ = ["uri", "source", "model", "p_value"]

# A model's distinct p-values, ascending, and the q-value of each: float64[distinct] both.
_Lookup = tuple[NDArray[np.float64], NDArray[np.float64]]


def write_q_values(out: OutputPath) -> None:
    """Write the file of the job in `out`, whose parts are all there. Raises JobError if the disk refuses it."""
    counts: dict[str, Counter[float]] = defaultdict(Counter)
    for batch in _judged(out):
        for model in pc.unique(batch["model"]).to_pylist():
            values, numbers = np.unique(batch.filter(pc.equal(batch["model"], model))["p_value"], return_counts=True)
            counts[model].update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    lookups = {model: _lookup(of_model) for model, of_model in counts.items()}
    path = out / Q_VALUES_FILE
    temporary = temporary_for(path)
    with writing(path):
        with pq.ParquetWriter(temporary, Q_VALUES, compression="zstd") as writer:
            for batch in _judged(out):
                writer.write_batch(_with_q_values(batch, lookups))
        publish(temporary, path)


def q_values(p_values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the q-value of each of some distinct p-values.

    p_values: float64[n] in (0, 1], ascending. counts: int64[n], how often each of them occurs.
    """
    ranks = np.cumsum(counts)
    least: NDArray[np.float64] = np.minimum.accumulate((p_values * (ranks[-1] / ranks))[::-1])[::-1]
    return np.minimum(least, 1.0)


def _judged(out: OutputPath) -> Iterator[pa.RecordBatch]:
    """Yield the recordings that have a p-value, in the order of the names of the parts."""
    for part in files_of(out / "recordings", ".parquet"):
        for batch in part_batches(part, _READ):
            judged = batch.filter(pc.is_valid(batch["p_value"]))
            if judged.num_rows:
                yield judged


def _lookup(counts: Counter[float]) -> _Lookup:
    values = np.array(sorted(counts))
    return values, q_values(values, np.array([counts[value] for value in values.tolist()]))


def _with_q_values(batch: pa.RecordBatch, lookups: Mapping[str, _Lookup]) -> pa.RecordBatch:
    p_values, models = batch["p_value"].to_numpy(), np.array(batch["model"].to_pylist())
    found = np.empty(batch.num_rows)
    for model in np.unique(models):
        rows = models == model
        distinct, by_value = lookups[model]
        found[rows] = by_value[np.searchsorted(distinct, p_values[rows])]
    return pa.RecordBatch.from_arrays([*(batch[name] for name in _READ), pa.array(found)], schema=Q_VALUES)
