"""Results of finished jobs with embeddings, without a model that made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avizor_inference.job_results import JOB_FILE, ROWS_FORMAT, SUMMARY_FILE
from avizor_pipeline.settings import ChosenModel, JobSettings
from avizor_pipeline.sinks.part_files import Commit, PartWriter


def clouds(points: int, numbers: int = 8, labels: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """Embeddings around a few random middles, and the name of the middle of each."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(labels, size=points)
    middles = np.random.default_rng(100).normal(scale=4, size=(labels, numbers))
    vectors = (middles[codes] + rng.normal(size=(points, numbers))).astype(np.float32)
    return vectors, [f"kind{code}" for code in codes]


def embedded_job(
    out: Path,
    vectors: NDArray[np.float32],
    *,
    labels: Sequence[str | None] | None = None,
    model: str = "m",
    sha256: str = "0" * 64,
    parts: int = 2,
    windows: int = 1,
    **settings: Any,
) -> Path:
    """Write the results of a job: `windows` embeddings for each file, in some parts. Without labels there are scores."""
    chosen = ChosenModel(name=model, version=1, sha256=sha256)
    begun = JobSettings(
        rows_format=ROWS_FORMAT, roots=("sounds",), repository="models", models=(chosen,), **{"embeddings": True, **settings}
    )
    out.mkdir()
    (out / JOB_FILE).write_text(begun.model_dump_json())
    for part, places in enumerate(np.array_split(np.arange(len(vectors)), parts)):
        shard = f"{part:016x}"
        writer = PartWriter(out, shard)
        for place in places.tolist():
            file, window = divmod(place, windows)
            row = {
                "uri": f"sounds/{file:04d}.wav",
                "source": "ab"[file % 2],
                "channel": 0,
                "start_sample": 1000 * window,
                "start_s": float(window),
                "model": model,
                "embedding": vectors[place].tolist(),
            }
            row |= {"label": labels[place], "probability": 0.9} if labels else {"score": place / len(vectors)}
            writer.add("windows", row)
        counts = dict(writer.counts)
        commit = Commit(
            shard=shard,
            files=1,
            windows=len(places),
            dead_letters=0,
            rows=counts,
            sha256=writer.finish(),
            labels={},
            sources={},
        )
        writer.commit(commit)
    (out / SUMMARY_FILE).write_text("{}\n")
    return out
