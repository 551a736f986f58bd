"""Calibrate a model: score normal items, with which new ones are compared to get their p-values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from avizor_inference.engines.base import Engine, InferRequest, ModelSpec
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.errors import CalibrationError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.repository.calibration import BySource, Calibration, Scores
from avizor_inference.repository.manifest import Precision


def calibrate(
    engine: Engine, model: str, recordings: Iterable[NormalRecording], provider: str, precision: Precision = "fp32"
) -> Calibration:
    """Score every window of every item, and return the scores by source.

    recordings: normal items that the model was not trained on. provider: the execution provider that computes the scores.
    Raises CalibrationError if there are no items, or if a score is not finite.
    """
    spec = engine.spec(model)
    long: dict[str, list[Scores]] = {}
    short: dict[str, list[Scores]] = {}
    for number, recording in enumerate(recordings):
        scores = _scores(engine, spec, recording)
        if not np.isfinite(scores).all():
            raise CalibrationError(
                f"normal item {number} (counted from 0, source {recording.source!r}) has a score that is not a finite number; "
                "leave it out, or check it for values that the network cannot process"
            )
        (short if recording.is_short else long).setdefault(recording.source, []).append(scores)
    if not long and not short:
        raise CalibrationError("no items to calibrate with; pass normal ones that the model was not trained on")
    return Calibration(
        model=model,
        version=spec.version,
        model_sha256=spec.sha256,
        provider=provider,
        precision=precision,
        created=datetime.now(UTC),
        sources=_sorted(long),
        short=_sorted(short),
    )


def _scores(engine: Engine, spec: ModelSpec, recording: NormalRecording) -> Scores:
    """Return the score of each window."""
    (input_name,) = spec.inputs
    request = InferRequest(spec.name, {input_name: np.ascontiguousarray(recording.windows)}, ["score"])
    return tuple(infer_rows(engine, request, in_flight=1)["score"][:, 0].tolist())


def _sorted(sources: dict[str, list[Scores]]) -> BySource:
    return {source: tuple(recordings) for source, recordings in sorted(sources.items())}
