"""anomaly/verdict.py: the verdict on an item, and why there is none."""

import numpy as np
import pytest
from support.calibrations import Recordings, calibration

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, require_alpha
from avizor_inference.anomaly.verdict import Verdict, verdict

ITEM = ItemScore.of(np.array([50.0]))


def judge(*, short: dict[str, Recordings] | None = None, **sources: Recordings) -> Judge:
    return Judge(calibration(sources, short))


def test_a_verdict_says_the_score_the_p_value_and_what_it_was_compared_with() -> None:
    by_both = judge(short={"a": [[1.0]] * 19}, a=[[1.0]] * 49, b=[[60.0]] * 50)
    assert verdict(by_both, "a", ITEM) == Verdict(50.0, 1 / 50, "a", False, 99, of_source=49)
    assert verdict(by_both, "unknown", ITEM) == Verdict(50.0, 51 / 100, "*", False, 99, low_p_value=1 / 2)
    assert verdict(by_both, "a", ITEM, is_short=True) == Verdict(50.0, 1 / 20, "a", True, 19, of_source=19)


def test_an_item_is_flagged_where_its_p_value_is_at_most_alpha() -> None:
    item = Verdict(50.0, 0.04, "a", False, 99)
    assert (item.is_anomaly(0.05), item.is_anomaly(0.04), item.is_anomaly(0.03)) == (True, True, False)


def test_an_item_is_judged_where_its_kind_has_just_enough_recordings_for_alpha() -> None:
    assert Verdict(50.0, 1 / 20, "a", False, 19).is_anomaly(0.05) is True
    too_few = Verdict(50.0, 1 / 19, "a", False, 18)
    assert (too_few.is_anomaly(0.05), too_few.is_anomaly(0.06)) == (None, True)


def test_why_an_item_is_not_judged_is_a_sentence() -> None:
    assert Verdict(50.0, 1 / 20, "a", True, 19).not_judged(0.05) is None
    assert Verdict(50.0, 1 / 19, "a", True, 18).not_judged(0.05) == (
        "the recording is shorter than the model's window, and the calibration has 18 such recordings; alpha 0.05 needs 19"
    )
    assert Verdict(50.0, 1 / 19, "a", False, 18).not_judged(0.05) == (
        "the calibration has 18 items that are not shorter than the model's window; alpha 0.05 needs 19"
    )


def test_a_short_recording_without_its_like_is_not_judged() -> None:
    short = verdict(judge(a=[[1.0]] * 99), "a", ITEM, is_short=True)
    assert short == Verdict(50.0, None, None, True, 0)
    assert short.is_anomaly(0.05) is None
    few = verdict(judge(short={"a": [[1.0]] * 5}, a=[[1.0]] * 99), "a", ITEM, is_short=True)
    assert (few.is_anomaly(0.05), few.is_anomaly(0.2)) == (None, True)


def test_long_recordings_beside_short_ones_alone_are_not_judged_either() -> None:
    require_alpha(calibration({}, {"a": [[1.0]] * 99}), 0.01)
    digits, item = judge(short={"a": [[1.0]] * 99}), ItemScore.of(np.array([1.0]))
    assert verdict(digits, "a", item, is_short=True).is_anomaly(0.01) is False
    assert verdict(digits, "a", item) == Verdict(1.0, None, None, False, 0)


def test_a_verdict_does_not_change() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        verdict(judge(a=[[1.0]]), "a", ITEM).p_value = 1.0  # type: ignore[misc]
