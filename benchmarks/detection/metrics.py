"""Measure how well scores tell anomalies from normal items."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Scores = NDArray[np.float64]

MOST_FALSE_ALARMS = 0.1
METRICS = ("auc", "partial_auc", "average_precision", "recall_05", "recall_01")


def measure(calibration: Scores, normal: Scores, odd: Scores) -> dict[str, float]:
    """Return METRICS by name. recall_01 is NaN where the calibration has fewer than 99 items, so that no p-value is 0.01."""
    is_odd, scores = np.repeat([False, True], [len(normal), len(odd)]), np.concatenate([normal, odd])
    return {
        "auc": float(roc_auc_score(is_odd, scores)),
        "partial_auc": float(roc_auc_score(is_odd, scores, max_fpr=MOST_FALSE_ALARMS)),  # McClish's scaling: 0.5 by chance
        "average_precision": float(average_precision_score(is_odd, scores)),
        "recall_05": recall(calibration, odd, 0.05),
        "recall_01": recall(calibration, odd, 0.01),
    }


def recall(calibration: Scores, odd: Scores, alpha: float) -> float:
    """Return the share of anomalies whose conformal p-value is at most alpha; NaN if no p-value can be so small."""
    if 1 / (len(calibration) + 1) > alpha + 1e-12:
        return math.nan
    as_high = len(calibration) - np.searchsorted(np.sort(calibration), odd, side="left")
    return float(np.mean((as_high + 1) / (len(calibration) + 1) <= alpha + 1e-12))
