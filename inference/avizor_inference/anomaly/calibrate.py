"""Calibrate a model: score normal items, with which new ones are compared to get their p-values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from avizor_inference.arrays import Items
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_same_digest, engine_kind
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.errors import CalibrationError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.calibration import BySource, Calibration, Scores
from avizor_inference.repository.models import ModelVersion

# Of each source, the window scores of its items.
ScoresBySource = Mapping[str, Sequence[Scores]]


@dataclass(frozen=True)
class ScoredItems:
    """Holds the window scores of each normal item, by source.

    long, short: of items of at least one window, and of shorter ones. folds: of cross-fitting, see `Calibration`; 0 without.
    """

    long: ScoresBySource
    short: ScoresBySource
    folds: int = 0


def calibrate(
    engine: Engine, version: ModelVersion, recordings: Iterable[NormalRecording], channels: ChannelMode = "each"
) -> Calibration:
    """Score every window of every item through the engine, and return the scores by source.

    recordings: normal items that the model was not trained on. channels: those that they were read with. Raises
    CalibrationError if the model is not an autoencoder, if there are no items, or if a score is not finite; VersionRefused if
    the engine serves another model.onnx than the version's.
    """
    if version.manifest.task != "reconstruct":
        raise CalibrationError(f"model {version.name!r} is a classifier, which has no scores; calibrate an autoencoder")
    spec = engine.spec(version.name, version.version)
    check_same_digest(spec, version)
    long: dict[str, list[Scores]] = {}
    short: dict[str, list[Scores]] = {}
    for number, recording in enumerate(recordings):
        scores = score_rows(engine, spec, recording.windows)
        if not np.isfinite(scores).all():
            raise CalibrationError(
                f"normal item {number} (counted from 0, source {recording.source!r}) has a score that is not a finite number; "
                "leave it out, or check it for values that the network cannot process"
            )
        (short if recording.is_short else long).setdefault(recording.source, []).append(scores)
    if not long and not short:
        raise CalibrationError("no items to calibrate with; pass normal ones that the model was not trained on")
    return calibration_with(engine, version, channels, ScoredItems(long, short))


def calibration_with(engine: Engine, version: ModelVersion, channels: ChannelMode, scored: ScoredItems) -> Calibration:
    """Return the calibration of a version on an engine that has these scores of normal items. Raises as `probe_scores`."""
    spec = engine.spec(version.name, version.version)
    kind = engine_kind(spec, version)
    return Calibration(
        model=version.name,
        version=version.version,
        model_sha256=version.manifest.model_sha256,
        engine_class=kind.engine_class,
        precision=kind.precision,
        created=datetime.now(UTC),
        channels=channels,
        sources=_sorted(scored.long),
        short=_sorted(scored.short),
        folds=scored.folds,
        probe_scores=probe_scores(engine, spec, version),
    )


def score_rows(engine: Engine, spec: ModelSpec, rows: Items, timeout_s: float | None = None, output: str = "score") -> Scores:
    """Return the score of each row of the model's input tensor, [n, *item_shape] with any n of at least 1.

    timeout_s: for each batch, in seconds. output: another score than the one that decides. Raises what Engine.infer raises.
    """
    (input_name,) = spec.inputs
    request = InferRequest(spec.name, {input_name: np.ascontiguousarray(rows)}, [output], spec.version, timeout_s)
    return tuple(infer_rows(engine, request, in_flight=1)[output][:, 0].tolist())


def probe_scores(engine: Engine, spec: ModelSpec, version: ModelVersion) -> Scores:
    """Return the scores of the version's probe items; empty if it has none. Raises CalibrationError if one is not finite."""
    probe = version.probe()
    if probe is None:
        return ()
    scores = score_rows(engine, spec, probe.items)
    if not np.isfinite(scores).all():
        raise CalibrationError(
            f"the engine returns scores that are not finite for the probe items of {version.name!r}, on which they were finite "
            "at export; check the engine"
        )
    return scores


def _sorted(sources: ScoresBySource) -> BySource:
    return {source: tuple(recordings) for source, recordings in sorted(sources.items())}
