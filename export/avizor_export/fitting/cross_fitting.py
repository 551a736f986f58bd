"""Use few items twice: each calibrates detectors that were trained without it, and the published model is all of them.

The items are divided into K folds. Detector k is trained without fold k, and scores fold k for the calibration. The published
score is the least of all K. What that promises is in avizor_inference.anomaly.cross_fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from avizor_export.detection.detector import Detector
from avizor_export.detection.fit import train_detector
from avizor_export.detection.least_score import LeastScore, Standardised
from avizor_export.exporter import export_model
from avizor_export.fitting.computing import same_everywhere
from avizor_export.fitting.detector import FittedDetector, Recipe, fit_detector, passing_request
from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.progress import TrainingProgress
from avizor_export.fitting.sample import features
from avizor_export.fitting.split import Folds, stopping_of
from avizor_inference.anomaly.calibrate import ScoredItems, score_rows
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import DatasetError
from avizor_inference.repository.calibration import Scores


class CrossFitted(NamedTuple):
    """Holds the detector of all folds, and the scores of each item by the part of it that was trained without its fold."""

    fitted: FittedDetector
    scored: ScoredItems


def cross_fit(items: NormalItems, folds: Folds, recipe: Recipe, progress: TrainingProgress | None = None) -> CrossFitted:
    """Train a detector without each fold, and score the fold with it, through the engine that will serve it.

    Raises DatasetError for items that cannot be read or scored.
    """
    first = _fit_first(items, folds, recipe, progress)
    trained = set(first.trained or ())
    others = [_fit_other(items, folds, place, first, recipe, progress, trained) for place in range(1, len(folds.folds))]
    scored = _scored(items, folds, first, others)
    detector = Detector(first.detector.autoencoder, LeastScore(first.detector, others))
    return CrossFitted(replace(first, detector=detector, trained=frozenset(trained)), scored)


def _fit_first(items: NormalItems, folds: Folds, recipe: Recipe, progress: TrainingProgress | None) -> FittedDetector:
    training, stopping = stopping_of(folds.outside(0), items.sources, recipe.seed)
    fitted = fit_detector(items, training, stopping, recipe, progress)
    if progress:
        progress.next_round()
    return fitted


def _fit_other(
    items: NormalItems,
    folds: Folds,
    place: int,
    first: FittedDetector,
    recipe: Recipe,
    progress: TrainingProgress | None,
    trained: set[int],
) -> Standardised:
    """Train the detector without a fold, on features of the first one's front end, brought to the scale of its own items.

    trained: takes the digests of the items.
    """
    training, stopping = stopping_of(folds.outside(place), items.sources, recipe.seed)
    with same_everywhere():
        learnt = features(items, training, first.input, recipe.seed, trained)
        held = features(items, stopping, first.input, recipe.seed, trained)
        mean, deviation = scale_of(learnt, is_sound=recipe.is_sound)
        detector, _ = train_detector(
            *((learnt - mean) / deviation, (held - mean) / deviation),
            is_sound=recipe.is_sound,
            spec=recipe.spec,
            most_steps=recipe.most_steps,
            seed=recipe.seed,
            watch=progress,
            with_local="local_score" in first.detector.scores.names,
        )
    if progress:
        progress.next_round()
    return Standardised(detector, mean, deviation)


def scale_of(learnt: Tensor, *, is_sound: bool) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of features float32[n, ...], as a front end brings them to: of bands, channels or columns.

    Columns of zeros and ones, which are names, and what never changes stay as they are.
    """
    shape = learnt.shape[1:]
    axis = 2 if is_sound else 1
    over = tuple(each for each in range(learnt.ndim) if each != axis)
    kept = [1] * len(shape)
    kept[axis - 1] = shape[axis - 1]
    mean, deviation = learnt.mean(dim=over), learnt.std(dim=over, correction=0)
    stays = deviation < 1e-6
    if len(shape) == 1:
        stays |= ((learnt == 0) | (learnt == 1)).all(dim=0)
    mean, deviation = torch.where(stays, 0.0, mean), torch.where(stays, 1.0, deviation)
    return mean.reshape(kept), deviation.reshape(kept)


def _scored(items: NormalItems, folds: Folds, first: FittedDetector, others: Sequence[Standardised]) -> ScoredItems:
    """Score each fold with the detector that was trained without it, in a repository that is removed afterwards."""
    shown = Detector(first.detector.autoencoder, LeastScore(first.detector, others, show_each=True))
    long: dict[str, list[Scores]] = {}
    short: dict[str, list[Scores]] = {}
    with TemporaryDirectory() as folder:
        request = passing_request("folds", first, items, folds.folds[0])
        version = export_model(shown, request, Path(folder))
        with EmbeddedEngine(Path(folder), device="cpu") as engine:
            spec = engine.spec(version.name, version.version)
            for place, numbers in enumerate(folds.folds, 1):
                for recording in items.recordings(numbers, first.input):
                    scores = score_rows(engine, spec, recording.windows, output=f"score_{place}")
                    if not all(map(math.isfinite, scores)):
                        raise DatasetError(f"an item of source {recording.source!r} has a score that is not a finite number")
                    (short if recording.is_short else long).setdefault(recording.source, []).append(scores)
    return ScoredItems(long, short, len(folds.folds))
