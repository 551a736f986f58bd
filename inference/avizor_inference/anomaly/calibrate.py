"""Scores of normal recordings by a version that was just made: what its p-values will be measured against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.errors import ExportError
from avizor_inference.repository.calibration import BySource, Calibration, Scores
from avizor_inference.repository.manifest import Precision


@dataclass(frozen=True)
class NormalRecording:
    """One normal recording, or one image or row: the source it is of, and all that the model sees of it.

    windows: the windows of all its channels, or its only item: float or uint8[windows, *item_shape]. is_short: whether it is a
    sound shorter than the model's window, which was filled up with zeros.
    """

    source: str
    windows: NDArray[np.generic]
    is_short: bool = False


def calibrate(
    engine: Engine, model: str, recordings: Iterable[NormalRecording], provider: str, precision: Precision = "fp32"
) -> Calibration:
    """Score every window of every recording. Raises ExportError if there are none."""
    spec = engine.spec(model)
    (input_name,) = spec.inputs
    kept: dict[bool, dict[str, list[Scores]]] = {False: {}, True: {}}
    for recording in recordings:
        scores: list[float] = []
        for start in range(0, len(recording.windows), spec.max_batch_size):
            batch = np.ascontiguousarray(recording.windows[start : start + spec.max_batch_size])
            scores += engine.infer(InferRequest(model, {input_name: batch}, ["score"]))["score"][:, 0].tolist()
        if not np.isfinite(scores).all():
            number = sum(len(items) for sources in kept.values() for items in sources.values())
            raise ExportError(
                f"normal recording {number} (counted from 0, source {recording.source!r}) has a score that is not a finite "
                "number; leave it out, or look for values in it that the network was not made for"
            )
        kept[recording.is_short].setdefault(recording.source, []).append(tuple(scores))
    if not any(kept.values()):
        raise ExportError("no recordings to calibrate with; give normal ones that the model was not trained on")
    return Calibration(
        model=model,
        version=spec.version,
        model_sha256=spec.sha256,
        provider=provider,
        precision=precision,
        created=datetime.now(UTC),
        sources=_sorted(kept[False]),
        short=_sorted(kept[True]),
    )


def _sorted(sources: dict[str, list[Scores]]) -> BySource:
    return {source: tuple(recordings) for source, recordings in sorted(sources.items())}
