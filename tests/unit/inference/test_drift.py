"""anomaly/drift.py: healthy scores stay silent whatever the calibration, and moved ones are noticed and forgotten again."""

from __future__ import annotations

import functools
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from avizor_inference.anomaly import drift
from avizor_inference.anomaly.drift import ALERT, ALERT_OF_A_JOB, RISK, DriftDetector, Tallies, added, evidence_of, tally

Scores = NDArray[np.float64]


def p_values(calibration: Scores, scores: Scores) -> zip[tuple[float, float]]:
    ordered = np.sort(calibration)
    larger = len(ordered) - np.searchsorted(ordered, scores, side="left")
    smaller = np.searchsorted(ordered, scores, side="right")
    return zip(*((1 + each) / (len(ordered) + 1) for each in (larger, smaller)), strict=True)


def evidence(calibration: Scores, scores: Scores, detector: DriftDetector | None = None) -> list[float]:
    """The log martingale after each item."""
    detector, found = detector or DriftDetector(), []
    for p_value, low in p_values(calibration, scores):
        detector.add(p_value, low, len(calibration))
        found.append(detector.log_martingale)
    return found


@pytest.mark.parametrize("count", [19, 99, 1000])
def test_healthy_scores_stay_far_below_the_alert_whatever_the_calibration(count: int) -> None:
    """Within N items it exceeds log(N / share) in at most that share of all sources, unlucky calibrations included."""
    rng, items, sources = np.random.default_rng(count), 3000, 60
    largest = [max(evidence(rng.standard_normal(count), rng.standard_normal(items))) for _ in range(sources)]
    assert np.mean(np.array(largest) > log(items / 0.1)) <= 0.1
    assert max(largest) < ALERT / 2


@pytest.mark.parametrize("count", [9, 19, 99, 1000, 20_000])
def test_odds_are_fair_at_a_share_that_hardly_a_calibration_exceeds(count: int) -> None:
    """The share of new items that are as large as the k-th largest of n is Beta(k, n + 1 - k), see confidence.py."""
    at_risk = 0.0
    for level, won, lost in drift._bets(count)[::2]:
        if won:
            stake = 1 - np.exp(lost)
            fair = stake / (np.exp(won) - 1 + stake)
            assert np.exp(won) * fair + np.exp(lost) * (1 - fair) == pytest.approx(1)
            k = int(level * (count + 1))
            at_risk += binom.cdf(k - 1, count, fair)  # P(Beta(k, n + 1 - k) > fair)
    assert 4 * at_risk <= RISK  # in both orders, for short recordings and for others


@pytest.mark.parametrize(("shift", "within"), [(1.0, 1500), (2.0, 200), (6.0, 60), (-1.0, 1500), (-2.0, 200), (-6.0, 60)])
def test_scores_that_became_larger_or_smaller_are_noticed(shift: float, within: int) -> None:
    rng = np.random.default_rng(0)
    healthy, moved = rng.standard_normal(500), rng.standard_normal(within) + shift
    detector = DriftDetector()
    evidence(calibration := rng.standard_normal(199), healthy, detector)
    assert max(evidence(calibration, moved, detector)) > ALERT


def test_it_is_forgotten_when_all_is_well_again() -> None:
    rng, detector = np.random.default_rng(0), DriftDetector()
    calibration = rng.standard_normal(199)
    assert evidence(calibration, rng.standard_normal(50_000) + 6, detector)[-1] == 35
    after = evidence(calibration, rng.standard_normal(1000), detector)
    assert next(place for place, value in enumerate(after) if value < ALERT) < 200
    assert after[-1] < 10


def test_scores_that_are_equal_are_no_drift() -> None:
    """Digital silence has one score, which many calibration items may have, too."""
    assert max(evidence(np.zeros(99), np.zeros(5000))) == 0
    rng = np.random.default_rng(0)
    calibration, scores = (np.where(rng.random(size) < 0.5, 0.0, rng.random(size)) for size in (199, 5000))
    assert max(evidence(calibration, scores)) < ALERT / 2


def test_a_dead_microphone_is_noticed_although_nothing_is_flagged() -> None:
    rng = np.random.default_rng(0)
    calibration, dead = 1 + rng.random(99), np.full(100, 1e-9)
    assert all(p_value == 1 for p_value, _ in p_values(calibration, dead))
    assert evidence(calibration, dead)[-1] > ALERT


def test_a_calibration_of_few_items_shows_only_large_drift() -> None:
    rng = np.random.default_rng(0)
    assert max(evidence(rng.standard_normal(3), rng.standard_normal(2000) + 9)) == 0
    assert max(evidence(rng.standard_normal(19), rng.standard_normal(2000) + 9)) > ALERT


def tallies(calibration: Scores, scores: Scores) -> Tallies:
    of_all: Tallies = {}
    for p_value, low in p_values(calibration, scores):
        of_all = added(of_all, {len(calibration): tally(p_value, low, len(calibration))})
    return of_all


def test_the_items_of_a_job_are_evidence_in_any_order_and_in_any_parts() -> None:
    rng = np.random.default_rng(0)
    calibration, scores = rng.standard_normal(199), rng.standard_normal(400) + 2
    whole = tallies(calibration, scores)
    parts = [tallies(calibration, part) for part in np.array_split(rng.permutation(scores), 7)]
    assert functools.reduce(added, parts) == whole
    assert evidence_of(whole).larger > ALERT_OF_A_JOB
    assert evidence_of(whole).smaller == 0
    assert evidence_of(tallies(calibration, -scores)).smaller > ALERT_OF_A_JOB
    assert evidence_of({}) == (0, 0)


def test_healthy_items_of_a_job_are_no_evidence() -> None:
    """More than log(1 / share) is found in at most that share of all jobs, with calibrations that happened to be unlucky."""
    rng = np.random.default_rng(0)
    found = [max(evidence_of(tallies(rng.standard_normal(99), rng.standard_normal(1000)))) for _ in range(100)]
    assert np.mean(np.array(found) > log(1 / 0.1)) <= 0.1
    assert max(found) < ALERT_OF_A_JOB


def test_items_of_shards_are_taken_together_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    calibration, detector = rng.standard_normal(99), DriftDetector()
    for _ in range(20):
        detector.add_all(tallies(calibration, rng.standard_normal(64)))
    assert detector.log_martingale < ALERT_OF_A_JOB
    for _ in range(5):
        detector.add_all(tallies(calibration, rng.standard_normal(64) - 3))
    assert detector.log_martingale == 35
    detector.add_all({})
    assert detector.log_martingale == 35
