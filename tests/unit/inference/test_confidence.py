"""anomaly/confidence.py: how many scores may be flagged, and that a calibration then keeps alpha as often as is promised."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.calibrations import calibration

from avizor_inference.anomaly.confidence import flagged_scores, items_needed
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, recordings_needed, require_alpha, under_calibrated
from avizor_inference.anomaly.verdict import Verdict, verdict
from avizor_inference.errors import CalibrationError

CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.99)


def test_the_fewest_items_by_hand() -> None:
    """0.95^59 = 0.0485, and 0.99^299 = 0.0495."""
    assert (items_needed(0.05, 0.95), items_needed(0.01, 0.95)) == (59, 299)
    assert [flagged_scores(count, 0.05, 0.95) for count in (0, 1, 58, 59, 92, 93)] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_it_is_the_largest_number_by_the_beta_distribution(alpha: float, confidence: float) -> None:
    for count in (1, 10, 59, 93, 300, 1000, 20_000):
        flagged = flagged_scores(count, alpha, confidence)
        # Never more than alpha on average over calibrations, either.
        most = int(alpha * (count + 1) + 1e-9)
        assert flagged <= most
        if flagged:
            assert stats.beta.sf(alpha, flagged, count + 1 - flagged) <= 1 - confidence + 1e-9
        if flagged < most:
            assert stats.beta.sf(alpha, flagged + 1, count - flagged) > 1 - confidence - 1e-9
        assert (flagged > 0) == (count >= items_needed(alpha, confidence))


def false_alarm_rate(judge: Judge, source: str, scale: float, alpha: float, confidence: float | None) -> float:
    """The share of a source's normal items that is flagged, if their scores are uniform on 0..scale: 1 - the threshold."""
    below, above = 0.0, 1.0
    for _ in range(20):
        middle = (below + above) / 2
        item = ItemScore.of(np.array([middle * scale]))
        if verdict(judge, source, item).is_anomaly(alpha, confidence):
            above = middle
        else:
            below = middle
    return 1 - above


@pytest.mark.parametrize(("alpha", "confidence"), [(0.1, 0.9), (0.05, 0.95)])
def test_as_few_calibrations_as_promised_flag_more_than_alpha_of_a_source(alpha: float, confidence: float) -> None:
    """Over 300 calibrations of a source beside a louder and a quieter one; three standard errors are allowed.

    Without a confidence far more calibrations do: the test would notice if it had no effect.
    """
    rng, scales, counts = np.random.default_rng(5), {"a": 1.0, "loud": 20.0, "quiet": 0.05}, {"a": 95, "loud": 70, "quiet": 8}
    above: dict[tuple[str, float | None], int] = {}
    for _ in range(300):
        scores = {source: rng.uniform(0, scales[source], (counts[source], 1)).tolist() for source in scales}
        judge = Judge(calibration(scores))
        for source in ("a", "loud"):
            for asked in (confidence, None):
                rate = false_alarm_rate(judge, source, scales[source], alpha, asked)
                above[source, asked] = above.get((source, asked), 0) + (rate > alpha + 1e-4)
    allowed = 1 - confidence
    for source in ("a", "loud"):
        assert above[source, confidence] / 300 <= allowed + 3 * np.sqrt(allowed * confidence / 300)
        assert above[source, None] / 300 > 0.3


def test_a_source_with_enough_items_is_judged_by_its_own_limit_alone() -> None:
    """At 93 items two scores are flagged: p-values of 1/94 and 2/94. Its own decide, whatever the others are."""
    few, many = calibration({"a": [[float(k)] for k in range(1, 94)]}), {"a": [[float(k)] for k in range(1, 94)]}
    for judge in (Judge(few), Judge(calibration(many | {"b": [[1000.0]] * 500}))):
        flagged = [verdict(judge, "a", ItemScore.of(np.array([score]))).is_anomaly(0.05, 0.95) for score in (91.5, 92.5, 93.5)]
        assert flagged == [False, True, True]


def test_a_source_with_too_few_items_is_judged_by_all_of_them_together() -> None:
    own = Verdict(1.0, 1 / 31, "a", False, 600, of_source=30)
    assert own.is_anomaly(0.05) is True
    assert own.is_anomaly(0.05, 0.95) is False  # 30 of its own allow no verdict at this confidence
    by_all = Verdict(1.0, 1 / 601, "*", False, 600, of_source=30)
    assert by_all.is_anomaly(0.05, 0.95) is True
    limit = flagged_scores(600, 0.05, 0.95)
    assert Verdict(1.0, limit / 601, "*", False, 600, of_source=30).is_anomaly(0.05, 0.95) is True
    assert Verdict(1.0, (limit + 1) / 601, "*", False, 600, of_source=30).is_anomaly(0.05, 0.95) is False


def test_too_few_items_in_all_are_not_judged_and_the_reason_names_the_confidence() -> None:
    item = Verdict(1.0, 1 / 59, "a", False, 58, of_source=58)
    assert (item.is_anomaly(0.05), item.is_anomaly(0.05, 0.95)) == (True, None)
    assert str(item.not_judged(0.05, 0.95)).endswith("alpha 0.05 with confidence 0.95 needs 59")


def test_an_alpha_that_cannot_be_kept_with_the_confidence_is_refused_with_one_that_can() -> None:
    small = calibration({"a": [[1.0]] * 58})
    require_alpha(small, 0.05)
    with pytest.raises(CalibrationError, match=r"^alpha 0\.05 with confidence 0\.95 needs at least 59 normal items and the "
                       r"calibration of 'm' has 58; use alpha 0\.051 or more, less confidence or none, or ask"):  # fmt: skip
        require_alpha(small, 0.05, 0.95)
    require_alpha(small, 0.051, 0.95)
    for confidence in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(CalibrationError, match="is not between 0 and 1; it is the probability that a calibration keeps"):
            recordings_needed(0.05, confidence)


def test_sources_for_which_the_confidence_does_not_hold_are_named() -> None:
    mixed = calibration({"few": [[1.0]] * 58, "enough": [[1.0]] * 59})
    assert under_calibrated(mixed, ["few", "enough", "new"], 0.05, 0.95) == {"few": 58, "new": 0}
    assert under_calibrated(mixed, ["few", "enough"], 0.05) == {}


@given(
    st.integers(1, 200),
    st.integers(0, 400),
    st.floats(0, 1.2),
    st.sampled_from(["a", "b", "never seen"]),
)
def test_more_confidence_or_a_smaller_alpha_never_flags_more(own: int, others: int, score: float, source: str) -> None:
    rng = np.random.default_rng(own)
    judge = Judge(calibration({"a": rng.uniform(0, 1, (own, 1)).tolist(), "b": rng.uniform(0, 1, (others + 1, 1)).tolist()}))
    judged = verdict(judge, source, ItemScore.of(np.array([score])))
    by_confidence = [bool(judged.is_anomaly(0.1, confidence)) for confidence in CONFIDENCES]
    by_alpha = [bool(judged.is_anomaly(alpha, 0.9)) for alpha in (0.3, 0.1, 0.05, 0.02)]
    assert all(less or not more for flags in (by_confidence, by_alpha) for less, more in pairwise(flags))
    assert not judged.is_anomaly(0.1, 0.5) or judged.is_anomaly(0.1)
