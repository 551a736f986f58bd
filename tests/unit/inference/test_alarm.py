"""alarm.py: the formulas are those of simulations, and an alarm begins and ends where its rule says."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avizor_inference.anomaly.alarm import Alarm, AlarmRule, FalseAlarms, alarm_rule, all_flagged
from avizor_inference.errors import CalibrationError


@given(st.integers(1, 300), st.data())
def test_the_product_is_computed_for_any_number_of_factors(count: int, data: st.DataObject) -> None:
    flagged, stretches = data.draw(st.integers(1, count)), data.draw(st.integers(1, 30))
    exact = prod((flagged + i) / (count + 1 + i) for i in range(stretches))
    assert all_flagged(flagged, count, stretches) == pytest.approx(exact, rel=1e-6)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**32 - 1), st.data())
def test_the_product_is_the_share_of_simulated_calibrations(count: int, stretches: int, seed: int, data: st.DataObject) -> None:
    flagged, trials = data.draw(st.integers(1, count)), 20_000
    scores = np.random.default_rng(seed).random((trials, count + stretches))
    limit = np.sort(scores[:, :count], axis=1)[:, count - flagged]  # the l-th largest
    share = (scores[:, count:] > limit[:, None]).all(axis=1).mean()
    expected = all_flagged(flagged, count, stretches)
    assert abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / trials) + 1e-9


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_an_alarm_begins_at_the_kth_flagged_stretch_and_ends_when_all_was_calm_for_a_while(
    to_alarm: int, to_clear: int, flags: list[bool]
) -> None:
    alarm, states = Alarm(AlarmRule(to_alarm, to_clear, 1, 1)), []
    for flag in flags:
        before = alarm.is_on
        assert alarm.push(flag) == (alarm.is_on != before)
        states.append(alarm.is_on)
    # The definition, told by what was heard so far: the flagged ones since the last long enough calm.
    for place in range(len(flags)):
        heard = "".join("01"[flag] for flag in flags[: place + 1])
        assert states[place] == (heard.rsplit("0" * to_clear, 1)[-1].count("1") >= to_alarm)
    assert alarm.begun * to_alarm <= sum(flags)
    assert alarm.begun == sum(now and not before for before, now in zip([False, *states], states, strict=False))


@given(st.integers(1, 1000), st.floats(0.1, 5000), st.floats(1e-4, 100), st.booleans(), st.data())
def test_a_rule_keeps_what_was_asked_with_the_fewest_stretches_or_says_what_can_be_asked(
    count: int, stretch_s: float, most: float, exchangeable: bool, data: st.DataObject
) -> None:
    expected = FalseAlarms(data.draw(st.integers(1, max(1, count // 10))), count, stretch_s)
    bound = expected.per_hour_if_exchangeable if exchangeable else expected.per_hour
    try:
        rule = alarm_rule(expected, most, assume_exchangeable=exchangeable)
    except CalibrationError as error:
        asked = float(str(error).split("ask for ")[1].split(" or more")[0])
        assert alarm_rule(expected, asked, assume_exchangeable=exchangeable).to_alarm * stretch_s <= max(3600, stretch_s)
        return
    kept = rule.per_hour_if_exchangeable if exchangeable else rule.per_hour
    assert kept <= most * (1 + 1e-6)
    assert rule.per_hour_if_exchangeable <= rule.per_hour
    assert rule.to_alarm == 1 or bound(rule.to_alarm - 1) > most


def test_the_numbers_of_the_documentation() -> None:
    expected = FalseAlarms(1, 99, 10)  # alpha 0.01 of 99 recordings of 10 s
    assert alarm_rule(expected, 1).to_alarm == 4
    assert alarm_rule(expected, 1).per_hour == pytest.approx(0.9)
    loose = alarm_rule(expected, 1, assume_exchangeable=True)
    assert loose.to_alarm == 2
    assert loose.per_hour_if_exchangeable == pytest.approx(360 * (1 / 100) * 3 * (2 / 101))
    with pytest.raises(CalibrationError, match=r"ask for 0\.01 or more"):
        alarm_rule(expected, 0.001)


@pytest.mark.parametrize("together", [1, 4])
def test_bound_1_holds_for_sound_that_repeats_itself_and_is_reached(together: int) -> None:
    rng, count, hours = np.random.default_rng(together), 99, 400
    rule = alarm_rule(FalseAlarms(5, count, 10), 5)
    assert rule.to_alarm == 4
    begun = 0
    for _ in range(hours):
        limit = np.sort(rng.random(count))[-5]
        alarm = Alarm(rule)
        for score in np.repeat(rng.random(360 // together), together):
            alarm.push(bool(score > limit))
        begun += alarm.begun
    rate = begun / hours
    if together == 1:  # exchangeable: bound (2) holds
        assert rate <= rule.per_hour_if_exchangeable + 5 * np.sqrt(rule.per_hour_if_exchangeable / hours)
    else:  # all of it at once: bound (1) is what happens, and bound (2) is far from it
        assert 0.8 * rule.per_hour <= rate <= rule.per_hour * 1.2
        assert rate > 10 * rule.per_hour_if_exchangeable
