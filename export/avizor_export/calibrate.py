"""Scores of normal recordings by a version that was just made: what its p-values will be measured against."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from avizor_inference.calibration import Calibration
from avizor_inference.engine import Engine
from avizor_inference.errors import ExportError
from avizor_inference.manifest import Precision

# One normal recording: its source, and its windows (or its only item), float or uint8[windows, *item_shape].
Recording = tuple[str, NDArray[np.generic]]


def calibrate(
    engine: Engine, model: str, recordings: Iterable[Recording], provider: str, precision: Precision = "fp32"
) -> Calibration:
    """Score every window of every recording. Raises ExportError if there are none."""
    spec = engine.spec(model)
    (input_name,) = spec.inputs
    sources: dict[str, list[tuple[float, ...]]] = {}
    for source, windows in recordings:
        scores: list[float] = []
        for start in range(0, len(windows), spec.max_batch_size):
            batch = np.ascontiguousarray(windows[start : start + spec.max_batch_size])
            scores += engine.infer(model, {input_name: batch}, ["score"])["score"][:, 0].tolist()
        sources.setdefault(source, []).append(tuple(scores))
    if not sources:
        raise ExportError("no recordings to calibrate with; give normal ones that the model was not trained on")
    return Calibration(
        model=model,
        version=spec.version,
        model_sha256=spec.sha256,
        provider=provider,
        precision=precision,
        created=datetime.now(UTC),
        sources={source: tuple(recordings) for source, recordings in sorted(sources.items())},
    )
