"""Cut the windows of a stream into stretches, each of which is judged like a recording of the calibration.

A stretch has as many windows, of all channels together, as half of the calibration recordings of its source have at most.
Stretches do not overlap: where windows do, those that would share samples with the stretch before belong to none. Their scores
are combined as those of a recording are (item_score.py), so a stretch has a p-value if it is exchangeable with the recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avizor_inference.anomaly.alarm import AlarmRule, FalseAlarms, alarm_rule
from avizor_inference.anomaly.confidence import flagged_on_average, flagged_scores
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import require_alpha
from avizor_inference.errors import CalibrationError
from avizor_inference.items.windows import WindowFormat
from avizor_inference.repository.calibration import POOLED, Calibration


@dataclass(frozen=True)
class StretchPlan:
    """Describes the stretches of a stream.

    windows: of each channel in a stretch. period: windows of each channel from the start of one stretch to the next. period_s:
    the same in seconds. judged_by: the source whose recordings it is compared with; `*` for all together.
    """

    windows: int
    period: int
    period_s: float
    judged_by: str


class Stretches:
    """Gathers the scores of windows into those of stretches. channels: scores for each place of the sound."""

    def __init__(self, plan: StretchPlan, channels: int) -> None:
        self._plan, self._channels = plan, channels
        self._seen = 0  # scores
        self._sum = ItemScore()

    def push(self, score: float) -> ItemScore | None:
        """Take note of the next score, in the order of the windows. Return the sum of a stretch that it completes."""
        place = self._seen // self._channels % self._plan.period
        self._seen += 1
        if place >= self._plan.windows:
            return None
        self._sum += ItemScore.of(np.array([score]))
        if self._sum.windows < self._plan.windows * self._channels:
            return None
        complete, self._sum = self._sum, ItemScore()
        return complete


def plan_stretches(calibration: Calibration, source: str, format: WindowFormat, channels: int) -> StretchPlan:
    """Return how a stream of `source` is cut for a calibration.

    format: of the model's windows, which has a sample rate. channels: windows at each place. Raises CalibrationError if the
    calibration has only recordings shorter than a window.
    """
    own = calibration.sources.get(source, ())
    recordings = own or [each for several in calibration.sources.values() for each in several]
    if not recordings:
        raise CalibrationError(
            "the calibration has only recordings shorter than the model's window; calibrate with longer ones"
        )
    assert format.sample_rate  # sound has one
    windows = max(1, round(float(np.quantile([len(scores) for scores in recordings], 0.5, method="lower")) / channels))
    period = windows - 1 + -(-format.window // format.hop)
    return StretchPlan(windows, period, period * format.hop / format.sample_rate, source if own else POOLED)


def stretch_rule(
    calibration: Calibration,
    plan: StretchPlan,
    alpha: float,
    most_per_hour: float,
    *,
    confidence: float | None = None,
    assume_exchangeable: bool = False,
) -> AlarmRule:
    """Return the alarm's rule for stretches that are flagged at alpha, as a Verdict with this confidence is.

    Raises CalibrationError if the calibration has too few recordings for alpha, or for so few false alarms an hour.
    """
    require_alpha(calibration.model_copy(update={"short": {}}), alpha, confidence)
    count = calibration.count(plan.judged_by, is_short=False)
    by_alpha = flagged_on_average(count, alpha)
    flagged = by_alpha if confidence is None else flagged_scores(count, alpha, confidence)
    # With too few recordings of its source a stretch is flagged only if it is above all of them, and unusual among all sources.
    expected = FalseAlarms(max(1, flagged), count, plan.period_s)
    return alarm_rule(expected, most_per_hour, assume_exchangeable=assume_exchangeable)
