"""Write the results of a job that flagged some items, as `avizor batch` would, without running one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.job_results import ROWS_FORMAT
from avizor_inference.job_tables import RECORDINGS, WINDOWS
from avizor_inference.review_answers import Answer, AnswerFile, Word

MODEL = "normal"
WINDOW = 4096
RATE = 8000


def write_job(
    results: Path, scores: Mapping[str, Sequence[float]], p_values: Mapping[str, float], alpha: float, **job: object
) -> Path:
    """Write the tables of a finished job of one model. scores: of the windows of each item, by uri: `source/name`.

    job: what job.json has of other values.
    """
    windows, recordings = [], []
    for uri, each in scores.items():
        source = uri.split("/")[0]
        for number, score in enumerate(each):
            start = number * WINDOW
            end = start + WINDOW
            place = {"channel": 0, "start_sample": start, "end_sample": end, "start_s": start / RATE, "end_s": end / RATE}
            judged = {"p_value": p_values[uri], "is_anomaly": p_values[uri] <= alpha}
            windows.append({"uri": uri, "source": source, "model": MODEL, "score": score, **judged, **place})
        verdict = {"p_value": p_values[uri], "is_anomaly": p_values[uri] <= alpha, "judged_by": source}
        item = ItemScore.of(np.array(each)).value
        recordings.append({"uri": uri, "source": source, "model": MODEL, "windows": len(each), "score": item, **verdict})
    for name, schema, rows in (("windows", WINDOWS, windows), ("recordings", RECORDINGS, recordings)):
        (results / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), results / name / "0123456789abcdef.parquet")
    models = [{"name": MODEL, "version": 1, "sha256": "0", "calibration_id": "0" * 12}]
    settings = {"rows_format": ROWS_FORMAT, "roots": ["."], "repository": "models", "models": models, "alpha": alpha, **job}
    (results / "job.json").write_text(json.dumps(settings))
    (results / "summary.json").write_text("{}")
    return results


def answer(uri: str, word: Word, reviewer: str = "ana", **more: object) -> Answer:
    """Return an answer of now."""
    now = datetime.now(UTC)
    return Answer.model_validate({"uri": uri, "model": MODEL, "answer": word, "reviewer": reviewer, "time": now, **more})


def say(file: AnswerFile, uri: str, word: Word, reviewer: str = "ana", **more: object) -> None:
    """Append an answer to a file."""
    file.append(answer(uri, word, reviewer, **more))
