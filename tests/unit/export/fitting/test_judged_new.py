"""fitting/judged_new.py: whether new normal items are needed, and what a calibration with them supports."""

from __future__ import annotations

import re

import pytest

from avizor_export.fitting.judged_new import JudgedNew
from avizor_export.fitting.split import held_of
from avizor_inference.anomaly.calibration_text import lowest_alpha_text


def judged(flagged: int, before: dict[str, int], after: dict[str, int], alpha: float = 0.05, folds: int = 0) -> JudgedNew:
    given = {source: round(count / 0.4) for source, count in after.items()}
    return JudgedNew(3, alpha, flagged, before, after, given, folds)


def test_a_version_that_fits_the_new_items_is_kept_where_the_next_one_would_support_less() -> None:
    new = judged(1, {"default": 100}, {"default": 30})
    assert new.refusal.startswith(
        "nothing was published: of default the next version would support alpha 0.033, not 0.01 as version 3 does. For as much"
    )
    first, second = new.lines()
    assert first.startswith(
        "version 3 flags 1 of 30 held-out new items at alpha 0.05 (3.3%), which are normal: no more than alpha"
    )
    assert second == ("calibration of default: 100 items (smallest alpha 0.01) before, 30 items (smallest alpha 0.033) now")


def test_a_version_that_supports_less_is_not_published_unasked_however_many_are_flagged() -> None:
    new = judged(25, {"default": 100}, {"default": 30})
    assert new.is_needed
    assert "not 0.01 as version 3 does, though the new items do not look normal to it. For" in new.refusal
    (warning,) = new.warnings()  # with --force
    assert warning.startswith("the smallest alpha of default was 0.01, and is 0.033: commands that have a smaller --alpha")


def test_a_few_recordings_of_two_machines_do_not_replace_a_calibration_of_more() -> None:
    """20 of each, of which 8 calibrate; 4 of 16 are flagged by chance in 2 % of cases."""
    new = JudgedNew(1, 0.05, 4, {"m1": 20, "m2": 20}, {"m1": 8, "m2": 8}, {"m1": 20, "m2": 20})
    assert not new.is_needed
    assert "(25.0%), which are normal: more than alpha, but that may be chance (of as many items" in next(new.lines())
    assert "at least 4 are flagged in 2% of cases)" in next(new.lines())
    assert "would support alpha 0.12, not 0.048 as version 1 does. For as much" in new.refusal
    assert "run the same command: 29 more of m1, 29 more of m2. Or fit" in new.refusal
    assert list(JudgedNew(1, 0.05, 4, {"m1": 20, "m2": 20}, {"m1": 20, "m2": 20}, {"m1": 49, "m2": 49}).warnings()) == []


def test_sources_that_were_forgotten_are_asked_for() -> None:
    """As when the option that told them to the fit is left out."""
    asked = ". The new items have no source, and those before had (such as a): give --source-column or --source-pattern as when"
    new = judged(1, {"a": 40, "b": 40}, {"default": 30})
    assert f"as version 3 does{asked}" in new.refusal
    assert any(f"nothing is promised for them{asked}" in warning for warning in new.warnings())
    for before, after in (({"default": 80}, {"default": 30}), ({"a": 40, "b": 40}, {"a": 15})):
        assert asked not in judged(1, before, after).refusal


def test_the_items_that_are_lacking_are_just_enough() -> None:
    for given in (20, 37, 48, 49):
        after = held_of(given)
        new = JudgedNew(1, 0.05, 0, {"m": 20}, {"m": after}, {"m": given})
        more = int(re.findall(r"(\d+) more of m", new.refusal)[0]) if new.refusal else 0
        assert float(lowest_alpha_text(held_of(given + more))) <= float(lowest_alpha_text(20))
        assert not more or float(lowest_alpha_text(held_of(given + more - 1))) > float(lowest_alpha_text(20))


def test_short_recordings_do_not_count_among_those_that_calibrate() -> None:
    """Of 100 recordings 30 are for it, and 20 of these are too short: 40 are to be for it, which are 30 % of 132."""
    new = JudgedNew(1, 0.05, 0, {"m": 20}, {"m": 10}, {"m": 100})
    assert ": 32 more of m. Or" in new.refusal


def test_clearly_more_is_by_the_calibration_that_flags() -> None:
    """Of one of 20 items a source 4 of 16 may be chance, and 6 are not; of a cross-fitted one 6 may be chance, too."""
    before, after = {"m1": 20, "m2": 20}, {"m1": 8, "m2": 8}
    assert [judged(flagged, before, after).is_needed for flagged in (4, 6)] == [False, True]
    assert not judged(6, before, after, folds=5).is_needed
    assert "clearly more than alpha (of as many items that it knows, at least 6 are flagged in fewer than 1% of cases)" in next(
        judged(6, before, after).lines()
    )
    # one calibration of 1000 hardly varies: 4 of 16 are by chance in 0.7 %
    assert judged(4, {"default": 1000}, {"default": 16}).is_needed


def test_items_of_new_sources_are_flagged_together_or_not() -> None:
    """All are compared with the same 19 items, so that many are flagged by chance more often than if each had its own."""
    apart = judged(5, {"a": 19, "b": 19}, {"a": 10, "b": 10})
    together = judged(5, {"default": 19}, {"a": 10, "b": 10})
    assert together.chance > 2 * apart.chance


@pytest.mark.parametrize("after", [{"default": 100}, {"default": 300}])
def test_a_calibration_that_is_not_smaller_is_published_without_a_warning(after: dict[str, int]) -> None:
    new = judged(0, {"default": 100}, after)
    assert (new.refusal, list(new.warnings())) == ("", [])


def test_the_sources_are_compared_each_for_itself() -> None:
    new = judged(30, {"fan-1": 50, "fan-2": 40, "fan-3": 50}, {"fan-1": 60, "fan-2": 20})
    assert new.less_supported == ["fan-2"]
    smaller, gone = new.warnings()
    assert "the smallest alpha of fan-2 was 0.025, and is 0.048" in smaller
    assert gone.startswith("no new items are of fan-3: from now on all sources together judge its items")


def test_new_sources_are_compared_with_what_judged_them_before() -> None:
    new = judged(0, {"default": 100}, {"fan-1": 50, "fan-2": 120})
    assert new.less_supported == ["fan-1"]
    assert list(new.lines())[1] == (
        "calibration of fan-1: 100 items of all sources (smallest alpha 0.01) before, 50 items (smallest alpha 0.02) now"
    )


def test_a_few_more_flagged_items_than_alpha_may_be_chance() -> None:
    new = judged(2, {"default": 19}, {"default": 15})
    assert "more than alpha, but that may be chance" in next(new.lines())
    assert not new.is_needed


def test_without_a_calibration_before_nothing_is_compared() -> None:
    new = JudgedNew(1, 0.0, 0, {}, {"default": 30}, {"default": 75})
    assert (new.refusal, list(new.warnings())) == ("", [])
    assert list(new.lines()) == ["calibration of default: none before, 30 items (smallest alpha 0.033) now"]
