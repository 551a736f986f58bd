"""From a reconstruction error to a p-value: conformal calibration against normal recordings that were not trained on.

The unit that is exchangeable is the recording: windows of one recording resemble each other. So

* a window's p-value weighs the windows of each calibration recording together as one:
  p = (1 + sum over recordings of the share of its windows with score >= s) / (recordings + 1)
  (hierarchical conformal prediction: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023);
* a recording of k windows is compared, by its largest score, with the largest of the first k windows of every calibration
  recording that has as many: p = (1 + number with a largest score >= its own) / (number compared + 1)
  (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005). A recording longer than those is cut into
  blocks of comparable length and the least p is multiplied by the number of blocks (Bonferroni).

For a recording like those of the calibration, P(p <= alpha) <= alpha, on average over calibrations. The least p that n
recordings can give is 1 / (n + 1), so an alpha below that cannot be supported, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import ceil, floor, log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from avizor_inference.digests import digest_of
from avizor_inference.errors import CalibrationError, VersionRefused
from avizor_inference.manifest import Manifest, Precision
from avizor_inference.strict import Strict, describe

CALIBRATION_FILE = "calibration.json"
CALIBRATIONS_FOLDER = "calibrations"

# The pool of all sources, which stands in for a source that has too few recordings of its own.
POOLED = "*"


class Calibration(Strict):
    """`calibration.json`: scores of normal recordings, per source, by one version of a model on one kind of provider."""

    schema_version: int = Field(default=1, ge=1, le=1)
    model: str
    version: int
    model_sha256: str
    provider: str = Field(description="ONNX Runtime execution provider that computed the scores")
    precision: Precision = "fp32"
    created: datetime
    # source -> recordings -> scores of the windows in order; mean squared error, >= 0
    sources: dict[str, tuple[tuple[float, ...], ...]]

    @field_validator("sources")
    @classmethod
    def _scores_are_there(cls, sources: dict[str, tuple[tuple[float, ...], ...]]) -> dict[str, tuple[tuple[float, ...], ...]]:
        for source, recordings in sources.items():
            if not recordings or not all(recordings):
                raise ValueError(f"source {source!r} has no recordings, or one without windows")
        return sources

    @classmethod
    def read(cls, path: Path, manifest: Manifest) -> Calibration:
        """Read a calibration and hold it against the version it lies beside. Raises VersionRefused."""
        try:
            calibration = cls.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            why = describe(error) if isinstance(error, ValueError) else str(error)
            raise VersionRefused(f"{path} is not a calibration: {why}; export the model again with --calibrate") from error
        if calibration.model_sha256 != manifest.model_sha256:
            raise VersionRefused(
                f"{path} was made with another model.onnx (sha256 {calibration.model_sha256[:12]}..., here "
                f"{manifest.model_sha256[:12]}...); export the model again with --calibrate"
            )
        if calibration.precision != manifest.precision:
            raise VersionRefused(
                f"{path} holds scores of a model in {calibration.precision}, and this one is in {manifest.precision}; "
                "export the model again with --calibrate"
            )
        return calibration

    @cached_property
    def id(self) -> str:
        """Names the calibration: the first 12 hex digits of its digest."""
        return digest_of(self)[:12]

    def recordings(self, source: str = POOLED) -> int:
        """How many normal recordings stand behind a source."""
        return len(self._scores(source))

    def for_source(self, source: str, alpha: float) -> Verdicts:
        """What judges the items of `source` at false-alarm rate `alpha` (0 < alpha < 1).

        The source's own recordings where they can support alpha, otherwise the pool of all sources.
        Raises CalibrationError if the pool cannot support alpha either.
        """
        needed = recordings_needed(alpha)
        own = self.sources.get(source, ())
        if len(own) >= needed:
            return Verdicts(source, alpha, own)
        pool = self._scores(POOLED)
        if len(pool) < needed:
            raise CalibrationError(
                f"alpha {alpha:g} needs at least {needed} normal recordings and the calibration of {self.model!r} has "
                f"{len(pool)}; alpha {_supported_alpha(len(pool)):g} or more will do, and for less the model's owner has to "
                "calibrate it with more recordings"
            )
        return Verdicts(POOLED, alpha, pool)

    def _scores(self, source: str) -> tuple[tuple[float, ...], ...]:
        if source == POOLED:
            return tuple(scores for recordings in self.sources.values() for scores in recordings)
        return self.sources.get(source, ())


@dataclass(frozen=True)
class Verdicts:
    """p-values at one alpha, against the recordings of one source (or of the pool, `source == POOLED`)."""

    source: str
    alpha: float
    recordings: tuple[tuple[float, ...], ...]

    def window_p(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """p-values of windows: scores float[n] -> float64[n] in (0, 1]."""
        calibration, tail = self._weighted_tail
        # tail[i] is the weight of all calibration windows from the i-th smallest score on
        return (1.0 + tail[np.searchsorted(calibration, scores, side="left")]) / (len(self.recordings) + 1)

    def recording_p(self, scores: Sequence[float]) -> float:
        """p-value of one recording from the scores of its windows in order (at least one), in (0, 1]."""
        longest = self._longest_supported
        blocks = ceil(len(scores) / longest)
        least = min(self._block_p(scores[start : start + longest]) for start in range(0, len(scores), longest))
        return min(1.0, blocks * least)

    def _block_p(self, scores: Sequence[float]) -> float:
        comparable = self._largest_of_first(len(scores))
        return float(1 + np.sum(comparable >= max(scores))) / (len(comparable) + 1)

    @cached_property
    def _weighted_tail(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scores = np.concatenate([np.asarray(windows, dtype=np.float64) for windows in self.recordings])
        weights = np.concatenate([np.full(len(windows), 1.0 / len(windows)) for windows in self.recordings])
        order = np.argsort(scores)
        tail = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
        return scores[order], tail

    @cached_property
    def _longest_supported(self) -> int:
        """The most windows for which enough calibration recordings have as many to support alpha."""
        lengths = sorted((len(windows) for windows in self.recordings), reverse=True)
        return lengths[min(recordings_needed(self.alpha), len(lengths)) - 1]

    def _largest_of_first(self, windows: int) -> NDArray[np.float64]:
        return np.array([max(scores[:windows]) for scores in self.recordings if len(scores) >= windows])


def recordings_needed(alpha: float) -> int:
    """Least number of normal recordings whose p-values can reach `alpha`: the smallest n with 1 / (n + 1) <= alpha."""
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha {alpha:g} is not between 0 and 1; it is the share of false alarms, e.g. 0.01")
    return ceil(1 / alpha - 1e-9) - 1


def _supported_alpha(recordings: int) -> float:
    """The least alpha that so many recordings support, rounded up to two digits."""
    step = 10.0 ** (floor(log10(1 / (recordings + 1))) - 1)
    return ceil(1 / (recordings + 1) / step - 1e-9) * step
