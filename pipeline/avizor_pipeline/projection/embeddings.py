"""Read the embeddings of a finished job, by column and in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avizor_inference.error_text import one_line
from avizor_inference.errors import JobError, SettingsError
from avizor_inference.job_results import SUMMARY_FILE
from avizor_pipeline.settings import ChosenModel, JobSettings
from avizor_pipeline.sinks.lock import job_lock
from avizor_pipeline.sinks.output_files import OutputPath, files_of, part_batches
from avizor_pipeline.sinks.output_folder import settings_of_job

# What makes a row of windows/ unique.
KEYS = ("uri", "channel", "start_sample", "model")

# What a map or a list of neighbours shows of a row, besides its key.
SHOWN = ("source", "start_s", "label", "probability", "score", "is_anomaly")

EMBEDDING = "embedding"

# Rows that are decoded at once.
_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Embedded:
    """Holds embeddings of one model, in the order of windows/.

    rows: a table of KEYS and SHOWN. vectors: float32[n, numbers], finite. windows: how many of the job have an embedding; if
    these are more than n, the n were drawn at random.
    """

    model: ChosenModel
    rows: pa.Table
    vectors: NDArray[np.float32]
    windows: int


@contextmanager
def finished_job(out: OutputPath) -> Iterator[JobSettings]:
    """Hold a finished job that has embeddings while it is read; nothing is written. Raises JobError if it is none."""
    settings = settings_of_job(out)
    with job_lock(out, make=False), _intact(out):
        if not (out / SUMMARY_FILE).exists():
            raise JobError(f"the job in {out} is not finished; run its command again, which goes on")
        if not settings.embeddings:
            raise JobError(f"the job in {out} has no embeddings; run it with --embeddings, into another --out")
        yield settings


def chosen_model(out: OutputPath, settings: JobSettings, name: str | None) -> tuple[ChosenModel, int]:
    """Return the model whose embeddings are meant, and how many windows have one.

    name: None if it is the only one. Raises SettingsError.
    """
    counts = Counter[str]()
    for part in files_of(out / "windows", ".parquet"):
        for batch in part_batches(part, ["model", EMBEDDING], _ROWS):
            valid = batch.filter(pc.is_valid(batch[EMBEDDING]))
            found = pc.value_counts(valid["model"])
            counts.update({each["values"].as_py(): each["counts"].as_py() for each in found})
    models = {model.name: model for model in settings.models if counts[model.name]}
    if name is None and len(models) > 1:
        raise SettingsError(f"several models have embeddings in {out}; choose one by --model: {', '.join(models)}")
    if name is None and not models:
        raise JobError(f"no window in {out} has an embedding: no file could be read")
    chosen = name or next(iter(models))
    if chosen not in models:
        known = f"those that have: {', '.join(models)}" if models else "no window has one"
        raise SettingsError(f"{chosen!r} has no embeddings in {out}; {known}")
    return models[chosen], counts[chosen]


def read_embeddings(out: OutputPath, settings: JobSettings, name: str | None, most: int, seed: int) -> Embedded:
    """Read at most `most` embeddings of one model; if there are more, they are drawn at random, by the seed.

    Memory: that of the embeddings which are kept. Raises SettingsError, and JobError if one holds a value that is not finite.
    """
    model, windows = chosen_model(out, settings, name)
    wanted = np.ones(windows, bool)
    if windows > most:
        wanted[:] = False
        wanted[np.random.default_rng(seed).choice(windows, most, replace=False)] = True
    tables, vectors, place = list[pa.Table](), list[NDArray[np.float32]](), 0
    for batch in embedded_batches(out, model.name):
        chosen = wanted[place : place + batch.num_rows]
        place += batch.num_rows
        if chosen.any():
            kept = batch.filter(pa.array(chosen))
            vectors.append(vectors_of(kept))
            tables.append(pa.Table.from_batches([kept.drop_columns([EMBEDDING])]))
    found = Embedded(model, pa.concat_tables(tables).combine_chunks(), np.concatenate(vectors), windows)
    _check_finite(found)
    return found


def embedded_batches(out: OutputPath, model: str, columns: Sequence[str] = (*KEYS, *SHOWN)) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a model that have an embedding: `columns` and the embedding, in the order of parts and rows."""
    for part in files_of(out / "windows", ".parquet"):
        for batch in part_batches(part, [*columns, EMBEDDING], _ROWS):
            rows = batch.filter(pc.and_(pc.equal(batch["model"], model), pc.is_valid(batch[EMBEDDING])))
            if rows.num_rows:
                yield rows


def vectors_of(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """Return float32[rows, numbers], the embeddings of a batch in which each row has one."""
    return np.asarray(batch[EMBEDDING].flatten().to_numpy(zero_copy_only=False)).reshape(batch.num_rows, -1)


@contextmanager
def _intact(out: OutputPath) -> Iterator[None]:
    """Turn the errors of a part that cannot be read into a JobError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise JobError(
            f"{out}: its tables cannot be read ({one_line(error)}); `avizor verify` tells which are damaged, and the job's own "
            "command makes them again"
        ) from error


def _check_finite(found: Embedded) -> None:
    wrong = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
    if len(wrong):
        first = found.rows["uri"][int(wrong[0])].as_py()
        raise JobError(
            f"{len(wrong)} of {len(found.vectors)} embeddings of {found.model.name} hold values that are not finite, the first "
            f"is of {first}; look at that file, and run the job without such files into another --out"
        )
