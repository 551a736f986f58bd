"""stretches.py: a stretch is as long as a recording, overlaps no other, and is judged like a recording."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calibrations import calibration

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.stretches import Stretches, StretchPlan, plan_stretches, stretch_rule
from avizor_inference.errors import CalibrationError
from avizor_inference.items.windows import WindowFormat

FORMAT = WindowFormat(8000, 4000, 4000)


@given(st.integers(1, 5), st.integers(0, 3), st.integers(1, 3), st.lists(st.floats(0, 10), max_size=80))
def test_a_stretch_is_scored_as_a_recording_of_its_windows(
    windows: int, skipped: int, channels: int, scores: list[float]
) -> None:
    stretches = Stretches(StretchPlan(windows, windows + skipped, 1.0, "a"), channels)
    found = {place: whole for place, score in enumerate(scores) if (whole := stretches.push(score))}
    size, step = windows * channels, (windows + skipped) * channels
    starts = range(0, len(scores) - size + 1, step)
    assert list(found) == [start + size - 1 for start in starts]
    for start, whole in zip(starts, found.values(), strict=True):
        assert whole.windows == size
        assert whole.value == pytest.approx(ItemScore.of(np.array(scores[start : start + size])).value, rel=1e-6)


def test_a_stretch_is_as_long_as_half_of_the_recordings_of_its_source_are_at_most() -> None:
    own = [[1.0] * length for length in (2, 4, 6, 40)]
    several = calibration({"a": own, "b": [[1.0]]})
    assert plan_stretches(several, "a", FORMAT, 1) == StretchPlan(4, 4, 2.0, "a")
    assert plan_stretches(several, "a", FORMAT, 2) == StretchPlan(2, 2, 1.0, "a")  # of both channels together
    assert plan_stretches(several, "a", FORMAT, 64).windows == 1
    assert plan_stretches(several, "never heard", FORMAT, 1) == StretchPlan(4, 4, 2.0, "*")
    # Windows that overlap by half: the one after a stretch shares samples with it.
    assert plan_stretches(several, "a", WindowFormat(8000, 4000, 2000), 1) == StretchPlan(4, 5, 1.25, "a")


def test_a_calibration_of_short_recordings_has_no_stretches() -> None:
    with pytest.raises(CalibrationError, match="only recordings shorter than the model's window"):
        plan_stretches(calibration({}, short={"a": [[1.0]]}), "a", FORMAT, 1)


def test_short_recordings_do_not_count_for_alpha() -> None:
    few = calibration({"a": [[1.0]] * 5}, short={"a": [[1.0]] * 50})
    with pytest.raises(CalibrationError, match="needs at least 19 normal items and the calibration of 'm' has 5"):
        stretch_rule(few, plan_stretches(few, "a", FORMAT, 1), 0.05, 1000)


def test_the_rule_knows_how_often_a_verdict_flags() -> None:
    several = calibration({"a": [[float(n)] for n in range(99)], "b": [[float(n)] for n in range(10)]})
    plan = plan_stretches(several, "a", FORMAT, 1)
    assert stretch_rule(several, plan, 0.05, 1e4).per_hour == pytest.approx(7200 * 5 / 100)
    # With a confidence fewer are flagged: 2 of 99, as docs/p-values.md says.
    assert stretch_rule(several, plan, 0.05, 1e4, confidence=0.95).per_hour == pytest.approx(7200 * 2 / 100)
    # Too few of its own: only what is above all 10 of them can be flagged.
    few = plan_stretches(several, "b", FORMAT, 1)
    assert stretch_rule(several, few, 0.05, 1e4).per_hour == pytest.approx(7200 / 11)
