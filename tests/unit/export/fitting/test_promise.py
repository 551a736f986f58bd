"""What is said of how far off one calibration may be, against scipy."""

import re

import pytest
from scipy.stats import beta

from avizor_export.fitting.promise import smallest_lines, spread_lines


@pytest.mark.parametrize(("alpha", "count", "flagging"), [(0.05, 30, 1), (0.05, 240, 12), (0.1, 19, 2)])
def test_the_mean_and_the_spread_of_the_true_rate_are_those_of_the_beta_distribution(
    alpha: float, count: int, flagging: int
) -> None:
    mean, spread = spread_lines(alpha, count)
    assert f"flags {flagging / (count + 1):.1%} of normal items on average" in mean
    low, high = re.findall(r"([\d.]+)%", spread)
    assert f"one calibration of {count} items flags {low}% to {high}%, nine times of ten" in spread
    expected = beta.ppf([0.05, 0.95], flagging, count + 1 - flagging)
    assert [float(low) / 100, float(high) / 100] == pytest.approx(expected, abs=1.5e-3)


def test_nothing_is_said_of_an_alpha_at_which_nothing_can_be_flagged() -> None:
    assert list(spread_lines(0.01, 30)) == []


def test_the_smallest_alpha_of_a_source_and_that_of_all_together_are_told_apart() -> None:
    """The second one is what avizor serve and avizor batch take, and name where they refuse a smaller one."""
    one, all_together = smallest_lines({"fan": 20, "pump": 80}, 100)
    assert one == "smallest alpha: 0.048, by 20 items in the calibration, of the source with the fewest (fan)"
    assert all_together.startswith("  commands take alpha from 0.01 on, by 100 items of all sources together")


def test_there_is_one_smallest_alpha_of_one_source() -> None:
    assert list(smallest_lines({"default": 20}, 20)) == ["smallest alpha: 0.048, by 20 items in the calibration"]
